//! `PAUSE [db]`: answers when every server connection that it is about is closed.

use super::error::AdminError;
use super::not_console;
use super::reply::Reply;
use crate::control::Control;

pub(super) async fn pause(control: &dyn Control, database: Option<String>) -> Result<Reply, AdminError> {
    not_console("pause", database.as_deref())?;
    control.pause(database).await?;
    Ok(Reply::done("PAUSE"))
}
