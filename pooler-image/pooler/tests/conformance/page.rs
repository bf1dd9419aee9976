//! The table of traps names what exists, and the page is made of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::traps::{PAGE, PROBES, page, traps};

/// Where the files of tests are that traps name, from the root of the repository.
const FOLDER: &str = "pooler-image/pooler/tests";

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Files of scripts.
fn files() -> [&'static str; 16] {
    [
        "cancel",
        "copy",
        "extended",
        "extended/names",
        "extended/portals",
        "extended/sql",
        "flow",
        "pool",
        "simple",
        "startup",
        "state/leave",
        "state/notify",
        "state/settings",
        "state/settings_elsewhere",
        "state/startup_values",
        "state/things",
    ]
}

#[test]
fn every_trap_is_in_the_table_once_and_in_order() {
    let numbers: Vec<_> = traps().map(|trap| trap.number).collect();
    assert_eq!(numbers, (1..=60).collect::<Vec<_>>());
    assert!(traps().all(|trap| !trap.tests.is_empty()));
}

#[test]
fn every_test_that_a_trap_names_exists() {
    let mut missing = Vec::new();
    for test in traps().flat_map(|trap| trap.tests) {
        let (file, function) = test.split_once("::").unwrap();
        let text = std::fs::read_to_string(root().join(FOLDER).join(file)).unwrap_or_default();
        if !text.contains(&format!("fn {function}()")) {
            missing.push(test);
        }
    }
    assert!(missing.is_empty(), "not found: {missing:#?}");
}

#[test]
fn every_test_of_this_suite_is_named_by_a_trap() {
    let named: BTreeSet<_> = traps().flat_map(|trap| trap.tests).map(|test| (*test).to_owned()).collect();
    let mut unnamed = Vec::new();
    for file in files() {
        let path = format!("conformance/{file}.rs");
        let source = std::fs::read_to_string(root().join(FOLDER).join(&path)).unwrap();
        for part in source.split("#[test]\nfn ").skip(1) {
            let test = format!("{path}::{}", part.split('(').next().unwrap());
            if !named.contains(&test) {
                unnamed.push(test);
            }
        }
    }
    assert!(unnamed.is_empty(), "no trap names: {unnamed:#?}");
}

#[test]
fn every_probe_belongs_to_a_trap() {
    assert_eq!(PROBES.len(), 48);
    assert!(
        PROBES
            .iter()
            .all(|probe| !probe.traps.is_empty() && probe.traps.iter().all(|trap| (1..=60).contains(trap)))
    );
}

#[test]
fn the_page_is_current() {
    let found = std::fs::read_to_string(root().join(PAGE)).unwrap_or_default();
    assert!(found == page(), "{PAGE} is out of date; run cargo xtask generate");
}
