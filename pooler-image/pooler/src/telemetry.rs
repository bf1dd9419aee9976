//! The log: to standard error, as text or as one JSON object a line.

use std::io::{self, IsTerminal};

use pgpooler_config::LogFormat;
use thiserror::Error;
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

/// Sets the process's log up.
pub fn init(level: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let log = tracing_subscriber::fmt().with_env_filter(filter(level)?).with_writer(io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => {
            log.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
        }
    }
    .map_err(TelemetryError::Twice)
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
