//! The program on its own: checking, exit codes, messages.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn folder(document: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("userlist.txt"), "\"app\" \"hunter2\"\n").unwrap();
    fs::write(folder.path().join("pgpooler.toml"), document).unwrap();
    folder
}

fn pgpooler(arguments: &[&str], folder: &Path) -> Output {
    let program = env!("CARGO_BIN_EXE_pgpooler");
    Command::new(program).args(arguments).current_dir(folder).env_remove("PGPOOLER_LOG").output().unwrap()
}

fn check(document: &str) -> (Option<i32>, String) {
    let folder = folder(document);
    let output = pgpooler(&["--config", "pgpooler.toml", "--check"], folder.path());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_good_document_passes_the_check() {
    let folder = folder("max_client_conn = 10\n[target]\nhost = 'db'\n");
    let output = pgpooler(&["--config", "pgpooler.toml", "--check"], folder.path());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "pgpooler.toml: ok\n");
    assert!(output.stderr.is_empty());
}

#[test]
fn an_unknown_key_is_told_with_its_place() {
    let (code, message) = check("listen_port = 6432\nmax_clients = 10\n");
    assert_eq!(code, Some(78));
    assert!(message.starts_with("pgpooler: pgpooler.toml:2:1: unknown field `max_clients`"), "{message}");
}

#[test]
fn broken_toml_and_wrong_types_are_told_with_their_place() {
    let (code, message) = check("listen_port = \n");
    assert_eq!(code, Some(78));
    assert!(message.starts_with("pgpooler: pgpooler.toml:1:"), "{message}");
    let (code, message) = check("\nlisten_port = 'x'\n");
    assert_eq!(code, Some(78));
    assert!(message.starts_with("pgpooler: pgpooler.toml:2:15: "), "{message}");
}

#[test]
fn a_value_that_cannot_work_is_told_with_its_key() {
    let (code, message) = check("max_server_connections = 0\n");
    assert_eq!(code, Some(78));
    assert_eq!(message, "pgpooler: pgpooler.toml: max_server_connections: must be at least 1\n");
}

#[test]
fn a_faulty_user_list_is_told_with_its_line_and_without_its_secrets() {
    let folder = folder("");
    fs::write(folder.path().join("userlist.txt"), "; users\n\"app\" \"hunter2\n").unwrap();
    let output = pgpooler(&["--config", "pgpooler.toml", "--check"], folder.path());
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(message.starts_with("pgpooler: userlist.txt:2: "), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn files_that_are_not_there_are_told_by_their_path() {
    let (code, message) = check("auth_file = 'users/nobody.txt'");
    assert_eq!(code, Some(78));
    assert!(message.starts_with("pgpooler: users/nobody.txt: cannot read auth_file: "), "{message}");
    let folder = folder("");
    let output = pgpooler(&["--config", "nowhere.toml"], folder.path());
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(message.starts_with("pgpooler: nowhere.toml: cannot read the configuration: "), "{message}");
}

#[test]
fn a_wrong_command_line_is_exit_code_two() {
    let folder = folder("");
    assert_eq!(pgpooler(&[], folder.path()).status.code(), Some(2));
    assert_eq!(pgpooler(&["--config", "pgpooler.toml", "--fast"], folder.path()).status.code(), Some(2));
    let output = pgpooler(&["--config", "pgpooler.toml", "--log-level", "pgpooler=loud"], folder.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("pgpooler: log level \"pgpooler=loud\": "));
}

#[test]
fn version_and_help_are_exit_code_zero() {
    let folder = folder("");
    let output = pgpooler(&["--version"], folder.path());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        concat!("pgpooler ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let help = pgpooler(&["--help"], folder.path());
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("78 faulty configuration"));
}
