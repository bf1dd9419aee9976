//! `RESUME [db]`.

use super::error::AdminError;
use super::is_console;
use super::reply::Reply;
use crate::control::{Control, ControlError};

pub(super) async fn resume(control: &dyn Control, database: Option<String>) -> Result<Reply, AdminError> {
    match database {
        Some(console) if is_console(&console) => Err(ControlError::DatabaseNotPaused(console))?,
        database => control.resume(database).await?,
    }
    Ok(Reply::done("RESUME"))
}
