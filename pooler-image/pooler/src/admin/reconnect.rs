//! `RECONNECT [db]`: answers at once; connections are closed as they are released.

use super::error::AdminError;
use super::not_console;
use super::reply::Reply;
use crate::control::Control;

pub(super) async fn reconnect(control: &dyn Control, database: Option<String>) -> Result<Reply, AdminError> {
    not_console("reconnect", database.as_deref())?;
    control.reconnect(database).await?;
    Ok(Reply::done("RECONNECT"))
}
