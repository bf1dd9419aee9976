//! Development tasks of pgpooler: `cargo xtask cluster`, `image`, `demo`, `test`, `fuzz`, `bench`, `scale`, `generate`.

mod bench;
mod book;
mod cluster;
mod command;
mod demo;
mod fleet;
mod fuzz;
mod generate;
mod image;
mod postgres;
mod scale;
mod site;
mod soak;
mod test;
mod ui;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of pgpooler.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// A real Kubernetes of one node or two, in network namespaces of its own.
    Cluster(cluster::Args),
    /// What pgpooler is for, on a real Kubernetes with a real PostgreSQL.
    Demo(demo::DemoArgs),
    /// The container image, as an OCI archive.
    Image(image::ImageArgs),
    /// What is checked in and follows from the code: the CRD and its copies.
    Generate(generate::GenerateArgs),
    /// For mdBook, which gives it the book: links out of `docs` lead to the repository.
    #[command(hide = true)]
    Book(book::BookArgs),
    /// Every check of the repository, as CI runs them.
    Test(test::TestArgs),
    /// Every fuzz target for some minutes.
    Fuzz(fuzz::FuzzArgs),
    /// pgpooler beside PgBouncer and Odyssey on one PostgreSQL.
    Bench(bench::BenchArgs),
    /// Many `PgPoolers` at once: what they cost the operator and the API server.
    Scale(scale::ScaleArgs),
    /// Many PostgreSQL clients at once, bounded in count and time.
    Fleet(fleet::FleetArgs),
}

fn main() -> ExitCode {
    ui::begin();
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", ui::bad("error:"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Cluster(arguments) => cluster::run(arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Image(arguments) => image::run(&arguments),
        Task::Generate(arguments) => generate::run(&arguments),
        Task::Book(arguments) => book::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Scale(arguments) => scale::run(&arguments),
        Task::Fleet(arguments) => fleet::run(arguments),
    }
}
