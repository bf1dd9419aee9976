//! `pgpooler`: arguments, settings, log, then [`pgpooler::run`].

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use pgpooler::cli::{Cli, Exit};
use pgpooler::reload::Source;
use pgpooler::{Allowance, telemetry};

fn main() -> ExitCode {
    start(&Cli::parse()).into()
}

fn start(cli: &Cli) -> Exit {
    if let Some(auth_user) = &cli.print_auth_query_sql {
        print!("{}", pgpooler::auth::auth_query_sql(auth_user));
        return Exit::Clean;
    }
    // without the flag above, clap has seen to it that there is a file
    let Some(config) = &cli.config else { return Exit::Usage };
    if let Err(error) = telemetry::filter(&cli.log_level) {
        return complain(Exit::Usage, &error);
    }
    let source = Source::new(config);
    let settings = match source.load() {
        Ok(settings) => settings,
        Err(error) => return complain(Exit::Config, &error),
    };
    if cli.check {
        println!("{}: ok", config.display());
        return Exit::Clean;
    }
    let _log = match telemetry::init(&cli.log_level, settings.document.log_format) {
        Ok(log) => log,
        Err(error) => return complain(Exit::Failure, &error),
    };
    match pgpooler::run(source, settings, allowance(cli)) {
        Ok(()) => Exit::Clean,
        Err(error) => {
            tracing::error!(error = chain(&error), "pgpooler failed");
            Exit::Failure
        }
    }
}

fn allowance(cli: &Cli) -> Allowance {
    match cli.floor {
        Some(floor) => Allowance::Floor { floor, grace: cli.start_grace.as_duration() },
        None => Allowance::Document,
    }
}

fn complain(exit: Exit, error: &(dyn Error + 'static)) -> Exit {
    eprintln!("pgpooler: {}", chain(error));
    exit
}

/// An error with what caused it.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
