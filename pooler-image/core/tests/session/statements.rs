//! Prepared statements: whose they are, and which server connection has them.

use pgpooler_core::session::Server;
use pgpooler_core::wire::{ErrorResponse, SqlState, TransactionStatus};

use super::{Pair, bind, described, error, execute, executed, message, parse, parsed, ready, sync};

#[test]
fn a_parse_is_the_servers_to_answer_and_clients_share_what_it_left() {
    let mut pair = Pair::new();
    let batch = [parse("a", "select 1"), bind("a"), execute(), sync()].concat();
    pair.client_sends(&batch).unwrap();
    assert_eq!(pair.server_got(), "PDBES");
    pair.server_sends(&[parsed(), executed()[5..].to_vec()].concat()).unwrap();
    assert_eq!(pair.client_got(), "12CZ");

    let first = pair.next_client();
    let batch = [parse("other name", "select 1"), bind("other name"), execute(), sync()].concat();
    pair.client_sends(&batch).unwrap();
    assert_eq!(pair.server_got(), "CPDBES", "parsed anew: its tables may have changed");
    pair.server_sends(&[message(b'3', b""), parsed(), executed()[5..].to_vec()].concat()).unwrap();
    assert_eq!(pair.client_got(), "12CZ");
    assert_eq!(pair.server.statement_count(), 1);

    pair.client = first;
    pair.client_sends(&[bind("a"), execute(), sync()].concat()).unwrap();
    assert_eq!(pair.server_got(), "BES", "what is newer than the client's own is good for it");
    pair.server_sends(&executed()[5..]).unwrap();
    assert_eq!(pair.client_got(), "2CZ");
    assert!(pair.server.is_clean());
}

#[test]
fn a_server_that_prepared_a_statement_before_a_client_did_prepares_it_anew() {
    let mut pair = Pair::new();
    let batch = [parse("a", "select 1"), sync()].concat();
    pair.client_sends(&batch).unwrap();
    pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.next_client();
    let old = std::mem::replace(&mut pair.server, Server::new([]));
    pair.client_sends(&batch).unwrap();
    pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.server = old;
    pair.server_got();
    pair.client_got();
    let batch = [bind("a"), execute(), sync()].concat();
    assert_eq!(pair.client_sends(&batch), Ok(0), "its rows may look different by now");
    assert_eq!(pair.server_got(), "CPDH");
    pair.server_sends(&[message(b'3', b""), parsed()].concat()).unwrap();
    assert!(pair.server.may_resume());
    assert_eq!(pair.client_sends(&batch), Ok(batch.len()));
    assert_eq!(pair.server_got(), "BES");
    pair.server_sends(&executed()[5..]).unwrap();
    assert_eq!(pair.client_got(), "2CZ");
}

#[test]
fn a_client_never_reads_rows_by_a_description_that_no_longer_fits() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("a", "select * from t"), sync()].concat()).unwrap();
    pair.server_sends(&[described(23), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.server = Server::new([]);
    pair.server_got();
    pair.client_got();
    for round in 0..2 {
        let batch = [bind("a"), execute(), sync()].concat();
        let mut read = pair.client_sends(&batch).unwrap();
        if round == 0 {
            assert_eq!((read, pair.server_got().as_str()), (0, "PDH"));
            pair.server_sends(&described(25)).unwrap();
            read = pair.client_sends(&batch).unwrap();
        }
        assert_eq!((read, pair.server_got().as_str()), (batch.len(), "BES"));
        let unknown = error(SqlState::INVALID_SQL_STATEMENT_NAME, "no such statement");
        pair.server_sends(&[unknown, ready(TransactionStatus::Idle)].concat()).unwrap();
        let told = String::from_utf8_lossy(&pair.to_client).into_owned();
        assert!(
            told.contains("0A000") && told.contains("cached plan must not change result type"),
            "{told:?}"
        );
        assert!(told.contains("\0RRevalidateCachedQuery\0"), "drivers go by it: {told:?}");
        assert_eq!(pair.client_got(), "EZ");
    }
}

#[test]
fn a_statement_that_a_server_lacks_is_prepared_there_and_nobody_sees_it() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("a", "select 1"), sync()].concat()).unwrap();
    pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.server = Server::new([]);
    pair.server_got();
    pair.client_got();

    let batch = [bind("a"), execute(), sync()].concat();
    assert_eq!(pair.client_sends(&batch), Ok(0));
    assert_eq!(pair.server_got(), "PDH");
    pair.server_sends(&parsed()).unwrap();
    pair.client_sends(&batch).unwrap();
    assert_eq!(pair.server_got(), "BES");
    pair.server_sends(&executed()[5..]).unwrap();
    assert_eq!(pair.client_got(), "2CZ");
}

#[test]
fn one_client_cannot_reach_the_statement_of_another_by_the_name_that_we_gave_it() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("a", "select secret"), sync()].concat()).unwrap();
    pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.to_server.clear();
    pair.next_client();
    pair.client_sends(&[bind("_p0"), execute(), sync()].concat()).unwrap();
    let sent = String::from_utf8_lossy(&pair.to_server).into_owned();
    assert!(sent.contains("_p0 \0"), "{sent:?}");
}

#[test]
fn the_unnamed_statement_of_a_client_comes_back_to_it_after_another_client() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("", "select 'mine'"), sync()].concat()).unwrap();
    pair.server_sends(&[message(b'1', b""), ready(TransactionStatus::Idle)].concat()).unwrap();
    let first = pair.next_client();
    pair.client_sends(&[parse("", "select 'yours'"), sync()].concat()).unwrap();
    pair.server_sends(&[message(b'1', b""), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.client = first;
    pair.to_server.clear();
    pair.to_client.clear();

    pair.client_sends(&[bind(""), execute(), sync()].concat()).unwrap();
    assert!(String::from_utf8_lossy(&pair.to_server).contains("select 'mine'"));
    assert_eq!(pair.server_got(), "PBES");
    pair.server_sends(&executed()).unwrap();
    assert_eq!(pair.client_got(), "2CZ");
}

#[test]
fn a_client_without_an_unnamed_statement_does_not_get_somebody_elses() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("", "select 'yours'"), sync()].concat()).unwrap();
    pair.server_sends(&[message(b'1', b""), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.next_client();
    pair.server_got();
    pair.client_got();
    pair.client_sends(&[bind(""), sync()].concat()).unwrap();
    assert_eq!(pair.server_got(), "CBS", "it is closed first");
    let replies = [
        message(b'3', b""),
        error(SqlState::INVALID_SQL_STATEMENT_NAME, "unnamed"),
        ready(TransactionStatus::Idle),
    ];
    pair.server_sends(&replies.concat()).unwrap();
    assert_eq!(pair.client_got(), "EZ");
}

#[test]
fn a_failed_parse_leaves_the_name_free() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("a", "select 1 from nosuch"), bind("a"), sync()].concat()).unwrap();
    let replies =
        [error(SqlState::parse(b"42601").unwrap(), "syntax"), ready(TransactionStatus::Idle)].concat();
    pair.server_sends(&replies).unwrap();
    assert_eq!(pair.client_got(), "EZ");
    pair.server_got();
    pair.client_sends(&[parse("a", "select 1"), sync()].concat()).unwrap();
    assert_eq!(pair.server_got(), "PDS");
    pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert_eq!(pair.client_got(), "1Z");
}

#[test]
fn a_parse_that_the_server_skipped_never_happened() {
    let mut pair = Pair::new();
    pair.client_sends(&[bind("nosuch"), parse("a", "select 1"), sync()].concat()).unwrap();
    let replies =
        [error(SqlState::INVALID_SQL_STATEMENT_NAME, "no"), ready(TransactionStatus::Idle)].concat();
    pair.server_sends(&replies).unwrap();
    assert_eq!(pair.client_got(), "EZ");
    assert_eq!(pair.client.statement_count(), 0);
    assert_eq!(pair.server.statement_count(), 0);
}

#[test]
fn the_error_for_a_name_that_is_taken_names_it_as_the_client_does() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("mine", "select 1"), sync()].concat()).unwrap();
    pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.client_got();
    pair.client_sends(&[parse("mine", "select 2"), sync()].concat()).unwrap();
    let duplicate =
        ErrorResponse::error(SqlState::parse(b"42P05").unwrap(), "prepared statement \"_p0\" already exists");
    pair.server_sends(&[duplicate.to_bytes(), ready(TransactionStatus::Idle)].concat()).unwrap();
    let told = String::from_utf8_lossy(&pair.to_client).into_owned();
    assert!(told.contains("prepared statement \"mine\" already exists"), "{told:?}");
    assert_eq!(pair.client_got(), "EZ");
    assert_eq!(pair.client.statement_count(), 1);
}

#[test]
fn statements_beyond_the_limit_are_closed_the_least_recently_used_first() {
    let mut pair = Pair::new();
    pair.max_prepared_statements = 2;
    for name in ["a", "b"] {
        pair.client_sends(&[parse(name, &format!("select '{name}'")), sync()].concat()).unwrap();
        pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    }
    pair.server_got();
    pair.client_sends(&[parse("c", "select 'c'"), sync()].concat()).unwrap();
    assert_eq!(pair.server_got(), "CPDS");
    pair.client_got();
    let replies = [message(b'3', b""), parsed(), ready(TransactionStatus::Idle)].concat();
    pair.server_sends(&replies).unwrap();
    assert_eq!(pair.client_got(), "1Z");
    assert_eq!(pair.server.statement_count(), 2);
}
