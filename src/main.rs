//! The operator's program.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use pgpooler_operator::cli::{Cli, Command, Reference};
use pgpooler_operator::{check, crd, error, explain, rbac, reference, run, telemetry};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let options = match cli.command {
        Some(Command::Crd) => return print(crd::yaml()),
        Some(Command::AuthQuerySql { user }) => {
            return print(Ok::<_, std::convert::Infallible>(pgpooler_config::auth_query_sql(&user)));
        }
        Some(Command::Reference { page: Reference::Fields }) => return print(reference::fields()),
        Some(Command::Reference { page: Reference::Rights }) => {
            return print(Ok::<_, std::convert::Infallible>(reference::rights()));
        }
        Some(Command::Rbac) => return print(rbac::yaml()),
        Some(Command::Check(options)) => return finished(check::run(&options)),
        Some(Command::Explain(options)) => return print(explain::text(&options)),
        Some(Command::Run(options)) => *options,
        None => cli.run,
    };
    telemetry::start(options.log_format);
    finished(run::run(options))
}

fn finished<E: std::error::Error>(work: impl Future<Output = Result<(), E>>) -> ExitCode {
    // one thread is plenty for an operator, and spares the memory of more
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn print<E: std::error::Error>(text: Result<String, E>) -> ExitCode {
    let text = match text {
        Ok(text) => text,
        Err(error) => return failed(&error),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(failure: &dyn std::error::Error) -> ExitCode {
    // nothing is left to tell if even that cannot be written
    let _ = writeln!(std::io::stderr(), "pgpooler-operator: {}", error::chain(failure));
    ExitCode::FAILURE
}
