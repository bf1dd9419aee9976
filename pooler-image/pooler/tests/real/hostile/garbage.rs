//! Garbage in every state: its client is closed, nothing of it reaches anybody else, and nobody else notices.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Write as _;
use std::time::Duration;

use pgpooler_test_support::{Message, Pooler, RawClient, wire};

use super::super::flow::growth;
use super::super::{app, options, server, value};
use super::{app_startup, lines, start, work_honestly};

/// Chooses the garbage; unset: a new one each time, which is printed.
const SEED: &str = "PGPOOLER_TEST_SEED";

/// Clients for each state.
const ROUNDS: usize = 40;

/// Server connections that there may be.
const SERVERS: u32 = 2;

/// The states in which a client can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connected,
    InScram,
    Idle,
    InTransaction,
    InFailedTransaction,
    InCopy,
    InBatch,
    InMessage,
}

const STATES: [State; 8] = [
    State::Connected,
    State::InScram,
    State::Idle,
    State::InTransaction,
    State::InFailedTransaction,
    State::InCopy,
    State::InBatch,
    State::InMessage,
];

impl State {
    /// A client that has come so far.
    fn reach(self, pooler: &Pooler) -> RawClient {
        let mut client = match self {
            Self::Connected => return RawClient::connect(pooler.port()).unwrap(),
            Self::InScram => {
                let mut client = RawClient::connect(pooler.port()).unwrap();
                client.send(&app_startup()).unwrap();
                assert_eq!(client.read().unwrap().tag, b'R');
                return client;
            }
            _ => app(pooler),
        };
        let sql = "set application_name = 'garbage'; create temp table garbage_left (n int)";
        let batch = [wire::parse("s", "select 1"), wire::bind("", "s", &[]), wire::flush()].concat();
        match self {
            Self::InTransaction => drop(client.query(&format!("begin; {sql}")).unwrap()),
            Self::InFailedTransaction => drop(client.query("begin; select 1/0").unwrap()),
            Self::InCopy => {
                let sql = format!("begin; {sql}; copy garbage_left from stdin");
                client.send(&wire::query(&sql)).unwrap();
                client.read_through(b'G').unwrap();
            }
            Self::InBatch => {
                client.send(&batch).unwrap();
                client.read_through(b'2').unwrap();
            }
            Self::InMessage => client.send(&[b'B', 0, 9, 0, 0, 0, b's', 0, 0, 0]).unwrap(),
            _ => {}
        }
        client
    }
}

/// As good as any, and the same again from the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let seed = match std::env::var(SEED) {
            Ok(seed) => seed.parse().expect("a number"),
            Err(_) => RandomState::new().build_hasher().finish(),
        };
        println!("{SEED}={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..=self.below(most)).map(|_| self.next() as u8).collect()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Something that is not what a client should send.
    fn garbage(&mut self) -> Vec<u8> {
        const KNOWN: &[u8] = b"QFBPdDECSHXcfpR";
        let lengths = [0, 1, 3, 4, 5, 9_999, 10_001, 0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];
        let head = |tag: u8, length: u32| [&[tag][..], &length.to_be_bytes()].concat();
        match self.below(4) {
            0 => self.bytes(300),
            // a type that there is not
            1 => [head(self.of(b"\0\x01!z~\xff"), 10), self.bytes(20)].concat(),
            // a length that is not, or a lie
            2 => [head(self.of(KNOWN), self.of(&lengths)), self.bytes(50)].concat(),
            // a message of the right form with nonsense in it
            _ => wire::message(self.of(KNOWN), &self.bytes(100)),
        }
    }
}

/// Everything until the connection ends, or nothing more comes.
fn rest(client: &mut RawClient) -> Vec<Message> {
    let mut all = Vec::new();
    // garbage can promise more than it has, and then it is waited for
    while let Ok(Some(message)) = client.read_within(Duration::from_millis(20)) {
        all.push(message);
    }
    all
}

#[test]
fn garbage_in_any_state_is_the_trouble_of_its_client_alone() {
    let mut random = Random::seeded();
    let pooler = start(&options(SERVERS).setting("max_failed_logins_per_address", "0"));
    let mut other = app(&pooler);
    work_honestly(&pooler, 3);
    let (grown, ()) = growth(&pooler, || {
        for round in 0..ROUNDS {
            for state in STATES {
                let mut client = state.reach(&pooler);
                let garbage = random.garbage();
                println!("{round} {state:?} {garbage:?}");
                let mut stream = client.stream().try_clone().unwrap();
                // it may be closed in the midst of it
                let _ = stream.write_all(&garbage);
                let told = rest(&mut client);
                let fatal = told.iter().filter(|message| message.field(b'V').as_deref() == Some("FATAL"));
                for message in fatal {
                    let code = message.field(b'C').unwrap();
                    assert!(
                        matches!(&code[..2], "08" | "0A" | "28" | "57"),
                        "{state:?} {garbage:?}: {message:?}"
                    );
                }
                drop(client);
                if round % 8 == 0 {
                    assert_eq!(value(&mut other, "select 'untouched'"), "untouched");
                }
            }
        }
    });
    assert!(grown < 4 << 20, "{grown} bytes");
    // whatever was left on server connections is gone from those that others get
    for _ in 0..10 {
        let mut client = app(&pooler);
        assert_eq!(value(&mut client, "select to_regclass('pg_temp.garbage_left') is null"), "t");
        assert_ne!(value(&mut client, "show application_name"), "garbage");
        assert_eq!(value(&mut client, "select count(*) from pg_prepared_statements where name = 's'"), "0");
    }
    assert_eq!(lines(&pooler, "panicked"), 0);
}

#[test]
fn a_type_that_there_is_not_is_answered_as_postgresql_does_in_every_state() {
    let pooler = start(&options(SERVERS));
    let login = |port| RawClient::login(&pgpooler_test_support::Login::new(port, "app", "app", "postgres"));
    for prelude in ["select 1", "begin", "begin; select 1/0"] {
        let told = [server().port(), pooler.port()].map(|port| {
            let mut client = login(port).unwrap();
            client.query(prelude).unwrap();
            client.send(&wire::message(b'!', b"what?")).unwrap();
            let told = client.read().unwrap();
            assert!(client.read_to_end().unwrap().is_empty());
            [b'S', b'V', b'C', b'M'].map(|code| told.field(code))
        });
        assert_eq!(told[0], told[1], "after {prelude}");
        assert_eq!(told[1][2].as_deref(), Some("08P01"));
    }
}
