//! `cargo xtask fleet`: many clients at once, in one process, bounded in count and time.
//!
//! Writes its [`Report`] as one line of JSON to standard output. The demo and the cluster tests run it inside
//! the cluster's network namespace.

mod connection;
mod load;
mod report;
mod sample;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) use report::{Latency, Report};
pub(crate) use sample::Samples;

use connection::Target;

/// Files that the process needs besides its sockets.
const OTHER_FILES: u64 = 50;

/// Arguments of `cargo xtask fleet`.
#[derive(Debug, Args)]
pub(crate) struct FleetArgs {
    /// Address and port of PostgreSQL or of a pooler.
    #[arg(long)]
    address: SocketAddr,
    /// Role.
    #[arg(long, default_value = "app")]
    user: String,
    /// Its password.
    #[arg(long, env = "PGPASSWORD", hide_env_values = true, default_value = "")]
    password: String,
    /// Database.
    #[arg(long, default_value = "app")]
    database: String,
    /// Seconds that a login or a transaction may take.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    #[command(subcommand)]
    load: Load,
}

/// What the clients do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Load {
    /// All log in at once, wait for each other, run their transactions, leave.
    Storm {
        /// Clients.
        #[arg(long)]
        clients: u64,
        /// Transactions of each.
        #[arg(long, default_value_t = 1)]
        transactions: u64,
    },
    /// Each request is a login, one transaction and a goodbye.
    Churn {
        /// Clients that do so side by side.
        #[arg(long)]
        clients: u64,
        /// Requests of each.
        #[arg(long)]
        requests: u64,
    },
    /// The number of clients grows evenly; each pauses between its transactions.
    Ramp {
        /// Clients at the start.
        #[arg(long)]
        from: u64,
        /// Clients at the end.
        #[arg(long)]
        to: u64,
        /// Seconds in all.
        #[arg(long)]
        seconds: u64,
        /// Milliseconds between two transactions of a client.
        #[arg(long, default_value_t = 100)]
        pause: u64,
    },
    /// As Ramp, but whoever fails comes again; one in ten has transactions of two seconds.
    Persist {
        /// Clients at the start.
        #[arg(long)]
        from: u64,
        /// Clients at the end.
        #[arg(long)]
        to: u64,
        /// Seconds until all are there.
        #[arg(long)]
        grow: u64,
        /// Seconds at most; also ends when standard input does.
        #[arg(long)]
        seconds: u64,
        /// Milliseconds between two transactions of a client.
        #[arg(long, default_value_t = 100)]
        pause: u64,
    },
    /// One client after the other has its query cancelled, by a request that is another connection to the same address.
    Cancel {
        /// Clients.
        #[arg(long)]
        clients: u64,
    },
    /// Connects, without a login, until many connections in a row were accepted.
    Reach,
    /// Counts sessions in `pg_stat_activity` until standard input ends.
    Sample {
        /// Which sessions count, as an SQL condition.
        #[arg(long)]
        condition: String,
        /// Milliseconds between two looks.
        #[arg(long, default_value_t = 50)]
        interval: u64,
    },
}

/// Runs the fleet and prints what it has seen.
pub(crate) fn run(arguments: FleetArgs) -> Result<()> {
    raise_file_limit(arguments.load.clients() + OTHER_FILES)?;
    let target = Target {
        address: arguments.address,
        user: arguments.user,
        password: arguments.password,
        database: arguments.database,
        patience: Duration::from_secs(arguments.patience),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{}", runtime.block_on(arguments.load.run(&target))?);
    Ok(())
}

impl Load {
    /// The command line of [`FleetArgs`] that asks for this load.
    pub(crate) fn to_arguments(&self) -> Vec<String> {
        let words = |name: &str, options: &[(&str, u64)]| {
            let options = options.iter().map(|(option, value)| format!("--{option}={value}"));
            std::iter::once(name.to_owned()).chain(options).collect::<Vec<_>>()
        };
        match self {
            Self::Storm { clients, transactions } => {
                words("storm", &[("clients", *clients), ("transactions", *transactions)])
            }
            Self::Churn { clients, requests } => {
                words("churn", &[("clients", *clients), ("requests", *requests)])
            }
            Self::Ramp { from, to, seconds, pause } => {
                words("ramp", &[("from", *from), ("to", *to), ("seconds", *seconds), ("pause", *pause)])
            }
            Self::Persist { from, to, grow, seconds, pause } => words(
                "persist",
                &[("from", *from), ("to", *to), ("grow", *grow), ("seconds", *seconds), ("pause", *pause)],
            ),
            Self::Cancel { clients } => words("cancel", &[("clients", *clients)]),
            Self::Reach => words("reach", &[]),
            Self::Sample { condition, interval } => {
                let mut words = words("sample", &[("interval", *interval)]);
                words.push(format!("--condition={condition}"));
                words
            }
        }
    }

    /// What was seen, as JSON.
    async fn run(self, target: &Target) -> Result<String> {
        let report = match self {
            Self::Storm { clients, transactions } => load::storm(target, clients, transactions).await,
            Self::Churn { clients, requests } => load::churn(target, clients, requests).await,
            Self::Ramp { from, to, seconds, pause } => {
                let growth = load::Growth { from, to, over: Duration::from_secs(seconds) };
                load::ramp(target, growth, Duration::from_millis(pause)).await
            }
            Self::Persist { from, to, grow, seconds, pause } => {
                let growth = load::Growth { from, to, over: Duration::from_secs(grow) };
                let end = sample::input_ended();
                let most = Duration::from_secs(seconds);
                load::persist(target, growth, most, Duration::from_millis(pause), end).await
            }
            Self::Cancel { clients } => load::cancel(target, clients).await,
            Self::Reach => load::reach(target).await,
            Self::Sample { condition, interval } => {
                let interval = Duration::from_millis(interval);
                let samples = sample::until_input_ends(target, &condition, interval).await?;
                return serde_json::to_string(&samples).context("report");
            }
        };
        serde_json::to_string(&report).context("report")
    }

    fn clients(&self) -> u64 {
        match self {
            Self::Storm { clients, .. } | Self::Churn { clients, .. } => *clients,
            Self::Ramp { from, to, .. } | Self::Persist { from, to, .. } => *from.max(to),
            Self::Cancel { .. } | Self::Reach | Self::Sample { .. } => 2,
        }
    }
}

fn raise_file_limit(wanted: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= wanted),
        "this fleet needs {wanted} open files and the hard limit is {}: raise it (ulimit -Hn) or take fewer clients",
        limit.maximum.unwrap_or_default()
    );
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum.or(Some(wanted)), ..limit })
        .context("raise the limit of open files")
}
