//! A server's messages during login: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgpooler_core::login::{Credential, Login};

fuzz_target!(|data: &[u8]| {
    let mut out = Vec::new();
    let login = Login::start(0, [("user", "ann")], "client".to_owned(), &mut out);
    // md5 only: no PBKDF2 with the iterations that the fuzzer likes
    let mut credential = Credential::md5("md5");
    let _ = login.receive(&mut data.to_vec(), &mut credential, &mut out);
});
