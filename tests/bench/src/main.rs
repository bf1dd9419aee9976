//! The side-by-side bench behind `cargo xtask bench`: starts PostgreSQL and the poolers, puts load on each in turn,
//! reads what the kernel says of them, and writes tables, JSON and a page.

mod cells;
mod fake;
mod floor;
mod load;
mod options;
mod peers;
mod pin;
mod proc;
mod report;
mod results;
mod run;
mod stats;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match run::run(&options::Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
