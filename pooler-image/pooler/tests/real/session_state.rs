//! What of a session follows its client, what ties it to a server connection, and what each policy makes of that.

use std::thread;
use std::time::{Duration, Instant};

use pgpooler_test_support::{Pooler, RawClient, wire};

use super::{app, options, server, sqlstate, start, value};

/// Two loops and more connections than one: a client's next transaction is mostly elsewhere.
fn scattered() -> Pooler {
    start(&options(4).setting("workers", "2").setting("admin_users", "[\"app\"]"))
}

/// Others use the pool, so that a client does not find the connection that it had as it left it.
fn stir(pooler: &Pooler) {
    let mut others: Vec<_> = (0..3).map(|_| app(pooler)).collect();
    for other in &mut others {
        other.query("begin").unwrap();
    }
    for other in &mut others {
        other.query("commit").unwrap();
    }
}

fn console(pooler: &Pooler, sql: &str) -> Vec<Vec<String>> {
    let login = pooler.login("app", "app", "pgbouncer");
    RawClient::login(&login).unwrap().rows(sql).unwrap()
}

/// Waits until the console tells these reasons why clients are pinned; the server is asked behind a client's back.
fn wait_pinned(pooler: &Pooler, expected: &[&str], what: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let rows = console(pooler, "SHOW CLIENTS");
        let mut reasons: Vec<_> = rows.into_iter().filter_map(|mut row| row.pop()).collect();
        reasons.retain(|reason| !reason.is_empty());
        if reasons == expected {
            return;
        }
        assert!(Instant::now() < end, "{what}: pinned by {reasons:?}, not {expected:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn settings_made_in_functions_triggers_and_blocks_follow_their_client_and_nobody_else() {
    server()
        .sql(
            "create schema if not exists hidden; grant usage on schema hidden to public;
             create or replace function hidden.tenant(t text) returns void language plpgsql as
               $$ begin perform set_config('hidden.tenant', t, false); set work_mem = '11MB'; end $$;
             create or replace function hidden.fired() returns trigger language plpgsql as
               $$ begin perform hidden.tenant('by a trigger'); return new; end $$;
             create table if not exists hidden.t (i int); grant all on hidden.t to public;
             create or replace trigger fires before insert on hidden.t for each row execute function hidden.fired()",
        )
        .unwrap();
    for (sets, tenant) in [
        ("select hidden.tenant('by a function')", "by a function"),
        ("do $$ begin perform hidden.tenant('by a block'); end $$", "by a block"),
        ("insert into hidden.t values (1)", "by a trigger"),
        (
            "select set_config(n, 'in a list', false), set_config('work_mem', '11MB', false)
             from (values ('hidden.tenant')) v(n)",
            "in a list",
        ),
    ] {
        let pooler = scattered();
        let (mut one, mut two) = (app(&pooler), app(&pooler));
        one.query(sets).unwrap();
        for _ in 0..3 {
            stir(&pooler);
            assert_eq!(value(&mut two, "select current_setting('work_mem')"), "4MB", "{sets}");
            assert_eq!(
                value(&mut two, "select coalesce(current_setting('hidden.tenant', true), '')"),
                "",
                "{sets}"
            );
            assert_eq!(value(&mut one, "select current_setting('hidden.tenant')"), tenant, "{sets}");
            assert_eq!(value(&mut one, "show work_mem"), "11MB", "{sets}");
        }
        wait_pinned(&pooler, &[], "settings pin nobody");
    }
}

/// Waits until a session waits for a table that another has locked.
fn wait_for_lock() {
    let end = Instant::now() + Duration::from_secs(10);
    let waiting = "select 1 from pg_locks where not granted and relation is not null";
    while server().sql(waiting).unwrap().is_empty() {
        assert!(Instant::now() < end, "nobody waits");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_trigger_is_known_of_from_the_commit_that_makes_it() {
    server().sql("create database defining owner app").unwrap();
    let pooler = start(&options(2).setting("workers", "1"));
    let login = || RawClient::login(&pooler.login("app", "app", "defining")).unwrap();
    let (mut definer, mut writer, mut reader) = (login(), login(), login());
    definer.query("create table fires (i int); create table quiet (i int)").unwrap();
    writer.query("insert into quiet values (1)").unwrap();
    for round in 0..5 {
        // both connections are with others than before, so whatever was in doubt about them has been asked
        reader.query("begin").unwrap();
        definer.query("select 1").unwrap();
        reader.query("commit").unwrap();
        definer
            .query(&format!(
                "begin; create function fired{round}() returns trigger language plpgsql as
                   $$ begin set work_mem = '1{round}MB'; return new; end $$;
                 create trigger fired before insert on fires for each row execute function fired{round}()"
            ))
            .unwrap();
        writer.send(&wire::query("insert into fires values (1)")).unwrap();
        wait_for_lock();
        definer.query("commit").unwrap();
        writer.read_through(b'Z').unwrap();
        definer.query("begin").unwrap();
        assert_eq!(value(&mut reader, "show work_mem"), "4MB", "round {round}");
        definer.query("commit").unwrap();
        assert_eq!(value(&mut writer, "show work_mem"), format!("1{round}MB"));
        writer.query("reset work_mem").unwrap();
        definer.query(&format!("drop trigger fired on fires; drop function fired{round}()")).unwrap();
        // what is known now is that triggers are harmless
        writer.query("insert into quiet values (3)").unwrap();
    }
}

#[test]
fn a_client_is_pinned_by_what_cannot_follow_it_and_only_as_long_as_that_is_there() {
    for (makes, ends, reason) in [
        ("listen news", "unlisten *", "listen"),
        ("create temp table mine (i int)", "drop table mine", "temp"),
        ("begin; declare c cursor with hold for select 1; commit", "close c", "cursor"),
        ("select pg_advisory_lock(77)", "select pg_advisory_unlock(77)", "lock"),
        ("do $$ begin perform pg_advisory_lock(78); end $$", "select pg_advisory_unlock_all()", "lock"),
        ("prepare p as select 1", "deallocate p", "prepare"),
        ("prepare q as select 1", "discard all", "prepare"),
    ] {
        let pooler = start(&options(5).setting("admin_users", "[\"app\"]"));
        let mut client = app(&pooler);
        let pid = value(&mut client, "select pg_backend_pid()");
        client.query(makes).unwrap();
        wait_pinned(&pooler, &[reason], makes);
        let pinned_pid = value(&mut client, "select pg_backend_pid()");
        stir(&pooler);
        assert_eq!(value(&mut client, "select pg_backend_pid()"), pinned_pid, "{makes} ({pid} before)");
        client.query(ends).unwrap();
        wait_pinned(&pooler, &[], ends);
        let (_, metrics) = pooler.http_get("/metrics").unwrap();
        let counted = metrics.lines().any(|line| {
            line.starts_with("pgpooler_pins_total")
                && line.contains(&format!("reason=\"{reason}\""))
                && line.ends_with(" 1")
        });
        assert!(counted, "{metrics}");
    }
}

#[test]
fn a_pool_can_wipe_off_what_cannot_follow_instead() {
    let pooler = start(&options(2).setting("session_state", "\"reset\"").setting("admin_users", "[\"app\"]"));
    let mut client = app(&pooler);
    client.query("set work_mem = '9MB'").unwrap();
    client.query("create temp table mine (i int)").unwrap();
    client.query("select pg_advisory_lock(79)").unwrap();
    assert_eq!(value(&mut client, "select to_regclass('mine') is null"), "t");
    assert_eq!(value(&mut app(&pooler), "select pg_try_advisory_lock(79)"), "t");
    assert_eq!(value(&mut client, "show work_mem"), "9MB", "settings follow all the same");
    wait_pinned(&pooler, &[], "nothing is kept");
}

#[test]
fn a_pool_can_refuse_what_cannot_follow() {
    let pooler = start(&options(2).setting("session_state", "\"reject\""));
    let mut client = app(&pooler);
    for sql in [
        "listen news",
        "create temp table mine (i int)",
        "select pg_advisory_lock(80)",
        "prepare p as select 1",
    ] {
        assert_eq!(sqlstate(&client.query(sql).unwrap()).as_deref(), Some("0A000"), "{sql}");
        let batch =
            [wire::parse("", sql), wire::bind("", "", &[]), wire::execute("", 0), wire::sync()].concat();
        client.send(&batch).unwrap();
        assert_eq!(sqlstate(&client.read_through(b'Z').unwrap()).as_deref(), Some("0A000"), "{sql}");
    }
    client.query("begin").unwrap();
    client.query("listen news").unwrap();
    assert_eq!(
        sqlstate(&client.query("select 1").unwrap()).as_deref(),
        Some("25P02"),
        "it failed in the transaction"
    );
    client.query("rollback").unwrap();
    client.query("do $$ begin perform pg_advisory_lock(81); end $$").unwrap();
    value(&mut client, "select 1");
    let free = server().sql("select pg_try_advisory_lock(81)").unwrap();
    assert_eq!(free, [["t"]], "what gets through is wiped off");
}

#[test]
fn nobody_is_told_the_value_of_a_sequence_that_another_used() {
    let pooler = start(&options(1));
    let (mut one, mut two) = (app(&pooler), app(&pooler));
    one.query("drop sequence if exists told; create sequence told").unwrap();
    one.query("select nextval('told')").unwrap();
    value(&mut two, "select 1");
    assert_eq!(value(&mut one, "select lastval()"), "1", "in a later transaction, too");
    assert_eq!(sqlstate(&two.query("select lastval()").unwrap()).as_deref(), Some("55000"));
    assert_eq!(sqlstate(&two.query("select currval('told')").unwrap()).as_deref(), Some("55000"));
    let batch =
        [wire::parse("", "select lastval()"), wire::bind("", "", &[]), wire::execute("", 0), wire::sync()];
    one.query("select nextval('told')").unwrap();
    two.send(&batch.concat()).unwrap();
    assert_eq!(sqlstate(&two.read_through(b'Z').unwrap()).as_deref(), Some("55000"));
}

#[test]
fn a_library_that_a_client_loaded_ends_with_it() {
    let pooler = start(&options(1).user("postgres", "postgres"));
    let mut client = RawClient::login(&pooler.superuser()).unwrap();
    let pid = value(&mut client, "select pg_backend_pid()");
    client.query("load 'auto_explain'").unwrap();
    assert_eq!(value(&mut client, "select pg_backend_pid()"), pid);
    drop(client);
    assert_ne!(value(&mut RawClient::login(&pooler.superuser()).unwrap(), "select pg_backend_pid()"), pid);
}
