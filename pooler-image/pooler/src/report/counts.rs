//! Counters that add up over loops.

use std::collections::BTreeMap;
use std::fmt;

use pgpooler_core::session::Holds;

use super::Histogram;

/// Clients of a pool by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientCounts {
    /// Holding a server connection.
    pub active: u32,
    /// Holding none and asking for none.
    pub idle: u32,
    /// Waiting for a server connection.
    pub waiting: u32,
    /// Cancel requests passed on whose answer is awaited.
    pub active_cancel: u32,
    /// Cancel requests that wait to be passed on.
    pub waiting_cancel: u32,
}

/// Server connections of a pool by state; all of them hold a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Lent to a client.
    pub active: u32,
    /// Ready to be lent.
    pub idle: u32,
    /// Idle, to be checked before they are lent.
    pub used: u32,
    /// Being reset or checked.
    pub tested: u32,
    /// Logging in.
    pub login: u32,
    /// Carrying a cancel request.
    pub active_cancel: u32,
    /// Kept from their pool until a cancel request aimed at them is answered.
    pub being_canceled: u32,
    /// Closed by us, end of file from PostgreSQL awaited.
    pub closing: u32,
}

/// What went through a pool, since start.
///
/// PgBouncer's counts come from the histograms: transactions, queries and assignments are how many durations
/// were recorded, so every checkout records its wait, an immediate one as zero.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traffic {
    /// Time that a server connection was held for a transaction, the wait for it not included.
    pub transactions: Histogram,
    /// Time from a query (or Sync) on its way to the server to its `ReadyForQuery`.
    pub queries: Histogram,
    /// Time that clients waited for a server connection, one for each assignment.
    pub waits: Histogram,
    /// Bytes from clients.
    pub received: u64,
    /// Bytes to clients.
    pub sent: u64,
    /// Named prepared statements that clients created.
    pub client_parses: u64,
    /// Prepared statements that were created on server connections.
    pub server_parses: u64,
    /// Bind messages passed on.
    pub binds: u64,
    /// Clients that logged in.
    pub client_logins: u64,
    /// Questions to servers what a session holds.
    pub probes: u64,
    /// Server connections that went to another loop.
    pub lends: u64,
    /// Clients that became pinned to their server connection, by [`Holds::ALL`].
    pub pins: [u64; Holds::ALL.len()],
}

/// How logins ended, since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoginCounts {
    /// Clients that logged in.
    pub client_succeeded: u64,
    /// Clients that did not get through their handshake, by [`Failure::ALL`].
    pub client_failures: [u64; Failure::ALL.len()],
    /// Clients that were turned away, by [`Refused::ALL`].
    pub client_refusals: [u64; Refused::ALL.len()],
    /// Logins to PostgreSQL that succeeded.
    pub server_succeeded: u64,
    /// Logins to PostgreSQL that failed, refusals for want of a slot (53300) included.
    pub server_failed: u64,
    /// Users that were looked up.
    pub lookups: LookupCounts,
}

/// Why a client did not get through its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A wrong password or certificate, none where there must be one, an unknown user.
    Credentials,
    /// What it sent is no login.
    Protocol,
    /// TLS could not be had with it.
    Tls,
    /// It took too long.
    Timeout,
    /// The connection broke, or it is our fault.
    Other,
}

/// Why a client was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// `max_client_conn`
    Clients,
    /// `max_client_logins`, or that of one address.
    Logins,
    /// `max_failed_logins_per_address`
    Failures,
    /// `DISABLE`
    Disabled,
    /// The process leaves.
    Leaving,
    /// PostgreSQL refused it, or is away.
    Server,
}

/// How look-ups of users (`auth_query`) ended, since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LookupCounts {
    /// PostgreSQL gave the user's secret.
    pub found: u64,
    /// PostgreSQL knows no such user.
    pub unknown: u64,
    /// PostgreSQL could not be asked, or refused the query.
    pub failed: u64,
    /// Logins that shared the answer to another one's look-up.
    pub shared: u64,
    /// Logins for which an older answer stood in.
    pub stood_in: u64,
}

/// The first two characters of an SQLSTATE.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SqlstateClass([u8; 2]);

/// Errors that clients were sent, by class of SQLSTATE.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorCounts {
    /// Errors of our own.
    pub pooler: BTreeMap<SqlstateClass, u64>,
    /// Errors of PostgreSQL, passed on.
    pub server: BTreeMap<SqlstateClass, u64>,
}

impl ClientCounts {
    /// Adds another loop's.
    pub fn merge(&mut self, other: &Self) {
        let Self { active, idle, waiting, active_cancel, waiting_cancel } = other;
        self.active += active;
        self.idle += idle;
        self.waiting += waiting;
        self.active_cancel += active_cancel;
        self.waiting_cancel += waiting_cancel;
    }

    /// Clients in any state.
    pub fn total(&self) -> u32 {
        self.active + self.idle + self.waiting + self.active_cancel + self.waiting_cancel
    }
}

impl ServerCounts {
    /// Adds another loop's.
    pub fn merge(&mut self, other: &Self) {
        let Self { active, idle, used, tested, login, active_cancel, being_canceled, closing } = other;
        self.active += active;
        self.idle += idle;
        self.used += used;
        self.tested += tested;
        self.login += login;
        self.active_cancel += active_cancel;
        self.being_canceled += being_canceled;
        self.closing += closing;
    }

    /// Server connections in any state.
    pub fn total(&self) -> u32 {
        let Self { active, idle, used, tested, login, active_cancel, being_canceled, closing } = self;
        active + idle + used + tested + login + active_cancel + being_canceled + closing
    }
}

impl Traffic {
    /// Adds another loop's.
    pub fn merge(&mut self, other: &Self) {
        let Self { transactions, queries, waits, received, sent, .. } = other;
        let Self { client_parses, server_parses, binds, client_logins, probes, lends, pins, .. } = other;
        self.transactions.merge(transactions);
        self.queries.merge(queries);
        self.waits.merge(waits);
        self.received += received;
        self.sent += sent;
        self.client_parses += client_parses;
        self.server_parses += server_parses;
        self.binds += binds;
        self.client_logins += client_logins;
        self.probes += probes;
        self.lends += lends;
        self.pins.iter_mut().zip(pins).for_each(|(sum, count)| *sum += count);
    }
}

impl Failure {
    /// All of them, with the words of metrics.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Credentials, "credentials"),
        (Self::Protocol, "protocol"),
        (Self::Tls, "tls"),
        (Self::Timeout, "timeout"),
        (Self::Other, "other"),
    ];
}

impl Refused {
    /// All of them, with the words of metrics.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Clients, "max_client_conn"),
        (Self::Logins, "max_client_logins"),
        (Self::Failures, "max_failed_logins"),
        (Self::Disabled, "disabled"),
        (Self::Leaving, "leaving"),
        (Self::Server, "server"),
    ];
}

impl LoginCounts {
    /// Counts a client that did not get through its handshake.
    pub fn record_failure(&mut self, why: Failure) {
        add_one(&mut self.client_failures, &Failure::ALL, &why);
    }

    /// Counts a client that was turned away.
    pub fn record_refusal(&mut self, why: Refused) {
        add_one(&mut self.client_refusals, &Refused::ALL, &why);
    }

    /// Adds another loop's.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            client_succeeded,
            client_failures,
            client_refusals,
            server_succeeded,
            server_failed,
            lookups,
        } = other;
        self.client_succeeded += client_succeeded;
        self.client_failures.iter_mut().zip(client_failures).for_each(|(sum, count)| *sum += count);
        self.client_refusals.iter_mut().zip(client_refusals).for_each(|(sum, count)| *sum += count);
        self.server_succeeded += server_succeeded;
        self.server_failed += server_failed;
        self.lookups.merge(lookups);
    }
}

fn add_one<T: PartialEq>(counts: &mut [u64], kinds: &[(T, &str)], kind: &T) {
    if let Some((_, count)) = kinds.iter().zip(counts).find(|((known, _), _)| known == kind) {
        *count += 1;
    }
}

impl LookupCounts {
    /// Adds another loop's.
    pub fn merge(&mut self, other: &Self) {
        let Self { found, unknown, failed, shared, stood_in } = other;
        self.found += found;
        self.unknown += unknown;
        self.failed += failed;
        self.shared += shared;
        self.stood_in += stood_in;
    }
}

impl SqlstateClass {
    /// The class of an SQLSTATE; `XX` (internal error) for what is not one, so that labels stay bounded.
    pub fn of(sqlstate: &[u8]) -> Self {
        match sqlstate {
            [first, second, ..] if [first, second].iter().all(|byte| is_class_byte(**byte)) => {
                Self([*first, *second])
            }
            _ => Self(*b"XX"),
        }
    }
}

fn is_class_byte(byte: u8) -> bool {
    byte.is_ascii_digit() || byte.is_ascii_uppercase()
}

impl fmt::Display for SqlstateClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", char::from(self.0[0]), char::from(self.0[1]))
    }
}

impl fmt::Debug for SqlstateClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ErrorCounts {
    /// Counts an error of our own.
    pub fn record_pooler(&mut self, sqlstate: &[u8]) {
        *self.pooler.entry(SqlstateClass::of(sqlstate)).or_default() += 1;
    }

    /// Counts an error of PostgreSQL's that was passed on.
    pub fn record_server(&mut self, sqlstate: &[u8]) {
        *self.server.entry(SqlstateClass::of(sqlstate)).or_default() += 1;
    }

    /// Adds another loop's.
    pub fn merge(&mut self, other: &Self) {
        for (class, count) in &other.pooler {
            *self.pooler.entry(*class).or_default() += count;
        }
        for (class, count) in &other.server {
            *self.server.entry(*class).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_sqlstate_counts_as_an_internal_error() {
        for faulty in [&b""[..], b"5", b"a\"", b"\xff\xff300"] {
            assert_eq!(SqlstateClass::of(faulty).to_string(), "XX");
        }
        assert_eq!(SqlstateClass::of(b"53300").to_string(), "53");
    }

    #[test]
    fn errors_of_two_loops_add_up_by_class() {
        let (mut one, mut two) = (ErrorCounts::default(), ErrorCounts::default());
        one.record_pooler(b"53300");
        two.record_pooler(b"53400");
        two.record_server(b"42601");
        one.merge(&two);
        assert_eq!(one.pooler[&SqlstateClass::of(b"53")], 2);
        assert_eq!(one.server[&SqlstateClass::of(b"42")], 1);
    }
}
