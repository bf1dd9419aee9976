//! Statement mode: one statement at a time, and no transaction blocks.

use pgpooler_core::session::{Client, Naming, SessionState, Settings, Unit};
use pgpooler_core::wire::{SqlState, TransactionStatus};

use super::{Pair, bind, complete, error, execute, message, parse, query, ready, sync};

fn pair() -> Pair {
    let client = Client::new(Naming::Shared, Settings::default(), SessionState::Pin).by(Unit::Statement);
    Pair { client, ..Pair::new() }
}

#[test]
fn the_next_statement_is_not_sent_before_the_first_is_answered() {
    let mut pair = pair();
    let first = [parse("", "select 1"), bind(""), execute(), sync()].concat();
    let both = [first.clone(), query("select 2")].concat();
    assert_eq!(pair.client_sends(&both).unwrap(), first.len());
    assert_eq!(pair.server_got(), "PBES");
    assert!(pair.server.is_waiting() && pair.server.holds_statement_back());
    let replies = [message(b'1', b""), message(b'2', b""), complete("SELECT 0")].concat();
    pair.server_sends(&[replies, ready(TransactionStatus::Idle)].concat()).unwrap();
    assert!(pair.server.may_part(), "the connection goes back between the two");
    assert_eq!(pair.client_got(), "12CZ");
}

#[test]
fn whoever_keeps_the_connection_goes_on_with_the_next_statement() {
    let mut pair = pair();
    let both = [query("listen x"), query("select 2")].concat();
    let read = pair.client_sends(&both).unwrap();
    assert_eq!(pair.server_got(), "Q");
    pair.server_sends(&[complete("LISTEN"), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert!(pair.server.may_resume());
    pair.client_sends(&both[read..]).unwrap();
    assert!(pair.server_got().ends_with('Q'));
    assert!(!pair.server.holds_statement_back());
}

#[test]
fn a_transaction_block_ends_its_client_without_a_ready_for_query() {
    for (text, tag, status) in [
        ("begin", "BEGIN", TransactionStatus::InTransaction),
        ("begin; select 1/0", "BEGIN", TransactionStatus::Failed),
    ] {
        let mut pair = pair();
        pair.client_sends(&[query(text), query("delete from t")].concat()).unwrap();
        assert!(!pair.server.is_in_block_of(&pair.client), "not before it is answered");
        pair.server_sends(&[complete(tag), ready(status)].concat()).unwrap();
        assert!(pair.server.is_in_block_of(&pair.client));
        assert_eq!((pair.server_got().as_str(), pair.client_got().as_str()), ("Q", "C"));
        assert!(!pair.server.may_part() && pair.server.can_be_tidied());
    }
}

#[test]
fn a_block_that_ends_in_its_text_is_one_statement() {
    let mut pair = pair();
    pair.client_sends(&query("begin; select 1; commit")).unwrap();
    let replies = [complete("BEGIN"), complete("SELECT 0"), complete("COMMIT")].concat();
    pair.server_sends(&[replies, ready(TransactionStatus::Idle)].concat()).unwrap();
    assert!(pair.server.may_part());
    assert_eq!(pair.client_got(), "CCCZ");
}

#[test]
fn copy_data_sent_ahead_is_read_when_the_copy_has_begun() {
    let mut pair = pair();
    let data = [message(b'd', b"1\n"), message(b'c', b""), query("select 1")].concat();
    let all = [query("copy t from stdin"), data.clone()].concat();
    let read = pair.client_sends(&all).unwrap();
    assert_eq!((pair.server_got().as_str(), read), ("Q", all.len() - data.len()));
    pair.server_sends(&message(b'G', &[0, 0, 0])).unwrap();
    assert!(pair.server.may_resume());
    pair.client_sends(&all[read..]).unwrap();
    assert_eq!(pair.server_got(), "dc", "the next statement still waits");
    pair.server_sends(&[complete("COPY 1"), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert!(pair.server.may_part() && pair.server.holds_statement_back());
}

#[test]
fn after_a_copy_that_does_not_begin_the_connection_goes_back() {
    let mut pair = pair();
    let all = [query("copy nosuch from stdin"), message(b'd', b"1\n")].concat();
    pair.client_sends(&all).unwrap();
    let failed = error(SqlState::parse(b"42P01").unwrap(), "no");
    pair.server_sends(&[failed, ready(TransactionStatus::Idle)].concat()).unwrap();
    assert!(pair.server.may_part());
    assert_eq!(pair.client_got(), "EZ");
}
