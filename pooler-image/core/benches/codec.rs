//! What the codec takes for a transaction: finding messages by their heads, and both directions of an exchange.

#![allow(clippy::redundant_closure_for_method_calls)] // the method has one lifetime where any is asked for

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pgpooler_core::session::{Client, Exchange, Interner, Naming, Outbox, Server, SessionState, Settings};
use pgpooler_core::wire::{Header, TransactionStatus, backend, frontend};

/// Messages of a buffer that is scanned.
const ROWS: usize = 1_000;
const PREPARED_STATEMENTS: usize = 200;

/// A client linked to a server connection.
struct Pair {
    client: Client,
    server: Server,
    interner: Interner,
    to_client: Outbox,
    to_server: Outbox,
}

impl Pair {
    fn new() -> Self {
        Self {
            client: Client::new(Naming::Shared, Settings::default(), SessionState::Pin),
            server: Server::new([]),
            interner: Interner::new([1; 16], Arc::default()),
            to_client: Outbox::default(),
            to_server: Outbox::default(),
        }
    }

    fn exchange<T>(&mut self, act: impl FnOnce(&mut Exchange<'_>) -> T) -> T {
        self.to_client.clear();
        self.to_server.clear();
        act(&mut Exchange {
            client: &mut self.client,
            server: &mut self.server,
            interner: &mut self.interner,
            to_client: &mut self.to_client,
            to_server: &mut self.to_server,
            max_prepared_statements: PREPARED_STATEMENTS,
        })
    }

    /// A whole transaction: link, request, reply, part.
    fn transaction(&mut self, request: &[u8], reply: &[u8]) {
        self.exchange(|exchange| exchange.begin());
        let sent = self.exchange(|exchange| exchange.client_bytes(request));
        assert_eq!(sent, Ok(request.len()));
        let received = self.exchange(|exchange| exchange.server_bytes(reply));
        assert_eq!(received, Ok(reply.len()));
        assert!(self.server.is_clean(), "the transaction has not ended");
        self.server.part(&self.client);
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 4).to_be_bytes();
    [&[tag], length.as_slice(), body].concat()
}

fn bind(statement: &str) -> Vec<u8> {
    message(b'B', &[b"\0", statement.as_bytes(), &[0; 7]].concat())
}

fn execute() -> Vec<u8> {
    message(b'E', &[0; 5])
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

fn parse(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::parse(&mut out, name, "SELECT 1", &[]);
    out
}

fn query() -> Vec<u8> {
    let mut out = Vec::new();
    frontend::query(&mut out, "SELECT 1");
    out
}

fn rows(count: usize) -> Vec<u8> {
    let mut out = message(b'D', b"\0\x01\0\0\0\x011").repeat(count);
    backend::command_complete(&mut out, format!("SELECT {count}"));
    backend::ready_for_query(&mut out, TransactionStatus::Idle);
    out
}

fn columns() -> Vec<u8> {
    message(b'T', b"\0\x01?column?\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0")
}

fn heads(criterion: &mut Criterion) {
    let buffer = rows(ROWS);
    let mut group = criterion.benchmark_group("heads");
    group.throughput(Throughput::Elements(ROWS as u64 + 2));
    group.bench_function("of a thousand rows", |bencher| {
        bencher.iter(|| {
            let (mut rest, mut found) = (black_box(&buffer[..]), 0_usize);
            while let Ok(Some(header)) = Header::parse(rest) {
                rest = rest.get(header.total()..).unwrap_or_default();
                found += 1;
            }
            found
        });
    });
    group.finish();
}

/// `SELECT 1` in each protocol, and a result of a thousand rows.
fn transactions(criterion: &mut Criterion) {
    let complete = |tag| message(tag, b"");
    let extended = [parse(""), bind(""), message(b'D', b"P\0"), execute(), sync()].concat();
    let described = [complete(b'1'), complete(b'2'), columns(), rows(1)].concat();
    let cases = [
        ("simple", query(), [columns(), rows(1)].concat()),
        ("extended", extended, described),
        ("prepared", [bind("s1"), execute(), sync()].concat(), [complete(b'2'), rows(1)].concat()),
        ("thousand rows", query(), [columns(), rows(ROWS)].concat()),
    ];
    let mut group = criterion.benchmark_group("transaction");
    for (name, request, reply) in cases {
        let mut pair = Pair::new();
        let prepared = [parse("s1"), sync()].concat();
        // the pooler asks for the description of a statement that it has not seen
        let mut answer = [complete(b'1'), message(b't', &[0, 0]), columns()].concat();
        backend::ready_for_query(&mut answer, TransactionStatus::Idle);
        pair.transaction(&prepared, &answer);
        group.bench_function(name, |bencher| {
            bencher.iter(|| pair.transaction(black_box(&request), black_box(&reply)));
        });
    }
    group.finish();
}

criterion_group!(codec, heads, transactions);
criterion_main!(codec);
