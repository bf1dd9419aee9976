//! When a server connection may go to another client, and how a conversation ends.

use pgpooler_core::session::{Client, Dirt, Naming, ServerFault, SessionState, Settings};
use pgpooler_core::wire::{SqlState, TransactionStatus};

use super::{Pair, bind, complete, error, execute, message, parse, query, ready, sync};

#[test]
fn a_server_connection_is_kept_while_anything_is_open() {
    let mut pair = Pair::new();
    pair.client_sends(&query("begin")).unwrap();
    assert!(!pair.server.is_clean(), "a reply is owed");
    pair.server_sends(&[complete("BEGIN"), ready(TransactionStatus::InTransaction)].concat()).unwrap();
    assert!(!pair.server.is_clean(), "a transaction is open");
    assert!(pair.server.can_be_tidied());
    pair.client_sends(&query("commit")).unwrap();
    pair.server_sends(&[complete("COMMIT"), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert!(pair.server.is_clean());
    pair.client_sends(&parse("", "select 1")).unwrap();
    pair.server_sends(&message(b'1', b"")).unwrap();
    assert!(!pair.server.is_clean(), "a batch is open");
    pair.client_sends(&sync()).unwrap();
    pair.server_sends(&ready(TransactionStatus::Idle)).unwrap();
    assert!(pair.server.is_clean());
}

#[test]
fn after_an_error_without_a_sync_what_the_client_sends_goes_nowhere() {
    let mut pair = Pair::new();
    pair.client_sends(&[bind("nosuch"), message(b'H', b"")].concat()).unwrap();
    pair.server_sends(&error(SqlState::INVALID_SQL_STATEMENT_NAME, "no")).unwrap();
    assert_eq!(pair.client_got(), "E", "at once, not at the Sync");
    pair.server_got();
    pair.client_sends(&[execute(), query("select 1"), sync()].concat()).unwrap();
    assert_eq!(pair.server_got(), "S");
    pair.server_sends(&ready(TransactionStatus::Idle)).unwrap();
    assert!(pair.server.is_clean());
}

#[test]
fn a_sync_inside_a_copy_in_owes_nothing() {
    let mut pair = Pair::new();
    let begin = [parse("", "copy t from stdin"), bind(""), execute(), sync()].concat();
    pair.client_sends(&begin).unwrap();
    pair.server_sends(&[message(b'1', b""), message(b'2', b""), message(b'G', &[0, 0, 0])].concat()).unwrap();
    pair.client_sends(&[message(b'd', b"1\n"), message(b'c', b""), sync()].concat()).unwrap();
    pair.server_sends(&[complete("COPY 1"), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert_eq!(pair.client_got(), "12GCZ");
    assert!(pair.server.is_clean());
}

#[test]
fn what_a_client_still_sends_after_a_failed_copy_disturbs_nobody() {
    let mut pair = Pair::new();
    pair.client_sends(&query("copy t from stdin")).unwrap();
    pair.server_sends(&message(b'G', &[0, 0, 0])).unwrap();
    pair.client_sends(&message(b'd', b"not a number\n")).unwrap();
    let failed = [error(SqlState::parse(b"22P02").unwrap(), "no number"), ready(TransactionStatus::Idle)];
    pair.server_sends(&failed.concat()).unwrap();
    assert_eq!(pair.client_got(), "GEZ");
    assert!(pair.server.is_clean());
    pair.client_sends(&[message(b'd', b"2\n"), message(b'c', b"")].concat()).unwrap();
    assert!(pair.server.is_clean());
    pair.client_sends(&query("select 1")).unwrap();
    pair.server_sends(&[complete("SELECT 1"), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert_eq!(pair.client_got(), "CZ");
}

#[test]
fn a_server_connection_with_half_a_message_on_it_is_not_clean() {
    for tag in [b'd', b'f', b'H'] {
        let mut pair = Pair::new();
        let whole = message(tag, &[0; 100]);
        pair.client_sends(&whole[..50]).unwrap();
        assert!(!pair.server.is_clean(), "{}", char::from(tag));
        pair.client_sends(&whole[50..]).unwrap();
        assert!(pair.server.is_clean(), "such a message owes nothing");
    }
}

#[test]
fn a_connection_that_a_client_had_to_itself_is_wiped_whatever_it_did() {
    let mut pair = Pair::new();
    pair.client = Client::new(Naming::Own, Settings::default(), SessionState::Pin);
    pair.begin();
    assert_eq!(pair.server.dirt(), Dirt::Statements);
}

#[test]
fn a_reply_that_nothing_asked_for_ends_the_server_connection() {
    let mut pair = Pair::new();
    assert_eq!(pair.server_sends(&complete("SELECT 1")), Err(ServerFault::Unexpected { tag: b'C' }));
}

#[test]
fn terminate_in_the_same_packet_as_a_query_leaves_the_reply_owed() {
    let mut pair = Pair::new();
    pair.client_sends(&[query("select 1"), message(b'X', b"")].concat()).unwrap();
    assert!(pair.client.is_leaving());
    assert_eq!(pair.server_got(), "Q", "the server is not told");
    pair.server_sends(&[complete("SELECT 1"), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert_eq!(pair.client_got(), "CZ");
    assert!(pair.server.is_clean());
}
