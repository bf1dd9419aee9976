//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Looks at and after `PgPoolers`: what they are doing, what a change would do, and the way there from other poolers.
#[derive(Debug, Parser)]
#[command(name = "kubectl-pgpooler", bin_name = "kubectl pgpooler", version, disable_help_subcommand = true)]
pub struct Cli {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterOptions,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster, and where in it: as kubectl has it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterOptions {
    /// Namespace; that of the context if none is given.
    #[arg(short = 'n', long, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the sum, what is not as it should be, and each pod.
    Status(Status),
    /// Show what the pods are doing, every second.
    Top(Top),
    /// Show how the budget comes about, of a manifest or of a `PgPooler` that is there.
    Explain(Explain),
    /// Show what applying a manifest would do; writes nothing.
    Plan(Plan),
    /// Hold all clients, and wait until no server connection is open.
    Pause(Pause),
    /// Let the clients go on.
    Resume(Pause),
    /// Print PgPoolers for what was there before.
    #[command(subcommand)]
    Migrate(Migrate),
}

/// How to print.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Options of `status`.
#[derive(Debug, Clone, Args)]
pub struct Status {
    /// Name of the `PgPooler`; all of the namespace if none is given.
    pub name: Option<String>,
    /// How to print.
    #[arg(
        short = 'o',
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "text|json|yaml"
    )]
    pub output: Output,
    /// Only what the API server knows: speak to no pod.
    #[arg(long)]
    pub no_live: bool,
}

/// Options of `top`.
#[derive(Debug, Clone, Args)]
pub struct Top {
    /// Name of the `PgPooler`; all of the namespace if none is given.
    pub name: Option<String>,
    /// Print once and end; transactions per second are then averages of the last minutes.
    #[arg(long)]
    pub once: bool,
}

/// Options of `explain`.
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// Name of a `PgPooler`; the server is then as its status has it.
    #[arg(required_unless_present = "files", conflicts_with = "files")]
    pub name: Option<String>,
    /// Manifest with one or more PgPoolers, all taken to be on one server; may be given several times; `-` is standard
    /// input.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The server.
    #[command(flatten)]
    pub server: ServerOptions,
}

/// What the server is like: what is not given is taken from the status, or is what PostgreSQL has as it comes.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "PostgreSQL server")]
pub struct ServerOptions {
    /// `max_connections` of the server.
    #[arg(long, value_name = "N")]
    pub max_connections: Option<u32>,
    /// `superuser_reserved_connections` of the server.
    #[arg(long, value_name = "N")]
    pub superuser_reserved: Option<u32>,
    /// `reserved_connections` of the server, from PostgreSQL 16 on.
    #[arg(long, value_name = "N")]
    pub reserved: Option<u32>,
    /// CONNECTION LIMIT of the login role.
    #[arg(long, value_name = "N")]
    pub role_limit: Option<u32>,
    /// Most sessions of others at once.
    #[arg(long, value_name = "N")]
    pub foreign: Option<u32>,
}

/// Options of `plan`.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// Manifest with one or more PgPoolers; `-` is standard input.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// How to print.
    #[arg(
        short = 'o',
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "text|json|yaml"
    )]
    pub output: Output,
    /// The server.
    #[command(flatten)]
    pub server: ServerOptions,
}

/// Options of `pause` and `resume`.
#[derive(Debug, Clone, Args)]
pub struct Pause {
    /// Name of the `PgPooler`.
    pub name: String,
    /// Wait until it is so.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    pub wait: bool,
    /// How long to wait, as in 30s or 5m; what was asked for stays asked for.
    #[arg(long, default_value = "2m", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,
}

/// What was there before.
#[derive(Debug, Subcommand)]
pub enum Migrate {
    /// A pgbouncer.ini.
    Pgbouncer(FromPgBouncer),
    /// A Pooler of CloudNativePG.
    CloudnativePg(FromCloudNativePg),
}

/// Options of `migrate pgbouncer`.
#[derive(Debug, Clone, Args)]
pub struct FromPgBouncer {
    /// The configuration; files that it includes are looked for where PgBouncer would, then beside it; `-` is standard
    /// input.
    #[arg(short = 'f', long = "filename", default_value = "pgbouncer.ini", value_name = "FILE")]
    pub file: PathBuf,
    /// The list of users, if not the `auth_file` of the configuration.
    #[arg(long, value_name = "FILE")]
    pub userlist: Option<PathBuf>,
    /// Name of the `PgPooler`; made from the server's if none is given.
    #[arg(long)]
    pub name: Option<String>,
    /// Print the Secrets too, with the passwords in them.
    #[arg(long)]
    pub with_secrets: bool,
}

/// Options of `migrate cloudnative-pg`.
#[derive(Debug, Clone, Args)]
pub struct FromCloudNativePg {
    /// Manifest with one or more Poolers, such as `kubectl get poolers -o yaml` prints; `-` is standard input.
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE")]
    pub file: PathBuf,
}

fn duration(text: &str) -> Result<Duration, String> {
    pgpooler_operator::api::Duration::from(text).parse().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn waiting_can_be_turned_off_and_a_namespace_may_stand_anywhere() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap();
        let cli = parse("kubectl-pgpooler pause orders --wait=false -n shop --timeout 5s");
        assert_eq!(cli.cluster.namespace.as_deref(), Some("shop"));
        let Command::Pause(options) = cli.command else { unreachable!() };
        assert_eq!((options.wait, options.timeout), (false, Duration::from_secs(5)));
        let Command::Resume(resume) = parse("kubectl-pgpooler resume orders --wait").command else {
            unreachable!()
        };
        assert!(resume.wait);
    }

    #[test]
    fn explain_wants_a_name_or_a_file() {
        for line in ["explain", "explain orders -f a.yaml", "plan", "pause"] {
            assert!(Cli::try_parse_from(format!("kubectl-pgpooler {line}").split(' ')).is_err(), "{line}");
        }
    }
}
