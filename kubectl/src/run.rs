//! What each command prints.

use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::cli::{Cli, Command, FromCloudNativePg, FromPgBouncer, Migrate, Output};
use crate::cluster::{Cluster, ClusterError};
use crate::explain::{self, ExplainFailure};
use crate::manifests;
use crate::migrate::{self, MigrateError, PgBouncer};
use crate::pause::{self, PauseError};
use crate::plan::{self, PlanError};
use crate::{status, top};

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// `explain`
    #[error(transparent)]
    Explain(#[from] ExplainFailure),
    /// `plan`
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// `plan`, of something that the API server does not take.
    #[error("the API server refuses what was given")]
    Refused,
    /// `pause` and `resume`
    #[error(transparent)]
    Pause(#[from] PauseError),
    /// `migrate`
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// A file that `migrate` was given.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// What was found cannot be written as JSON or YAML.
    #[error("cannot write that down: {0}")]
    Format(String),
    /// Nobody reads.
    #[error("cannot print")]
    Print(#[source] io::Error),
}

/// Runs a command.
pub async fn run(cli: Cli) -> Result<(), RunError> {
    let connect = || Cluster::connect(&cli.cluster);
    match cli.command {
        Command::Status(options) => {
            let reports = status::reports(&connect().await?, &options).await?;
            let text = match options.output {
                Output::Text => status::text(&reports),
                output => formatted(&reports, output)?,
            };
            print(&text)
        }
        Command::Top(options) => {
            top::run(&connect().await?, &options, |text| io::stdout().write_all(text.as_bytes())).await?;
            Ok(())
        }
        Command::Explain(options) => match &options.name {
            Some(name) => print(&explain::of_object(&connect().await?, name, options.server).await?),
            None => print(&explain::of_files(&options)?),
        },
        Command::Plan(options) => {
            let changes = plan::changes(&connect().await?, &options).await?;
            let text = match options.output {
                Output::Text => plan::render::text(&changes),
                output => formatted(&plan::compare::as_json(&changes), output)?,
            };
            print(&text)?;
            if changes.iter().any(|change| change.refused.is_some()) {
                Err(RunError::Refused)
            } else {
                Ok(())
            }
        }
        Command::Pause(options) => print(&pause::set(&connect().await?, &options, true).await?),
        Command::Resume(options) => print(&pause::set(&connect().await?, &options, false).await?),
        Command::Migrate(Migrate::Pgbouncer(options)) => print(&pgbouncer(options, cli.cluster.namespace)?),
        Command::Migrate(Migrate::CloudnativePg(options)) => print(&cloudnative_pg(&options)?),
    }
}

fn pgbouncer(options: FromPgBouncer, namespace: Option<String>) -> Result<String, MigrateError> {
    let FromPgBouncer { file, userlist, name, with_secrets } = options;
    migrate::pgbouncer(&PgBouncer { file, userlist, name, namespace, with_secrets }, &manifests::read)
}

fn cloudnative_pg(options: &FromCloudNativePg) -> Result<String, RunError> {
    let path: &Path = &options.file;
    let text = manifests::read(path)
        .map_err(|source| RunError::Read { path: path.display().to_string(), source })?;
    Ok(migrate::cloudnative_pg(path, &text)?)
}

fn formatted<T: Serialize>(found: &T, output: Output) -> Result<String, RunError> {
    match output {
        Output::Yaml => serde_saphyr::to_string(found).map_err(|error| RunError::Format(error.to_string())),
        Output::Text | Output::Json => {
            let text =
                serde_json::to_string_pretty(found).map_err(|error| RunError::Format(error.to_string()))?;
            Ok(text + "\n")
        }
    }
}

/// Whoever reads may have enough, as `head` has.
fn print(text: &str) -> Result<(), RunError> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(RunError::Print(error)),
        _ => Ok(()),
    }
}
