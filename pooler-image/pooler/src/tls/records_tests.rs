use std::sync::Arc;

use pgpooler_config::{Document, TlsMode};
use pgpooler_test_support::Authority;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, SupportedProtocolVersion};

use super::*;
use crate::tls::{Tls, provider};
use pgpooler_trust::{Trust, Verifier};

static VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&rustls::version::TLS13], &[&rustls::version::TLS12]];

fn tls() -> Tls {
    let folder = tempfile::tempdir().unwrap();
    let certified = Authority::new("authority").unwrap().certify("pooler", &["localhost"]).unwrap();
    let (certificate, key) = certified.write(folder.path(), "pooler").unwrap();
    let document = Document {
        client_tls_sslmode: TlsMode::Prefer,
        client_tls_cert_file: Some(certificate),
        client_tls_key_file: Some(key),
        ..Document::default()
    };
    Tls::load(&document, folder.path(), &|path| std::fs::read(path)).unwrap()
}

fn client(versions: &[&'static SupportedProtocolVersion]) -> Records {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(Trust::Anybody, &provider)))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = UnbufferedClientConnection::new(Arc::new(config), name).unwrap();
    Records::new(Side::Client(connection), Vec::new())
}

fn server(tls: &Tls) -> Records {
    tls.clients.as_ref().unwrap().session(Vec::new()).unwrap().records
}

/// Gives bytes to a side, so many at once.
fn receive(side: &mut Records, bytes: &[u8], at_once: usize) -> io::Result<()> {
    for part in bytes.chunks(at_once) {
        let mut sealed = [&side.sealed[..], part].concat();
        side.open(&mut sealed, &mut ReadBuf::new(&mut []))?;
    }
    Ok(())
}

fn is_done(side: &Records) -> bool {
    !side.state().is_handshaking()
}

/// Both sides' flights, in turns, until both are done or one has had enough. What `change` makes of each byte arrives.
fn handshake(
    (client, server): (&mut Records, &mut Records),
    at_once: usize,
    mut change: impl FnMut(usize, &mut u8),
) -> io::Result<()> {
    client.open_kept()?;
    let mut count = 0;
    let mut flight = |from: &mut Records, to: &mut Records| {
        let mut bytes = std::mem::take(&mut from.unsent);
        for byte in &mut bytes {
            change(count, byte);
            count += 1;
        }
        receive(to, &bytes, at_once)
    };
    for _ in 0..6 {
        flight(client, server)?;
        flight(server, client)?;
    }
    if is_done(client) && is_done(server) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn sealed(side: &mut Records, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let length = side.seal(plain, &mut out).unwrap();
    out.truncate(length);
    out
}

#[test]
fn a_handshake_and_data_may_come_in_pieces_of_any_size() {
    let tls = tls();
    for versions in VERSIONS {
        for at_once in [1, 2, 3, 5, 7, 64, 1000, 100_000] {
            let (mut client, mut server) = (client(versions), server(&tls));
            handshake((&mut client, &mut server), at_once, |_, _| {}).unwrap();
            assert!(server.sealed.is_empty() && client.sealed.is_empty());
            let record = sealed(&mut client, &vec![7; 20_000]);
            receive(&mut server, &record, at_once).unwrap();
            assert_eq!(server.opened, vec![7; 20_000]);
        }
    }
}

#[test]
fn a_byte_changed_on_the_way_is_noticed_and_nothing_panics_afterwards() {
    let tls = tls();
    for (versions, mask) in
        VERSIONS.iter().flat_map(|versions| [0x01, 0x20, 0xff].map(|mask| (versions, mask)))
    {
        let (mut total, mut undetected) = (0, 0);
        handshake((&mut client(versions), &mut server(&tls)), 100_000, |_, _| total += 1).unwrap();
        for at in 0..total {
            let (mut client, mut server) = (client(versions), server(&tls));
            let outcome = handshake((&mut client, &mut server), 100_000, |count, byte| {
                if count == at {
                    *byte ^= mask;
                }
            });
            undetected += u32::from(outcome.is_ok());
            for side in [&mut client, &mut server] {
                let _ = side.seal(b"hello", &mut Vec::new());
                side.say_goodbye();
                let _ = side.open_kept();
            }
        }
        // the version that a record's head tells is not looked at, nor is a change of cipher spec in TLS 1.3
        assert!(undetected < 20, "{undetected} of {total}");
    }
}

#[test]
fn a_side_that_has_half_a_message_can_still_write_and_say_goodbye() {
    let tls = tls();
    let mut client = client(VERSIONS[0]);
    client.open_kept().unwrap();
    let hello = std::mem::take(&mut client.unsent);
    // the same message in records of ten bytes
    let fragments: Vec<Vec<u8>> =
        hello[5..].chunks(10).map(|part| [&[0x16, 3, 1, 0, part.len() as u8], part].concat()).collect();
    for count in 1..fragments.len() {
        let mut server = server(&tls);
        receive(&mut server, &fragments[..count].concat(), 100_000).unwrap();
        assert!(server.seal(b"too late", &mut Vec::new()).is_err());
        server.say_goodbye();
        receive(&mut server, &fragments[count..].concat(), 7).unwrap();
        assert!(!server.unsent.is_empty(), "the answer to a whole ClientHello");
    }
}

#[test]
fn after_a_fault_nothing_is_opened_and_an_alert_is_sent() {
    let tls = tls();
    let (mut client, mut server) = (client(VERSIONS[0]), server(&tls));
    handshake((&mut client, &mut server), 100_000, |_, _| {}).unwrap();
    let (mut first, second) = (sealed(&mut client, b"one"), sealed(&mut client, b"two"));
    first[10] ^= 1;
    assert!(receive(&mut server, &[first, second].concat(), 100_000).is_err());
    assert!(server.opened.is_empty() && !server.unsent.is_empty());
    assert!(server.check().is_err() && server.seal(b"x", &mut Vec::new()).is_err());
}

#[test]
fn keys_can_be_changed_on_the_way() {
    let tls = tls();
    let (mut client, mut server) = (client(VERSIONS[0]), server(&tls));
    handshake((&mut client, &mut server), 100_000, |_, _| {}).unwrap();
    let Side::Client(connection) = &mut client.side else { panic!("a client") };
    let UnbufferedStatus { state: Ok(ConnectionState::WriteTraffic(traffic)), .. } =
        connection.process_tls_records(&mut [])
    else {
        panic!("no traffic")
    };
    traffic.refresh_traffic_keys().unwrap();
    // the request, and data under the new key
    let data = sealed(&mut client, b"under a new key");
    let request = std::mem::take(&mut client.unsent);
    receive(&mut server, &[request, data].concat(), 3).unwrap();
    assert_eq!(server.opened, b"under a new key");
    let answer = sealed(&mut server, b"answer");
    let ours = [std::mem::take(&mut server.unsent), answer].concat();
    receive(&mut client, &ours, 100_000).unwrap();
    assert_eq!(client.opened, b"answer");
}

#[test]
fn goodbye_is_said_once() {
    let tls = tls();
    for versions in VERSIONS {
        let (mut client, mut server) = (client(versions), server(&tls));
        handshake((&mut client, &mut server), 100_000, |_, _| {}).unwrap();
        server.say_goodbye();
        let said = server.unsent.len();
        server.say_goodbye();
        assert!(said > 0 && server.unsent.len() == said);
        let goodbye = std::mem::take(&mut server.unsent);
        receive(&mut client, &goodbye, 100_000).unwrap();
        assert_eq!(client.ending, Ending::PeerClosed);
        client.say_goodbye();
        client.say_goodbye();
    }
}
