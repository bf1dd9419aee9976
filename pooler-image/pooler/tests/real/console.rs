//! What the console's commands do to clients and server connections.

use std::thread;
use std::time::Duration;

use pgpooler_test_support::{Login, Message, Pooler, RawClient, wire};

use super::{app, options, server, sqlstate, start, tags, value};

/// Long enough to see that nothing comes.
const SILENCE: Duration = Duration::from_millis(300);

fn console(pooler: &Pooler) -> RawClient {
    RawClient::login(&Login { database: "pgbouncer".to_owned(), ..pooler.superuser() }).unwrap()
}

fn told(messages: &[Message]) -> Option<String> {
    messages.iter().find(|message| message.tag == b'E')?.field(b'M')
}

/// Gives a command that is carried out.
fn give(admin: &mut RawClient, command: &str) {
    let answer = admin.query(command).unwrap();
    assert_eq!(told(&answer), None, "{command}");
}

/// What a connection is sent until it is closed, which ends with a FATAL of this message.
fn assert_ended(client: &mut RawClient, message: &str) {
    let rest = client.read_to_end().unwrap();
    let expected = format!("VFATAL\0C08P01\0M{message}\0");
    let text = String::from_utf8_lossy(&rest).into_owned();
    assert!(text.contains(&expected), "{text:?}");
}

/// `id` in `SHOW CLIENTS` of those with this `application_name`.
fn id_of(admin: &mut RawClient, application_name: &str) -> String {
    let rows = admin.rows("SHOW CLIENTS").unwrap();
    let row = rows.iter().find(|row| row[18] == application_name);
    row.unwrap_or_else(|| panic!("no {application_name} in {rows:?}"))[20].clone()
}

fn named(pooler: &Pooler, application_name: &str) -> RawClient {
    let login = pooler.login("app", "app", "postgres").parameter("application_name", application_name);
    RawClient::login(&login).unwrap()
}

/// A database of its own for a test that would disturb others.
fn database(name: &str) -> String {
    server().sql(&format!("CREATE DATABASE {name}")).unwrap();
    name.to_owned()
}

/// Until the backend's query runs: a request to cancel that came earlier would do nothing.
fn wait_until_running(pid: &str) {
    let active = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'");
    let runs = || !server().sql(&active).unwrap().is_empty();
    pgpooler_test_support::wait_until("a query", Duration::from_secs(20), runs, || Ok(())).unwrap();
}

fn wait_until_gone(pid: &str) {
    let gone =
        || server().sql(&format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid}")).unwrap().is_empty();
    pgpooler_test_support::wait_until("the end of a backend", Duration::from_secs(20), gone, || Ok(()))
        .unwrap();
}

#[test]
fn a_disabled_database_takes_no_new_clients_and_keeps_those_it_has() {
    let pooler = start(&options(2));
    let (mut idle, mut busy, mut admin) = (app(&pooler), app(&pooler), console(&pooler));
    busy.query("begin").unwrap();
    give(&mut admin, "DISABLE postgres");
    give(&mut admin, "RELOAD");
    let (_, answer) = RawClient::login_messages(&pooler.login("app", "app", "postgres")).unwrap();
    assert_eq!(told(&answer).unwrap(), "database \"postgres\" is disabled");
    assert_eq!(sqlstate(&answer).unwrap(), "08P01");
    assert_eq!(answer.last().unwrap().field(b'V').unwrap(), "FATAL");
    assert_eq!(value(&mut idle, "select 'served'"), "served");
    assert_eq!(tags(&busy.query("commit").unwrap()), "CZ");
    let rows = admin.rows("SHOW DATABASES").unwrap();
    assert_eq!(rows.iter().find(|row| row[0] == "postgres").unwrap()[16], "1");
    give(&mut admin, "ENABLE postgres");
    assert_eq!(value(&mut app(&pooler), "select 'served'"), "served");
}

#[test]
fn a_database_can_be_disabled_before_anybody_asks_for_it_but_not_enabled() {
    let pooler = start(&options(2));
    let mut admin = console(&pooler);
    assert_eq!(told(&admin.query("ENABLE early").unwrap()).unwrap(), "no such database: early");
    give(&mut admin, "DISABLE early");
    let (_, answer) = RawClient::login_messages(&pooler.login("app", "app", "early")).unwrap();
    assert_eq!(told(&answer).unwrap(), "database \"early\" is disabled");
    give(&mut admin, "ENABLE early");
}

#[test]
fn kill_ends_clients_and_connections_of_a_database_at_once_and_holds_new_ones_until_resume() {
    let name = database("killed");
    let pooler = start(&options(4));
    let login = pooler.login("app", "app", &name);
    let (mut idle, mut busy) = (RawClient::login(&login).unwrap(), RawClient::login(&login).unwrap());
    let (mut elsewhere, mut admin) = (app(&pooler), console(&pooler));
    assert_eq!(value(&mut idle, "select 1"), "1");
    busy.query("begin").unwrap();
    let pid = value(&mut busy, "select pg_backend_pid()");
    busy.send(&wire::query("select pg_sleep(1000)")).unwrap();
    elsewhere.query("begin").unwrap();
    wait_until_running(&pid);
    give(&mut admin, &format!("KILL {name}"));
    assert_ended(&mut idle, "database removed");
    assert_ended(&mut busy, "database removed");
    wait_until_gone(&pid);
    assert_eq!(tags(&elsewhere.query("commit").unwrap()), "CZ");
    let newcomer = || {
        let login = login.clone();
        let thread = thread::spawn(move || RawClient::login_messages(&login).unwrap());
        thread::sleep(SILENCE);
        assert!(!thread.is_finished(), "the database is paused");
        thread
    };
    let later = newcomer();
    give(&mut admin, &format!("KILL {name}"));
    assert_eq!(told(&later.join().unwrap().1).unwrap(), "database removed");
    let last = newcomer();
    give(&mut admin, &format!("RESUME {name}"));
    assert_eq!(value(&mut last.join().unwrap().0, "select 'served'"), "served");
}

#[test]
fn kill_without_a_name_takes_every_database_and_each_can_be_resumed() {
    let pooler = start(&options(4));
    let (mut client, mut admin) = (app(&pooler), console(&pooler));
    client.query("begin").unwrap();
    give(&mut admin, "KILL");
    assert_ended(&mut client, "database removed");
    give(&mut admin, "RESUME postgres");
    assert_eq!(value(&mut app(&pooler), "select 1"), "1");
    assert_eq!(told(&admin.query("RESUME").unwrap()).unwrap(), "pooler is not paused");
}

#[test]
fn kill_client_ends_one_client_whatever_it_is_at() {
    let pooler = start(&options(1));
    let mut admin = console(&pooler);
    let mut busy = named(&pooler, "busy");
    busy.query("begin").unwrap();
    let pid = value(&mut busy, "select pg_backend_pid()");
    busy.send(&wire::query("select pg_sleep(1000)")).unwrap();
    wait_until_running(&pid);
    let (mut idle, mut waiting, mut served) =
        (named(&pooler, "idle"), named(&pooler, "waiting"), named(&pooler, "served"));
    waiting.send(&wire::query("select 1")).unwrap();
    served.send(&wire::query("select 'served'")).unwrap();
    assert!(waiting.read_within(SILENCE).unwrap().is_none(), "the only connection is taken");
    for (client, name) in [(&mut idle, "idle"), (&mut waiting, "waiting"), (&mut busy, "busy")] {
        let id = id_of(&mut admin, name);
        give(&mut admin, &format!("KILL_CLIENT {id}"));
        assert_ended(client, "admin forced disconnect");
    }
    served.read_through(b'Z').unwrap();
    wait_until_gone(&pid);
    assert_eq!(told(&admin.query("KILL_CLIENT 999999").unwrap()).unwrap(), "client not found");
}

#[test]
fn wait_close_answers_when_connections_of_before_a_reconnect_are_gone() {
    let pooler = start(&options(2));
    let (mut client, mut admin) = (app(&pooler), console(&pooler));
    give(&mut admin, "WAIT_CLOSE");
    client.query("begin").unwrap();
    give(&mut admin, "RECONNECT postgres");
    give(&mut admin, "WAIT_CLOSE nobody");
    admin.send(&wire::query("WAIT_CLOSE postgres")).unwrap();
    assert!(admin.read_within(SILENCE).unwrap().is_none(), "a transaction is open");
    client.query("commit").unwrap();
    assert_eq!(tags(&admin.read_through(b'Z').unwrap()), "CZ");
}

#[test]
fn a_pause_that_still_waits_is_ended_by_resume_and_says_so() {
    let pooler = start(&options(2));
    let (mut client, mut first, mut second) = (app(&pooler), console(&pooler), console(&pooler));
    client.query("begin").unwrap();
    first.send(&wire::query("PAUSE postgres")).unwrap();
    assert!(first.read_within(SILENCE).unwrap().is_none(), "a transaction is open");
    give(&mut second, "RESUME postgres");
    let answer = first.read_through(b'Z').unwrap();
    assert_eq!(sqlstate(&answer).unwrap(), "55000");
    client.query("commit").unwrap();
    give(&mut first, "PAUSE postgres");
    give(&mut first, "PAUSE postgres");
    give(&mut first, "PAUSE");
    assert_eq!(told(&first.query("PAUSE postgres").unwrap()).unwrap(), "already paused");
    assert_eq!(told(&first.query("RESUME nobody").unwrap()).unwrap(), "no such database: nobody");
    give(&mut first, "RESUME");
    assert_eq!(told(&first.query("RESUME postgres").unwrap()).unwrap(), "database postgres is not paused");
}

#[test]
fn a_setting_is_in_force_at_once_and_until_the_next_reload() {
    let pooler = start(&options(2));
    let (mut client, mut admin) = (app(&pooler), console(&pooler));
    let shown = |admin: &mut RawClient| {
        let rows = admin.rows("SHOW CONFIG").unwrap();
        rows.into_iter().find(|row| row[0] == "max_client_conn").unwrap()[1].clone()
    };
    let answer = admin.query("SET max_client_conn = 1").unwrap();
    assert_eq!(answer[0].body.strip_suffix(b"\0").unwrap(), b"SET max_client_conn=1");
    assert_eq!(shown(&mut admin), "1");
    let (_, refused) = RawClient::login_messages(&pooler.login("app", "app", "postgres")).unwrap();
    assert_eq!(sqlstate(&refused).unwrap(), "53300");
    assert_eq!(sqlstate(&admin.query("SET max_client_conn = 0").unwrap()).unwrap(), "22023");
    assert_eq!(shown(&mut admin), "1");
    give(&mut admin, "RELOAD");
    assert_ne!(shown(&mut admin), "1");
    assert_eq!(value(&mut app(&pooler), "select 1"), "1");
    assert_eq!(value(&mut client, "select 1"), "1");
}

#[test]
fn a_user_who_is_made_an_admin_by_set_is_one() {
    let pooler = start(&options(2));
    let mut admin = console(&pooler);
    let login = pooler.login("other", "other", "pgbouncer");
    let (_, answer) = RawClient::login_messages(&login).unwrap();
    assert_eq!(sqlstate(&answer).unwrap(), "28000");
    give(&mut admin, "SET stats_users = 'other, app'");
    let mut other = RawClient::login(&login).unwrap();
    assert_eq!(sqlstate(&other.query("RELOAD").unwrap()).unwrap(), "42501");
    assert!(!other.rows("SHOW POOLS").unwrap().is_empty());
}
