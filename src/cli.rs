//! The command line. Every option is an environment variable too, for the chart.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};
use hyper::Uri;

use crate::plan::Upgrade;
use crate::telemetry::LogFormat;

/// Runs correctly sized PostgreSQL poolers on Kubernetes.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `run` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of `run`.
    #[command(flatten)]
    pub run: Run,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Box<Run>),
    /// Print the definition of the custom resource.
    Crd,
    /// Print the SQL of the function that `spec.auth.query` calls, for a superuser to run in the database where roles are
    /// looked up.
    AuthQuerySql {
        /// Role that looks up: that of `spec.auth.query.secretRef`.
        #[arg(long, default_value = "pgpooler_auth")]
        user: String,
    },
    /// Print the rights that the operator needs at the API server, as rules of roles.
    Rbac,
    /// Print the reference of every field, in Markdown, or of every right with its reason.
    Reference {
        /// Which.
        #[arg(value_enum, default_value = "fields")]
        page: Reference,
    },
    /// Check an operator that runs: exit code 0 when all is well. What `helm test` runs.
    Check(Check),
    /// Print how the budget of a `PgPooler` comes about, without a cluster and without a server.
    Explain(Explain),
}

/// A page of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Reference {
    /// Every field of a `PgPooler`.
    Fields,
    /// Every right of the operator.
    Rights,
}

/// Options of `explain`.
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// Manifest with one or more `PgPoolers`, all taken to be on one server; may be given several times; `-` is
    /// standard input.
    #[arg(short = 'f', long = "filename", required = true)]
    pub files: Vec<PathBuf>,
    /// `max_connections` of the server.
    #[arg(long, default_value_t = 100)]
    pub max_connections: u32,
    /// `superuser_reserved_connections` of the server.
    #[arg(long, default_value_t = 3)]
    pub superuser_reserved: u32,
    /// `reserved_connections` of the server, from PostgreSQL 16 on.
    #[arg(long, default_value_t = 0)]
    pub reserved: u32,
    /// CONNECTION LIMIT of the login role.
    #[arg(long)]
    pub role_limit: Option<u32>,
    /// Most sessions of others at once.
    #[arg(long, default_value_t = 0)]
    pub foreign: u32,
}

/// Options of `check`.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// Where the operator answers, such as `http://pgpooler-operator-metrics:8080`: `/readyz` and `/metrics` are read.
    #[arg(long)]
    pub url: Option<Uri>,
    /// Namespace where `PgPoolers` must be served and may be listed; may be given several times, or separated by
    /// commas. None, or an empty one: all.
    #[arg(long = "watch-namespace", env = "PGPOOLER_WATCH_NAMESPACE", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Do not ask the API server.
    #[arg(long)]
    pub without_api: bool,
    /// Context of the kubeconfig; not needed inside a cluster.
    #[arg(long, env = "PGPOOLER_CONTEXT")]
    pub context: Option<String>,
    /// For so many seconds, try again what fails.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
}

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Image of the poolers whose spec names none.
    #[arg(long, env = "PGPOOLER_POOLER_IMAGE", value_parser = NonEmptyStringValueParser::new(),
        default_value = concat!("pgpooler/pgpooler:", env!("CARGO_PKG_VERSION")))]
    pub pooler_image: String,
    /// When the pods of a former operator are replaced by such as this one makes.
    #[arg(long, env = "PGPOOLER_POOLER_UPGRADE", value_enum, default_value_t)]
    pub pooler_upgrade: Upgrade,
    /// Namespace to watch; may be given several times, or separated by commas. None, or an empty one: all.
    #[arg(long = "watch-namespace", env = "PGPOOLER_WATCH_NAMESPACE", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    #[arg(long, env = "PGPOOLER_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,
    /// Elect a leader before doing anything.
    #[arg(long, env = "PGPOOLER_LEADER_ELECTION", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_election: bool,
    /// Name of the Lease.
    #[arg(long, env = "PGPOOLER_LEASE_NAME", value_parser = NonEmptyStringValueParser::new(),
        default_value = crate::names::MANAGER)]
    pub lease_name: String,
    /// Namespace of the Lease: the operator's own. Default: that of the service account or of the context.
    #[arg(long, env = "PGPOOLER_NAMESPACE")]
    pub namespace: Option<String>,
    /// Name of this operator in the Lease and in events: that of its pod.
    #[arg(long, env = "PGPOOLER_POD_NAME")]
    pub pod_name: Option<String>,
    /// Context of the kubeconfig. Only inside a cluster does the operator run without one.
    #[arg(long, env = "PGPOOLER_CONTEXT")]
    pub context: Option<String>,
    /// Format of the log.
    #[arg(long, env = "PGPOOLER_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

impl Run {
    /// Name of this operator's pod.
    pub fn instance(&self) -> Option<String> {
        self.pod_name.as_deref().and_then(given).map(str::to_owned)
    }

    /// What is watched: each namespace once, or `None`, which is all of them.
    pub fn scopes(&self) -> Vec<Option<String>> {
        scopes(&self.watch_namespaces)
    }
}

impl Check {
    /// As [`Run::scopes`].
    pub fn scopes(&self) -> Vec<Option<String>> {
        scopes(&self.watch_namespaces)
    }
}

fn scopes(namespaces: &[String]) -> Vec<Option<String>> {
    // an empty environment variable arrives here as one empty name
    let named: BTreeSet<_> = namespaces.iter().filter_map(|name| given(name)).collect();
    if named.is_empty() { vec![None] } else { named.into_iter().map(|name| Some(name.to_owned())).collect() }
}

/// An environment variable that is empty says as much as one that is not set.
pub fn given(value: &str) -> Option<&str> {
    Some(value.trim()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn scopes(watched: &str) -> Vec<Option<String>> {
        Cli::try_parse_from(["pgpooler-operator", "--watch-namespace", watched]).unwrap().run.scopes()
    }

    #[test]
    fn an_empty_namespace_means_all_of_them() {
        assert_eq!(scopes(""), [None]);
        assert_eq!(scopes(" , "), [None]);
        assert_eq!(Cli::try_parse_from(["pgpooler-operator"]).unwrap().run.scopes(), [None]);
    }

    #[test]
    fn each_namespace_is_watched_once() {
        assert_eq!(scopes("shop, bills,,shop"), [Some("bills".to_owned()), Some("shop".to_owned())]);
    }

    #[test]
    fn an_image_or_a_lease_without_a_name_is_refused() {
        for option in ["--pooler-image", "--lease-name"] {
            assert!(Cli::try_parse_from(["pgpooler-operator", option, ""]).is_err(), "{option}");
        }
    }
}
