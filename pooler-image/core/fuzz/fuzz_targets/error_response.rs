//! Received errors: a copy is the original, and a rewritten field is the only change.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgpooler_core::wire::{ErrorFields, split_message};

fuzz_target!(|data: &[u8]| {
    let Ok(fields) = ErrorFields::parse(data) else { return };
    let mut copy = Vec::new();
    fields.copy(&mut copy);
    let Ok(Some((_, body, _))) = split_message(&copy, 1 << 30) else { panic!("no message") };
    assert_eq!(body, data);
    let mut rewritten = Vec::new();
    fields.rewrite(b'M', b"new", &mut rewritten);
    let Ok(Some((_, body, _))) = split_message(&rewritten, 1 << 30) else { panic!("no message") };
    let Ok(changed) = ErrorFields::parse(body) else { panic!("malformed") };
    for ((code, before), (same, after)) in fields.iter().zip(changed.iter()) {
        assert_eq!(code, same);
        assert_eq!(after, if code == b'M' { &b"new"[..] } else { before });
    }
    let _ = (fields.sqlstate(), fields.is_fatal(), fields.message().len());
});
