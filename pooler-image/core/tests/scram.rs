//! Both sides of SCRAM against each other and against PostgreSQL's stored form.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use pgpooler_core::scram::{
    ClientKeys, DEFAULT_ITERATIONS, ExpectClientFinal, ExpectClientFirst, ExpectServerFirst, KeyCache,
    MAX_ITERATIONS, ScramError, ScramVerifier, nonce,
};
use proptest::prelude::*;

/// What PostgreSQL stores for the password of RFC 7677 with its salt.
const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

fn verifier(password: &str) -> Arc<ScramVerifier> {
    Arc::new(ScramVerifier::derive(password, b"salt salt", 2))
}

fn server(password: &str) -> ExpectClientFirst {
    ExpectClientFirst::new(verifier(password), "server".to_owned())
}

fn after_first(password: &str) -> ExpectClientFinal {
    server(password).receive(b"n,,n=,r=client").unwrap().next
}

/// Runs a whole exchange.
fn exchange(verifier: &Arc<ScramVerifier>, password: &str) -> Result<ClientKeys, ScramError> {
    let (first, client) = ExpectServerFirst::start(nonce([1; 18]));
    let first = ExpectClientFirst::new(Arc::clone(verifier), nonce([2; 18])).receive(&first)?;
    let challenge = client.receive(&first.reply)?;
    let keys = ClientKeys::derive(password, &challenge.salt, challenge.iterations);
    let (last, client) = challenge.respond(&keys);
    let proven = first.next.receive(&last)?;
    client.receive(&proven.reply)?;
    assert_eq!(proven.keys, keys);
    Ok(keys)
}

#[test]
fn the_verifier_of_postgresql_is_derived_and_read() {
    let read: ScramVerifier = PENCIL.parse().unwrap();
    assert_eq!(read, ScramVerifier::derive("pencil", read.salt(), 4096));
    assert_eq!(read.to_string(), PENCIL);
    assert_eq!(format!("{read:?}"), "ScramVerifier([redacted])");
}

#[test]
fn what_is_not_a_verifier_is_refused() {
    for text in
        ["", "pencil", "SCRAM-SHA-256$", "SCRAM-SHA-256$0:YQ==$YQ==:YQ==", &PENCIL[..PENCIL.len() - 1]]
    {
        assert!(text.parse::<ScramVerifier>().is_err(), "{text}");
    }
}

#[test]
fn the_right_password_is_proven_to_both_sides() {
    assert!(exchange(&verifier("pencil"), "pencil").is_ok());
}

#[test]
fn a_wrong_password_fails_at_the_proof() {
    assert_eq!(exchange(&verifier("pencil"), "crayon"), Err(ScramError::Proof));
}

#[test]
fn passwords_are_prepared_as_sasl_demands() {
    // soft hyphen vanishes, the Roman numeral nine becomes two letters (RFC 4013 section 3)
    assert!(exchange(&verifier("I\u{AD}X"), "\u{2168}").is_ok());
    // a prohibited character: the password is taken as it is
    assert!(exchange(&verifier("bell\u{7}"), "bell\u{7}").is_ok());
}

#[test]
fn a_mock_verifier_is_stable_and_fits_no_password() {
    let mock = |user| Arc::new(ScramVerifier::mock(&[7; 32], user, DEFAULT_ITERATIONS));
    assert_eq!(mock("eve"), mock("eve"));
    assert_ne!(mock("eve").salt(), mock("adam").salt());
    assert_ne!(mock("eve").salt(), ScramVerifier::mock(&[8; 32], "eve", 4096).salt());
    assert_eq!(mock("eve").salt().len(), 16);
    assert_eq!(exchange(&mock("eve"), ""), Err(ScramError::Proof));
}

#[test]
fn flags_without_channel_binding_are_accepted_and_with_it_refused() {
    let first = |message: &[u8]| server("x").receive(message).map(|first| first.reply);
    assert_eq!(first(b"n,,n=,r=client").unwrap(), b"r=clientserver,s=c2FsdCBzYWx0,i=2");
    assert!(first(b"y,,n=*,r=client").is_ok());
    assert_eq!(first(b"p=tls-server-end-point,,n=,r=client"), Err(ScramError::ChannelBinding));
}

#[test]
fn a_client_first_out_of_form_is_refused() {
    let fault = |message: &[u8]| server("x").receive(message).unwrap_err();
    for message in
        [&b""[..], b"n", b"n,", b"n,,", b"x,,n=,r=c", b"n,,r=c", b"n,,n=", b"n,,n=,r=", b"n,,n=,r=a\x07"]
    {
        assert_eq!(fault(message), ScramError::Malformed, "{message:?}");
    }
    assert_eq!(fault(b"n,a=root,n=,r=c"), ScramError::AuthorizationIdentity);
    assert_eq!(fault(b"n,,m=ext,n=,r=c"), ScramError::Extension);
    assert_eq!(fault(b"n,,n=\xff,r=c"), ScramError::Malformed);
}

#[test]
fn a_client_final_must_repeat_header_and_nonce() {
    let fault = |message: &str| after_first("x").receive(message.as_bytes()).unwrap_err();
    let proof = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(fault(&format!("c=biws,r=clientserver,p={proof}")), ScramError::Proof);
    assert_eq!(fault(&format!("c=eSws,r=clientserver,p={proof}")), ScramError::BindingData);
    assert_eq!(fault(&format!("c=biws,r=clientserve,p={proof}")), ScramError::Nonce);
    assert_eq!(fault("c=biws,r=clientserver,p=AAAA"), ScramError::Malformed);
    assert_eq!(fault("c=biws,r=clientserver"), ScramError::Malformed);
    assert_eq!(fault(""), ScramError::Malformed);
}

#[test]
fn a_server_that_does_not_know_the_password_is_found_out() {
    let (_, client) = ExpectServerFirst::start("client".to_owned());
    let challenge = client.receive(b"r=clientserver,s=YQ==,i=1").unwrap();
    let (_, client) = challenge.respond(&ClientKeys::derive("x", b"a", 1));
    let forged = b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(client.receive(forged), Err(ScramError::Proof));
}

#[test]
fn a_server_first_out_of_bounds_is_refused() {
    let fault = |message: &str| {
        let (_, client) = ExpectServerFirst::start("client".to_owned());
        client.receive(message.as_bytes()).unwrap_err()
    };
    assert_eq!(fault("r=client,s=YQ==,i=1"), ScramError::Nonce);
    assert_eq!(fault("r=other,s=YQ==,i=1"), ScramError::Nonce);
    assert_eq!(fault("r=clients,s=YQ==,i=0"), ScramError::Iterations);
    assert_eq!(fault(&format!("r=clients,s=YQ==,i={}", MAX_ITERATIONS + 1)), ScramError::Iterations);
    assert_eq!(fault("r=clients,s=YQ==,i=-1"), ScramError::Malformed);
    assert_eq!(fault("r=clients,s=%,i=1"), ScramError::Malformed);
    assert_eq!(fault("m=x,r=clients,s=YQ==,i=1"), ScramError::Extension);
}

#[test]
fn the_cache_keeps_the_keys_of_a_few_salts() {
    let mut cache = KeyCache::default();
    let keys = cache.find_or_derive("pencil", b"salt", 3);
    assert_eq!(keys, ClientKeys::derive("pencil", b"salt", 3));
    assert_eq!(cache.find(b"salt", 3), Some(&keys));
    assert_eq!(cache.find(b"salt", 4), None);
    // a wrong password shows that nothing is derived again
    assert_eq!(cache.find_or_derive("crayon", b"salt", 3), keys);
    for salt in [b"a", b"b", b"c", b"d"] {
        cache.find_or_derive("pencil", salt, 1);
    }
    assert_eq!(cache.find(b"salt", 3), None);
}

proptest! {
    #[test]
    fn the_keys_of_a_password_open_its_verifier_and_no_other(password in ".{1,20}", other in ".{1,20}") {
        let verifier = verifier(&password);
        prop_assert!(exchange(&verifier, &password).is_ok());
        let same = verifier == self::verifier(&other);
        prop_assert_eq!(exchange(&verifier, &other).is_ok(), same);
    }

    #[test]
    fn no_message_makes_a_side_panic(message in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = server("x").receive(&message);
        let _ = after_first("x").receive(&message);
        let (_, client) = ExpectServerFirst::start("client".to_owned());
        let _ = client.receive(&message);
    }

    #[test]
    fn a_verifier_is_read_back_the_same(password in ".{0,20}", salt in prop::collection::vec(any::<u8>(), 1..20)) {
        let verifier = ScramVerifier::derive(&password, &salt, 1);
        prop_assert_eq!(verifier.to_string().parse(), Ok(verifier));
    }
}
