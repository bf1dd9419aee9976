//! The command line. Every option is an environment variable too, for the chart.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};

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
}

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Image of the poolers whose spec names none.
    #[arg(long, env = "PGPOOLER_POOLER_IMAGE", default_value = concat!("pgpooler/pgpooler:", env!("CARGO_PKG_VERSION")))]
    pub pooler_image: String,
    /// Namespace to watch; may be given several times, or separated by commas. None: all.
    #[arg(long = "watch-namespace", env = "PGPOOLER_WATCH_NAMESPACE", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    #[arg(long, env = "PGPOOLER_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,
    /// Elect a leader before doing anything.
    #[arg(long, env = "PGPOOLER_LEADER_ELECTION", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_election: bool,
    /// Name of the Lease.
    #[arg(long, env = "PGPOOLER_LEASE_NAME", default_value = crate::names::MANAGER)]
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
