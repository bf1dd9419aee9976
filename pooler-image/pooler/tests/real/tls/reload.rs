//! Certificates that change while the pooler runs.

use std::time::{Duration, Instant};

use pgpooler_test_support::{Certified, Login, Pooler, RawClient};
use rustix::process::Signal;

use super::{Files, certified, over_tls};
use crate::{app_login, options, start, value};

pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The certificate that a client sees.
pub(super) fn shown(pooler: &Pooler) -> Vec<u8> {
    RawClient::connect_tls(pooler.port(), &over_tls()).unwrap().server_certificate().unwrap()
}

fn console(pooler: &Pooler, command: &str) -> Result<Vec<Vec<String>>, String> {
    let login = Login { database: "pgpooler".to_owned(), ..pooler.superuser() };
    RawClient::login(&login).unwrap().rows(command).map_err(|error| format!("{error:#}"))
}

fn other() -> Certified {
    certified("pooler", &["localhost"])
}

#[test]
fn new_files_are_noticed_and_connections_that_are_there_stay() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "prefer"));
    let mut old = RawClient::login(&app_login(&pooler).secure(over_tls())).unwrap();
    let pid = value(&mut old, "SELECT pg_backend_pid()");
    let first = shown(&pooler);
    // its handshake has begun under the old certificate, and must end under it
    let mut waiting = RawClient::connect(pooler.port()).unwrap();
    waiting.send(&pgpooler_test_support::wire::ssl_request()).unwrap();
    assert_eq!(waiting.read_bytes(1).unwrap(), b"S");
    files.certify("pooler", &other());
    until("the new certificate", || shown(&pooler) != first);
    let waiting = waiting.secure(&over_tls()).unwrap();
    assert_eq!(waiting.server_certificate().unwrap(), first);
    assert_eq!(value(&mut old, "SELECT pg_backend_pid()"), pid, "no server connection is renewed");
    RawClient::login(&app_login(&pooler).secure(over_tls())).unwrap();
}

#[test]
fn a_reload_brings_new_files_into_force_at_once() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "prefer"));
    let first = shown(&pooler);
    files.certify("pooler", &other());
    console(&pooler, "RELOAD").unwrap();
    assert_ne!(shown(&pooler), first);
    let second = shown(&pooler);
    files.certify("pooler", &other());
    pooler.signal(Signal::HUP).unwrap();
    until("the third certificate", || shown(&pooler) != second);
}

#[test]
fn faulty_files_change_nothing_and_are_told_once() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "prefer"));
    let first = shown(&pooler);
    let (one, two) = (other(), other());
    files.certify("pooler", &Certified { key: two.key, ..one });
    let told = console(&pooler, "RELOAD").unwrap_err();
    assert!(told.contains("client_tls_key_file: not the key of the certificate"), "{told}");
    let faults = || pooler.log().matches("certificates have changed and are faulty").count();
    until("the fault in the log", || faults() == 1);
    assert_eq!(shown(&pooler), first);
    RawClient::login(&app_login(&pooler).secure(over_tls())).unwrap();
    std::fs::remove_file(files.path("pooler.crt")).unwrap();
    until("another fault in the log", || faults() == 2);
    files.certify("pooler", &other());
    until("the good certificate", || shown(&pooler) != first);
    assert_eq!(faults(), 2);
}

#[test]
fn tls_can_be_turned_on_and_demanded_by_a_reload() {
    let files = Files::new();
    let plain = options(1);
    let pooler = start(&plain);
    let mut client = RawClient::login(&app_login(&pooler)).unwrap();
    assert!(RawClient::connect_tls(pooler.port(), &over_tls()).is_err());
    pooler.configure(&files.clients(plain, "require")).unwrap();
    pooler.signal(Signal::HUP).unwrap();
    until("TLS", || RawClient::connect_tls(pooler.port(), &over_tls()).is_ok());
    assert!(RawClient::login(&app_login(&pooler)).is_err());
    assert_eq!(value(&mut client, "SELECT 'still here'"), "still here");
}

#[test]
fn the_end_of_the_certificate_is_a_metric() {
    let files = Files::new();
    let pooler = start(&files.clients(options(1), "prefer"));
    let (_, text) = pooler.http_get("/metrics").unwrap();
    // rcgen's end of time: 4096-01-01
    let line = "pgpooler_certificate_expiry_timestamp_seconds{side=\"client\"} 67090118400.0";
    let found: Vec<_> = text.lines().filter(|line| line.contains("certificate_expiry")).collect();
    assert!(found.contains(&line), "{found:?}");
}
