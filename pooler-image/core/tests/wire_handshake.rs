//! A client's way in: against the answers of PostgreSQL, and split at every byte.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use pgpooler_core::handshake::{
    Authentication, AuthenticationStep, ExpectStartup, Method, PasswordCheck, SecuredBy, StartupStep,
};
use pgpooler_core::md5;
use pgpooler_core::scram::{ClientKeys, ExpectServerFirst, SCRAM_SHA_256, ScramVerifier};
use pgpooler_core::startup::{Replication, StartupParameters};
use pgpooler_core::wire::{CancelKey, ErrorFields, SqlState, frontend, split_message};
use proptest::prelude::*;

/// The end of a handshake's first part, and what the client was sent.
#[derive(Debug, PartialEq)]
enum End {
    More,
    Secure(SecuredBy),
    Cancel(CancelKey),
    Startup(Box<StartupParameters>),
    Refused(SqlState, String),
    Close,
}

/// Feeds the pieces one after the other; also gives what is left of the input.
fn run(pieces: &[&[u8]]) -> (End, Vec<u8>, Vec<u8>) {
    run_from(ExpectStartup::new(), pieces)
}

fn run_from(mut state: ExpectStartup, pieces: &[&[u8]]) -> (End, Vec<u8>, Vec<u8>) {
    let (mut input, mut out) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        let end = match state.receive(&mut input, &mut out) {
            StartupStep::More(next) => {
                state = next;
                continue;
            }
            StartupStep::Secure(_, by) => End::Secure(by),
            StartupStep::Cancel(key) => End::Cancel(key),
            StartupStep::Startup(parameters) => End::Startup(Box::new(parameters)),
            StartupStep::Refused(error) => End::Refused(error.sqlstate, error.message.into_owned()),
            StartupStep::Close(_) => End::Close,
        };
        return (end, out, input);
    }
    (End::More, out, input)
}

/// The state behind the TLS handshake that these bytes ask for.
fn secured(pieces: &[u8]) -> ExpectStartup {
    match ExpectStartup::offering_tls().receive(&mut pieces.to_vec(), &mut Vec::new()) {
        StartupStep::Secure(next, _) => next,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tls_is_given_once_and_bytes_sent_before_it_are_refused_inside() {
    let (request, gss) = (bytes(frontend::ssl_request), bytes(frontend::gssenc_request));
    let (end, out, input) = run_from(ExpectStartup::offering_tls(), &[&request]);
    assert!(matches!(end, End::Secure(SecuredBy::Request)), "{end:?}");
    assert_eq!((out.as_slice(), input.is_empty()), (&b"S"[..], true));
    // declining GSS comes before, and spoils nothing
    let (end, out, _) = run_from(ExpectStartup::offering_tls(), &[&gss, &request]);
    assert!(matches!(end, End::Secure(SecuredBy::Request)) && out == b"NS", "{end:?}");
    for again in [&request, &gss] {
        let (end, ..) = run_from(secured(&request), &[again]);
        assert!(matches!(end, End::Refused(SqlState::FEATURE_NOT_SUPPORTED, _)), "{end:?}");
    }
    let injected = [request.clone(), hello(0, &[("user", "ann")])].concat();
    let (end, _, input) = run_from(secured(&injected), &[b""]);
    assert!(matches!(end, End::Refused(SqlState::PROTOCOL_VIOLATION, _)) && input.is_empty(), "{end:?}");
}

#[test]
fn a_connection_may_begin_with_tls_only_where_there_is_tls_and_nothing_came_before() {
    let client_hello = [0x16, 3, 1, 2, 0];
    let (end, out, input) = run_from(ExpectStartup::offering_tls(), &[&client_hello]);
    assert!(matches!(end, End::Secure(SecuredBy::Direct)) && out.is_empty(), "{end:?}");
    assert_eq!(input, client_hello);
    assert!(matches!(run(&[&client_hello]).0, End::Close));
    let gss = bytes(frontend::gssenc_request);
    assert!(matches!(run_from(ExpectStartup::offering_tls(), &[&gss, &client_hello]).0, End::Close));
    // inside of it, encryption is declined
    let (end, out, _) = run_from(secured(&client_hello), &[&bytes(frontend::ssl_request), &gss]);
    assert!(matches!(end, End::More) && out == b"NN", "{end:?}");
}

fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn hello(minor: u16, parameters: &[(&str, &str)]) -> Vec<u8> {
    bytes(|out| frontend::startup_message(out, minor, parameters.iter().copied()))
}

fn parameters(pairs: &[(&str, &str)]) -> StartupParameters {
    match run(&[&hello(0, pairs)]) {
        (End::Startup(parameters), out, input) => {
            assert!(out.is_empty() && input.is_empty());
            *parameters
        }
        (other, ..) => panic!("{other:?}"),
    }
}

fn refusal(packet: &[u8]) -> (SqlState, String) {
    match run(&[packet]) {
        (End::Refused(sqlstate, message), out, _) => {
            let (_, body, _) = split_message(&out, 10_000).unwrap().unwrap();
            assert!(ErrorFields::parse(body).unwrap().is_fatal());
            (sqlstate, message)
        }
        (other, ..) => panic!("{other:?}"),
    }
}

fn version(code: u32) -> Vec<u8> {
    [&21u32.to_be_bytes()[..], &code.to_be_bytes(), b"user\0annabe\0\0"].concat()
}

#[test]
fn user_database_and_settings_are_read() {
    let read = parameters(&[
        ("user", "ann"),
        ("database", "shop"),
        ("application_name", "web"),
        ("DateStyle", "ISO"),
        ("options", "-c geqo=off --datestyle=German"),
    ]);
    assert_eq!(
        (read.user.as_str(), read.database.as_str(), read.application_name.as_str()),
        ("ann", "shop", "web")
    );
    let expected = [("geqo".to_owned(), "off".to_owned()), ("DateStyle".to_owned(), "ISO".to_owned())];
    assert_eq!(read.settings, expected);
    assert_eq!(read.protocol_minor, 0);
}

#[test]
fn the_database_defaults_to_the_user() {
    assert_eq!(parameters(&[("user", "ann")]).database, "ann");
    assert_eq!(parameters(&[("user", "ann"), ("database", "")]).database, "ann");
}

#[test]
fn the_last_of_several_values_wins_whatever_the_case_of_its_name() {
    let read = parameters(&[("user", "a"), ("user", "b"), ("TimeZone", "UTC"), ("timezone", "CET")]);
    assert_eq!((read.user.as_str(), read.settings), ("b", vec![("timezone".to_owned(), "CET".to_owned())]));
}

#[test]
fn a_client_without_user_is_refused() {
    let (sqlstate, told) = refusal(&hello(0, &[("database", "x")]));
    assert_eq!(sqlstate, SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    assert_eq!(told, "no PostgreSQL user name specified in startup packet");
}

#[test]
fn the_kind_of_replication_is_read_and_is_no_setting() {
    for (value, expected) in
        [("on", Replication::Physical), ("database", Replication::Logical), ("false", Replication::Off)]
    {
        let read = parameters(&[("user", "a"), ("replication", value)]);
        assert_eq!((read.replication, read.settings.is_empty()), (expected, true));
    }
    let (sqlstate, _) = refusal(&hello(0, &[("user", "a"), ("replication", "maybe")]));
    assert_eq!(sqlstate, SqlState::INVALID_PARAMETER_VALUE);
}

#[test]
fn faulty_options_are_kept_until_user_and_database_are_known() {
    let read = parameters(&[("user", "a"), ("options", "-c geqo=off -Z")]);
    assert_eq!(read.fault.unwrap().message, "invalid command-line argument for server process: -Z");
}

#[test]
fn another_major_version_is_refused_as_postgresql_does() {
    for (code, shown) in [(2 << 16, "2.0"), (4 << 16, "4.0"), (0, "0.0")] {
        let (sqlstate, told) = refusal(&version(code));
        assert_eq!(sqlstate, SqlState::FEATURE_NOT_SUPPORTED);
        assert_eq!(told, format!("unsupported frontend protocol {shown}: server supports 3.0 to 3.2"));
    }
}

#[test]
fn a_newer_minor_version_or_an_unknown_option_is_negotiated_once() {
    let (end, out, _) = run(&[&hello(9999, &[("user", "a"), ("_pq_.grease", "1"), ("_pq_.b", "2")])]);
    let End::Startup(read) = end else { panic!("{end:?}") };
    assert_eq!((read.protocol_minor, read.settings.len()), (2, 0));
    assert_eq!(out, b"v\0\0\0\x1f\0\x03\0\x02\0\0\0\x02_pq_.grease\0_pq_.b\0");
    let (_, out, _) = run(&[&hello(0, &[("user", "a"), ("_pq_.x", "1")])]);
    assert_eq!(out, b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0");
    let (_, out, _) = run(&[&hello(2, &[("user", "a")])]);
    assert_eq!(out, b"");
}

#[test]
fn encryption_is_declined_and_the_handshake_goes_on() {
    let (ssl, gss) = (bytes(frontend::ssl_request), bytes(frontend::gssenc_request));
    let hello = hello(0, &[("user", "a")]);
    for requests in [vec![&ssl], vec![&gss], vec![&ssl, &gss], vec![&gss, &ssl]] {
        let mut pieces: Vec<&[u8]> = requests.iter().map(|request| request.as_slice()).collect();
        pieces.push(&hello);
        let (end, out, _) = run(&pieces);
        assert!(matches!(end, End::Startup(_)), "{end:?}");
        assert_eq!(out, vec![b'N'; requests.len()]);
    }
}

#[test]
fn the_same_encryption_cannot_be_asked_for_twice() {
    let (ssl, gss) = (bytes(frontend::ssl_request), bytes(frontend::gssenc_request));
    for pieces in [vec![&ssl, &ssl], vec![&gss, &gss], vec![&ssl, &gss, &ssl]] {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_slice()).collect();
        assert!(matches!(run(&pieces).0, End::Refused(SqlState::FEATURE_NOT_SUPPORTED, _)));
    }
}

#[test]
fn bytes_behind_an_encryption_request_are_never_read() {
    let packet = [bytes(frontend::ssl_request), hello(0, &[("user", "a")])].concat();
    let (sqlstate, told) = match run(&[&packet]) {
        (End::Refused(sqlstate, told), out, _) => {
            assert_eq!(out.first(), Some(&b'N'));
            (sqlstate, told)
        }
        (other, ..) => panic!("{other:?}"),
    };
    assert_eq!(sqlstate, SqlState::PROTOCOL_VIOLATION);
    assert_eq!(told, "received unencrypted data after SSL request");
}

#[test]
fn a_cancel_request_gives_its_key_and_is_not_answered() {
    let key = CancelKey::new(42, &[9; 32]).unwrap();
    let (end, out, _) = run(&[&bytes(|out| frontend::cancel_request(out, &key))]);
    assert_eq!((end, out), (End::Cancel(key), Vec::new()));
}

#[test]
fn what_is_not_postgresql_is_closed_without_a_word() {
    for garbage in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\x00", b"\0\0\0\x03"] {
        let (end, out, _) = run(&[garbage]);
        assert_eq!((end, out), (End::Close, Vec::new()));
    }
}

// ---- authentication

const USER: &str = "ann";

fn scram(password: &str) -> Method {
    let verifier = Arc::new(ScramVerifier::derive(password, b"salt", 1));
    Method::Scram { verifier, nonce: "server".to_owned() }
}

fn start(method: Method) -> Authentication {
    Authentication::start(USER, method, &mut Vec::new())
}

fn client_first() -> Vec<u8> {
    let (first, _) = ExpectServerFirst::start("client".to_owned());
    bytes(|out| frontend::sasl_initial_response(out, SCRAM_SHA_256, &first))
}

/// client-final of a client that knows `password`.
fn client_final(password: &str) -> Vec<u8> {
    let (_, client) = ExpectServerFirst::start("client".to_owned());
    let challenge = client.receive(b"r=clientserver,s=c2FsdA==,i=1").unwrap();
    let (last, _) = challenge.respond(&ClientKeys::derive(password, b"salt", 1));
    bytes(|out| frontend::sasl_response(out, &last))
}

/// Whether the client got in, what it was told, and what is left of the input.
fn authenticate(method: Method, pieces: &[&[u8]]) -> (Option<Result<(), String>>, Vec<u8>, Vec<u8>) {
    let (mut input, mut out) = (Vec::new(), Vec::new());
    let mut state = start(method);
    for piece in pieces {
        input.extend_from_slice(piece);
        let step = match state.receive(&mut input, &mut out) {
            AuthenticationStep::Password(check, password) => {
                let right = *password == "secret";
                let worth = if right { PasswordCheck::Right(None) } else { PasswordCheck::Wrong };
                check.decide(worth, &mut out)
            }
            step => step,
        };
        match step {
            AuthenticationStep::More(next) => state = next,
            AuthenticationStep::Password(..) => panic!("asked twice"),
            AuthenticationStep::Authenticated(_) => return (Some(Ok(())), out, input),
            AuthenticationStep::Refused(error) => return (Some(Err(error.to_string())), out, input),
        }
    }
    (None, out, input)
}

fn failure(method: Method, pieces: &[&[u8]]) -> String {
    authenticate(method, pieces).0.unwrap().unwrap_err()
}

#[test]
fn a_right_password_ends_in_authentication_ok_and_keeps_early_messages() {
    let last = [client_final("secret"), b"Q\0\0".to_vec()].concat();
    let (end, out, input) = authenticate(scram("secret"), &[&client_first(), &last]);
    assert_eq!((end, input), (Some(Ok(())), b"Q\0\0".to_vec()));
    assert!(out.ends_with(b"R\0\0\0\x08\0\0\0\0"));
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_told_the_same() {
    let told = "FATAL: password authentication failed for user \"ann\" (28P01)";
    assert_eq!(failure(scram("secret"), &[&client_first(), &client_final("guess")]), told);
    let verifier = Arc::new(ScramVerifier::mock(&[1; 32], USER, 4096));
    let mock = Method::Scram { verifier, nonce: "server".to_owned() };
    assert_eq!(failure(mock, &[&client_first(), &client_final("guess")]), told);
    let md5 = Method::Md5 { stored: md5::stored("secret", USER).into(), salt: *b"salt" };
    assert_eq!(failure(md5, &[b"p\0\0\0\x08abc\0"]), told);
}

#[test]
fn an_md5_password_is_checked_with_its_salt() {
    let stored = md5::stored("secret", USER);
    let response = md5::response(&stored, *b"salt");
    let proof = bytes(|out| frontend::password_message(out, &response));
    let method = |salt| Method::Md5 { stored: stored.clone().into(), salt };
    assert_eq!(authenticate(method(*b"salt"), &[&proof]).0, Some(Ok(())));
    assert!(failure(method(*b"tlas"), &[&proof]).contains("password authentication failed"));
}

#[test]
fn a_password_in_clear_text_is_compared_by_who_asked_for_it() {
    let sent = |password: &str| bytes(|out| frontend::password_message(out, password));
    assert_eq!(authenticate(Method::Plain, &[&sent("secret")]).0, Some(Ok(())));
    let told = "FATAL: password authentication failed for user \"ann\" (28P01)";
    assert_eq!(failure(Method::Plain, &[&sent("guess")]), told);
    let told = "FATAL: empty password returned by client (28P01)";
    assert_eq!(failure(Method::Plain, &[&sent("")]), told);
}

#[test]
fn a_certificate_must_name_the_user_and_nothing_is_asked() {
    let certificate = |name: Option<&str>| Method::Certificate { common_name: name.map(str::to_owned) };
    let (end, out, _) = authenticate(certificate(Some(USER)), &[b""]);
    assert_eq!((end, &out[..]), (Some(Ok(())), &b"R\0\0\0\x08\0\0\0\0"[..]));
    let told = "FATAL: certificate authentication failed for user \"ann\" (28000)";
    assert_eq!(failure(certificate(Some("ben")), &[b""]), told);
    let told = "FATAL: connection requires a valid client certificate (28000)";
    assert_eq!(failure(certificate(None), &[b""]), told);
}

#[test]
fn a_late_client_first_is_waited_for() {
    let chosen = b"p\0\0\0\x16SCRAM-SHA-256\0\xff\xff\xff\xff";
    let first = bytes(|out| frontend::sasl_response(out, b"n,,n=,r=client"));
    let (end, ..) = authenticate(scram("secret"), &[chosen, &first, &client_final("secret")]);
    assert_eq!(end, Some(Ok(())));
}

#[test]
fn messages_out_of_place_are_refused() {
    let told = |piece: &[u8]| failure(scram("x"), &[piece]);
    assert_eq!(told(b"Q"), "FATAL: expected SASL response, got message type 81 (08P01)");
    assert_eq!(told(b"p\0\0\x04\x01"), "FATAL: invalid message length (08P01)");
    assert_eq!(told(b"p\0\0\0\x05x"), "FATAL: invalid SASL response message (08P01)");
    let plus = bytes(|out| frontend::sasl_initial_response(out, "SCRAM-SHA-256-PLUS", b""));
    assert_eq!(told(&plus), "FATAL: client selected an invalid SASL authentication mechanism (08P01)");
    let bound = bytes(|out| frontend::sasl_initial_response(out, SCRAM_SHA_256, b"p=tls-exporter,,n=,r=c"));
    assert_eq!(told(&bound), "FATAL: malformed SCRAM message (08P01)");
}

proptest! {
    #[test]
    fn startup_split_anywhere_ends_the_same(cuts in prop::collection::vec(0usize..200, 0..6), minor in 0u16..4) {
        let whole = hello(minor, &[("user", "ann"), ("options", "-c a=b"), ("_pq_.x", "y"), ("TimeZone", "UTC")]);
        let pieces = cut(&whole, cuts);
        prop_assert_eq!(run(&pieces), run(&[&whole]));
    }

    #[test]
    fn authentication_split_anywhere_ends_the_same(
        cuts in prop::collection::vec(0usize..300, 0..6),
        password in prop_oneof![Just("secret"), Just("guess")],
    ) {
        let whole = [client_first(), client_final(password)].concat();
        let pieces = cut(&whole, cuts);
        prop_assert_eq!(authenticate(scram("secret"), &pieces), authenticate(scram("secret"), &[&whole]));
    }

    #[test]
    fn no_bytes_make_a_handshake_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        run(&[&bytes]);
        authenticate(scram("x"), &[&bytes]);
        let message = [&b"p"[..], &(bytes.len() as u32 + 4).to_be_bytes(), &bytes].concat();
        authenticate(scram("x"), &[&message]);
        authenticate(scram("x"), &[&client_first(), &message]);
    }
}

#[test]
fn startup_split_at_every_byte_ends_the_same() {
    let whole = hello(7, &[("user", "ann"), ("options", r"-c a=b\ c"), ("database", "shop")]);
    let expected = run(&[&whole]);
    for at in 0..whole.len() {
        let (left, right) = whole.split_at(at);
        assert_eq!(run(&[left, right]), expected, "{at}");
    }
    assert_eq!(run(&whole.chunks(1).collect::<Vec<_>>()), expected);
}

fn cut(whole: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    for cut in &mut cuts {
        *cut = (*cut).min(whole.len());
    }
    cuts.sort_unstable();
    cuts.insert(0, 0);
    cuts.push(whole.len());
    cuts.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect()
}
