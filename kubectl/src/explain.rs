//! `explain`: the operator's own, of a manifest or of what is there.

use kube::{Api, ResourceExt as _};
use pgpooler_operator::api::{BudgetStatus, PgPooler};
use pgpooler_operator::cli;
use pgpooler_operator::explain::{self, Unexplained};
use pgpooler_operator::plan::explain::{ExplainError, explain as reckon};
use pgpooler_operator::plan::facts::Server;

use crate::cli::{Explain, ServerOptions};
use crate::cluster::{Cluster, ClusterError};

/// PostgreSQL as it comes.
const MAX_CONNECTIONS: u32 = 100;
const SUPERUSER_RESERVED: u32 = 3;

/// Nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ExplainFailure {
    /// The manifest, or the sum.
    #[error(transparent)]
    Manifest(#[from] Unexplained),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The sum of what is there.
    #[error(transparent)]
    Sum(#[from] ExplainError),
    /// Its server is not known.
    #[error(
        "PgPooler `{0}` has no budget in its status yet; say what the server is like, with --max-connections"
    )]
    NoBudget(String),
}

/// Of manifests, without a cluster.
pub fn of_files(options: &Explain) -> Result<String, ExplainFailure> {
    let server = options.server;
    let options = cli::Explain {
        files: options.files.clone(),
        max_connections: server.max_connections.unwrap_or(MAX_CONNECTIONS),
        superuser_reserved: server.superuser_reserved.unwrap_or(SUPERUSER_RESERVED),
        reserved: server.reserved.unwrap_or(0),
        role_limit: server.role_limit,
        foreign: server.foreign.unwrap_or(0),
    };
    Ok(explain::text(&options)?)
}

/// Of a `PgPooler` that is there, and of those that share its server.
pub async fn of_object(
    cluster: &Cluster,
    name: &str,
    options: ServerOptions,
) -> Result<String, ExplainFailure> {
    let pooler = cluster.get(name).await?.ok_or_else(|| cluster.missing(name))?;
    let status = pooler.status.clone().and_then(|status| status.budget);
    if status.is_none() && options.max_connections.is_none() {
        return Err(ExplainFailure::NoBudget(name.to_owned()));
    }
    let status = status.unwrap_or_default();
    let (server, foreign) = server(&status, options);
    let (mut poolers, mut unseen) = (vec![pooler], Vec::new());
    for other in &status.shared_with {
        match neighbour(cluster, other).await {
            Some(other) => poolers.push(other),
            None => unseen.push(format!("not seen: {other}, which shares the server\n")),
        }
    }
    Ok(reckon(&poolers, &server, foreign)? + &unseen.concat())
}

/// The server as the status has it, but for what was said on the command line; and the most sessions of others.
pub fn server(status: &BudgetStatus, options: ServerOptions) -> (Server, u32) {
    let known = |number: i32| u32::try_from(number).ok().filter(|number| *number > 0);
    let server = Server {
        max_connections: options
            .max_connections
            .or_else(|| known(status.max_connections))
            .unwrap_or(MAX_CONNECTIONS),
        // the status has both kinds of reserved places together
        superuser_reserved: options
            .superuser_reserved
            .or_else(|| known(status.reserved).filter(|_| options.reserved.is_none()))
            .unwrap_or(SUPERUSER_RESERVED),
        reserved: options.reserved.unwrap_or(0),
        role_limit: options.role_limit.or_else(|| status.role_limit.and_then(known)),
        database_limit: status.database_limit.and_then(known),
        ..Server::default()
    };
    (server, options.foreign.or_else(|| known(status.foreign_peak)).unwrap_or(0))
}

/// By namespace and name; `None`: it may not be read, or is gone.
pub async fn neighbour(cluster: &Cluster, name: &str) -> Option<PgPooler> {
    let (namespace, name) = name.split_once('/').unwrap_or((cluster.namespace.as_str(), name));
    let api: Api<PgPooler> = Api::namespaced(cluster.client.clone(), namespace);
    api.get_opt(name).await.ok().flatten().filter(|found| !found.name_any().is_empty())
}
