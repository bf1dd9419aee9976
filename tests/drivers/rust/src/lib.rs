//! Runs a driver's scenarios and prints one line for each.
//!
//! Where PostgreSQL or the pooler is, libpq's own variables say: PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE. Through
//! the pooler that user's pool has three server connections. [`HOLDER`] may have as many as it likes: scenarios whose
//! clients need a server connection for as long as they live log in as that user.

pub mod fleet;

use std::{env, fmt::Debug, future::Future, process::ExitCode, time::Duration};

use anyhow::{Result, bail, ensure};

/// The size of the pool.
pub const SERVER_CONNECTIONS: usize = 3;
/// Name and password of the user who may hold server connections.
pub const HOLDER: &str = "holder";

/// What must not wait for ever: a reply that never comes is the worst that a pooler can do.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs scenarios, or those of them that the arguments name.
#[derive(Debug, Default)]
pub struct Scenarios {
    failed: bool,
}

impl Scenarios {
    /// Runs one.
    pub async fn run(&mut self, name: &str, work: impl Future<Output = Result<()>>) {
        let mut only = env::args().skip(1).peekable();
        if only.peek().is_some() && !only.any(|wanted| wanted == name) {
            return;
        }
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(())) => println!("ok {name}"),
            Ok(Err(error)) => self.fail(name, &format!("{error:#}")),
            Err(_) => self.fail(name, &format!("not done after {PATIENCE:?}")),
        }
    }

    fn fail(&mut self, name: &str, why: &str) {
        self.failed = true;
        println!("FAILED {name}: {}", why.split_whitespace().collect::<Vec<_>>().join(" "));
    }

    /// The program's exit code.
    pub fn conclude(&self) -> ExitCode {
        if self.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// Demands that two values are the same.
#[track_caller]
pub fn equal<T: PartialEq<U> + Debug, U: Debug>(got: T, wanted: U) -> Result<()> {
    let line = std::panic::Location::caller().line();
    ensure!(got == wanted, "line {line}: got {got:.300?}, wanted {wanted:.300?}");
    Ok(())
}

/// Demands an error with this SQLSTATE.
#[track_caller]
pub fn fails<T, E: Debug>(
    outcome: std::result::Result<T, E>,
    sqlstate: &str,
    state: impl Fn(&E) -> Option<String>,
) -> Result<E> {
    let line = std::panic::Location::caller().line();
    match outcome {
        Err(error) if state(&error).as_deref() == Some(sqlstate) => Ok(error),
        Err(error) => bail!("line {line}: got {error:?}, wanted {sqlstate}"),
        Ok(_) => bail!("line {line}: no error, wanted {sqlstate}"),
    }
}

/// A variable of libpq.
pub fn variable(name: &str) -> Result<String> {
    env::var(name).map_err(|_| anyhow::anyhow!("{name} is not set"))
}
