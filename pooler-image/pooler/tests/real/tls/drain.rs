//! The process ends, and its clients have TLS.

use pgpooler_test_support::{RawClient, wire};
use rustix::process::Signal;

use super::{Files, over_tls};
use crate::drain::{patient, test_until_closed, wait_for_the_end};
use crate::{app_login, start, value};

#[test]
fn over_tls_clients_leave_in_the_same_ways() {
    let files = Files::new();
    let pooler = start(&files.clients(patient(2), "require"));
    let login = |name: &str| {
        let login = app_login(&pooler).parameter("application_name", name).secure(over_tls());
        RawClient::login(&login).unwrap()
    };
    let (mut silent, mut tests) = (login("silent"), login("tests"));
    assert_eq!(value(&mut silent, "select 1"), "1");
    pooler.signal(Signal::TERM).unwrap();
    test_until_closed(&mut tests, &wire::query("-- ping"));
    wait_for_the_end(&mut silent);
}
