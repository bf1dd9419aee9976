//! Message frames: every message is as long as its header says, and nothing is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgpooler_core::wire::{Header, backend, split_message};

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Ok(Some((header, body, after))) = split_message(rest, 1 << 20) {
        assert_eq!(Header::parse(rest), Ok(Some(header)));
        assert_eq!(header.body_len(), body.len());
        assert_eq!(header.total() + after.len(), rest.len());
        let _ = backend::parse_ready_for_query(body);
        let _ = backend::parse_parameter_status(body);
        rest = after;
    }
});
