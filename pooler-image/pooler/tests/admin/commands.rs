//! Commands through a driver, as the operator gives them.

use pgpooler::admin::Access;
use pgpooler_core::budget::{Phase, Report};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use crate::driver;

async fn rows(client: &Client, command: &str) -> Vec<SimpleQueryRow> {
    let messages = client.simple_query(command).await.unwrap();
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

async fn refused(client: &Client, command: &str) -> (String, String) {
    let error = client.simple_query(command).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    (error.code().code().to_owned(), error.message().to_owned())
}

#[tokio::test]
async fn show_pools_tells_clients_and_servers_of_each_pool() {
    let (client, _fake, _stop) = driver(Access::Stats).await;
    let rows = rows(&client, "SHOW POOLS").await;
    assert_eq!(rows.len(), 2);
    let value = |column| rows[1].get(column);
    assert_eq!((value("database"), value("user")), (Some("orders"), Some("app")));
    assert_eq!((value("cl_active"), value("cl_waiting")), (Some("3"), Some("3")));
    assert_eq!((value("sv_active"), value("sv_idle")), (Some("1"), Some("4")));
    assert_eq!((value("maxwait"), value("maxwait_us")), (Some("2"), Some("5")));
    assert_eq!((value("pool_mode"), value("load_balance_hosts")), (Some("transaction"), None));
}

#[tokio::test]
async fn show_clients_and_show_servers_point_at_each_other() {
    let (client, _fake, _stop) = driver(Access::Stats).await;
    let clients = rows(&client, "SHOW CLIENTS").await;
    let servers = rows(&client, "SHOW SERVERS").await;
    assert_eq!(clients[0].get("state"), Some("waiting"));
    assert_eq!((clients[0].get("wait"), clients[0].get("wait_us")), (Some("1"), Some("500000")));
    assert_eq!((clients[0].get("addr"), clients[0].get("port")), (Some("10.0.0.1"), Some("4711")));
    assert_eq!(clients[0].get("ptr"), servers[0].get("link"));
    assert_eq!(servers[0].get("remote_pid"), Some("999"));
    assert_eq!(servers[0].get("request_time"), Some("1970-01-01 00:00:00 UTC"));
    assert_eq!(servers[0].get("close_needed"), Some("1"));
}

#[tokio::test]
async fn show_stats_tells_totals_in_microseconds_and_bytes() {
    let (client, _fake, _stop) = driver(Access::Stats).await;
    let rows = rows(&client, "SHOW STATS").await;
    let value = |column| rows[0].get(column);
    assert_eq!(value("database"), Some("orders"));
    assert_eq!((value("total_xact_count"), value("total_client_login_count")), (Some("1"), Some("4")));
    assert_eq!((value("total_query_count"), value("total_requests")), (Some("1"), Some("1")));
    assert_eq!(value("total_xact_time"), Some("5000"));
    assert_eq!(value("total_query_time"), Some("2000"));
    assert_eq!(value("total_wait_time"), Some("1000"));
    assert_eq!((value("total_received"), value("total_sent")), (Some("100"), Some("200")));
    assert_eq!(value("avg_xact_time"), Some("5000"));
}

#[tokio::test]
async fn show_databases_users_and_lists_agree() {
    let (client, _fake, _stop) = driver(Access::Stats).await;
    let databases = rows(&client, "SHOW DATABASES").await;
    assert_eq!(databases[0].get("current_connections"), Some("5"));
    assert_eq!(databases[0].get("current_client_connections"), Some("6"));
    let users: Vec<_> =
        rows(&client, "SHOW USERS").await.iter().map(|row| row.get(0).unwrap().to_owned()).collect();
    assert_eq!(users, ["app", "pgbouncer", "zoe"]);
    let lists = rows(&client, "SHOW LISTS").await;
    let items = |list| lists.iter().find(|row| row.get(0) == Some(list)).and_then(|row| row.get(1));
    assert_eq!((items("databases"), items("users"), items("pools")), (Some("2"), Some("3"), Some("2")));
    // six in the pool, one that logs in, one on the console
    assert_eq!((items("used_clients"), items("login_clients")), (Some("8"), Some("1")));
    assert_eq!(items("used_servers"), Some("5"));
}

#[tokio::test]
async fn show_state_tells_the_hash_of_the_document_and_the_slots() {
    let (client, _fake, _stop) = driver(Access::Stats).await;
    let rows = rows(&client, "SHOW STATE").await;
    let value = |key| rows.iter().find(|row| row.get(0) == Some(key)).and_then(|row| row.get(1));
    assert_eq!((value("active"), value("paused")), (Some("yes"), Some("no")));
    assert_eq!(value("config_hash"), Some("c0ffee"));
    assert_eq!(value("server_connections_limit"), Some("20"));
    assert_eq!(value("server_connections_held"), Some("5"));
}

#[tokio::test]
async fn show_config_lists_the_document() {
    let (client, _fake, _stop) = driver(Access::Stats).await;
    let rows = rows(&client, "SHOW CONFIG").await;
    let row = rows.iter().find(|row| row.get("key") == Some("max_client_conn")).unwrap();
    assert_eq!((row.get("value"), row.get("changeable")), (Some("10000"), Some("yes")));
}

#[tokio::test]
async fn the_console_is_a_database_with_a_pool_and_clients_as_in_pgbouncer() {
    let (client, _fake, _stop) = driver(Access::Admin).await;
    let console = |rows: Vec<SimpleQueryRow>, column| {
        rows.into_iter().find(|row| row.get(column) == Some("pgbouncer")).unwrap()
    };
    let pool = console(rows(&client, "SHOW POOLS").await, "database");
    assert_eq!((pool.get("user"), pool.get("cl_active")), (Some("pgbouncer"), Some("1")));
    assert_eq!(pool.get("pool_mode"), Some("statement"));
    let database = console(rows(&client, "SHOW DATABASES").await, "name");
    assert_eq!((database.get("host"), database.get("port")), (None, Some("6432")));
    assert_eq!(database.get("current_client_connections"), Some("1"));
    let session = console(rows(&client, "SHOW CLIENTS").await, "database");
    assert_eq!((session.get("user"), session.get("id")), (Some("ann"), Some("77")));
    let stats = console(rows(&client, "SHOW STATS").await, "database");
    assert_eq!(stats.get("total_client_login_count"), Some("1"));
    assert_eq!(stats.get("total_query_count"), Some("4"), "with this one");
}

#[tokio::test]
async fn show_sockets_lists_both_sides_and_active_sockets_those_that_work() {
    let (client, _fake, _stop) = driver(Access::Stats).await;
    let states = |rows: Vec<SimpleQueryRow>| -> Vec<_> {
        rows.iter()
            .map(|row| (row.get("type").unwrap().to_owned(), row.get("state").unwrap().to_owned()))
            .collect()
    };
    let expected = [("C", "cl_waiting"), ("C", "cl_active"), ("S", "sv_active")];
    let expected = expected.map(|(kind, state)| (kind.to_owned(), state.to_owned()));
    assert_eq!(states(rows(&client, "SHOW SOCKETS").await), expected);
    assert_eq!(states(rows(&client, "SHOW ACTIVE_SOCKETS").await), expected[2..]);
    let row = rows(&client, "SHOW ACTIVE_SOCKETS").await;
    assert_eq!(
        (row[0].get("id"), row[0].get("recv_pos"), row[0].get("pinned")),
        (Some("34"), Some("0"), Some(""))
    );
}

#[tokio::test]
async fn show_mem_multiplies_things_by_their_size_and_tells_the_process() {
    let (client, _fake, _stop) = driver(Access::Stats).await;
    let rows = rows(&client, "SHOW MEM").await;
    let value =
        |name, column| rows.iter().find(|row| row.get(0) == Some(name)).and_then(|row| row.get(column));
    assert_eq!((value("server_cache", "used"), value("server_cache", "memtotal")), (Some("5"), Some("500")));
    assert!(value("process", "memtotal").unwrap().parse::<u32>().unwrap() > 1 << 20);
}

#[tokio::test]
async fn show_config_tells_what_tools_look_for_and_cannot_be_set_here() {
    let (client, _fake, _stop) = driver(Access::Stats).await;
    let rows = rows(&client, "SHOW CONFIG").await;
    let row = rows.iter().find(|row| row.get("key") == Some("log_pooler_errors")).unwrap();
    assert_eq!((row.get("value"), row.get("changeable")), (Some("0"), Some("no")));
    assert!(rows.is_sorted_by_key(|row| row.get("key")));
}

#[tokio::test]
async fn an_admin_can_disable_kill_wait_and_set() {
    let (client, fake, _stop) = driver(Access::Admin).await;
    for command in
        ["DISABLE orders", "enable orders", "KILL", "KILL orders", "KILL_CLIENT 12", "KILL_CLIENT C12"]
    {
        client.simple_query(command).await.unwrap();
    }
    client.simple_query("WAIT_CLOSE; WAIT_CLOSE orders; SET max_client_conn = 5").await.unwrap();
    let expected = [
        "disable orders",
        "enable orders",
        "kill *",
        "kill orders",
        "kill client 12",
        "kill client 12",
        "wait for *",
        "wait for orders",
        "set max_client_conn 5",
    ];
    assert_eq!(fake.calls(), expected);
}

#[tokio::test]
async fn what_pgbouncer_refuses_is_refused_in_its_words() {
    let (client, _fake, _stop) = driver(Access::Admin).await;
    for (command, sqlstate, told) in [
        ("DISABLE", "42601", "a database is required"),
        ("ENABLE", "42601", "a database is required"),
        ("DISABLE pgbouncer", "0A000", "cannot disable admin db: pgbouncer"),
        ("ENABLE pgpooler", "0A000", "cannot enable admin db: pgpooler"),
        ("PAUSE pgbouncer", "0A000", "cannot pause admin db: pgbouncer"),
        ("KILL pgbouncer", "0A000", "cannot kill admin db: pgbouncer"),
        ("RECONNECT pgbouncer", "0A000", "cannot reconnect admin db: pgbouncer"),
        ("WAIT_CLOSE pgbouncer", "0A000", "cannot wait in admin db: pgbouncer"),
        ("RESUME pgbouncer", "55000", "database pgbouncer is not paused"),
        ("ENABLE nowhere", "3D000", "no such database: nowhere"),
        ("KILL_CLIENT", "22023", "invalid client pointer supplied"),
        ("KILL_CLIENT ann", "22023", "invalid client pointer supplied"),
        ("KILL_CLIENT 99", "42704", "client not found"),
        ("SUSPEND", "0A000", "SUSPEND is not supported"),
        ("SHOW FDS", "0A000", "SHOW FDS is not supported"),
        ("SHOW NONSENSE", "42601", "invalid command 'SHOW NONSENSE', use SHOW HELP;"),
        ("SET nonsense = 1", "42704", "unrecognized configuration parameter \"nonsense\""),
        (
            "SET max_client_conn = many",
            "22023",
            "invalid value for parameter \"max_client_conn\": not an integer",
        ),
        (
            "SET listen_port = 1",
            "55P02",
            "parameter \"listen_port\" cannot be changed without restarting the pooler",
        ),
    ] {
        assert_eq!(refused(&client, command).await, (sqlstate.to_owned(), told.to_owned()));
    }
}

#[tokio::test]
async fn an_admin_can_pause_resume_reconnect_and_reload() {
    let (client, fake, _stop) = driver(Access::Admin).await;
    for command in ["PAUSE", "PAUSE orders", "RESUME \"my db\"", "reconnect orders;", "RELOAD"] {
        client.simple_query(command).await.unwrap();
    }
    assert_eq!(fake.calls(), ["pause *", "pause orders", "resume my db", "reconnect orders", "reload"]);
}

#[tokio::test]
async fn a_shutdown_is_answered_before_it_begins() {
    let (client, fake, _stop) = driver(Access::Admin).await;
    client.simple_query("SHUTDOWN WAIT_FOR_SERVERS").await.unwrap();
    client.simple_query("SHOW VERSION").await.unwrap();
    assert_eq!(fake.calls(), ["shutdown WaitForServers"]);
}

#[tokio::test]
async fn a_stats_user_may_look_and_nothing_else() {
    let (client, fake, _stop) = driver(Access::Stats).await;
    for command in [
        "PAUSE",
        "RESUME",
        "RECONNECT",
        "RELOAD",
        "SHUTDOWN",
        "DISABLE a",
        "ENABLE a",
        "KILL",
        "KILL_CLIENT 12",
        "WAIT_CLOSE",
        "SET max_client_conn = 5",
    ] {
        let (sqlstate, message) = refused(&client, command).await;
        assert_eq!((sqlstate.as_str(), message.as_str()), ("42501", "admin access needed"), "{command}");
    }
    client.simple_query("SET client_encoding = 'UTF8'").await.unwrap();
    assert!(fake.calls().is_empty());
}

#[tokio::test]
async fn refusals_carry_an_sqlstate_and_leave_the_session_open() {
    let (client, _fake, _stop) = driver(Access::Admin).await;
    assert_eq!(refused(&client, "SELECT 1").await.0, "42601");
    assert_eq!(refused(&client, "PAUSE nowhere").await, ("3D000".into(), "no such database: nowhere".into()));
    assert_eq!(refused(&client, "RESUME running").await.0, "55000");
    assert_eq!(rows(&client, "SHOW VERSION").await.len(), 1);
}

#[tokio::test]
async fn the_commands_before_one_that_fails_have_run() {
    let (client, fake, _stop) = driver(Access::Admin).await;
    assert_eq!(refused(&client, "PAUSE a; PAUSE nowhere; PAUSE b").await.0, "3D000");
    assert_eq!(fake.calls(), ["pause a", "pause nowhere"]);
}

#[tokio::test]
async fn an_operator_claims_and_sets_limits_and_is_answered_what_holds() {
    let (client, _fake, _stop) = driver(Access::Admin).await;
    let row = |rows: Vec<SimpleQueryRow>| rows.into_iter().next().unwrap();
    assert_eq!(row(rows(&client, "SHOW BUDGET").await).get("phase"), Some("awaiting"));
    assert_eq!(row(rows(&client, "CLAIM EPOCH 3").await).get("epoch"), Some("3"));
    let limit = row(rows(&client, "LIMIT 9 OF 20 EPOCH 3 SEQUENCE 1 MAX_CONNECTIONS 50").await);
    let report = Report::read(|column| limit.get(column)).unwrap();
    assert_eq!((report.limit, report.charge(), report.phase), (9, 9, Phase::Serving));
    let stale = client.simple_query("LIMIT 9 OF 20 EPOCH 2 SEQUENCE 9 MAX_CONNECTIONS 50").await.unwrap_err();
    let stale = stale.as_db_error().unwrap();
    assert_eq!((stale.code().code(), stale.message()), ("55000", "epoch 3 has claimed this pod"));
    assert!(stale.detail().unwrap().contains(" epoch=3 sequence=1 "), "{:?}", stale.detail());
    assert_eq!(refused(&client, "LIMIT 10").await.0, "42501");
    assert_eq!(row(rows(&client, "LIMIT 4").await).get("limit"), Some("4"));
}

#[tokio::test]
async fn who_may_only_look_cannot_set_a_limit_but_may_listen() {
    let (client, _fake, _stop) = driver(Access::Stats).await;
    assert_eq!(refused(&client, "LIMIT 1").await.0, "42501");
    assert_eq!(refused(&client, "CLAIM EPOCH 1").await.0, "42501");
    client.simple_query("LISTEN budget; UNLISTEN").await.unwrap();
}
