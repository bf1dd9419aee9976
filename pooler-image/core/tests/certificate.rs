//! What is read of certificates, against those that OpenSSL made: `openssl x509 -text` and `sha*sum` say the same.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pgpooler_core::certificate::{Certificate, Names};
use proptest::prelude::*;

const ECDSA_SHA256: &[u8] = include_bytes!("certificates/ecdsa-sha256.der");
const ECDSA_SHA384: &[u8] = include_bytes!("certificates/ecdsa-sha384.der");
const ECDSA_SHA512: &[u8] = include_bytes!("certificates/ecdsa-sha512.der");
const ED25519: &[u8] = include_bytes!("certificates/ed25519.der");
const RSA_SHA1: &[u8] = include_bytes!("certificates/rsa-sha1.der");
const RSA_SHA512: &[u8] = include_bytes!("certificates/rsa-sha512.der");
const RSA_PSS_SHA384: &[u8] = include_bytes!("certificates/rsa-pss-sha384.der");
const VERSION_1: &[u8] = include_bytes!("certificates/version-1.der");

fn end_point(der: &[u8]) -> Option<String> {
    let hash = Certificate::parse(der).unwrap().end_point()?;
    Some(
        hash.iter().take(8).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
            + &format!(" {}", hash.len()),
    )
}

#[test]
fn the_hash_is_that_of_the_signature_and_never_weaker_than_sha_256() {
    for (der, expected) in [
        (ECDSA_SHA256, "1517f0f24ddc6421 32"),
        (ECDSA_SHA384, "2bc64fff2972388e 48"),
        (ECDSA_SHA512, "1f67d2c40241e3e6 64"),
        (RSA_SHA1, "a7341cf88c99a034 32"),
        (RSA_SHA512, "5836c11990dbcc54 64"),
        (RSA_PSS_SHA384, "656f561105e6f389 48"),
        (VERSION_1, "ca8698153e81233c 32"),
    ] {
        assert_eq!(end_point(der).unwrap(), expected);
    }
    assert_eq!(end_point(ED25519), None);
}

#[test]
fn name_and_end_are_read() {
    let certificate = Certificate::parse(ECDSA_SHA256).unwrap();
    assert_eq!(certificate.common_name.as_deref(), Some("db.example.com"));
    assert_eq!((certificate.not_after, certificate.names), (4_949_463_829, Names::Extension));
    // of two names the first counts, as in PostgreSQL
    assert_eq!(Certificate::parse(ECDSA_SHA384).unwrap().common_name.as_deref(), Some("ann"));
    assert_eq!(Certificate::parse(ECDSA_SHA512).unwrap().common_name, None);
    let old = Certificate::parse(VERSION_1).unwrap();
    assert_eq!((old.common_name.as_deref(), old.names), (Some("jürgen"), Names::CommonNameOnly));
}

#[test]
fn a_name_with_a_zero_byte_is_none() {
    let name = b"db.example.com";
    let at = ECDSA_SHA256.windows(name.len()).position(|part| part == name).unwrap();
    let mut forged = ECDSA_SHA256.to_vec();
    // the issuer comes first: this one signed itself
    let at = at
        + name.len()
        + forged[at + name.len()..].windows(name.len()).position(|part| part == name).unwrap();
    forged[at + 2] = 0;
    assert_eq!(Certificate::parse(&forged).unwrap().common_name, None);
}

#[test]
fn a_certificate_that_is_cut_anywhere_is_refused() {
    for length in 0..ECDSA_SHA256.len() {
        assert!(Certificate::parse(&ECDSA_SHA256[..length]).is_err(), "{length}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Certificate::parse(&bytes);
    }

    #[test]
    fn no_changed_byte_makes_the_reader_panic(at in 0..ECDSA_SHA256.len(), byte: u8) {
        let mut changed = ECDSA_SHA256.to_vec();
        changed[at] = byte;
        let _ = Certificate::parse(&changed).map(|certificate| certificate.end_point());
    }
}
