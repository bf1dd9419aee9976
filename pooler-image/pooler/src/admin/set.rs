//! `SET key = value`: a setting is another until the next `RELOAD`.

use super::error::AdminError;
use super::reply::Reply;
use crate::control::Control;

pub(super) async fn set(control: &dyn Control, key: String, value: String) -> Result<Reply, AdminError> {
    let tag = format!("SET {key}={value}");
    control.set(key, value).await?;
    Ok(Reply::done(tag))
}
