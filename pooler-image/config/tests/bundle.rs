//! A document with its files, as one text and as one hash.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use pgpooler_config::{Bundle, Document};
use proptest::prelude::*;

const DOCUMENT: &str = "auth_file = 'users'\npeer_secret_file = 'peers'\n";

fn bundle(users: &str, secret: &str) -> Bundle {
    let mut bundle = Bundle::new(DOCUMENT);
    bundle.insert(Path::new("users"), users);
    bundle.insert(Path::new("peers"), secret);
    bundle
}

fn hash(bundle: &Bundle) -> String {
    bundle.hash(&Document::parse(bundle.document()).unwrap())
}

#[test]
fn the_hash_covers_the_document_and_every_file_that_it_names_and_no_other() {
    let known = bundle("\"app\" \"secret\"\n", "of the peers");
    assert_eq!(hash(&known).len(), 32);
    assert_eq!(hash(&known), hash(&known.clone()));
    assert_ne!(hash(&known), hash(&bundle("\"app\" \"other\"\n", "of the peers")));
    assert_ne!(hash(&known), hash(&bundle("\"app\" \"secret\"\n", "of others")));
    let mut other = Bundle::new(format!("{DOCUMENT}paused = true\n"));
    other.insert(Path::new("users"), "\"app\" \"secret\"\n");
    other.insert(Path::new("peers"), "of the peers");
    assert_ne!(hash(&known), hash(&other));
    let mut more = known.clone();
    more.insert(Path::new("unused"), "whatever");
    assert_eq!(hash(&known), hash(&more));
}

/// Whoever sees a hash that is not keyed could try passwords on it.
#[test]
fn without_a_secret_to_key_it_with_the_hash_does_not_depend_on_passwords() {
    let with = |users: &str| {
        let mut bundle = Bundle::new("auth_file = 'users'");
        bundle.insert(Path::new("users"), users);
        hash(&bundle)
    };
    assert_eq!(with("\"app\" \"secret\"\n"), with("\"app\" \"other\"\n"));
    assert_ne!(with(""), hash(&Bundle::new("auth_file = 'other'")));
}

#[test]
fn nothing_that_is_printed_shows_what_is_in_it() {
    let secret = bundle("\"app\" \"hunter2\"\n", "hunter2");
    assert!(!format!("{secret:?} {secret:#?}").contains("hunter2"));
    for faulty in [
        "hunter2",
        "\"hunter2\"",
        "{\"document\": 7, \"files\": {}}",
        "{\"document\": \"\", \"files\": {\"a\": [\"hunter2\"]}}",
        "{\"document\": \"\", \"files\": {\"a\": \"hunter2!\"}}",
        "{\"document\": \"\", \"hunter2\": {}}",
        "{\"document\": \"\"}",
    ] {
        let told = Bundle::parse(faulty).unwrap_err();
        assert!(!format!("{told} {told:?}").contains("hunter2"), "{told:?}");
    }
}

proptest! {
    #[test]
    fn a_written_bundle_is_read_back_the_same(
        document in any::<String>(),
        files in prop::collection::btree_map("[a-z/.]{1,12}", prop::collection::vec(any::<u8>(), 0..50), 0..5),
    ) {
        let mut bundle = Bundle::new(document);
        for (path, content) in files {
            bundle.insert(Path::new(&path), content);
        }
        let text = bundle.to_text();
        prop_assert!(!text.contains('\n'));
        prop_assert_eq!(Bundle::parse(&text), Ok(bundle));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        let _ = Bundle::parse(&text);
    }
}
