//! `ENABLE db`: ends `DISABLE`.

use super::error::AdminError;
use super::not_console;
use super::reply::Reply;
use crate::control::Control;

pub(super) async fn enable(control: &dyn Control, database: String) -> Result<Reply, AdminError> {
    not_console("enable", Some(&database))?;
    control.enable(database).await?;
    Ok(Reply::done("ENABLE"))
}
