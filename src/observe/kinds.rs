//! Which kinds of other operators the API server has: asked when the watches begin, and again while one is missing that
//! somebody wants.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::{Client, Resource};
use tokio::time::timeout;

use crate::api::{Certificate, Monitor};
use crate::plan::facts::{Kinds, Served};

/// How long an answer may take: nothing else begins before the first one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks. Where no answer is to be had it stays with what is known; what needs a kind that is absent asks again.
pub async fn ask(client: &Client, known: Kinds) -> Kinds {
    let (certificate, pod_monitor) = tokio::join!(
        served::<Certificate>(client, known.certificate),
        served::<Monitor>(client, known.pod_monitor)
    );
    Kinds { certificate, pod_monitor }
}

async fn served<K: Resource<DynamicType = ()>>(client: &Client, known: Served) -> Served {
    let version = format!("{}/{}", K::group(&()), K::version(&()));
    let asked = timeout(PATIENCE, client.list_api_group_resources(&version)).await;
    let found: Result<APIResourceList, _> = match asked {
        Ok(found) => found,
        Err(_) => return known,
    };
    match found {
        Ok(list) if list.resources.iter().any(|one| one.kind == K::kind(&())) => Served::Present,
        Ok(_) => Served::Absent,
        // an unknown group is no object's absence: the answer is plain text
        Err(kube::Error::Api(answer)) if answer.code == 404 => Served::Absent,
        Err(error) => {
            tracing::warn!(%error, version, "cannot ask for a kind");
            known
        }
    }
}
