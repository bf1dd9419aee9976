//! The harness itself, against real servers.

use pgpooler_test_support::{Auth, Login, Postgres, PostgresOptions, RawClient, wire};

#[test]
fn a_server_answers_under_every_authentication() {
    for auth in [Auth::Scram, Auth::Trust] {
        let server =
            Postgres::start(&PostgresOptions { auth, max_connections: 20, ..PostgresOptions::default() })
                .unwrap();
        assert_eq!(server.sql("SHOW max_connections").unwrap(), [["20"]]);
    }
}

#[test]
fn a_wrong_password_is_refused_by_scram() {
    let server = Postgres::start(&PostgresOptions::default()).unwrap();
    server.create_user("app", "right").unwrap();
    let (_, messages) =
        RawClient::login_messages(&Login::new(server.port(), "app", "wrong", "postgres")).unwrap();
    assert_eq!(messages.last().and_then(|error| error.field(b'C')).as_deref(), Some("28P01"));
    RawClient::login(&Login::new(server.port(), "app", "right", "postgres")).unwrap();
}

#[test]
fn a_crashed_server_resumes_on_its_port_with_its_data() {
    let mut server = Postgres::start(&PostgresOptions::default().setting("work_mem", "1MB")).unwrap();
    server.sql("CREATE TABLE kept (i int)").unwrap();
    server.shut_down().unwrap();
    assert!(RawClient::login(&server.superuser()).is_err());
    server.resume().unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM kept").unwrap(), [["0"]]);
    assert_eq!(server.sql("SHOW work_mem").unwrap(), [["1MB"]]);
}

#[test]
fn the_extended_protocol_answers_message_by_message() {
    let server =
        Postgres::start(&PostgresOptions { auth: Auth::Trust, ..PostgresOptions::default() }).unwrap();
    let mut client = RawClient::login(&server.superuser()).unwrap();
    let batch = [
        wire::parse("s", "SELECT $1::text"),
        wire::bind("", "s", &[Some("x")]),
        wire::execute("", 0),
        wire::sync(),
    ];
    let tags: Vec<u8> = client.exchange(&batch.concat()).unwrap().iter().map(|message| message.tag).collect();
    assert_eq!(tags, b"12DCZ");
}
