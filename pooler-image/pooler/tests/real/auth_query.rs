//! Users that are not in the list are looked up in PostgreSQL.

use std::thread;
use std::time::{Duration, Instant};

use pgpooler::auth::auth_query_sql;
use pgpooler_test_support::{
    Login, Message, Pooler, PoolerOptions, Postgres, PostgresOptions, RawClient, wire,
};

use super::{start, tags, value};

/// A server with the function of `--print-auth-query-sql`, its caller, and users.
fn server() -> Postgres {
    let server =
        Postgres::start(&PostgresOptions { max_connections: 40, ..PostgresOptions::default() }).unwrap();
    server.create_user("asker", "asker").unwrap();
    server.create_user("ann", "secret").unwrap();
    server.sql(&auth_query_sql("asker")).unwrap();
    server
}

/// A pooler whose list has none but `asker`.
fn options(server: &Postgres, connections: u32) -> PoolerOptions {
    PoolerOptions::before(server)
        .user("asker", "asker")
        .setting("auth_user", "\"asker\"")
        .setting("auth_dbname", "\"postgres\"")
        .setting("max_server_connections", &connections.to_string())
}

fn ann(pooler: &Pooler) -> Login {
    pooler.login("ann", "secret", "postgres")
}

fn refusal(login: &Login) -> (String, Vec<Option<String>>) {
    let (_, messages) = RawClient::login_messages(login).unwrap();
    (tags(&messages), words(&messages))
}

/// Severity, SQLSTATE, message.
fn words(messages: &[Message]) -> Vec<Option<String>> {
    let error = messages.last().unwrap();
    [b'S', b'V', b'C', b'M', b'D', b'H'].map(|field| error.field(field)).to_vec()
}

fn lookups(pooler: &Pooler, kind: &str) -> u64 {
    let (_, metrics) = pooler.http_get("/metrics").unwrap();
    let line = metrics.lines().find(|line| line.contains(kind)).expect(kind);
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_user_who_is_not_in_the_list_logs_in_and_a_wrong_password_and_nobody_are_told_the_same() {
    let server = server();
    let pooler = start(&options(&server, 5));
    assert_eq!(value(&mut RawClient::login(&ann(&pooler)).unwrap(), "select current_user"), "ann");
    let wrong = pooler.login("ann", "wrong", "postgres");
    let nobody = pooler.login("nobody", "wrong", "postgres");
    let direct = Login::new(server.port(), "ann", "wrong", "postgres");
    let expected = refusal(&direct);
    assert_eq!(refusal(&wrong), expected);
    assert_eq!(expected.1[2].as_deref(), Some("28P01"));
    let (tags, words) = refusal(&nobody);
    assert_eq!(tags, expected.0);
    assert_eq!(words[3].as_deref(), Some("password authentication failed for user \"nobody\""));
    assert_eq!(lookups(&pooler, "auth_queries_total{result=\"unknown\"}"), 1);
    assert_eq!(lookups(&pooler, "auth_queries_total{result=\"found\"}"), 2);
}

#[test]
fn superusers_replication_roles_expired_passwords_and_roles_without_login_are_not_found() {
    let server = server();
    server.sql("create role boss superuser login password 'secret'").unwrap();
    server.sql("create role copier replication login password 'secret'").unwrap();
    server.sql("create role old login password 'secret' valid until '2001-01-01'").unwrap();
    server.sql("create role team password 'secret'").unwrap();
    server.sql("create role bare login").unwrap();
    let pooler = start(&options(&server, 5));
    for user in ["boss", "copier", "old", "team", "bare"] {
        let (_, words) = refusal(&pooler.login(user, "secret", "postgres"));
        assert_eq!(words[2].as_deref(), Some("28P01"), "{user}");
    }
    server.sql("alter role old valid until 'infinity'").unwrap();
    RawClient::login(&pooler.login("old", "secret", "postgres")).unwrap();
}

#[test]
fn a_changed_password_counts_at_once_and_the_old_one_no_more() {
    let server = server();
    let pooler = start(&options(&server, 5));
    let mut early = RawClient::login(&ann(&pooler)).unwrap();
    server.sql("alter role ann password 'other'").unwrap();
    assert_eq!(refusal(&ann(&pooler)).1[2].as_deref(), Some("28P01"));
    let mut late = RawClient::login(&pooler.login("ann", "other", "postgres")).unwrap();
    assert_eq!(value(&mut late, "select 1"), "1");
    // the pool opens new connections with what the new login revealed
    server
        .sql("select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'ann'")
        .unwrap();
    assert_eq!(
        value(&mut RawClient::login(&pooler.login("ann", "other", "postgres")).unwrap(), "select 1"),
        "1"
    );
    assert_eq!(value(&mut late, "select 2"), "2");
    assert_eq!(value(&mut early, "select 3"), "3");
}

#[test]
fn what_a_client_asks_for_does_not_reach_the_query() {
    let server = server();
    // somebody may create functions, and hopes to be called
    server.sql("grant all on schema public to public").unwrap();
    server
        .sql(
            "create schema trap; grant usage on schema trap to public;
             create function trap.now() returns timestamptz language sql as $$ select '2000-01-01'::timestamptz $$;
             create function public.who() returns text language sql as $$ select 'nobody'::text $$",
        )
        .unwrap();
    let query = "SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = $1 AND now() > '2020-01-01' \
                 AND current_setting('search_path') = 'pg_catalog' AND current_setting('work_mem') = '4MB'";
    server.sql("grant select on pg_authid to asker").unwrap();
    let pooler = start(&options(&server, 1).setting("auth_query", &format!("\"{query}\"")));
    let login =
        ann(&pooler).parameter("search_path", "trap, pg_catalog").parameter("options", "-c work_mem=9MB");
    for _ in 0..3 {
        let mut client = RawClient::login(&login).unwrap();
        assert_eq!(value(&mut client, "show search_path"), "trap, pg_catalog");
        assert_eq!(value(&mut client, "show work_mem"), "9MB");
        let mut asker = RawClient::login(&pooler.login("asker", "asker", "postgres")).unwrap();
        assert_eq!(value(&mut asker, "show search_path"), "\"$user\", public");
        asker.query("set search_path = trap").unwrap();
    }
}

#[test]
fn a_name_with_every_kind_of_quote_is_only_a_name() {
    let server = server();
    let name = "o'br\"ien; drop $1 \\";
    server.sql(&format!("create role \"{}\" login password 'secret'", name.replace('"', "\"\""))).unwrap();
    let pooler = start(&options(&server, 2));
    let mut client = RawClient::login(&pooler.login(name, "secret", "postgres")).unwrap();
    assert_eq!(value(&mut client, "select current_user"), name);
}

#[test]
fn a_login_storm_shares_its_look_ups() {
    let server = server();
    let pooler = start(&options(&server, 5).setting("workers", "2"));
    let login = ann(&pooler);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..100)
            .map(|_| scope.spawn(|| RawClient::login(&login).and_then(|mut client| client.rows("select 1"))))
            .collect();
        for client in clients {
            client.join().unwrap().unwrap();
        }
    });
    let (found, shared) = (
        lookups(&pooler, "auth_queries_total{result=\"found\"}"),
        lookups(&pooler, "hits_total{from=\"shared\"}"),
    );
    assert_eq!(found + shared, 100);
    assert!(shared > 10, "{found} look-ups, {shared} shared");
}

#[test]
fn an_earlier_answer_stands_in_while_all_server_connections_are_busy() {
    let server = server();
    let pooler = start(&options(&server, 1));
    let mut holder = RawClient::login(&ann(&pooler)).unwrap();
    holder.query("begin").unwrap();
    let mut late = RawClient::login(&ann(&pooler)).unwrap();
    assert_eq!(lookups(&pooler, "hits_total{from=\"stand_in\"}"), 1);
    // nobody can be asked about a wrong password either: it is compared with what was known
    assert_eq!(refusal(&pooler.login("ann", "wrong", "postgres")).1[2].as_deref(), Some("28P01"));
    holder.query("commit").unwrap();
    assert_eq!(value(&mut late, "select 1"), "1");
}

#[test]
fn a_query_that_fails_is_told_and_bars_nobody_of_the_list() {
    let server = server();
    let pooler =
        start(&options(&server, 2).setting("auth_query", "\"select * from nosuch where name = $1\""));
    let (_, words) = refusal(&ann(&pooler));
    assert_eq!(words[2].as_deref(), Some("58000"));
    RawClient::login(&pooler.login("asker", "asker", "postgres")).unwrap();
    assert!(
        pooler.log().contains("relation \\\"nosuch\\\" does not exist") || pooler.log().contains("nosuch")
    );
}

#[test]
fn negotiation_is_told_once_and_first() {
    let server = server();
    let pooler = start(&options(&server, 2));
    let login = Login { version: 196_617, ..ann(&pooler).parameter("_pq_.wish", "1") };
    let (_, messages) = RawClient::login_messages(&login).unwrap();
    let tags = tags(&messages);
    assert!(tags.starts_with("vRRRR"), "{tags}");
    assert_eq!(tags.matches('v').count(), 1);
    assert_eq!(tags.trim_start_matches(['v', 'R']).trim_start_matches('S'), "KZ");
}

#[test]
fn without_auth_dbname_a_user_is_looked_up_in_the_clients_database() {
    let server = server();
    let options = options(&server, 3).setting("auth_dbname", "\"\"");
    let pooler = start(&options);
    RawClient::login(&ann(&pooler)).unwrap();
    // there is no function in this one, and no such database as the other
    for database in ["template1", "nosuch"] {
        let (_, words) = refusal(&pooler.login("ann", "secret", database));
        assert_eq!(words[2].as_deref(), Some("58000"), "{database}");
    }
}

#[test]
fn md5_hashes_are_found_and_used() {
    let server = server();
    let hba = server.sql("show hba_file").unwrap().concat().concat();
    server.sql(&format!("copy (select 'host all all all md5') to '{hba}'")).unwrap();
    server.sql("select pg_reload_conf()").unwrap();
    server.sql("set password_encryption = 'md5'; alter role ann password 'secret'").unwrap();
    let pooler = start(&options(&server, 3));
    let mut client = RawClient::connect(pooler.port()).unwrap();
    client.send(&wire::startup(196_608, &[("user", "ann"), ("database", "postgres")])).unwrap();
    let asked = client.read().unwrap();
    assert_eq!(asked.body[..4], [0, 0, 0, 5]);
    let salt = asked.body[4..].try_into().unwrap();
    let response = pgpooler_core::md5::response(&pgpooler_core::md5::stored("secret", "ann"), salt);
    client.send(&wire::message(b'p', &wire::cstr(&response))).unwrap();
    assert_eq!(tags(&client.read_through(b'Z').unwrap()).replace('S', ""), "RKZ");
    assert_eq!(value(&mut client, "select current_user"), "ann");
}

#[test]
fn a_server_that_is_down_makes_known_users_wait_not_fail() {
    let mut server = server();
    let pooler = start(&options(&server, 2));
    RawClient::login(&ann(&pooler)).unwrap();
    server.crash().unwrap();
    let login = ann(&pooler);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut client = RawClient::login(&login).unwrap();
            value(&mut client, "select 1")
        });
        let until = Instant::now() + Duration::from_secs(10);
        while lookups(&pooler, "hits_total{from=\"stand_in\"}") == 0 {
            assert!(Instant::now() < until, "no answer stood in");
            thread::sleep(Duration::from_millis(20));
        }
        server.resume().unwrap();
        assert_eq!(client.join().unwrap(), "1");
    });
}

#[test]
fn a_storm_of_names_that_nobody_has_leaves_server_connections_to_others() {
    let server = server();
    let pooler = start(&options(&server, 20).setting("workers", "1"));
    let mut inside = RawClient::login(&ann(&pooler)).unwrap();
    thread::scope(|scope| {
        let storm: Vec<_> = (0..100)
            .map(|n| {
                let login = pooler.login(&format!("nobody{n}"), "guess", "postgres");
                scope.spawn(move || refusal(&login).1[2].clone())
            })
            .collect();
        for client in storm {
            assert_eq!(client.join().unwrap().as_deref(), Some("28P01"));
        }
    });
    let askers = "select count(*) from pg_stat_activity where usename = 'asker'";
    let askers: u32 = server.sql(askers).unwrap().concat().concat().parse().unwrap();
    assert!(askers <= 4, "{askers} connections ask");
    assert_eq!(value(&mut inside, "select 1"), "1");
}
