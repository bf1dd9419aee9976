//! Logs on standard error.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{Directive, LevelFilter};

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What tells every statement: some have passwords in them, so they are never told, whatever `RUST_LOG` asks for.
const STATEMENTS: [&str; 2] = ["tokio_postgres=info", "tokio_postgres::simple_query=info"];

/// Starts logging; `RUST_LOG` chooses what, `info` by default.
pub fn start(format: LogFormat) {
    let asked_for = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let logs = tracing_subscriber::fmt().with_env_filter(filter(&asked_for)).with_writer(io::stderr);
    let logs = logs.with_ansi(io::stderr().is_terminal());
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}

fn filter(asked_for: &str) -> EnvFilter {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse_lossy(asked_for);
    let directives = STATEMENTS.iter().filter_map(|text| text.parse::<Directive>().ok());
    directives.fold(filter, EnvFilter::add_directive)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().map_err(|_| io::ErrorKind::Other)?.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn statements_are_never_logged() {
        for asked_for in ["trace", "debug,tokio_postgres=trace", "tokio_postgres::simple_query=debug"] {
            let lines = Lines::default();
            let writer = lines.clone();
            let logs = tracing_subscriber::fmt().with_env_filter(filter(asked_for));
            let logs = logs.with_writer(move || writer.clone()).finish();
            tracing::subscriber::with_default(logs, || {
                tracing::debug!(target: "tokio_postgres::simple_query", "executing simple query: hunter2");
                tracing::debug!(target: "tokio_postgres::query", "executing: hunter2");
                tracing::warn!(target: "pgpooler_operator", "something else");
            });
            let text =
                lines.0.lock().map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
            assert!(!text.contains("hunter2"), "{asked_for}: {text}");
            // who asks for one thing gets no other
            assert_eq!(text.contains("something else"), !asked_for.starts_with("tokio_postgres::"), "{text}");
        }
    }
}
