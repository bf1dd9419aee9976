//! `kubectl pgpooler`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use kubectl_pgpooler::cli::Cli;
use kubectl_pgpooler::run::run;
use pgpooler_operator::error;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(failure: &dyn std::error::Error) -> ExitCode {
    // nothing is left to tell if even that cannot be written
    let _ = writeln!(std::io::stderr(), "kubectl-pgpooler: {}", error::chain(failure));
    ExitCode::FAILURE
}
