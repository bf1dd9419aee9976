//! Connections that break at every point: the next client on the same server connection notices nothing.

use std::time::{Duration, Instant};

use pgpooler_test_support::{Pooler, RawClient, wire};
use socket2::SockRef;

use super::super::{app, options, server, start, value};

/// A session that is cut: messages to send, each with the type bytes of what comes before the next may be sent.
struct Script {
    name: &'static str,
    steps: Vec<(Vec<u8>, &'static str)>,
}

fn script(name: &'static str, steps: Vec<(Vec<u8>, &'static str)>) -> Script {
    Script { name, steps }
}

fn scripts() -> Vec<Script> {
    let mut scripts = batches();
    scripts.extend(portals_and_copies());
    scripts
}

fn batches() -> Vec<Script> {
    let batch = |sql: &str| {
        [wire::parse("", sql), wire::bind("", "", &[]), wire::describe(b'P', ""), wire::execute("", 0)]
            .concat()
    };
    let insert = "insert into cut values ('left behind')";
    vec![
        script("simple", vec![(wire::query("select 1; select 'two'"), "Z"), (wire::query("select 3"), "Z")]),
        script(
            "transaction",
            vec![(wire::query("begin"), "Z"), (wire::query(insert), "Z"), (wire::query("select 1"), "Z")],
        ),
        script(
            "failed transaction",
            vec![
                (wire::query("begin"), "Z"),
                (wire::query("select 1/0"), "Z"),
                (wire::query("select 1"), "Z"),
            ],
        ),
        script(
            "batch",
            vec![
                ([wire::parse("cut", "select $1::text"), wire::flush()].concat(), "1"),
                ([wire::bind("", "cut", &[Some("x")]), wire::execute("", 0), wire::sync()].concat(), "Z"),
            ],
        ),
        script(
            "implicit transaction",
            vec![([batch(insert), wire::flush()].concat(), "C"), (wire::flush(), "")],
        ),
        script(
            "pipeline",
            vec![(
                [batch("select 1"), wire::sync(), batch("select 1/0"), wire::sync(), batch(insert)].concat(),
                "ZZ",
            )],
        ),
    ]
}

fn portals_and_copies() -> Vec<Script> {
    vec![
        script(
            "portal",
            vec![
                (wire::query("begin"), "Z"),
                (
                    [
                        wire::parse("", "select i from generate_series(1, 9) i"),
                        wire::bind("p", "", &[]),
                        wire::execute("p", 2),
                        wire::sync(),
                    ]
                    .concat(),
                    "sZ",
                ),
                ([wire::execute("p", 2), wire::sync()].concat(), "sZ"),
            ],
        ),
        script(
            "copy in",
            vec![
                (wire::query("copy cut from stdin"), "G"),
                (wire::message(b'd', b"left behind\n"), ""),
                (wire::message(b'f', b"\0"), "Z"),
            ],
        ),
        script(
            "copy out",
            vec![(wire::query("copy (select i from generate_series(1, 2000) i) to stdout"), "dcCZ")],
        ),
        script(
            "settings",
            vec![(wire::query("set work_mem to '7MB'"), "Z"), (wire::query("set timezone to 'Japan'"), "Z")],
        ),
    ]
}

/// Offsets at which a message is cut: in its header, and here and there behind it.
fn offsets(bytes: &[u8]) -> Vec<usize> {
    let every = std::env::var_os("PGPOOLER_TEST_EVERY_BYTE").is_some();
    let some = |at: usize| [0, 1, 4, 5, 9].contains(&at) || at.is_multiple_of(61) || at + 2 > bytes.len();
    (0..bytes.len()).filter(|at| every || some(*at)).collect()
}

/// By FIN, or by RST.
fn hang_up(client: RawClient, abruptly: bool) {
    if abruptly {
        SockRef::from(client.stream()).set_linger(Some(Duration::ZERO)).expect("a socket option");
    }
    drop(client);
}

fn await_tags(client: &mut RawClient, tags: &str) {
    for tag in tags.bytes() {
        client.read_through(tag).expect("a reply");
    }
}

/// The next client gets its own answers and finds nothing of its predecessor's.
fn check_next(pooler: &Pooler, what: &str) {
    let mut next = app(pooler);
    let batch =
        [wire::parse("cut", "select 'next'"), wire::bind("", "cut", &[]), wire::execute("", 0), wire::sync()];
    let messages = next.exchange(&batch.concat()).expect("an answer");
    assert_eq!(super::super::tags(&messages), "12DCZ", "{what}: {messages:?}");
    let left = "select count(*) || ' ' || current_setting('work_mem') || ' ' || current_setting('timezone') from cut";
    assert_eq!(value(&mut next, left), format!("0 {}", defaults()), "{what}");
}

fn defaults() -> &'static str {
    static DEFAULTS: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    DEFAULTS.get_or_init(|| {
        let sql = "select current_setting('work_mem') || ' ' || current_setting('timezone')";
        server().sql(sql).expect("settings").concat().concat()
    })
}

/// No session is left but the pooler's own idle one.
fn check_sessions(application: &str) {
    let sql = format!(
        "select coalesce(string_agg(state || ' ' || query, '; '), '') from pg_stat_activity \
         where usename = 'cutter' and application_name = '{application}' and state <> 'idle'"
    );
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let left = server().sql(&sql).expect("sessions").concat().concat();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "left behind: {left}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn cut_table() {
    static TABLE: std::sync::OnceLock<()> = std::sync::OnceLock::new();
    TABLE.get_or_init(|| {
        server().sql("create table cut (what text); grant all on cut to public").expect("a table");
    });
}

#[test]
fn a_client_that_hangs_up_at_any_byte_that_it_sends_leaves_nothing() {
    cut_table();
    for script in scripts() {
        let pooler = start(&options(1).setting("workers", "1"));
        for (at, (bytes, _)) in script.steps.iter().enumerate() {
            for offset in offsets(bytes) {
                let what = format!("{}, step {at}, byte {offset}", script.name);
                let mut client = app(&pooler);
                for (bytes, tags) in script.steps.get(..at).unwrap_or_default() {
                    client.send(bytes).expect("a write");
                    await_tags(&mut client, tags);
                }
                client.send(bytes.get(..offset).unwrap_or_default()).expect("a write");
                hang_up(client, offset % 2 == 1);
                check_next(&pooler, &what);
            }
        }
        check_sessions("");
    }
}

#[test]
fn a_client_that_hangs_up_after_any_message_that_it_gets_leaves_nothing() {
    cut_table();
    for script in scripts() {
        let pooler = start(&options(1).setting("workers", "1"));
        for (at, (bytes, tags)) in script.steps.iter().enumerate() {
            for messages in 0..12 {
                let what = format!("{}, step {at}, message {messages}", script.name);
                let mut client = app(&pooler);
                for (bytes, tags) in script.steps.get(..at).unwrap_or_default() {
                    client.send(bytes).expect("a write");
                    await_tags(&mut client, tags);
                }
                client.send(bytes).expect("a write");
                let last = tags.bytes().last();
                let mut over = false;
                for _ in 0..messages {
                    let tag = (!over && last.is_some()).then(|| client.read().expect("a reply").tag);
                    over = over || tag.is_none() || tag == last;
                }
                hang_up(client, messages % 2 == 1);
                check_next(&pooler, &what);
                if over {
                    break;
                }
            }
        }
    }
}

/// What a client hears whose server connection is ended: the rest of the stream.
fn heard(client: &mut RawClient) -> (String, Vec<String>) {
    let bytes = client.read_to_end().expect("the end");
    let (mut rest, mut tags, mut errors) = (bytes.as_slice(), String::new(), Vec::new());
    while let Some((head, behind)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
        let (body, behind) = behind.split_at(length);
        tags.push(char::from(head[0]));
        if head[0] == b'E' {
            let message = pgpooler_test_support::Message { tag: b'E', body: body.to_vec() };
            errors.extend(message.field(b'C'));
        }
        rest = behind;
    }
    (tags, errors)
}

#[test]
fn a_server_connection_that_is_terminated_in_any_state_is_told_once_and_the_pool_recovers() {
    cut_table();
    let states: Vec<(&str, Vec<u8>, &str)> = vec![
        ("in a transaction", wire::query("begin"), "Z"),
        ("in a failed transaction", wire::query("begin; select 1/0"), "Z"),
        ("running", wire::query("select pg_sleep(30)"), ""),
        ("copy in", wire::query("copy cut from stdin"), "G"),
        ("in a batch", [wire::parse("", "select 1"), wire::flush()].concat(), "1"),
    ];
    let pooler = start(&options(1).setting("workers", "1"));
    for (name, bytes, tags) in states {
        let mut client = app(&pooler);
        let pid = value(&mut client, "select pg_backend_pid()");
        client.send(&bytes).unwrap();
        await_tags(&mut client, tags);
        if tags.is_empty() {
            let running =
                format!("select count(*) from pg_stat_activity where pid = {pid} and state = 'active'");
            while server().sql(&running).unwrap().concat().concat() != "1" {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        server().sql(&format!("select pg_terminate_backend({pid})")).unwrap();
        let (tags, errors) = heard(&mut client);
        // a result that had begun is sent with the error
        assert_eq!((tags.trim_start_matches('T'), errors), ("E", vec!["57P01".to_owned()]), "{name}");
        check_next(&pooler, name);
    }
}

#[test]
fn a_session_that_postgresql_ends_for_idling_in_a_transaction_frees_its_place() {
    cut_table();
    let pooler = start(&options(1).setting("workers", "1"));
    let mut client = app(&pooler);
    client.query("set idle_in_transaction_session_timeout to 100").unwrap();
    client.query("begin").unwrap();
    // the client says nothing; its place is free all the same
    check_next(&pooler, "idle in transaction");
    let (tags, errors) = heard(&mut client);
    assert_eq!((tags.as_str(), errors), ("E", vec!["25P03".to_owned()]));
}

#[test]
fn an_idle_server_connection_that_was_terminated_is_replaced_and_nobody_hears_of_it() {
    let pooler = start(&options(1).setting("workers", "1"));
    let mut client = app(&pooler);
    for _ in 0..20 {
        let pid = value(&mut client, "select pg_backend_pid()");
        server().sql(&format!("select pg_terminate_backend({pid}, 5000)")).unwrap();
        assert_ne!(value(&mut client, "select pg_backend_pid()"), pid);
    }
}

#[test]
fn a_client_that_shuts_its_side_down_behind_its_query_gets_the_answer() {
    let pooler = start(&options(1).setting("workers", "1"));
    for sql in ["select 'at once'", "select pg_sleep(0.3), 'at once'"] {
        let mut client = app(&pooler);
        client.send(&wire::query(sql)).unwrap();
        client.stream().shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(heard(&mut client).0, "TDCZ", "{sql}");
    }
}
