//! A login that fails or succeeds does so in PostgreSQL's words, byte for byte but for the lines of its source.

use std::sync::OnceLock;

use pgpooler_test_support::{
    Login, Message, Pooler, PoolerOptions, Postgres, PostgresOptions, RawClient, wire,
};

use super::{sqlstate, start, tags, value};

const PEOPLE: [&str; 4] = ["app", "lame", "barred", "alone"];

struct Both {
    server: Postgres,
    pooler: Pooler,
}

/// One server with a pooler before it, for all tests here.
fn both() -> &'static Both {
    static BOTH: OnceLock<Both> = OnceLock::new();
    BOTH.get_or_init(|| {
        let server =
            Postgres::start(&PostgresOptions { max_connections: 60, ..PostgresOptions::default() }).unwrap();
        for user in PEOPLE {
            server.create_user(user, user).unwrap();
        }
        for sql in [
            "alter role lame nologin",
            "alter role barred connection limit 0",
            "create database closed allow_connections false",
            "create database hidden",
            "revoke connect on database hidden from public",
            "create database full_up connection limit 0",
            "create database app",
            "create database german",
            "alter database german set datestyle = 'German'",
        ] {
            server.sql(sql).unwrap();
        }
        let options =
            PEOPLE.iter().fold(PoolerOptions::before(&server), |options, user| options.user(user, user));
        let pooler = start(
            &options.setting("max_server_connections", "10").setting("server_login_retry", "\"100ms\""),
        );
        Both { server, pooler }
    })
}

fn login(port: u16, user: &str, database: &str) -> Login {
    Login::new(port, user, user, database)
}

/// Every message, without what differs from connection to connection and where in the source an error was raised.
fn stable(messages: &[Message]) -> Vec<(char, Vec<String>)> {
    let fields = |message: &Message| match message.tag {
        b'E' | b'N' => message
            .body
            .split(|byte| *byte == 0)
            .filter(|field| !matches!(field.first(), Some(b'F' | b'L' | b'R')))
            .map(|field| String::from_utf8_lossy(field).into_owned())
            .collect(),
        b'S' | b'Z' | b'v' => vec![message.body.escape_ascii().to_string()],
        _ => Vec::new(),
    };
    messages.iter().map(|message| (char::from(message.tag), fields(message))).collect()
}

/// The same login, directly and through the pooler, twice: the second time much is known already.
fn same(change: impl Fn(Login) -> Login) -> Vec<Message> {
    let Both { server, pooler } = both();
    let told = |port| RawClient::login_messages(&change(login(port, "app", "postgres"))).unwrap().1;
    let direct = told(server.port());
    for _ in 0..2 {
        assert_eq!(stable(&told(pooler.port())), stable(&direct));
    }
    direct
}

fn same_error(change: impl Fn(Login) -> Login, code: &str) {
    assert_eq!(sqlstate(&same(change)).as_deref(), Some(code));
}

fn with(name: &'static str, value: &'static str) -> impl Fn(Login) -> Login {
    move |login| login.parameter(name, value)
}

#[test]
fn users_and_databases_are_refused_in_postgresqls_words_and_order() {
    let database = |name: &'static str| move |login| Login { database: name.to_owned(), ..login };
    let user =
        |name: &'static str| move |login| Login { user: name.to_owned(), password: name.to_owned(), ..login };
    same_error(|login| Login { password: "wrong".to_owned(), ..login }, "28P01");
    same_error(|login| Login { user: "nobody".to_owned(), ..login }, "28P01");
    same_error(user("lame"), "28000");
    same_error(database("nosuch"), "3D000");
    same_error(database("closed"), "55000");
    same_error(database("hidden"), "42501");
    // what comes first is said first
    same_error(|login| Login { password: "wrong".to_owned(), ..database("nosuch")(login) }, "28P01");
    same_error(|login| database("nosuch")(login).parameter("work_mem", "many"), "3D000");
    same_error(|login| database("nosuch")(login).parameter("options", "-Z"), "3D000");
    same_error(|login| database("nosuch")(user("lame")(login)), "28000");
}

#[test]
fn connection_limits_that_nothing_of_ours_takes_up_are_told() {
    same_error(|login| Login { database: "full_up".to_owned(), ..login }, "53300");
    same_error(|login| Login { user: "barred".to_owned(), password: "barred".to_owned(), ..login }, "53300");
}

#[test]
fn a_role_that_may_have_one_connection_serves_many_clients_and_waits_for_others() {
    let Both { server, pooler } = both();
    server.sql("alter role alone connection limit 1").unwrap();
    let mut elsewhere = RawClient::login(&login(server.port(), "alone", "postgres")).unwrap();
    let through = login(pooler.port(), "alone", "postgres");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| RawClient::login(&through).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(500));
        elsewhere.send(&wire::terminate()).unwrap();
        drop(elsewhere);
        let mut one = waiting.join().unwrap();
        let mut two = RawClient::login(&through).unwrap();
        for n in 0..3 {
            assert_eq!(value(&mut one, &format!("select {n}")), n.to_string());
            assert_eq!(value(&mut two, &format!("select {n}")), n.to_string());
        }
    });
}

#[test]
fn startup_parameters_are_refused_in_postgresqls_words() {
    for (name, wanted, code) in [
        ("nosuch", "1", "42704"),
        ("work_mem", "many", "22023"),
        ("work_mem", "1", "22023"),
        ("DateStyle", "nonsense", "22023"),
        ("TimeZone", "Mars/Olympus", "22023"),
        ("client_encoding", "nonsense", "22023"),
        ("IntervalStyle", "nonsense", "22023"),
        ("default_transaction_isolation", "nonsense", "22023"),
        ("max_connections", "5", "55P02"),
        ("wal_level", "logical", "55P02"),
        ("fsync", "off", "55P02"),
        ("is_superuser", "on", "55P02"),
        ("server_version", "17", "55P02"),
        ("session_preload_libraries", "x", "42501"),
        ("log_statement", "all", "42501"),
        ("role", "nosuch", "22023"),
        ("role", "postgres", "42501"),
        ("options", "-Z", "42601"),
        ("options", "-c work_mem", "42601"),
        ("options", "--nosuch=1", "42704"),
        ("options", "-c work_mem=many", "22023"),
        ("options", "nonsense", "42601"),
        ("options", "-S many", "22023"),
        ("replication", "maybe", "22023"),
    ] {
        assert_eq!(sqlstate(&same(with(name, wanted))).as_deref(), Some(code), "{name} = {wanted}");
    }
}

#[test]
fn what_a_login_reports_is_the_clients_own_in_postgresqls_spelling() {
    for (name, wanted) in [
        ("application_name", "tests"),
        ("application_name", "na\u{ef}ve \u{2603}"),
        ("application_name", "a\tb"),
        ("client_encoding", "utf-8"),
        ("client_encoding", "latin1"),
        ("client_encoding", "'UTF8'"),
        ("TimeZone", "europe/paris"),
        ("TimeZone", "+2"),
        ("DateStyle", "ISO"),
        ("DateStyle", "sql, ymd"),
        ("datestyle", "German"),
        ("IntervalStyle", "ISO_8601"),
        ("standard_conforming_strings", "off"),
        ("default_transaction_read_only", "true"),
        ("role", "app"),
        ("search_path", "a, \"B c\""),
        ("app.tenant", "5"),
        ("options", "-c app.tenant=5 -c datestyle=german --work-mem=9MB -S 7000"),
        ("options", "-e"),
        ("options", "-fs -n"),
        ("application_name", "a name of more than sixty-three bytes is cut there, and PostgreSQL says so"),
        ("options", r"-c application_name=two\ words"),
        ("extra_float_digits", "3"),
        ("replication", "off"),
    ] {
        let told = same(with(name, wanted));
        assert!(tags(&told).ends_with("KZ"), "{name} = {wanted}: {told:?}");
    }
    same(|login| Login { database: "german".to_owned(), ..login });
    // the database defaults to the user
    same(|login| Login { database: String::new(), ..login });
    same_error(|login| Login { user: String::new(), ..login }, "28000");
}

#[test]
fn what_was_asked_for_at_the_start_holds() {
    let Both { pooler, .. } = both();
    let asked = login(pooler.port(), "app", "postgres")
        .parameter("app.tenant", "5")
        .parameter("search_path", "a, \"B c\"")
        .parameter("options", "-c statement_timeout=7s --lock-timeout=3s -S 7000 -c app.other=x\\ y");
    let mut client = RawClient::login(&asked).unwrap();
    let mut other = RawClient::login(&login(pooler.port(), "app", "postgres")).unwrap();
    for _ in 0..3 {
        for (name, expected) in [
            ("app.tenant", "5"),
            ("search_path", "a, \"B c\""),
            ("statement_timeout", "7s"),
            ("lock_timeout", "3s"),
            ("work_mem", "7000kB"),
            ("app.other", "x y"),
        ] {
            assert_eq!(value(&mut client, &format!("show {name}")), expected);
        }
        assert_eq!(value(&mut other, "show statement_timeout"), "0");
        assert_eq!(value(&mut other, "select current_setting('app.tenant', true)"), "");
    }
}

#[test]
fn negotiation_says_the_same_as_postgresql_as_far_as_that_speaks_3_2() {
    let Both { pooler, .. } = both();
    for (version, options, minor) in
        [(196_608, vec!["_pq_.a"], 0), (196_617, vec![], 2), (196_617, vec!["_pq_.a", "_pq_.b"], 2)]
    {
        let asked = options
            .iter()
            .fold(login(pooler.port(), "app", "postgres"), |login, name| login.parameter(name, "1"));
        let (_, told) = RawClient::login_messages(&Login { version, ..asked }).unwrap();
        assert_eq!(told.iter().filter(|message| message.tag == b'v').count(), 1);
        let names: Vec<u8> = options.iter().flat_map(|name| wire::cstr(name)).collect();
        let count = (options.len() as u32).to_be_bytes();
        let version = (0x0003_0000 + minor as u32).to_be_bytes();
        assert_eq!(told[0], Message { tag: b'v', body: [&version[..], &count, &names].concat() });
    }
}
