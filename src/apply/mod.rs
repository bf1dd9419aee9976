//! The only place that writes children.

pub mod diff;
mod own;
pub mod ssa;

use kube::Client;

use crate::api::{PgPooler, Reason};
use crate::plan::checks::{self, Blocked};
use crate::plan::facts::Children;
use crate::plan::objects::{Applied, Objects, Rendered};

pub use own::OwnWrites;

/// A child could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of that name is not ours.
    #[error("{what} already exists and is not this PgPooler's")]
    NameConflict {
        /// Kind and name.
        what: String,
    },
    /// The API server does not want it so; trying again soon will not help.
    #[error("the API server refuses {what}: {message}")]
    Rejected {
        /// Kind and name.
        what: String,
        /// What it says.
        message: String,
    },
    /// The API server could not be reached, or failed.
    #[error("cannot apply {what}")]
    Api {
        /// Kind and name.
        what: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

impl ApplyError {
    /// Whether what pods should run was stored before this went wrong.
    pub fn spares_configuration(&self) -> bool {
        let before = ["ServiceAccount", "Secret", "ConfigMap"];
        matches!(self, Self::Rejected { what, .. } if !before.iter().any(|kind| what.starts_with(kind)))
    }

    /// What the status says of it; nothing of an API server that cannot be reached, since nothing can be written.
    pub fn blocked(&self) -> Option<Blocked> {
        match self {
            Self::NameConflict { what } => Some(checks::conflict(what)),
            Self::Rejected { .. } => Some(Blocked { reason: Reason::Rejected, message: self.to_string() }),
            Self::Api { .. } => None,
        }
    }
}

/// What writes children.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    /// The API server.
    pub client: &'a Client,
    /// What it has stored of ours.
    pub own: &'a OwnWrites,
}

/// Applies the children.
///
/// Flow: nothing is written while an object of somebody else has one of the names; then what the pods need comes
/// before the Deployment, so that no pod starts with half of it, and the Services before it too, so that the first
/// ready pod is found. A set applied twice is written once. Not cancel-safe as a whole, but every write is idempotent.
pub async fn apply(
    writer: Writer<'_>,
    owner: &PgPooler,
    rendered: Objects<Rendered>,
    live: &Children,
) -> Result<Objects<Applied>, ApplyError> {
    let Objects {
        service_account,
        auth,
        config,
        peers,
        service,
        disruption_budget,
        network_policy,
        connection,
        certificate,
        pod_monitor,
        deployment,
    } = rendered;
    ssa::probe(writer, owner, &service_account, live.service_account.as_ref()).await?;
    ssa::probe(writer, owner, &auth, live.auth.as_ref()).await?;
    ssa::probe(writer, owner, &config, live.config.as_ref()).await?;
    ssa::probe(writer, owner, &peers, live.peers.as_ref()).await?;
    ssa::probe(writer, owner, &service, live.service.as_ref()).await?;
    ssa::probe(writer, owner, &disruption_budget, live.disruption_budget.as_ref()).await?;
    ssa::probe(writer, owner, &network_policy, live.network_policy.as_ref()).await?;
    ssa::probe(writer, owner, &connection, live.connection.as_ref()).await?;
    ssa::probe(writer, owner, &certificate, live.certificate.as_ref()).await?;
    ssa::probe(writer, owner, &pod_monitor, live.pod_monitor.as_ref()).await?;
    ssa::probe(writer, owner, &deployment, live.deployment.as_ref()).await?;
    ssa::dry_run(writer, owner, &deployment, live.deployment.as_ref()).await?;
    Ok(Objects {
        service_account: ssa::apply(writer, owner, service_account, live.service_account.as_ref()).await?,
        auth: ssa::apply(writer, owner, auth, live.auth.as_ref()).await?,
        config: ssa::apply(writer, owner, config, live.config.as_ref()).await?,
        peers: ssa::apply(writer, owner, peers, live.peers.as_ref()).await?,
        service: ssa::apply(writer, owner, service, live.service.as_ref()).await?,
        disruption_budget: ssa::apply(writer, owner, disruption_budget, live.disruption_budget.as_ref())
            .await?,
        network_policy: ssa::apply(writer, owner, network_policy, live.network_policy.as_ref()).await?,
        connection: ssa::apply(writer, owner, connection, live.connection.as_ref()).await?,
        certificate: ssa::apply(writer, owner, certificate, live.certificate.as_ref()).await?,
        pod_monitor: ssa::apply(writer, owner, pod_monitor, live.pod_monitor.as_ref()).await?,
        deployment: ssa::apply(writer, owner, deployment, live.deployment.as_ref()).await?,
    })
}
