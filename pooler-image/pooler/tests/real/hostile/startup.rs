//! What is no startup packet, or not a whole one.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use pgpooler_test_support::wire;

use super::super::{options, server};
use super::{connect_from, lines, metric, raise_file_limit, start, with_tls, work_honestly};

const PATIENCE: Duration = Duration::from_secs(20);

/// A packet that says to be so long, with these bytes behind.
fn packet(length: u32, rest: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], rest].concat()
}

/// Packets that PostgreSQL ends the connection for, mostly without a word.
fn packets() -> Vec<Vec<u8>> {
    let version = 196_608_u32.to_be_bytes();
    let mut all: Vec<_> = [0, 1, 3, 4, 7, 10_005, 0x7fff_ffff, 0x8000_0000, u32::MAX]
        .into_iter()
        .map(|length| packet(length, &[&version[..], &[b'x'; 32]].concat()))
        .collect();
    all.extend([
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x00\x05hello, TLS?".to_vec(),
        // no terminator; a name without a value; bytes behind the terminator
        packet(13, &[&version[..], b"user\0"].concat()),
        packet(14, &[&version[..], b"user\0\0"].concat()),
        packet(9, &[&version[..], &[0]].concat()),
        packet(25, &[&version[..], b"user\0app\0\0behind\0"].concat()),
        // cancel requests without a key, with too much of one, of nobody
        packet(8, &80_877_102_u32.to_be_bytes()),
        packet(9_999, &[&80_877_102_u32.to_be_bytes()[..], &[7; 9_991]].concat()),
        wire::cancel_request(1, b"none"),
    ]);
    all
}

/// What the other side says until the end of the connection, but for the lines of its source.
fn answer(port: u16, bytes: &[u8]) -> Vec<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // it may have ended before all was sent
    let _ = stream.write_all(bytes);
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{bytes:?}"),
    }
    let fields = heard.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    fields.filter(|field| matches!(field.chars().next(), Some('C' | 'M' | 'S'))).map(String::from).collect()
}

#[test]
fn what_is_no_startup_packet_ends_as_at_postgresql_s_door() {
    let pooler = start(&options(1));
    for bytes in packets() {
        assert_eq!(answer(pooler.port(), &bytes), answer(server().port(), &bytes), "{bytes:?}");
    }
    work_honestly(&pooler, 3);
}

#[test]
fn a_thousand_packets_that_claim_to_be_large_take_no_memory_for_it_and_a_few_lines() {
    raise_file_limit();
    let pooler = start(&options(1).setting("max_failed_logins_per_address", "0"));
    work_honestly(&pooler, 3);
    let claims = [packet(0x7fff_ffff, b"x"), packet(10_000, b"x")];
    let (grown, open) = super::super::flow::growth(&pooler, || {
        let connect = |n: usize| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, pooler.port())).unwrap();
            stream.write_all(&claims[n % 2]).unwrap();
            stream
        };
        let open: Vec<_> = (0..1_000).map(connect).collect();
        work_honestly(&pooler, 3);
        open
    });
    assert!(grown < 8 << 20, "{grown} bytes");
    assert_eq!(metric(&pooler, "pgpooler_client_login_failures_total{reason=\"protocol\"}"), 500);
    assert_eq!(lines(&pooler, "login failed"), 5);
    assert_eq!(lines(&pooler, "invalid length of startup packet: 2147483647"), 5);
    drop(open);
}

#[test]
fn a_hello_of_tls_is_no_longer_than_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let pooler = start(&with_tls(options(1), folder.path()));
    // a record of 16 KB, and in it a ClientHello of nearly as many
    let front = [0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb, 3, 3];
    let mut stream = connect_from(2, &pooler);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[&front[..], &[b'x'; 9_000]].concat()).unwrap();
    match stream.read(&mut [0]) {
        Ok(length) => assert_eq!(length, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    assert_eq!(metric(&pooler, "pgpooler_client_login_failures_total{reason=\"tls\"}"), 1);
    assert_eq!(lines(&pooler, "ClientHello too long"), 1);
}
