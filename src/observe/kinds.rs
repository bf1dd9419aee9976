//! Which kinds of other operators the API server has: asked when the watches begin, and again while one is missing that
//! somebody wants.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::{Client, Resource};

use crate::api::{Certificate, Monitor};
use crate::plan::facts::{Kinds, Served};

/// Asks. A group that cannot be asked for is taken for absent: what needs it says so, and asks again.
pub async fn ask(client: &Client) -> Kinds {
    Kinds { certificate: served::<Certificate>(client).await, pod_monitor: served::<Monitor>(client).await }
}

async fn served<K: Resource<DynamicType = ()>>(client: &Client) -> Served {
    let version = format!("{}/{}", K::group(&()), K::version(&()));
    let found: Result<APIResourceList, _> = client.list_api_group_resources(&version).await;
    match found {
        Ok(list) if list.resources.iter().any(|one| one.kind == K::kind(&())) => Served::Present,
        _ => Served::Absent,
    }
}
