//! Messages as sockets cut them.

use pgpooler_core::wire::{SqlState, TransactionStatus};

use super::{Pair, bind, complete, error, execute, message, parse, parsed, query, ready, sync};

/// A conversation that uses every kind of bookkeeping.
fn conversation() -> Vec<(Vec<u8>, Vec<u8>)> {
    vec![
        (query("begin"), [complete("BEGIN"), ready(TransactionStatus::InTransaction)].concat()),
        ([parse("s", "select 1"), bind("s"), execute(), sync()].concat(), {
            let rows = message(b'D', &vec![7; 3000]);
            [parsed(), message(b'2', b""), rows, complete("SELECT 1")].concat()
        }),
        (vec![], ready(TransactionStatus::InTransaction)),
        (query("commit"), [complete("COMMIT"), ready(TransactionStatus::Idle)].concat()),
        ([bind("s"), execute(), message(b'C', b"Ss\0"), sync()].concat(), {
            [message(b'2', b""), complete("SELECT 1"), ready(TransactionStatus::Idle)].concat()
        }),
        ([bind("nosuch"), execute(), sync()].concat(), {
            [error(SqlState::INVALID_SQL_STATEMENT_NAME, "no"), ready(TransactionStatus::Idle)].concat()
        }),
        (
            query("set x = 1"),
            [message(b'S', b"TimeZone\0UTC\0"), complete("SET"), ready(TransactionStatus::Idle)].concat(),
        ),
    ]
}

/// Feeds `bytes` in chunks of `size`, as sockets may.
fn feed(pair: &mut Pair, bytes: &[u8], size: usize, act: impl Fn(&mut Pair, &[u8]) -> usize) {
    let mut carry = Vec::new();
    for chunk in bytes.chunks(size) {
        carry.extend_from_slice(chunk);
        let dealt_with = act(pair, &carry);
        carry.drain(..dealt_with);
    }
    assert!(carry.is_empty());
}

#[test]
fn messages_cut_anywhere_come_out_the_same() {
    let run = |size: usize| {
        let mut pair = Pair::new();
        for (sent, replied) in conversation() {
            feed(&mut pair, &sent, size, |pair, bytes| pair.client_sends(bytes).unwrap());
            feed(&mut pair, &replied, size, |pair, bytes| pair.server_sends(bytes).unwrap());
        }
        assert!(pair.server.is_clean());
        (pair.to_client, pair.to_server)
    };
    let whole = run(usize::MAX);
    for size in (1..64).chain([100, 1000, 2999, 3001]) {
        assert_eq!(run(size), whole, "cut every {size} bytes");
    }
}
