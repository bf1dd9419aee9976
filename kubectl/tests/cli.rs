//! The program, run: what the page shows is what it prints, and failures are said and have a code.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};

/// Run where the examples are, without any cluster.
fn run(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_kubectl-pgpooler"));
    program.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).args(arguments);
    program.env("KUBECONFIG", "none").env("HOME", "/nonexistent").env_remove("KUBERNETES_SERVICE_HOST");
    program.output().expect("the program")
}

fn printed(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Blocks that begin with a command of ours have its output below it, where it needs no cluster.
#[test]
fn the_page_shows_what_the_program_prints() {
    let page = include_str!("../../docs/kubectl-pgpooler.md");
    let blocks = page.split("```").skip(1).step_by(2);
    let shown: Vec<_> =
        blocks.filter_map(|block| block.trim_start().strip_prefix("$ kubectl pgpooler ")).collect();
    let (mut compared, mut usages) = (0, 0);
    for block in shown {
        let (line, expected) = block.split_once('\n').expect("an output");
        let words: Vec<_> = line.split(' ').collect();
        let is_usage = words.last() == Some(&"--help");
        if is_usage || words[0] == "migrate" || (words[0] == "explain" && words.contains(&"-f")) {
            assert_eq!(printed(&words).trim_end(), expected.trim_end(), "{line}");
            compared += 1;
            usages += usize::from(is_usage);
        }
    }
    assert!(usages == 10 && compared > usages, "{usages} usages of {compared} blocks");
}

#[test]
fn a_mistake_on_the_command_line_and_a_failure_have_codes_of_their_own() {
    let usage = run(&["pause"]);
    assert_eq!(usage.status.code(), Some(2));
    for arguments in [["status", "orders"], ["pause", "orders"], ["plan", "-fexamples/minimal.yaml"]] {
        let failure = run(&arguments);
        assert_eq!((failure.status.code(), failure.stdout.len()), (Some(1), 0), "{arguments:?}");
        let said = String::from_utf8(failure.stderr).unwrap();
        assert!(
            said.starts_with("kubectl-pgpooler: no cluster to speak to: ") && said.lines().count() == 1,
            "{said}"
        );
    }
    let missing = run(&["migrate", "pgbouncer", "-f", "none.ini"]);
    let said = String::from_utf8(missing.stderr).unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(said.starts_with("kubectl-pgpooler: cannot read none.ini: No such file"), "{said}");
}

#[test]
fn explain_says_what_the_operator_says() {
    let ours = printed(&["explain", "-f", "examples/minimal.yaml"]);
    let theirs = include_str!("../../docs/sizing.md");
    assert!(theirs.contains(ours.trim_end()), "{ours}");
}
