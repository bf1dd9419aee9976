//! The largest budget that may be in use, written into the status of every `PgPooler` on the server: what the next
//! leader has to assume. A leader never writes over a later one.

use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource as _, ResourceExt as _};

use crate::api::{LedgerStatus, PgPooler};

/// Field manager of this one field: the rest of the status is written by others.
const MANAGER: &str = "pgpooler-operator-ledger";

/// The budget is not written everywhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// A later leader has written.
    #[error("a leader with epoch {0} has written a budget")]
    Superseded(u64),
    /// The API server.
    #[error("cannot write the status of {name}")]
    Api {
        /// Namespace and name.
        name: String,
        /// Why.
        source: kube::Error,
    },
}

/// Writes it for all, and returns when all have it. Cancel-safe: what was written is written.
pub(super) async fn commit(
    client: &Client,
    poolers: &[ObjectRef<PgPooler>],
    epoch: u64,
    budget: u32,
) -> Result<(), WriteError> {
    let writes = poolers.iter().map(|pooler| write(client, pooler, epoch, budget));
    futures::future::try_join_all(writes).await.map(|_| ())
}

async fn write(
    client: &Client,
    pooler: &ObjectRef<PgPooler>,
    epoch: u64,
    budget: u32,
) -> Result<(), WriteError> {
    let namespace = pooler.namespace.clone().unwrap_or_default();
    let failed = |source| WriteError::Api { name: format!("{namespace}/{}", pooler.name), source };
    let api: Api<PgPooler> = Api::namespaced(client.clone(), &namespace);
    // one that is being deleted meanwhile has no next leader to tell
    let Some(object) = api.get_opt(&pooler.name).await.map_err(failed)? else { return Ok(()) };
    let wanted = LedgerStatus { epoch: number(epoch), committed: number(budget.into()) };
    let found = object.status.as_ref().and_then(|status| status.ledger.as_ref());
    if let Some(found) = found.filter(|found| found.epoch > wanted.epoch) {
        return Err(WriteError::Superseded(u64::try_from(found.epoch).unwrap_or(0)));
    }
    if found == Some(&wanted) {
        return Ok(());
    }
    let patch = serde_json::json!({
        "apiVersion": PgPooler::api_version(&()),
        "kind": PgPooler::kind(&()),
        // with it the API server refuses if anybody has written since
        "metadata": { "name": pooler.name, "namespace": namespace, "resourceVersion": object.resource_version() },
        "status": { "ledger": wanted },
    });
    let params = PatchParams::apply(MANAGER).force();
    api.patch_status(&pooler.name, &params, &Patch::Apply(patch)).await.map_err(failed)?;
    Ok(())
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
