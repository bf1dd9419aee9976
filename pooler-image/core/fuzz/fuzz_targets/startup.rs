//! Startup packets: no panic, and the same end however the bytes are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgpooler_core::handshake::{ExpectStartup, StartupStep};

fuzz_target!(|data: &[u8]| {
    // bytes behind an encryption request are refused when they come with it, so only one request is split
    let whole = run(&[data]);
    if whole.1.first() != Some(&b'N') {
        for at in 0..data.len().min(64) {
            let (left, right) = data.split_at(at);
            assert_eq!(run(&[left, right]), whole);
        }
    }
});

fn run(pieces: &[&[u8]]) -> (String, Vec<u8>) {
    let (mut input, mut out) = (Vec::new(), Vec::new());
    let mut state = ExpectStartup::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        match state.receive(&mut input, &mut out) {
            StartupStep::More(next) => state = next,
            end => return (format!("{end:?}"), out),
        }
    }
    ("more".to_owned(), out)
}
