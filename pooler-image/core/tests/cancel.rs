//! Cancel keys lead back to their client, and to nobody else.

#![allow(clippy::unwrap_used)] // helpers of tests, which clippy does not recognise as such

use std::net::{IpAddr, Ipv4Addr};

use pgpooler_core::cancel::{CancelKeys, KeyForm, Origin, Owner, Place, Proof};
use pgpooler_core::pool::{ClientId, LoopId};
use pgpooler_core::wire::CancelKey;
use proptest::prelude::*;

const FORMS: [KeyForm; 2] = [KeyForm::Short, KeyForm::Long];

fn keys() -> CancelKeys {
    CancelKeys::derive(b"a secret of the tests")
}

fn place(owner: u16, in_loop: u16, client: u32) -> Place {
    Place { owner: Owner::of_peer_id(owner).unwrap(), in_loop: LoopId(in_loop), client: ClientId(client) }
}

fn changed(key: &CancelKey, bit: usize) -> Option<CancelKey> {
    let mut bytes = [&key.process_id().to_be_bytes(), key.secret()].concat();
    let length = bytes.len();
    bytes[bit / 8 % length] ^= 1 << (bit % 8);
    CancelKey::parse(&bytes).ok()
}

proptest! {
    #[test]
    fn a_key_leads_back_to_its_client(
        owner in 1_u16.., in_loop in 0_u16..64, client in 0_u32..1 << 18, proof: [u8; 16], long: bool,
    ) {
        let place = place(owner, in_loop, client);
        let key = keys().key(place, &Proof::new(proof), FORMS[usize::from(long)]).unwrap();
        prop_assert!(key.process_id() > 0, "clients take it for a signed number");
        prop_assert_eq!(key.secret().len(), if long { 32 } else { 4 });
        let request = keys().read(&key).unwrap();
        prop_assert_eq!((request.place(), request.origin()), (place, Origin::Client));
        prop_assert!(request.is_for(&Proof::new(proof)));
    }

    #[test]
    fn what_is_passed_on_says_the_same_and_shows_nothing_of_the_key(proof: [u8; 16], nonce: [u8; 16], long: bool) {
        let key = keys().key(place(7, 3, 99), &Proof::new(proof), FORMS[usize::from(long)]).unwrap();
        let message = keys().pass_on(&keys().read(&key).unwrap(), nonce).unwrap();
        let shown = message.secret().get(16..).unwrap();
        prop_assert!(!shown.windows(4).any(|window| key.secret().starts_with(window)));
        let request = keys().read(&message).unwrap();
        prop_assert_eq!((request.place(), request.origin()), (place(7, 3, 99), Origin::Peer));
        prop_assert!(request.is_for(&Proof::new(proof)));
    }

    #[test]
    fn no_changed_bit_leaves_a_long_key_or_a_message_of_a_peer_valid(proof: [u8; 16], bit in 0_usize..512) {
        let key = keys().key(place(7, 3, 99), &Proof::new(proof), KeyForm::Long).unwrap();
        prop_assert!(changed(&key, bit).and_then(|key| keys().read(&key)).is_none());
        let message = keys().pass_on(&keys().read(&key).unwrap(), [9; 16]).unwrap();
        prop_assert!(changed(&message, bit).and_then(|key| keys().read(&key)).is_none());
    }

    #[test]
    fn a_short_key_with_a_changed_bit_is_for_nobody_here(proof: [u8; 16], bit in 0_usize..64) {
        let key = keys().key(place(7, 3, 99), &Proof::new(proof), KeyForm::Short).unwrap();
        let request = changed(&key, bit).and_then(|key| keys().read(&key));
        let found = request.is_some_and(|request| {
            request.place() == place(7, 3, 99) && request.is_for(&Proof::new(proof))
        });
        prop_assert!(!found);
    }

    #[test]
    fn no_bytes_are_too_strange_to_be_read(process_id: i32, secret in prop::collection::vec(any::<u8>(), 4..=256)) {
        let request = keys().read(&CancelKey::new(process_id, &secret).unwrap());
        prop_assert!(secret.len() == 4 && process_id > 0 || request.is_none());
    }
}

#[test]
fn the_next_client_in_the_same_place_is_another() {
    for form in FORMS {
        let old = keys().key(place(7, 3, 99), &Proof::new([1; 16]), form).unwrap();
        assert!(!keys().read(&old).unwrap().is_for(&Proof::new([2; 16])), "{form:?}");
    }
}

#[test]
fn another_secret_reads_nothing_of_a_key() {
    let other = CancelKeys::derive(b"another secret");
    let short = keys().key(place(7, 3, 99), &Proof::new([1; 16]), KeyForm::Short).unwrap();
    assert_ne!(other.read(&short).unwrap().place(), place(7, 3, 99));
    let long = keys().key(place(7, 3, 99), &Proof::new([1; 16]), KeyForm::Long).unwrap();
    assert!(other.read(&long).is_none());
    let message = keys().pass_on(&keys().read(&long).unwrap(), [9; 16]).unwrap();
    assert!(other.read(&message).is_none());
}

#[test]
fn a_place_that_keys_cannot_tell_has_no_key() {
    let proof = Proof::new([1; 16]);
    assert!(keys().key(place(1, 64, 0), &proof, KeyForm::Short).is_none());
    assert!(keys().key(place(1, 0, 1 << 18), &proof, KeyForm::Long).is_none());
    assert_eq!(Owner::of_peer_id(0), None);
}

#[test]
fn addresses_name_owners_and_an_address_has_one_name_in_both_notations() {
    let address = Ipv4Addr::new(10, 1, 2, 3);
    let owner = keys().owner_at(IpAddr::V4(address));
    assert_eq!(owner, keys().owner_at(IpAddr::V6(address.to_ipv6_mapped())));
    assert_ne!(owner, keys().owner_at(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 4))));
}
