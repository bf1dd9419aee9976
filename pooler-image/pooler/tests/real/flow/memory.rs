//! Large messages pass in bounded memory.

use std::io::Write as _;
use std::time::{Duration, Instant};

use pgpooler_test_support::{RawClient, wire};

use super::super::{app, app_login, options, start, value};
use super::{growth, skim, status, tags_of};

/// What any number of large messages may cost.
const BOUND: usize = 1 << 20;

/// Megabytes of one message; `PGPOOLER_TEST_LARGE=1000` for the protocol's limit.
fn large() -> usize {
    std::env::var("PGPOOLER_TEST_LARGE").ok().and_then(|text| text.parse().ok()).unwrap_or(64) * 1_000_000
}

/// Sends `head`, `length` times one byte, and `tail`, without having it all in memory.
fn send_large(client: &RawClient, head: &[u8], length: usize, tail: &[u8]) {
    let mut stream = client.stream();
    let chunk = vec![b'x'; 1_000_000];
    stream.write_all(head).unwrap();
    let mut rest = length;
    while rest > 0 {
        let here = rest.min(chunk.len());
        stream.write_all(&chunk[..here]).unwrap();
        rest -= here;
    }
    stream.write_all(tail).unwrap();
}

/// A message's first bytes, when `behind` bytes follow `body`.
fn head(tag: u8, body: &[u8], behind: usize) -> Vec<u8> {
    let mut head = wire::message(tag, body);
    let length = (4 + body.len() + behind) as u32;
    head[1..5].copy_from_slice(&length.to_be_bytes());
    head
}

#[test]
fn one_large_row_passes_in_bounded_memory() {
    let pooler = start(&options(1).setting("workers", "1"));
    let mut client = app(&pooler);
    client.query("select repeat('x', 1000000)").unwrap();
    let (grown, messages) = growth(&pooler, || {
        client.send(&wire::query(&format!("select repeat('x', {})", large()))).unwrap();
        skim(&client, 1)
    });
    assert_eq!(tags_of(&messages), "TDCZ");
    assert_eq!(messages[1].1, large() + 6);
    assert!(grown < BOUND, "{grown} bytes more for a row of {}", large());
}

#[test]
fn one_large_parameter_passes_in_bounded_memory() {
    let pooler = start(&options(1).setting("workers", "1"));
    let mut client = app(&pooler);
    client.exchange(&[wire::parse("large", "select length($1)"), wire::sync()].concat()).unwrap();
    let (grown, messages) = growth(&pooler, || {
        let length = (large() as u32).to_be_bytes();
        let before = [&wire::cstr("")[..], &wire::cstr("large"), &[0, 0, 0, 1], &length].concat();
        let tail = [&[0, 0][..], &wire::execute("", 0), &wire::sync()].concat();
        send_large(&client, &head(b'B', &before, large() + 2), large(), &tail);
        client.read_through(b'Z').unwrap()
    });
    assert_eq!(messages[1].columns(), [large().to_string()]);
    assert!(grown < BOUND, "{grown} bytes more for a parameter of {}", large());
}

#[test]
fn one_large_query_passes_in_bounded_memory() {
    let pooler = start(&options(1).setting("workers", "1"));
    let mut client = app(&pooler);
    client.query("select 1").unwrap();
    let (grown, messages) = growth(&pooler, || {
        let before = b"select length('";
        send_large(&client, &head(b'Q', before, large() + 3), large(), b"')\0");
        client.read_through(b'Z').unwrap()
    });
    assert_eq!(messages[1].columns(), [large().to_string()]);
    assert!(grown < BOUND, "{grown} bytes more for a query of {}", large());
}

#[test]
fn a_copy_in_and_out_passes_in_bounded_memory() {
    let pooler = start(&options(1).setting("workers", "1"));
    let mut client = app(&pooler);
    client.query("begin").unwrap();
    client.query("create temp table copied (t text) on commit drop").unwrap();
    let (grown, messages) = growth(&pooler, || {
        client.send(&wire::query("copy copied from stdin")).unwrap();
        client.read_through(b'G').unwrap();
        // one message, and many
        send_large(&client, &head(b'd', b"", large() + 1), large(), b"\n");
        for _ in 0..large() / 1_000_000 {
            send_large(&client, &head(b'd', b"", 1_000_001), 1_000_000, b"\n");
        }
        client.send(&wire::message(b'c', b"")).unwrap();
        let mut messages = skim(&client, 1);
        client.send(&wire::query("copy copied to stdout")).unwrap();
        messages.extend(skim(&client, 1));
        messages
    });
    let copied: usize = messages.iter().filter(|(tag, _)| *tag == b'd').map(|(_, length)| length).sum();
    assert_eq!(copied, 2 * large() + large() / 1_000_000 + 1);
    assert!(grown < BOUND, "{grown} bytes more for a copy of {copied}");
}

#[test]
fn the_result_of_a_function_call_passes_in_bounded_memory() {
    let pooler = start(&options(1).setting("workers", "1"));
    let mut client = app(&pooler);
    let repeat =
        value(&mut client, "select 'repeat(text,int4)'::regprocedure::oid::int").parse::<u32>().unwrap();
    let (grown, messages) = growth(&pooler, || {
        // arguments in text format, the result too
        let mut body = repeat.to_be_bytes().to_vec();
        body.extend([0, 0, 0, 2, 0, 0, 0, 1, b'y', 0, 0, 0, 7]);
        body.extend(b"8000000\0\0");
        client.send(&wire::message(b'F', &body)).unwrap();
        skim(&client, 1)
    });
    assert_eq!(messages, [(b'V', 8_000_004), (b'Z', 1)]);
    assert!(grown < BOUND, "{grown} bytes more for a result of 8 MB");
}

#[test]
fn many_clients_with_large_rows_stay_within_max_buffered_bytes() {
    const CLIENTS: usize = 256;
    const CONNECTIONS: u32 = 40;
    /// More than the kernel keeps for a connection.
    const ROWS: usize = 80;
    const ROW: usize = 100_000;
    const CAP: usize = 1 << 20;
    let settings = options(CONNECTIONS).setting("workers", "1").setting("query_wait_timeout", "0");
    let pooler = start(&settings.setting("max_buffered_bytes", &CAP.to_string()));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| app(&pooler)).collect();
    let held = || {
        let (_, metrics) = pooler.http_get("/metrics").unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix("pgpooler_buffered_bytes "));
        line.unwrap().parse::<usize>().unwrap()
    };
    let (grown, most) = growth(&pooler, || {
        for client in &mut clients {
            socket2::SockRef::from(client.stream()).set_recv_buffer_size(32 * 1024).unwrap();
            let sql = format!("select repeat('x', {ROW}) from generate_series(1, {ROWS})");
            client.send(&wire::query(&sql)).unwrap();
        }
        let until = Instant::now() + Duration::from_secs(20);
        let (mut most, mut last) = (0, usize::MAX);
        // until it is reached and everybody waits
        while (most < CAP || last != most) && Instant::now() < until {
            last = most;
            std::thread::sleep(Duration::from_millis(300));
            most = most.max(held());
        }
        std::thread::scope(|scope| {
            let read = |client| assert_eq!(skim(client, 1).len(), ROWS + 3);
            let readers: Vec<_> = clients.iter().map(|client| scope.spawn(move || read(client))).collect();
            while readers.iter().any(|reader| !reader.is_finished()) {
                most = most.max(held());
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        most
    });
    assert!(most >= CAP, "the limit was never reached: {most}");
    // one read beyond the limit for the connection that reached it, and a short one for each that reads after that
    let bound = CAP + 2 * 64 * 1024 + CONNECTIONS as usize * 8 * 1024;
    assert!(most <= bound, "{most} bytes were held under a limit of {CAP}");
    assert!(grown < bound + BOUND, "{grown} bytes more under a limit of {CAP}");
    assert_eq!(held(), 0, "all is given back");
}

#[test]
fn memory_comes_back_when_clients_with_large_statements_have_left() {
    const CLIENTS: usize = 40;
    let pooler = start(&options(2).setting("workers", "1"));
    let burst = |round: usize| {
        for n in 0..CLIENTS {
            let mut client = RawClient::login(&app_login(&pooler)).unwrap();
            let text = format!("select {round}{n} /* {} */", "x".repeat(1_000_000));
            let batch =
                [wire::parse("big", &text), wire::bind("", "big", &[]), wire::execute("", 0), wire::sync()];
            assert_eq!(super::super::tags(&client.exchange(&batch.concat()).unwrap()), "12DCZ");
        }
    };
    app(&pooler).query("select 1").unwrap();
    let before = status(&pooler, "VmRSS");
    burst(1);
    let until = Instant::now() + Duration::from_secs(10);
    while status(&pooler, "VmRSS") > before + (4 << 20) {
        assert!(Instant::now() < until, "{} bytes more than before", status(&pooler, "VmRSS") - before);
        std::thread::sleep(Duration::from_millis(50));
    }
}
