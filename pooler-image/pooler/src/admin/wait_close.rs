//! `WAIT_CLOSE [db]`: answers when no server connection is left that is to be closed.

use super::error::AdminError;
use super::not_console;
use super::reply::Reply;
use crate::control::Control;

pub(super) async fn wait_close(control: &dyn Control, database: Option<String>) -> Result<Reply, AdminError> {
    not_console("wait in", database.as_deref())?;
    control.wait_close(database).await?;
    Ok(Reply::done("WAIT_CLOSE"))
}
