//! Clients that do not get TLS, and what they are told; where it can be compared, by PostgreSQL too.

use std::time::{Duration, Instant};

use pgpooler_test_support::{Message, Postgres, RawClient, TlsOptions, wire};

use super::{Files, certified, over_tls, postgres};
use crate::{app_login, options, sqlstate, start};

/// PostgreSQL that takes its user `app` over TLS only.
fn strict() -> Postgres {
    postgres(&certified("server", &["localhost"]), "hostssl")
}

/// Code and message, without the file and line of PostgreSQL's source.
fn told(message: &Message) -> (u8, [Option<String>; 4]) {
    (message.tag, [b'S', b'C', b'M', b'D'].map(|code| message.field(code)))
}

fn startup() -> Vec<u8> {
    wire::startup(196_608, &[("user", "app"), ("database", "postgres")])
}

#[test]
fn a_client_without_tls_hears_what_postgresql_would_say() {
    let files = Files::new();
    let (server, pooler) = (strict(), start(&files.clients(options(1), "require")));
    let heard = [server.port(), pooler.port()].map(|port| {
        let mut client = RawClient::connect(port).unwrap();
        client.send(&startup()).unwrap();
        told(&client.read().unwrap())
    });
    assert_eq!(heard[0], heard[1]);
    assert_eq!(heard[1].1[1].as_deref(), Some("28000"));
}

#[test]
fn bytes_behind_an_ssl_request_are_refused_inside_tls() {
    let files = Files::new();
    let (server, pooler) = (strict(), start(&files.clients(options(1), "prefer")));
    let heard = [server.port(), pooler.port()].map(|port| {
        let mut client = RawClient::connect(port).unwrap();
        client.send(&[wire::ssl_request(), startup()].concat()).unwrap();
        assert_eq!(client.read_bytes(1).unwrap(), b"S");
        let mut client = client.secure(&over_tls()).unwrap();
        let heard = told(&client.read().unwrap());
        assert!(client.read_to_end().unwrap().is_empty());
        heard
    });
    assert_eq!(heard[0], heard[1]);
    assert_eq!(heard[1].1[1].as_deref(), Some("08P01"));
}

#[test]
fn requests_for_encryption_inside_tls_are_refused() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "prefer"));
    for request in [wire::ssl_request(), wire::gssenc_request()] {
        let mut client = RawClient::connect_tls(pooler.port(), &over_tls()).unwrap();
        client.send(&request).unwrap();
        assert_eq!(sqlstate(&[client.read().unwrap()]).unwrap(), "0A000");
    }
    // but behind direct TLS they are declined, as PostgreSQL 17 does
    let direct = TlsOptions { direct: true, alpn: vec!["postgresql".to_owned()], ..over_tls() };
    let mut client = RawClient::connect_tls(pooler.port(), &direct).unwrap();
    client.send(&wire::ssl_request()).unwrap();
    assert_eq!(client.read_bytes(1).unwrap(), b"N");
    client.send(&startup()).unwrap();
    assert_eq!(client.read().unwrap().tag, b'R');
}

#[test]
fn direct_tls_needs_alpn_and_a_foreign_protocol_is_refused() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "prefer"));
    let direct = TlsOptions { direct: true, ..over_tls() };
    let mut client = RawClient::connect_tls(pooler.port(), &direct).unwrap();
    let _ = client.send(&startup());
    assert!(client.read().is_err());
    let alpn = || vec!["http/1.1".to_owned()];
    for tls in [TlsOptions { alpn: alpn(), ..direct }, TlsOptions { alpn: alpn(), ..over_tls() }] {
        assert!(RawClient::connect_tls(pooler.port(), &tls).is_err());
    }
}

#[test]
fn direct_tls_to_a_pooler_without_tls_is_closed() {
    let pooler = start(&options(1));
    let direct = TlsOptions { direct: true, alpn: vec!["postgresql".to_owned()], ..over_tls() };
    assert!(RawClient::connect_tls(pooler.port(), &direct).is_err());
}

#[test]
fn a_handshake_that_stops_is_ended_by_the_login_timeout() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "prefer").setting("client_login_timeout", "1"));
    let begun = Instant::now();
    let mut client = RawClient::connect(pooler.port()).unwrap();
    client.send(&wire::ssl_request()).unwrap();
    client.send(&[0x16, 3, 1, 2, 0]).unwrap();
    client.read_to_end().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(900));
    // and the pooler lives on
    RawClient::login(&app_login(&pooler).secure(over_tls())).unwrap();
}

#[test]
fn a_refusal_is_followed_by_the_end_of_tls() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "prefer"));
    let wrong = pooler.login("app", "wrong", "postgres").secure(over_tls());
    let (mut client, messages) = RawClient::login_messages(&wrong).unwrap();
    assert_eq!(sqlstate(&messages).unwrap(), "28P01");
    assert!(client.ends_properly());
}

#[test]
fn garbage_instead_of_tls_ends_the_connection() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "prefer"));
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff], &[0xff; 100], &[0x17, 3, 3, 0, 1, 0]]
    {
        let mut client = RawClient::connect(pooler.port()).unwrap();
        client.send(&wire::ssl_request()).unwrap();
        assert_eq!(client.read_bytes(1).unwrap(), b"S");
        client.send(garbage).unwrap();
        client.stream().shutdown(std::net::Shutdown::Write).unwrap();
        client.read_to_end().unwrap();
    }
    RawClient::login(&app_login(&pooler).secure(over_tls())).unwrap();
}
