//! User lists: no panic, and what is read is written so that it is read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgpooler_config::{UserSecret, Userlist};
use pgpooler_core::scram::ScramVerifier;

fuzz_target!(|text: &str| {
    let Ok(list) = Userlist::parse(text) else { return };
    assert_eq!(Userlist::parse(list.render().expose()), Ok(list.clone()));
    for (_, secret) in list.iter() {
        if let UserSecret::Scram(verifier) = secret {
            // the list's check of the form and the core's must agree
            assert!(verifier.expose().parse::<ScramVerifier>().is_ok());
        }
    }
});
