//! Logins that are bound to the certificate.

use pgpooler_test_support::{Certified, Message, RawClient, wire};

use super::{Files, certified, over_tls, postgres, psql};
use crate::{options, start};

#[test]
fn libpq_can_insist_on_channel_binding() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "prefer"));
    let told = psql(pooler.port(), "sslmode=require channel_binding=require", "SELECT 'bound'").unwrap();
    assert!(told.contains("bound"), "{told}");
    // and can do without
    psql(pooler.port(), "sslmode=require channel_binding=disable", "SELECT 1").unwrap();
    psql(pooler.port(), "sslmode=disable channel_binding=require", "SELECT 1").unwrap_err();
}

#[test]
fn a_certificate_without_a_hash_is_not_bound_to() {
    let files = Files::new();
    files.certify("pooler", &Certified::self_signed_ed25519("pooler", &["localhost"]).unwrap());
    let pooler = start(&files.clients(options(1), "prefer"));
    psql(pooler.port(), "sslmode=require", "SELECT 1").unwrap();
}

/// The mechanisms that are offered, and what is answered to this choice.
fn choose(port: u16, mechanism: &str, first: &str) -> (Vec<u8>, Message) {
    let mut client = RawClient::connect_tls(port, &over_tls()).unwrap();
    client.send(&wire::startup(196_608, &[("user", "app"), ("database", "postgres")])).unwrap();
    let offered = client.read().unwrap().body;
    let length = (first.len() as u32).to_be_bytes();
    let body = [&wire::cstr(mechanism)[..], &length, first.as_bytes()].concat();
    client.send(&wire::message(b'p', &body)).unwrap();
    (offered, client.read().unwrap())
}

#[test]
fn a_choice_that_does_not_fit_is_refused_as_by_postgresql() {
    let files = Files::new();
    let server = postgres(&certified("server", &["localhost"]), "hostssl");
    let pooler = start(&files.clients(options(1), "prefer"));
    let (plain, plus) = ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS");
    for (mechanism, header) in [
        (plain, "y,,"),
        (plain, "p=tls-server-end-point,,"),
        (plus, "n,,"),
        (plus, "y,,"),
        (plus, "p=tls-unique,,"),
        (plus, "p=tls un\u{1}ique-and-very-long-for-a-channel-binding,,"),
        ("SCRAM-SHA-1", "n,,"),
    ] {
        let [(offered, expected), (ours, heard)] = [server.port(), pooler.port()]
            .map(|port| choose(port, mechanism, &format!("{header}n=,r=clientnonce")));
        assert_eq!(offered, ours);
        let told = |message: &Message| [b'S', b'C', b'M', b'D'].map(|code| message.field(code));
        assert_eq!(told(&expected), told(&heard), "{mechanism} {header}");
    }
}
