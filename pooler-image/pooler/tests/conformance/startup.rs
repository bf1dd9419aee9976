//! The beginning of a connection: traps 1 to 10. TLS, methods of authentication and replication have tests of their
//! own, beside the code that makes them.

use pgpooler_test_support::wire::{cancel_request, gssenc_request, query, ssl_request, startup, terminate};

use super::describe::whole;
use super::ground::{self, SIZES};
use super::player::play;
use super::script::Step;
use super::transcript::Event;
use super::{Script, same, same_each};

const V3: u32 = 196_608;
const WHO: &[(&str, &str)] = &[("user", "app"), ("database", "postgres")];

/// Bytes on a fresh connection, and then the login.
fn logs_in(bytes: &[Vec<u8>]) -> Script {
    Script::new()
        .connect()
        .send(bytes)
        .step(Step::Authenticate)
        .query("select 1")
        .query("show application_name")
}

#[test]
fn requests_for_encryption_are_answered_before_the_login() {
    let hello = || startup(V3, WHO);
    let each = |requests: &[Vec<u8>]| {
        requests
            .iter()
            .fold(Script::new().connect(), |script, request| {
                script.send(std::slice::from_ref(request)).step(Step::Byte)
            })
            .send(&[hello()])
            .step(Step::Authenticate)
            .query("select 1")
    };
    same_each([("SSL", each(&[ssl_request()])), ("nothing", each(&[]))]);
}

/// A server that was built with GSSAPI says `G`; the pooler is one that was not.
#[test]
fn gss_encryption_is_declined_and_the_login_goes_on() {
    let pooler = ground::take(SIZES[0]);
    for requests in
        [&[gssenc_request()][..], &[gssenc_request(), ssl_request()], &[ssl_request(), gssenc_request()]]
    {
        let script = requests
            .iter()
            .fold(Script::new().connect(), |script, request| {
                script.send(std::slice::from_ref(request)).step(Step::Byte)
            })
            .send(&[startup(V3, WHO)])
            .step(Step::Authenticate)
            .query("select 1");
        let seen = play(&script, &pooler.login("app", "app", "postgres"), None);
        assert!(
            seen.iter().take(requests.len()).all(|(_, event)| *event == Event::Byte(b'N')),
            "{}",
            whole(&seen)
        );
        assert!(!matches!(seen.last(), Some((_, Event::Failed(_)))), "{}", whole(&seen));
    }
    ground::give_back(SIZES[0], pooler);
}

#[test]
fn a_request_for_encryption_made_twice_is_refused() {
    let each = |requests: &[Vec<u8>]| {
        let (last, first) = requests.split_last().unwrap();
        first
            .iter()
            .fold(Script::new().connect(), |script, request| {
                script.send(std::slice::from_ref(request)).step(Step::Byte)
            })
            .send(std::slice::from_ref(last))
            .closed()
    };
    same_each([("SSL twice", each(&[ssl_request(), ssl_request()]))]);
}

#[test]
fn a_login_may_come_in_pieces() {
    same(
        &Script::new().connect().pieces(&[startup(V3, WHO)], 3, 1).step(Step::Authenticate).query("select 1"),
    );
}

#[test]
fn startup_packets_that_postgresql_refuses_are_refused_alike() {
    let each = |bytes: Vec<u8>| Script::new().connect().send(&[bytes]).closed();
    let raw = |length: u32, body: &[u8]| [&length.to_be_bytes()[..], body].concat();
    let body = |text: &[u8]| raw(text.len() as u32 + 8, &[&V3.to_be_bytes()[..], text].concat());
    same_each([
        ("length 0", each(raw(0, b""))),
        ("length 7", each(raw(7, b"abc"))),
        ("length 10,005", each(raw(10_005, b""))),
        ("length 1 GB", each(raw(1 << 30, b""))),
        ("negative length", each(raw(0xffff_fff0, b""))),
        ("an HTTP request", each(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec())),
        ("no parameters at all", each(body(b""))),
        ("only the end", each(body(b"\0"))),
        ("no end", each(body(b"user\0app\0"))),
        ("no value", each(body(b"user\0"))),
        ("no user", each(startup(V3, &[("database", "postgres")]))),
        ("an empty user", each(startup(V3, &[("user", ""), ("database", "postgres")]))),
        ("protocol 4.0", each(startup(262_144, WHO))),
        ("protocol 0.0", each(startup(0, WHO))),
        ("protocol 1234.5637", each(startup(80_877_061, WHO))),
        ("more behind the end", each(body(b"user\0app\0\0extra"))),
    ]);
}

#[test]
fn newer_minor_versions_and_options_are_negotiated() {
    same_each([
        ("an option", logs_in(&[startup(V3, &[WHO, &[("_pq_.nosuch", "1")]].concat())])),
        (
            "two options",
            logs_in(&[startup(V3, &[WHO, &[("_pq_.nosuch", "1"), ("_pq_.other", "")]].concat())]),
        ),
    ]);
}

#[test]
fn databases_users_and_their_defaults() {
    let refused = |who: &[(&str, &str)]| {
        Script::new().connect().send(&[startup(V3, who)]).step(Step::Authenticate).closed()
    };
    same_each([
        ("an unknown database", refused(&[("user", "app"), ("database", "nosuch")])),
        ("the user's own database", refused(&[("user", "app")])),
        ("an empty database", refused(&[("user", "app"), ("database", "")])),
        ("a database that takes nobody", refused(&[("user", "app"), ("database", "template0")])),
        ("an unknown user", refused(&[("user", "nosuch"), ("database", "postgres")])),
        ("an unknown user and database", refused(&[("user", "nosuch"), ("database", "nosuch")])),
        ("a role that may not log in", refused(&[("user", "helper"), ("database", "postgres")])),
    ]);
}

#[test]
fn a_wrong_password_is_refused_alike() {
    same(
        &Script::new()
            .connect()
            .send(&[startup(V3, &[("user", "app_wrong"), ("database", "postgres")])])
            .step(Step::Authenticate)
            .closed(),
    );
}

#[test]
fn names_are_cut_where_postgresql_cuts_them() {
    same(&logs_in(&[startup(
        V3,
        &[("user", "app"), ("database", "postgres"), ("application_name", &"n".repeat(200))],
    )]));
}

#[test]
fn a_login_tells_everything_in_postgresqls_order() {
    same_each([
        ("plain", Script::new().login(&[]).query("select 1")),
        (
            "with parameters",
            Script::new()
                .login(&[("TimeZone", "Japan"), ("application_name", "me"), ("client_encoding", "latin1")])
                .query("select 1"),
        ),
        ("twice", Script::new().login(&[]).step(Step::Leave).client(1).login(&[])),
    ]);
}

#[test]
fn requests_to_cancel_of_any_length_are_closed_without_a_word() {
    let each = |bytes: Vec<u8>| Script::new().connect().send(&[bytes]).closed();
    same_each([
        ("a stranger's", each(cancel_request(1, &[1, 2, 3, 4]))),
        ("no key", each(cancel_request(1, &[]))),
        ("a short key", each(cancel_request(1, &[1]))),
        ("process 0", each(cancel_request(0, &[0; 4]))),
    ]);
}

#[test]
fn a_client_that_leaves_during_the_login_disturbs_nobody() {
    let bytes = startup(V3, WHO);
    let mut script = Script::new().query("select 1");
    for cut in [0, 1, 4, 8, bytes.len() - 1, bytes.len()] {
        script = script.client(1).connect().send(&[bytes[..cut].to_vec()]).step(Step::Vanish);
    }
    same(
        &script
            .client(1)
            .connect()
            .send(&[bytes])
            .until(b'R')
            .step(Step::Vanish)
            .client(0)
            .query("select 'undisturbed'"),
    );
}

#[test]
fn a_query_in_the_packet_of_the_last_proof_is_answered() {
    same(&Script::new().login(&[]).send(&[query("select 'early'"), terminate()]).closed());
}
