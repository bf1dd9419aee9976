//! What a client hears when it logs in.

use std::time::{Duration, Instant};

use pgpooler_test_support::{Login, RawClient, wire};

use super::{app_login, options, server, sqlstate, start, value};

#[test]
fn a_client_is_told_the_same_parameters_as_by_postgresql() {
    let pooler = start(&options(2));
    for (name, wanted) in
        [("application_name", "tests"), ("TimeZone", "europe/paris"), ("DateStyle", "german")]
    {
        let direct = Login::new(server().port(), "app", "app", "postgres").parameter(name, wanted);
        let mut direct = RawClient::login(&direct).unwrap();
        let mut through = RawClient::login(&app_login(&pooler).parameter(name, wanted)).unwrap();
        assert_eq!(through.parameters, direct.parameters, "{name}");
        let show = format!("show {name}");
        assert_eq!(value(&mut through, &show), value(&mut direct, &show));
    }
}

#[test]
fn options_are_applied_and_stay_with_their_client() {
    let pooler = start(&options(1));
    let asked = app_login(&pooler).parameter("options", "-c work_mem=123MB -c statement_timeout=7s");
    let mut client = RawClient::login(&asked).unwrap();
    let mut plain = super::app(&pooler);
    for _ in 0..2 {
        assert_eq!(value(&mut client, "show work_mem"), "123MB");
        assert_eq!(value(&mut client, "show statement_timeout"), "7s");
        assert_eq!(value(&mut plain, "show work_mem"), "4MB");
        assert_eq!(value(&mut plain, "show statement_timeout"), "0");
    }
}

#[test]
fn a_setting_that_postgresql_refuses_is_refused_in_its_words() {
    let pooler = start(&options(1));
    for (name, wanted) in [("nosuch", "1"), ("work_mem", "many")] {
        let direct = Login::new(server().port(), "app", "app", "postgres").parameter(name, wanted);
        let (_, direct) = RawClient::login_messages(&direct).unwrap();
        let (_, through) = RawClient::login_messages(&app_login(&pooler).parameter(name, wanted)).unwrap();
        let told = |messages: &[pgpooler_test_support::Message]| {
            messages.last().map(|error| (error.field(b'S'), error.field(b'C'), error.field(b'M')))
        };
        assert_eq!(told(&through), told(&direct));
    }
}

#[test]
fn an_unknown_user_hears_exactly_what_a_wrong_password_hears() {
    let pooler = start(&options(1));
    let refused = |user: &str| {
        let (_, messages) = RawClient::login_messages(&pooler.login(user, "wrong", "postgres")).unwrap();
        let error = messages.last().unwrap();
        (super::tags(&messages), error.field(b'C'), error.field(b'M').map(|text| text.replace(user, "?")))
    };
    assert_eq!(refused("app"), refused("nobody"));
    assert_eq!(refused("app").1.as_deref(), Some("28P01"));
}

#[test]
fn an_unknown_database_is_refused_in_postgresqls_words_and_holds_no_slot() {
    let pooler = start(&options(1));
    let (_, messages) = RawClient::login_messages(&pooler.login("app", "app", "nosuch")).unwrap();
    assert_eq!(sqlstate(&messages).as_deref(), Some("3D000"));
    assert_eq!(value(&mut super::app(&pooler), "select 1"), "1");
}

#[test]
fn encryption_is_declined_and_the_login_goes_on_in_plain_text() {
    let pooler = start(&options(1));
    let mut client = RawClient::connect(pooler.port()).unwrap();
    client.send(&wire::ssl_request()).unwrap();
    let mut answer = [0];
    std::io::Read::read_exact(&mut client.stream(), &mut answer).unwrap();
    assert_eq!(answer, *b"N");
    client.send(&wire::startup(196_608, &[("user", "app"), ("database", "postgres")])).unwrap();
    assert_eq!(client.read().unwrap().tag, b'R');
}

#[test]
fn protocol_3_2_gets_a_long_key_and_3_0_a_short_one() {
    let pooler = start(&options(1));
    let short = super::app(&pooler).backend_key.unwrap().1;
    let long =
        RawClient::login(&Login { version: 196_610, ..app_login(&pooler) }).unwrap().backend_key.unwrap().1;
    assert_eq!((short.len(), long.len()), (4, 32));
}

#[test]
fn a_client_that_vanishes_is_noticed_by_keepalive() {
    let pooler = start(&options(1));
    let client = super::app(&pooler);
    let peer = client.stream().local_addr().unwrap().port();
    let ports = format!(":{:04X} 0100007F:{peer:04X} 01 ", pooler.port());
    let timer = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let connection = table.lines().find(|line| line.contains(&ports)).unwrap();
        connection.split_whitespace().nth(5).unwrap().to_owned()
    };
    // the kernel's timer for the connection: 02 is keepalive, 01 waits for the last bytes to be acknowledged
    let until = Instant::now() + Duration::from_secs(10);
    while !timer().starts_with("02:") {
        assert!(Instant::now() < until, "{}", timer());
        std::thread::sleep(Duration::from_millis(20));
    }
}
