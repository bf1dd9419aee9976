//! Messages that no client should send.

use std::io::Write as _;

use pgpooler_test_support::{Login, RawClient, wire};

use super::super::{app, options, server, start, value};
use super::growth;

/// What a client hears to the end of its connection.
fn heard(login: &Login, bytes: &[u8]) -> Vec<u8> {
    let mut client = RawClient::login(login).unwrap();
    client.send(bytes).unwrap();
    client.read_to_end().unwrap()
}

#[test]
fn what_is_owed_comes_before_a_fault_and_an_impossible_length_is_not_answered() {
    let direct = Login::new(server().port(), "app", "app", "postgres");
    let pooler = start(&options(1).setting("workers", "1"));
    let through = pooler.login("app", "app", "postgres");
    let query = wire::query("select 'owed'");
    // the severity and the code; the rest of PostgreSQL's error names its source file
    let tags = |bytes: &[u8]| {
        let (mut rest, mut tags) = (bytes, String::new());
        while let Some((head, behind)) = rest.split_first_chunk::<5>() {
            tags.push(char::from(head[0]));
            rest = &behind[u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4..];
        }
        tags
    };
    for fault in [&b"?\0\0\0\x04"[..], b"Q\0\0\0\x03", b"Q\xff\xff\xff\xff", b"S\0\x01\0\0", b"Q\x40\0\0\0"] {
        let bytes = [&query, fault].concat();
        assert_eq!(tags(&heard(&through, &bytes)), tags(&heard(&direct, &bytes)), "{}", fault.escape_ascii());
    }
    assert_eq!(value(&mut app(&pooler), "select 1"), "1");
}

#[test]
fn a_statement_too_long_to_be_kept_is_refused_in_band_and_costs_no_memory() {
    const LENGTH: usize = 70 << 20;
    let pooler = start(&options(1).setting("workers", "1"));
    let mut client = app(&pooler);
    client.query("select 1").unwrap();
    let (grown, messages) = growth(&pooler, || {
        let mut stream = client.stream();
        let mut head = wire::message(b'P', b"long\0select '");
        head[1..5].copy_from_slice(&((4 + 13 + LENGTH + 4) as u32).to_be_bytes());
        stream.write_all(&head).unwrap();
        let chunk = vec![b'x'; 1 << 20];
        (0..LENGTH >> 20).for_each(|_| stream.write_all(&chunk).unwrap());
        let batch = [wire::bind("", "long", &[]), wire::sync()].concat();
        stream.write_all(&[&b"'\0\0\0"[..], &batch].concat()).unwrap();
        client.read_through(b'Z').unwrap()
    });
    assert_eq!(super::super::sqlstate(&messages).as_deref(), Some("54000"), "{messages:?}");
    assert_eq!(super::super::tags(&messages), "EZ");
    assert!(grown < 1 << 20, "{grown} bytes more");
    assert_eq!(value(&mut client, "select 1"), "1");
}

#[test]
fn a_name_without_an_end_is_a_fault() {
    let pooler = start(&options(1).setting("workers", "1"));
    let mut client = app(&pooler);
    let mut bind = vec![b'B', 0x10, 0, 0, 0];
    bind.resize(200_000, b'x');
    client.send(&bind).unwrap();
    assert!(client.read_to_end().unwrap().windows(5).any(|part| part == b"08P01"));
    assert_eq!(value(&mut app(&pooler), "select 1"), "1");
}
