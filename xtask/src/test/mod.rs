//! `cargo xtask test`: every check of the repository, cheap ones first, with one closing line.

mod autoscale;
pub(crate) mod chart;
mod code;
mod counting;
mod docs_commands;
mod drains;
pub(crate) mod drivers;
mod kubernetes;
mod newcomers;
mod pools;
mod rights;
mod whole;

use std::{path::PathBuf, time::Instant};

use anyhow::{Result, ensure};
use clap::Args;

use crate::ui;

/// Arguments of `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Only these groups, by name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Print the names of the groups.
    #[arg(long)]
    list: bool,
    /// A folder with ready-made programs for the cluster's image, instead of compiling them.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Leave the test cluster up at the end.
    #[arg(long)]
    keep: bool,
}

/// How many tests a group ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed.
    pub(crate) failed: u64,
}

struct Group {
    name: &'static str,
    what: &'static str,
    run: fn(&TestArgs) -> Result<Count>,
}

const GROUPS: &[Group] = &[
    Group { name: "format", what: "rustfmt", run: |_| code::format() },
    Group { name: "lint", what: "clippy, warnings denied", run: |_| code::lint() },
    Group { name: "deny", what: "licences, bans and sources of dependencies", run: |_| code::deny() },
    Group { name: "code", what: "unit, property, golden and PostgreSQL tests", run: |_| code::tests() },
    Group {
        name: "drivers",
        what: "drivers of five languages, directly and through the pooler",
        run: |_| drivers::run(),
    },
    Group {
        name: "drains",
        what: "drivers with their pools at work while poolers are replaced, scaled and reloaded",
        run: |_| drains::run(),
    },
    Group { name: "generated", what: "generated files are current", run: |_| code::generated() },
    Group {
        name: "chart",
        what: "Helm chart, alerts and dashboard, without a cluster",
        run: |_| Ok(chart::run()),
    },
    Group { name: "docs", what: "rustdoc, warnings denied, and the book", run: |_| code::docs() },
    Group { name: "api", what: "tests against a real API server", run: |_| kubernetes::api() },
    Group {
        name: "chart-api",
        what: "what the chart renders is accepted by the API server",
        run: |_| kubernetes::chart(),
    },
    Group {
        name: "cluster",
        what: "operator and pools on a real node",
        run: |arguments| kubernetes::pools(arguments.programs.as_deref()),
    },
    Group {
        name: "whole",
        what: "all around the pods, live changes, an autoscaler, on a real node",
        run: |arguments| kubernetes::whole(arguments.programs.as_deref()),
    },
    Group {
        name: "guide",
        what: "the commands of docs/getting-started.md, on a real node",
        run: |arguments| kubernetes::guide(arguments.programs.as_deref()),
    },
    Group {
        name: "soak",
        what: "the budget under scaling, rollouts, kills, partitions and restarts, on a real node",
        run: |arguments| kubernetes::soak(arguments.programs.as_deref()),
    },
    Group {
        name: "rights",
        what: "the operator's roles, held against what it asked for in the groups before",
        run: |_| kubernetes::rights(),
    },
];

/// Runs the groups; an error if anything failed.
pub(crate) fn run(arguments: &TestArgs) -> Result<()> {
    if arguments.list {
        for group in GROUPS {
            println!("{:10} {}", group.name, group.what);
        }
        return Ok(());
    }
    for name in &arguments.only {
        ensure!(GROUPS.iter().any(|group| group.name == name), "there is no group {name:?}; see --list");
    }
    let chosen =
        |group: &&Group| arguments.only.is_empty() || arguments.only.iter().any(|name| name == group.name);
    let results: Vec<_> = GROUPS.iter().filter(chosen).map(|group| run_group(group, arguments)).collect();
    if !arguments.keep {
        kubernetes::down()?;
    }
    conclude(&results)
}

fn conclude(results: &[GroupResult]) -> Result<()> {
    let mut rows = vec![["group", "passed", "failed", "seconds"].map(str::to_owned).to_vec()];
    rows.extend(results.iter().map(GroupResult::cells));
    println!("\n{}\n", ui::table(&rows));
    let passed: u64 = results.iter().map(|result| result.count.passed).sum();
    let failed: u64 = results.iter().map(|result| result.count.failed).sum();
    println!("{passed} passed, {failed} failed");
    ensure!(failed == 0, "{failed} failed");
    Ok(())
}

struct GroupResult {
    name: &'static str,
    count: Count,
    seconds: f64,
}

impl GroupResult {
    fn cells(&self) -> Vec<String> {
        let Count { passed, failed } = self.count;
        vec![self.name.to_owned(), passed.to_string(), failed.to_string(), format!("{:.0}", self.seconds)]
    }
}

fn run_group(group: &Group, arguments: &TestArgs) -> GroupResult {
    ui::heading(&format!("{}: {}", group.name, group.what));
    let start = Instant::now();
    let count = (group.run)(arguments).unwrap_or_else(|error| {
        ui::say(&ui::bad(&format!("{}: {error:#}", group.name)));
        Count { passed: 0, failed: 1 }
    });
    if count.failed == 0 {
        ui::say(&ui::good(&format!("{}: {} passed", group.name, count.passed)));
    }
    GroupResult { name: group.name, count, seconds: start.elapsed().as_secs_f64() }
}

impl Count {
    /// A check that is one test.
    pub(crate) const ONE: Self = Self { passed: 1, failed: 0 };
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}
