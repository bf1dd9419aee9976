//! SCRAM messages, each in each state: no panic, and no proof without the password.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pgpooler_core::scram::{ClientKeys, ExpectClientFirst, ExpectServerFirst, ScramVerifier};

fuzz_target!(|data: &[u8]| {
    let verifier = Arc::new(ScramVerifier::derive("secret", b"salt", 1));
    let server = || ExpectClientFirst::new(Arc::clone(&verifier), "server".to_owned());
    if let Ok(first) = server().receive(data) {
        assert!(first.next.receive(data).is_err());
    }
    if let Ok(first) = server().receive(b"n,,n=,r=client") {
        assert!(first.next.receive(data).is_err());
    }
    let (_, client) = ExpectServerFirst::start("client".to_owned());
    let _ = client.receive(data);
    let (_, client) = ExpectServerFirst::start("client".to_owned());
    if let Ok(challenge) = client.receive(b"r=clientserver,s=YQ==,i=1") {
        let (_, client) = challenge.respond(&ClientKeys::derive("secret", b"a", 1));
        assert!(client.receive(data).is_err());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = text.parse::<ScramVerifier>();
    }
});
