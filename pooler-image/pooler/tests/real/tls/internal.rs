//! TLS inside of a fleet: the operator's and the peers' way in, on the port of the clients.

use std::io::ErrorKind;
use std::time::Duration;

use pgpooler_test_support::{Login, Pooler, PoolerOptions, RawClient, TlsOptions, wire};

use super::super::cancel::{assert_canceled, cancel, key_of, sleep};
use super::super::peers::shared;
use super::reload::{shown, until};
use super::{Files, certified, over_tls, record};
use crate::{app, app_login, options, start, value};

const NAME: &str = "pgpooler.internal";

impl Files {
    /// With a certificate for the fleet, too.
    fn of_fleet() -> Self {
        let files = Self::new();
        files.certify("internal", &certified("pod", &[NAME]));
        files
    }

    fn internal(&self, options: PoolerOptions) -> PoolerOptions {
        options
            .setting("internal_tls_ca_file", &self.toml("ca.crt"))
            .setting("internal_tls_cert_file", &self.toml("internal.crt"))
            .setting("internal_tls_key_file", &self.toml("internal.key"))
    }
}

fn direct(name: &str) -> TlsOptions {
    let alpn = vec!["postgresql".to_owned()];
    TlsOptions { direct: true, alpn, server_name: Some(name.to_owned()), ..over_tls() }
}

fn inside() -> TlsOptions {
    direct(NAME)
}

fn certificate(pooler: &Pooler, tls: &TlsOptions) -> Vec<u8> {
    RawClient::connect_tls(pooler.port(), tls).unwrap().server_certificate().unwrap()
}

#[test]
fn the_console_is_reached_by_name_whatever_clients_are_offered() {
    let files = Files::of_fleet();
    for mode in ["disable", "prefer", "verify-full"] {
        let options = files.clients(options(1), mode).setting("client_tls_ca_file", &files.toml("ca.crt"));
        let pooler = start(&files.internal(options));
        for tls in [inside(), TlsOptions { old: true, ..inside() }] {
            let login = Login { database: "pgpooler".to_owned(), ..pooler.superuser() };
            let mut console = RawClient::login(&login.secure(tls)).unwrap();
            assert!(value(&mut console, "SHOW VERSION").contains("pgpooler"), "{mode}");
        }
    }
}

#[test]
fn nothing_but_the_console_is_reached_by_that_name() {
    let files = Files::of_fleet();
    let pooler = start(&files.internal(files.clients(options(1), "prefer")));
    let mut client = RawClient::connect_tls(pooler.port(), &inside()).unwrap();
    client.send(&wire::startup(196_608, &[("user", "app"), ("database", "postgres")])).unwrap();
    let told = client.read().unwrap();
    assert_eq!(told.tag, b'E');
    assert_eq!(told.field(b'S').as_deref(), Some("FATAL"));
    assert_eq!(told.field(b'C').as_deref(), Some("28000"));
    assert!(client.read_to_end().unwrap().is_empty());
    let mut other = RawClient::login(&app_login(&pooler).secure(direct("localhost"))).unwrap();
    assert_eq!(value(&mut other, "SELECT 1"), "1");
}

#[test]
fn clients_are_offered_what_they_were_offered_without_it() {
    let files = Files::of_fleet();
    let (with, without) = (start(&files.internal(options(1))), start(&options(1)));
    for pooler in [&with, &without] {
        let mut client = RawClient::connect(pooler.port()).unwrap();
        client.send(&wire::ssl_request()).unwrap();
        assert_eq!(client.read_bytes(1).unwrap(), b"N");
        // a direct handshake for anybody else is not answered at all
        let error = RawClient::connect_tls(pooler.port(), &direct("localhost")).unwrap_err();
        let kind = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let closed = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].map(Some);
        assert!(closed.contains(&kind), "{error:#}");
        assert_eq!(value(&mut app(pooler), "SELECT 1"), "1");
    }
    assert!(RawClient::connect_tls(without.port(), &inside()).is_err());

    let both = start(&files.internal(files.clients(options(1), "prefer")));
    let of_clients = certificate(&both, &over_tls());
    assert_eq!(certificate(&both, &direct("localhost")), of_clients);
    // asked for with SSLRequest, the name means nothing
    assert_eq!(certificate(&both, &TlsOptions { direct: false, ..inside() }), of_clients);
    assert_ne!(certificate(&both, &inside()), of_clients);
}

#[test]
fn a_hello_that_arrives_byte_by_byte_is_understood_and_half_a_one_is_not_waited_for_for_ever() {
    let files = Files::of_fleet();
    let pooler = start(&files.internal(options(1)).setting("client_login_timeout", "\"1s\""));
    let login = Login { database: "pgpooler".to_owned(), ..pooler.superuser() };
    let login = Login { port: super::drip(pooler.port()), ..login };
    let mut console = RawClient::login(&login.secure(inside())).unwrap();
    assert!(value(&mut console, "SHOW VERSION").contains("pgpooler"));
    let mut half = RawClient::connect(pooler.port()).unwrap();
    half.send(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    // an ErrorResponse, for whoever it was
    assert_eq!(half.read_to_end().unwrap().first(), Some(&b'E'));
}

#[test]
fn a_connection_without_alpn_is_closed() {
    let files = Files::of_fleet();
    let pooler = start(&files.internal(options(1)));
    let mut client =
        RawClient::connect_tls(pooler.port(), &TlsOptions { alpn: Vec::new(), ..inside() }).unwrap();
    let _ = client.send(&wire::startup(196_608, &[("user", "postgres"), ("database", "pgpooler")]));
    assert!(client.read_to_end().map_or(true, |answer| answer.is_empty()));
}

#[test]
fn peers_pass_cancel_requests_on_inside_and_only_there() {
    let (files, shared) = (Files::of_fleet(), shared());
    let owner = start(&files.internal(shared.peer(1)));
    let (port, records) = record(owner.port());
    let other = start(&files.internal(shared.peer_with(2, &[(1, port)])));
    let mut client = app(&owner);
    sleep(&mut client, "inside of the fleet");
    cancel(&other, &key_of(&client));
    assert_canceled(&client.read_through(b'Z').unwrap());
    let records = records.lock().unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0][0], 0x16);
    assert!(records[0].windows(NAME.len()).any(|bytes| bytes == NAME.as_bytes()));
}

#[test]
fn a_peer_of_another_fleet_is_told_nothing() {
    let (files, strange, shared) = (Files::of_fleet(), Files::of_fleet(), shared());
    let authority = pgpooler_test_support::Authority::new("another").unwrap();
    strange.certify("internal", &authority.certify("pod", &[NAME]).unwrap());
    let owner = start(&strange.internal(shared.peer(1)));
    let (port, records) = record(owner.port());
    let other = start(&files.internal(shared.peer_with(2, &[(1, port)])));
    let mut client = app(&owner);
    sleep(&mut client, "of another fleet");
    cancel(&other, &key_of(&client));
    until("the complaint", || other.log().contains("cancel request could not be passed on"));
    assert_eq!(client.read_within(Duration::from_millis(300)).unwrap(), None);
    assert_eq!(records.lock().unwrap().len(), 1, "and nobody tries without TLS");
}

#[test]
fn new_files_of_the_fleet_are_noticed() {
    let files = Files::of_fleet();
    let pooler = start(&files.internal(files.clients(options(1), "prefer")));
    let (fleets, clients) = (certificate(&pooler, &inside()), shown(&pooler));
    files.certify("internal", &certified("pod", &[NAME]));
    until("the new certificate", || certificate(&pooler, &inside()) != fleets);
    assert_eq!(shown(&pooler), clients);
    let (_, metrics) = pooler.http_get("/metrics").unwrap();
    assert!(metrics.contains("certificate_expiry_timestamp_seconds{side=\"internal\"} 67090118400.0"));
}
