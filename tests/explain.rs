//! `pgpooler-operator explain`, case by case, and as the documentation shows it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use clap::Parser as _;
use pgpooler_operator::cli::{Cli, Command};
use pgpooler_operator::explain::{self, Unexplained};

/// What the program prints, run where the examples are.
fn run(line: &str) -> Result<String, Unexplained> {
    let cli = Cli::try_parse_from(line.split_whitespace()).expect("a command line");
    let Some(Command::Explain(mut options)) = cli.command else { panic!("{line}") };
    for path in &mut options.files {
        *path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&path);
    }
    explain::text(&options)
}

fn check(name: &str, arguments: &str) {
    let text = run(&format!("pgpooler-operator explain {arguments}")).expect("a sum");
    let mut insta = insta::Settings::clone_current();
    insta.set_snapshot_path("golden/explain");
    insta.set_prepend_module_to_snapshot(false);
    insta.set_omit_expression(true);
    insta.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn the_defaults_on_a_default_server() {
    check("defaults", "-f examples/minimal.yaml");
}

#[test]
fn two_pods_and_never_more() {
    check("two_pods", "-f examples/two-pods.yaml");
}

#[test]
fn two_pgpoolers_on_one_server() {
    check("shared", "-f examples/minimal.yaml -f examples/reports.yaml");
}

#[test]
fn a_role_with_a_limit_beside_others_who_need_much() {
    check("limits", "-f examples/minimal.yaml --role-limit 50 --foreign 30 --reserved 5");
}

#[test]
fn a_small_server_bears_fewer_pods_and_a_tiny_one_none() {
    check("small", "-f examples/minimal.yaml --max-connections 24");
    check("tiny", "-f examples/minimal.yaml --max-connections 14");
}

#[test]
fn a_large_server_has_floors_of_more_than_one() {
    check("large", "-f examples/minimal.yaml --max-connections 1000");
}

#[test]
fn observing_says_what_enforcing_would_do() {
    check("observe", "-f examples/observe.yaml");
}

#[test]
fn what_cannot_be_read_is_named() {
    let failed = |file: &str| {
        let error = run(&format!("pgpooler-operator explain -f {file}")).expect_err("nothing to say");
        pgpooler_operator::error::chain(&error)
    };
    assert!(failed("examples/none.yaml").contains("examples/none.yaml"));
    assert!(failed("README.md").contains("README.md"));
    assert_eq!(failed("deploy/pgpooler-operator.yaml"), "there is no PgPooler in what was given");
}

/// Blocks that begin with a command have its output below it.
#[test]
fn the_documentation_shows_what_the_program_prints() {
    let page = include_str!("../docs/sizing.md");
    let blocks = page.split("```").skip(1).step_by(2);
    let shown: Vec<_> =
        blocks.filter_map(|block| block.trim_start().strip_prefix("$ pgpooler-operator ")).collect();
    for block in &shown {
        let (arguments, expected) = block.split_once('\n').expect("an output");
        assert_eq!(
            run(&format!("pgpooler-operator {arguments}")).expect("a sum").trim_end(),
            expected.trim_end()
        );
    }
    assert!(shown.len() >= 4, "{shown:?}");
}
