//! The log: to standard error, as text or as one JSON object a line.
//!
//! A thread of its own writes it. Whoever reads the log may stall, and the disk behind it may be full: lines are dropped
//! then, and counted, and no event loop waits or ends for them.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use pgpooler_config::LogFormat;
use thiserror::Error;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// A log that cannot be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// Not a level and not a list of directives.
    #[error("log level {level:?}: {fault}")]
    Level {
        /// As given.
        level: String,
        /// What is wrong with it.
        fault: tracing_subscriber::filter::ParseError,
    },
    /// There is a log already.
    #[error("the log is already set up: {0}")]
    Twice(Box<dyn std::error::Error + Send + Sync>),
}

/// Lines that wait for the log's reader at most.
const LINES: usize = 4096;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// The log, while it is written; what is left is written when it is dropped, for a second at most.
#[derive(Debug)]
#[must_use = "nothing is logged without it"]
pub struct Log(#[expect(dead_code, reason = "writes until it is dropped")] WorkerGuard);

/// Sets the process's log up.
pub fn init(level: &str, format: LogFormat) -> Result<Log, TelemetryError> {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES)
        .thread_name("pgpooler-log")
        .finish(io::stderr());
    let _ = DROPPED.set(writer.error_counter());
    let log = tracing_subscriber::fmt().with_env_filter(filter(level)?).with_writer(writer);
    match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
        }
    }
    .map_err(TelemetryError::Twice)?;
    Ok(Log(guard))
}

/// Lines that were dropped since nobody took them.
pub fn dropped() -> u64 {
    DROPPED.get().map_or(0, |counter| counter.dropped_lines() as u64)
}

/// Whether [`init`] would take this level.
pub fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let named = |fault| TelemetryError::Level { level: level.to_owned(), fault };
    EnvFilter::builder().parse(level).map_err(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_taken_and_anything_else_is_refused() {
        assert!(filter("info").is_ok());
        assert!(filter("warn,pgpooler::admin=debug").is_ok());
        assert!(filter("pgpooler=loud").unwrap_err().to_string().starts_with("log level \"pgpooler=loud\":"));
    }
}
