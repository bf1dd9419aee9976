//! What clients send, and what they then wait for.

use std::time::Duration;

use pgpooler_test_support::wire;

/// One thing that a client does or waits for.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Opens a TCP connection and says nothing; every other first step logs in.
    Connect,
    /// Opens a connection and logs in; everything that the server says is compared.
    Login(Vec<(String, String)>),
    /// Answers requests for authentication until the server is ready or refuses.
    Authenticate,
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends bytes in pieces of so many, with a pause behind each.
    Pieces(Vec<u8>, usize, Duration),
    /// Reads through so many ReadyForQuery.
    Ready(usize),
    /// Reads through the next message with this tag.
    Until(u8),
    /// Reads one byte that is no message: the answer to SSLRequest.
    Byte,
    /// Reads to the end of the connection.
    Closed,
    /// Nothing may come for so long.
    Silence(Duration),
    /// Closes the sending half.
    HalfClose,
    /// Closes the socket without a word.
    Vanish,
    /// Says goodbye and waits until the server has hung up.
    Leave,
    /// SQL of the superuser, past the pooler.
    Admin(String),
    /// Waits until a query of the superuser, past the pooler, gives `t`.
    AdminUntil(String),
    /// Asks to cancel what this client runs.
    Cancel(Key),
    /// From here on nobody else can use the only server connection of a pool of one.
    Pin,
}

/// The key in a request to cancel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key {
    /// The client's own.
    Right,
    /// One bit of the secret is another.
    Wrong,
    /// The client's own with four bytes more.
    Long,
    /// No process has this id.
    Stranger,
}

/// Steps of one or more clients, in one order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    /// SQL that runs past the pooler before the script is played.
    pub(crate) before: String,
    /// Whose step, and the step.
    pub(crate) steps: Vec<(usize, Step)>,
    current: usize,
    /// Several clients hold a server connection each.
    pub(crate) needs_many: bool,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// SQL that runs past the pooler before the script is played.
    pub(crate) fn before(mut self, sql: &str) -> Self {
        self.before.push_str(sql);
        self
    }

    /// The following steps are those of another client; the first one is 0.
    pub(crate) fn client(mut self, client: usize) -> Self {
        self.current = client;
        self
    }

    pub(crate) fn step(mut self, step: Step) -> Self {
        self.steps.push((self.current, step));
        self
    }

    pub(crate) fn connect(self) -> Self {
        self.step(Step::Connect)
    }

    pub(crate) fn login(self, parameters: &[(&str, &str)]) -> Self {
        let owned = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.step(Step::Login(owned.collect()))
    }

    pub(crate) fn send(self, parts: &[Vec<u8>]) -> Self {
        self.step(Step::Send(parts.concat()))
    }

    pub(crate) fn ready(self, count: usize) -> Self {
        self.step(Step::Ready(count))
    }

    pub(crate) fn until(self, tag: u8) -> Self {
        self.step(Step::Until(tag))
    }

    pub(crate) fn closed(self) -> Self {
        self.step(Step::Closed)
    }

    pub(crate) fn silence(self, milliseconds: u64) -> Self {
        self.step(Step::Silence(Duration::from_millis(milliseconds)))
    }

    pub(crate) fn pieces(self, parts: &[Vec<u8>], size: usize, milliseconds: u64) -> Self {
        self.step(Step::Pieces(parts.concat(), size, Duration::from_millis(milliseconds)))
    }

    pub(crate) fn admin(self, sql: &str) -> Self {
        self.step(Step::Admin(sql.to_owned()))
    }

    pub(crate) fn admin_until(self, sql: &str) -> Self {
        self.step(Step::AdminUntil(sql.to_owned()))
    }

    pub(crate) fn cancel(self, key: Key) -> Self {
        self.step(Step::Cancel(key))
    }

    pub(crate) fn many_servers(mut self) -> Self {
        self.needs_many = true;
        self
    }

    pub(crate) fn pin(self) -> Self {
        self.step(Step::Pin)
    }

    /// Sends parts in one write and waits for one ReadyForQuery.
    pub(crate) fn batch(self, parts: &[Vec<u8>]) -> Self {
        self.send(parts).ready(1)
    }

    /// A simple query and its answer.
    pub(crate) fn query(self, sql: &str) -> Self {
        self.batch(&[wire::query(sql)])
    }

    /// Several simple queries, each answered before the next.
    pub(crate) fn queries(self, list: &[&str]) -> Self {
        list.iter().fold(self, |script, sql| script.query(sql))
    }

    /// Text by the extended protocol: unnamed, with a description.
    pub(crate) fn extended(self, sql: &str) -> Self {
        self.batch(&unnamed(sql))
    }

    /// Prepares a statement under a name.
    pub(crate) fn parse(self, name: &str, sql: &str) -> Self {
        self.batch(&[wire::parse(name, sql), wire::sync()])
    }

    /// Runs a prepared statement with text parameters.
    pub(crate) fn execute(self, name: &str, parameters: &[Option<&str>]) -> Self {
        self.batch(&[wire::bind("", name, parameters), wire::execute("", 0), wire::sync()])
    }

    /// Whether a pool of one server connection can serve others between two steps.
    pub(crate) fn pins(&self) -> bool {
        self.steps.iter().any(|(_, step)| matches!(step, Step::Pin))
    }
}

/// Parse, Bind, Describe, Execute and Sync of a text without a name.
pub(crate) fn unnamed(sql: &str) -> [Vec<u8>; 5] {
    [
        wire::parse("", sql),
        wire::bind("", "", &[]),
        wire::describe(b'P', ""),
        wire::execute("", 0),
        wire::sync(),
    ]
}
