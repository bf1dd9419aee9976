//! `KILL [db]`, `KILL_CLIENT id`: for those who cannot wait.

use super::error::AdminError;
use super::not_console;
use super::reply::Reply;
use super::sessions::Sessions;
use crate::control::Control;

/// Closes every client and server connection of the database, or of all, and pauses it.
pub(super) async fn kill(control: &dyn Control, database: Option<String>) -> Result<Reply, AdminError> {
    not_console("kill", database.as_deref())?;
    control.kill(database).await?;
    Ok(Reply::done("KILL"))
}

/// Closes one client, which may be on the console.
pub(super) async fn client(control: &dyn Control, sessions: &Sessions, id: u64) -> Result<Reply, AdminError> {
    if !sessions.kill(id) {
        control.kill_client(id).await?;
    }
    Ok(Reply::done("KILL_CLIENT"))
}
