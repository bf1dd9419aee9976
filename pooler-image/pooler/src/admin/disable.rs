//! `DISABLE db`: new clients of the database are refused, those that are there go on.

use super::error::AdminError;
use super::not_console;
use super::reply::Reply;
use crate::control::Control;

pub(super) async fn disable(control: &dyn Control, database: String) -> Result<Reply, AdminError> {
    not_console("disable", Some(&database))?;
    control.disable(database).await?;
    Ok(Reply::done("DISABLE"))
}
