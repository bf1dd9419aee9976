//! The command line, and what the process ends with.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use pgpooler_config::Seconds;

/// `pgpooler`: a transaction pooler for PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "pgpooler", version, about, after_help = AFTER_HELP)]
pub struct Cli {
    /// The configuration document (TOML)
    #[arg(short, long, value_name = "FILE", required_unless_present = "print_auth_query_sql")]
    pub config: Option<PathBuf>,

    /// Check the document and the user list, then exit
    #[arg(long)]
    pub check: bool,

    /// Print the SQL that makes the function of the default `auth_query` for this `auth_user`, then exit
    #[arg(long, value_name = "ROLE", num_args = 0..=1, default_missing_value = "pgpooler_auth")]
    pub print_auth_query_sql: Option<String>,

    /// Server connections that the process may use without hearing from its operator; until that has spoken, or for the
    /// first 15 seconds, it uses none. Without it there is no operator, and the document has the limit
    #[arg(long, value_name = "N", env = "PGPOOLER_FLOOR", value_parser = clap::value_parser!(u32).range(1..))]
    pub floor: Option<u32>,

    /// How long to wait for the operator
    #[arg(long, value_name = "TIME", env = "PGPOOLER_START_GRACE", default_value = "15s", hide = true)]
    pub start_grace: Seconds,

    /// What to log: error, warn, info, debug, trace, or directives such as `info,pgpooler::admin=debug`
    #[arg(long, value_name = "LEVEL", env = "PGPOOLER_LOG", default_value = "info")]
    pub log_level: String,
}

const AFTER_HELP: &str = "\
Signals: SIGHUP reloads; SIGTERM and SIGINT finish running transactions, then leave, and leave at once the second
time; SIGQUIT leaves at once.
Exit codes: 0 clean, 1 failure, 2 wrong usage, 78 faulty configuration.";

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Clean,
    /// Something failed while running.
    Failure,
    /// The command line is wrong.
    Usage,
    /// The configuration is faulty (`EX_CONFIG` of sysexits.h).
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Clean => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Config => 78,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_config_file_must_be_named() {
        assert!(Cli::try_parse_from(["pgpooler"]).is_err());
        let cli = Cli::try_parse_from(["pgpooler", "-c", "a.toml", "--check"]).unwrap();
        assert!(cli.check);
        assert_eq!(cli.config, Some(PathBuf::from("a.toml")));
    }

    #[test]
    fn the_sql_of_the_look_up_needs_no_config_file() {
        let cli = Cli::try_parse_from(["pgpooler", "--print-auth-query-sql"]).unwrap();
        assert_eq!(cli.print_auth_query_sql.as_deref(), Some("pgpooler_auth"));
        let cli = Cli::try_parse_from(["pgpooler", "--print-auth-query-sql", "asker"]).unwrap();
        assert_eq!(cli.print_auth_query_sql.as_deref(), Some("asker"));
    }
}
