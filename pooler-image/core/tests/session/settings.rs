//! What a client has set goes with it to each server connection.

use pgpooler_core::session::{Client, Naming, ServerFault, SessionState, Settings};
use pgpooler_core::wire::{SqlState, TransactionStatus};

use super::{Pair, complete, error, message, query, ready};

#[test]
fn settings_are_brought_over_in_front_of_the_clients_first_bytes_and_nobody_sees_the_replies() {
    let mut pair = Pair::new();
    pair.client = Client::new(
        Naming::Shared,
        Settings::new([("TimeZone".to_owned(), "utc".to_owned())]),
        SessionState::Pin,
    );
    pair.begin();
    pair.client_sends(&query("show timezone")).unwrap();
    assert_eq!(pair.server_got(), "QQ");
    let replayed = [
        message(b'T', &[0, 0]),
        message(b'D', &[0, 0]),
        complete("SELECT 1"),
        message(b'S', b"TimeZone\0UTC\0"),
        ready(TransactionStatus::Idle),
    ];
    pair.server_sends(&replayed.concat()).unwrap();
    assert_eq!(pair.client_got(), "");
    assert_eq!(pair.client.settings().get("timezone"), Some("UTC"), "as the server spells it");
    pair.server_sends(&[complete("SHOW"), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert_eq!(pair.client_got(), "CZ");

    pair.begin();
    assert_eq!(pair.server_got(), "", "the server is there already");
    pair.next_client();
    pair.begin();
    assert!(String::from_utf8_lossy(&pair.to_server).contains("RESET"), "the next client has none of it");
}

#[test]
fn a_refused_setting_ends_the_link_with_the_servers_own_error() {
    let mut pair = Pair::new();
    pair.client = Client::new(
        Naming::Shared,
        Settings::new([("nosuch".to_owned(), "1".to_owned())]),
        SessionState::Pin,
    );
    pair.begin();
    let response = error(SqlState::parse(b"42704").unwrap(), "unrecognized configuration parameter");
    assert_eq!(pair.server_sends(&response), Err(ServerFault::Replay { response: response.clone() }));
}
