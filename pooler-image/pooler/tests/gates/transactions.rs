//! Clients that are logged in and run short transactions, each in a thread of its own.

use std::thread;

use pgpooler_test_support::{Pooler, RawClient, wire};

/// How a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// One Query.
    Simple,
    /// The unnamed statement each time.
    Extended,
    /// A statement that was prepared once.
    Prepared,
}

/// All of them.
pub(crate) const PROTOCOLS: [Protocol; 3] = [Protocol::Simple, Protocol::Extended, Protocol::Prepared];

const SQL: &str = "select 1";
const STATEMENT: &str = "s";

impl Protocol {
    /// What a client sends for one transaction.
    fn request(self) -> Vec<u8> {
        let run =
            |name| [wire::bind("", name, &[]), wire::describe(b'P', ""), wire::execute("", 0), wire::sync()];
        match self {
            Self::Simple => wire::query(SQL),
            Self::Extended => [wire::parse("", SQL), run("").concat()].concat(),
            Self::Prepared => run(STATEMENT).concat(),
        }
    }
}

/// So many clients of the user `app`, who have done once what they will do often.
pub(crate) fn log_in(pooler: &Pooler, clients: usize, protocol: Protocol) -> Vec<RawClient> {
    let login = pooler.login("app", "app", "postgres");
    let mut clients: Vec<_> = (0..clients).map(|_| RawClient::login(&login).unwrap()).collect();
    if protocol == Protocol::Prepared {
        for client in &mut clients {
            client.exchange(&[wire::parse(STATEMENT, SQL), wire::sync()].concat()).unwrap();
        }
    }
    clients
}

/// Each client runs so many transactions.
pub(crate) fn run(clients: &mut [RawClient], protocol: Protocol, transactions: usize) {
    let request = protocol.request();
    thread::scope(|scope| {
        for client in clients {
            scope.spawn(|| {
                for _ in 0..transactions {
                    let answer = client.exchange(&request).unwrap();
                    assert!(answer.iter().any(|message| message.tag == b'D'), "{answer:?}");
                }
            });
        }
    });
}
