//! Our login to a server: against scripts of what PostgreSQL sends, and split at every byte.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use pgpooler_core::login::{Credential, LoggedIn, Login, LoginError, LoginStep};
use pgpooler_core::md5;
use pgpooler_core::scram::{ExpectClientFirst, SCRAM_SHA_256, ScramError, ScramVerifier};
use pgpooler_core::wire::{
    CancelKey, ErrorResponse, SqlState, StartupPacket, TransactionStatus, backend, frontend, split_message,
};
use proptest::prelude::*;

const USER: &str = "ann";
const PASSWORD: &str = "secret";

fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn password() -> Credential {
    Credential::password(USER, PASSWORD)
}

fn start(out: &mut Vec<u8>) -> Login {
    Login::start(0, [("user", USER), ("database", "shop")], "client".to_owned(), out)
}

/// Feeds the pieces to a login; gives its end, what it sent behind the StartupMessage, and what it left.
fn run(
    mut credential: Credential,
    pieces: &[&[u8]],
) -> (Option<Result<LoggedIn, LoginError>>, Vec<u8>, Vec<u8>) {
    let (mut input, mut out) = (Vec::new(), Vec::new());
    let mut state = start(&mut Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        match state.receive(&mut input, &mut credential, &mut out) {
            LoginStep::More(next) => state = next,
            LoginStep::Done(session) => return (Some(Ok(session)), out, input),
            LoginStep::Failed(error) => return (Some(Err(error)), out, input),
        }
    }
    (None, out, input)
}

fn error(credential: Credential, script: &[u8]) -> LoginError {
    run(credential, &[script]).0.unwrap().unwrap_err()
}

/// What follows AuthenticationOk.
fn greeting() -> Vec<u8> {
    bytes(|out| {
        backend::authentication_ok(out);
        backend::parameter_status(out, "server_version", "15.18");
        backend::parameter_status(out, "TimeZone", "UTC");
        backend::backend_key_data(out, &CancelKey::new(77, b"abcd").unwrap());
        backend::ready_for_query(out, TransactionStatus::Idle);
    })
}

fn session() -> LoggedIn {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    LoggedIn {
        parameters: vec![pair("server_version", "15.18"), pair("TimeZone", "UTC")],
        backend_key: CancelKey::new(77, b"abcd"),
    }
}

/// A server's whole side of a SCRAM login.
fn scram_script(password: &str) -> Vec<u8> {
    let verifier = Arc::new(ScramVerifier::derive(password, b"salt", 1));
    let server = ExpectClientFirst::new(Arc::clone(&verifier), "server".to_owned());
    let first = server.receive(b"n,,n=,r=client").unwrap();
    // the client's answer depends on nothing but what is fixed here
    let (_, client) = pgpooler_core::scram::ExpectServerFirst::start("client".to_owned());
    let keys = pgpooler_core::scram::ClientKeys::derive(password, b"salt", 1);
    let (last, _) = client.receive(&first.reply).unwrap().respond(&keys);
    let proven = first.next.receive(&last).unwrap();
    let mut script = bytes(|out| {
        backend::authentication_sasl(out, &["SCRAM-SHA-256-PLUS", SCRAM_SHA_256]);
        backend::authentication_sasl_continue(out, &first.reply);
        backend::authentication_sasl_final(out, &proven.reply);
    });
    script.extend(greeting());
    script
}

#[test]
fn a_login_starts_with_a_startup_message() {
    let mut out = Vec::new();
    let _login = start(&mut out);
    let Some((StartupPacket::StartupMessage(message), _)) = StartupPacket::parse(&out).unwrap() else {
        panic!("no StartupMessage")
    };
    assert_eq!(message.parameters(), Ok(vec![("user", USER), ("database", "shop")]));
}

#[test]
fn a_server_that_asks_for_nothing_is_entered() {
    let script = [greeting(), b"behind".to_vec()].concat();
    let (end, out, input) = run(Credential::none(), &[&script]);
    assert_eq!((end, out, input), (Some(Ok(session())), Vec::new(), b"behind".to_vec()));
}

#[test]
fn scram_is_answered_and_the_server_proves_itself() {
    let (end, out, _) = run(password(), &[&scram_script(PASSWORD)]);
    assert_eq!(end, Some(Ok(session())));
    let (_, first, rest) = split_message(&out, 1000).unwrap().unwrap();
    assert_eq!(first, b"SCRAM-SHA-256\0\0\0\0\x0en,,n=,r=client");
    let (_, last, rest) = split_message(rest, 1000).unwrap().unwrap();
    assert!(last.starts_with(b"c=biws,r=clientserver,p="));
    assert!(rest.is_empty());
}

#[test]
fn a_server_that_does_not_know_the_password_is_not_trusted() {
    assert_eq!(error(password(), &scram_script("other")), LoginError::Scram(ScramError::Proof));
}

#[test]
fn a_server_cannot_leave_out_its_proof() {
    let mut script = bytes(|out| {
        backend::authentication_sasl(out, &[SCRAM_SHA_256]);
        backend::authentication_sasl_continue(out, b"r=clientserver,s=c2FsdA==,i=1");
    });
    script.extend(greeting());
    assert_eq!(error(password(), &script), LoginError::Unexpected(b'R'));
}

#[test]
fn keys_that_a_client_revealed_open_a_server_with_the_same_verifier() {
    let verifier = ScramVerifier::derive(PASSWORD, b"salt", 1);
    let keys = || pgpooler_core::scram::ClientKeys::derive(PASSWORD, b"salt", 1);
    let script = scram_script(PASSWORD);
    assert_eq!(run(Credential::keys(&verifier, keys()), &[&script]).0, Some(Ok(session())));
    let other = ScramVerifier::derive(PASSWORD, b"pepper", 1);
    assert_eq!(error(Credential::keys(&other, keys()), &script), LoginError::NoSecret("SCRAM-SHA-256"));
}

#[test]
fn md5_and_cleartext_passwords_are_given_to_servers_that_ask() {
    let ask = bytes(|out| backend::authentication_md5_password(out, *b"salt"));
    let stored = md5::stored(PASSWORD, USER);
    let expected = bytes(|out| frontend::password_message(out, md5::response(&stored, *b"salt")));
    for credential in [password(), Credential::md5(&stored)] {
        let (end, out, _) = run(credential, &[&ask, &greeting()]);
        assert_eq!((end, out), (Some(Ok(session())), expected.clone()));
    }
    let ask = bytes(backend::authentication_cleartext_password);
    assert_eq!(run(password(), &[&ask, &greeting()]).1, b"p\0\0\0\x0bsecret\0");
    assert_eq!(error(Credential::md5(&stored), &ask), LoginError::NoSecret("a cleartext password"));
}

#[test]
fn an_error_of_the_server_is_kept_as_it_came() {
    let raw =
        ErrorResponse::fatal(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already").to_bytes();
    let LoginError::Refused { sqlstate, message, raw: kept } = error(password(), &raw) else {
        panic!("not refused")
    };
    assert_eq!(sqlstate, SqlState::TOO_MANY_CONNECTIONS);
    assert_eq!((message.as_str(), kept), ("sorry, too many clients already", raw));
}

#[test]
fn notices_and_a_lower_minor_version_are_passed_over() {
    let notice = b"N\0\0\0\x0cMhello\0\0".to_vec();
    let version = bytes(|out| backend::negotiate_protocol_version(out, 0, &[]));
    let script = [notice.clone(), version, notice, greeting()].concat();
    assert_eq!(run(password(), &[&script]).0, Some(Ok(session())));
}

#[test]
fn what_has_no_place_in_a_login_is_refused() {
    assert_eq!(error(password(), &bytes(backend::parse_complete)), LoginError::Unexpected(b'1'));
    assert_eq!(error(password(), b"R\0\0\0\x08\0\0\0\x07"), LoginError::UnsupportedAuthentication(7));
    let only_plus = bytes(|out| backend::authentication_sasl(out, &["SCRAM-SHA-256-PLUS"]));
    assert_eq!(error(password(), &only_plus), LoginError::UnsupportedAuthentication(10));
    assert!(matches!(error(password(), b"R\0\0\0\x03"), LoginError::Frame(_)));
    assert!(matches!(error(password(), b"R\0\0\0\x04"), LoginError::Malformed(_)));
    let in_transaction = bytes(|out| {
        backend::authentication_ok(out);
        backend::ready_for_query(out, TransactionStatus::InTransaction);
    });
    assert!(matches!(error(password(), &in_transaction), LoginError::Malformed(_)));
}

#[test]
fn a_login_split_at_every_byte_ends_the_same() {
    let whole = scram_script(PASSWORD);
    let expected = run(password(), &[&whole]);
    for at in 0..whole.len() {
        let (left, right) = whole.split_at(at);
        assert_eq!(run(password(), &[left, right]), expected, "{at}");
    }
    assert_eq!(run(password(), &whole.chunks(1).collect::<Vec<_>>()), expected);
}

proptest! {
    #[test]
    fn no_bytes_make_a_login_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        tag in prop::sample::select(b"RSKZENv1".to_vec()),
        code in 0i32..14,
        known in any::<bool>(),
    ) {
        run(password(), &[&bytes]);
        let coded = [&code.to_be_bytes()[..], &bytes].concat();
        for body in [&bytes, &coded] {
            let message = [&[tag][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat();
            let ok = authentication_ok();
            run(password(), &if known { vec![&ok[..], &message] } else { vec![&message[..]] });
        }
    }
}

fn authentication_ok() -> Vec<u8> {
    bytes(backend::authentication_ok)
}
