//! The identity of the pods. They get no token: nothing in them speaks to the API server.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::names;
use crate::plan::pooler::Pooler;

use super::meta::meta;

/// The `ServiceAccount`.
pub fn render(pooler: &Pooler) -> ServiceAccount {
    ServiceAccount {
        metadata: meta(pooler, names::service_account(&pooler.name)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
