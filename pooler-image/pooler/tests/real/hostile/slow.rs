//! Clients that send a byte at a time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pgpooler_test_support::{RawClient, wire};

use super::super::{app, options, sqlstate, value};
use super::{app_startup, connect_from, metric, start, with_tls, work_honestly};

const PATIENCE: Duration = Duration::from_secs(30);

/// More than is kept of a message that is not whole.
const LENGTH: usize = 400_000;

/// Sends a byte now and then until the connection ends. What was heard.
fn trickle(mut stream: TcpStream, bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut heard = Vec::new();
    for byte in bytes {
        assert!(begun.elapsed() < PATIENCE, "it goes on and on");
        let sent = stream.write_all(&[byte]);
        let mut chunk = [0; 1024];
        match stream.read(&mut chunk) {
            Ok(0) => return heard,
            Ok(length) => heard.extend_from_slice(&chunk[..length]),
            Err(_) if sent.is_ok() => {}
            Err(_) => return heard,
        }
    }
    panic!("the bytes did not suffice");
}

#[test]
fn a_login_of_one_byte_at_a_time_ends_with_the_time_for_logins_whatever_it_sends() {
    let folder = tempfile::tempdir().unwrap();
    let options = with_tls(options(1).setting("client_login_timeout", "\"1s\""), folder.path());
    let pooler = start(&options);
    let startup = wire::startup(196_608, &[("user", "app"), ("database", &"x".repeat(9_000))]);
    // a record of TLS that says to be long; a password that does
    let hello = [&[0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb, 3, 3][..], &[0; 16_000]].concat();
    let password = [&b"p\0\0\x03\xe8"[..], &[b'x'; 1_000]].concat();
    thread::scope(|scope| {
        let bytes = [startup, hello.clone(), [wire::ssl_request(), hello].concat()];
        let mut all: Vec<_> = bytes
            .into_iter()
            .map(|bytes| scope.spawn(|| trickle(connect_from(2, &pooler), bytes.into_iter())))
            .collect();
        all.push(scope.spawn(|| {
            let mut stream = connect_from(2, &pooler);
            stream.write_all(&app_startup()).unwrap();
            trickle(stream, password.into_iter())
        }));
        let heard: Vec<_> = all.into_iter().map(|one| one.join().unwrap()).collect();
        for n in [0, 3] {
            assert!(String::from_utf8_lossy(&heard[n]).contains("C57014"), "{n}: {heard:?}");
        }
    });
    assert_eq!(metric(&pooler, "pgpooler_client_login_failures_total{reason=\"timeout\"}"), 4);
    work_honestly(&pooler, 3);
}

/// A client that sends `head`, then a byte of `x` now and then, while another works.
fn assert_others_work(mut slow: RawClient, head: &[u8], other: &mut RawClient) -> Vec<u8> {
    slow.send(head).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let trickling = scope.spawn(|| {
            let more = std::iter::repeat(b'x').take_while(|_| !over.load(Ordering::Relaxed));
            trickle_while(slow.stream().try_clone().unwrap(), more)
        });
        for n in 0..50 {
            assert_eq!(value(other, &format!("select {n}")), n.to_string());
        }
        over.store(true, Ordering::Relaxed);
        trickling.join().unwrap()
    })
}

/// As [`trickle`], until the bytes end.
fn trickle_while(mut stream: TcpStream, bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut heard = Vec::new();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    for byte in bytes {
        let mut chunk = [0; 1024];
        if stream.write_all(&[byte]).is_err() {
            return heard;
        }
        match stream.read(&mut chunk) {
            Ok(0) => return heard,
            Ok(length) => heard.extend_from_slice(&chunk[..length]),
            Err(_) => {}
        }
    }
    heard
}

/// The front of a message that says to be so long.
fn front(tag: u8, length: u32, rest: &[u8]) -> Vec<u8> {
    [&[tag][..], &length.to_be_bytes(), rest].concat()
}

#[test]
fn a_query_of_one_byte_at_a_time_takes_no_server_connection_before_it_is_whole() {
    let pooler = start(&options(1));
    let mut other = app(&pooler);
    let slow = app(&pooler);
    let heard = assert_others_work(slow, &front(b'Q', 200_000, b"select '"), &mut other);
    assert!(heard.is_empty());
}

#[test]
fn a_message_too_large_to_be_kept_must_go_on_or_its_client_is_closed_and_the_server_connection_with_it() {
    for (tag, rest) in [(b'Q', &b"select '"[..]), (b'B', b"\0\0\0\0\0\x01"), (b'F', b"\0\0\0\x01")] {
        let pooler = start(&options(1).setting("client_message_timeout", "\"1s\""));
        let (slow, mut other) = (app(&pooler), app(&pooler));
        let heard = assert_others_work(slow, &front(tag, 500_000, rest), &mut other);
        assert!(String::from_utf8_lossy(&heard).contains("client_message_timeout"), "{tag}: {heard:?}");
    }
}

#[test]
fn a_slow_message_that_goes_on_is_waited_for() {
    let pooler = start(&options(1).setting("client_message_timeout", "\"1s\""));
    let mut slow = app(&pooler);
    slow.send(&front(b'Q', LENGTH as u32 + 15, b"select '")).unwrap();
    // as many seconds as there are pieces, about
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(500));
        slow.send(&vec![b'x'; LENGTH / 8]).unwrap();
    }
    slow.send(b"';\0").unwrap();
    let told = slow.read_through(b'Z').unwrap();
    assert_eq!(sqlstate(&told), None);
    assert_eq!(told[1].columns()[0].len(), LENGTH);
}
