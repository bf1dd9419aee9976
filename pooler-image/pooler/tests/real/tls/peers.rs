//! Poolers among each other.

use pgpooler_test_support::{RawClient, wire};

use super::super::cancel::{assert_canceled, cancel, key_of, sleep};
use super::super::peers::shared;
use super::super::{app, app_login, start};
use super::{Files, over_tls, record};

#[test]
fn what_a_peer_is_told_goes_over_tls_where_the_poolers_offer_it() {
    let (files, shared) = (Files::new(), shared());
    let owner = start(&files.clients(shared.peer(1), "require"));
    let (port, records) = record(owner.port());
    let other = start(&files.clients(shared.peer_with(2, &[(1, port)]), "require"));
    let mut client = RawClient::login(&app_login(&owner).secure(over_tls())).unwrap();
    sleep(&mut client, "peers over TLS");
    cancel(&other, &key_of(&client));
    assert_canceled(&client.read_through(b'Z').unwrap());
    let records = records.lock().unwrap();
    assert_eq!(records.len(), 1);
    assert!(records[0].starts_with(&wire::ssl_request()));
    // a TLS record of the handshake follows
    assert_eq!(records[0][8], 0x16);
}

#[test]
fn a_peer_that_offers_no_tls_yet_is_told_without() {
    let (files, shared) = (Files::new(), shared());
    let owner = start(&shared.peer(1));
    let other = start(&files.clients(shared.peer_with(2, &[(1, owner.port())]), "require"));
    let mut client = app(&owner);
    sleep(&mut client, "peer without TLS");
    cancel(&other, &key_of(&client));
    assert_canceled(&client.read_through(b'Z').unwrap());
}
