//! `RESUME [db]`.

use super::error::AdminError;
use super::reply::Reply;
use crate::control::Control;

pub(super) async fn resume(control: &dyn Control, database: Option<String>) -> Result<Reply, AdminError> {
    control.resume(database).await?;
    Ok(Reply::done("RESUME"))
}
