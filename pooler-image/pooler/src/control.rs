//! What the console, `/metrics` and the signals may ask of the running process.
//!
//! The event loops implement [`Control`]; everything that is for people and not for clients goes through it,
//! so no loop knows that a console exists.

use std::pin::Pin;
use std::sync::Arc;

use pgpooler_config::Bundle;
use pgpooler_core::budget;
use thiserror::Error;

use crate::reload::{Loaded, ReloadError, ReloadOutcome};
use crate::report::{Detail, Report};
use crate::settings::SetError;

/// An answer that takes a while: loops are asked on their own threads.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The running process.
///
/// Every future may be dropped at any time: a `PAUSE` or a reload that has begun goes on.
pub trait Control: Send + Sync + 'static {
    /// Asks every loop; the answer comes when all have answered, so it also shows that they are alive. A loop that has
    /// not answered after five seconds is left out.
    fn report(&self, detail: Detail) -> Answer<'_, Report>;

    /// The document and the users in force.
    fn settings(&self) -> Arc<Loaded>;

    /// Whether new clients should be sent here.
    fn readiness(&self) -> Readiness;

    /// Reads document and user list again; a faulty one changes nothing.
    fn reload(&self) -> Answer<'_, Result<ReloadOutcome, ReloadError>>;

    /// Takes the settings that were pushed; faulty ones change nothing. They stand before the files until those are
    /// reloaded. `epoch`: that of the operator which says so; another one may have come after it.
    fn configure(&self, bundle: Bundle, epoch: Option<u64>)
    -> Answer<'_, Result<ReloadOutcome, ReloadError>>;

    /// Looks whether files with certificates, keys or authorities have changed, and brings them into force; faulty ones
    /// change nothing. Blocks on the file system.
    fn renew_certificates(&self);

    /// Lends no more server connections of `database` (none: of any); the answer comes when all of them are closed.
    fn pause(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>>;

    /// Ends [`pause`](Self::pause).
    fn resume(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>>;

    /// Closes every server connection of `database` (none: of any) as soon as it is released.
    fn reconnect(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>>;

    /// Takes no new clients of `database`; those that are there go on.
    fn disable(&self, database: String) -> Answer<'_, Result<(), ControlError>>;

    /// Ends [`disable`](Self::disable).
    fn enable(&self, database: String) -> Answer<'_, Result<(), ControlError>>;

    /// Closes every client and server connection of `database` (none: of every database that has a pool) at once, and
    /// pauses it.
    fn kill(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>>;

    /// Closes one client at once.
    fn kill_client(&self, id: u64) -> Answer<'_, Result<(), ControlError>>;

    /// The answer comes when no server connection of `database` (none: of any) is left that is to be closed.
    fn wait_close(&self, database: Option<String>) -> Answer<'_, Result<(), ControlError>>;

    /// Brings another value of one setting into force, until the document is read again.
    fn set(&self, key: String, value: String) -> Answer<'_, Result<(), SetError>>;

    /// What the process may hold, has and needs.
    fn budget(&self) -> Answer<'_, budget::Report>;

    /// Changes what the process may hold; the answer comes when that holds, and connections above it close as their
    /// transactions end.
    fn obey(&self, order: Order) -> Answer<'_, Result<budget::Report, RefusedOrder>>;

    /// Begins to leave and returns at once; a later call may only hurry.
    fn shutdown(&self, mode: ShutdownMode);
}

/// A change of what the process may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By an operator.
    Command(budget::Command),
    /// By hand.
    Lower(u32),
    /// So many clients are to leave when they do not notice; 0: none, if some were to.
    Shed {
        /// How many.
        clients: u32,
        /// That of the operator which says so.
        epoch: Option<u64>,
    },
}

/// An order that was not carried out; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{refused}")]
pub struct RefusedOrder {
    /// Why.
    #[source]
    pub refused: budget::Refused,
    /// As things stand.
    pub report: Box<budget::Report>,
}

/// How to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShutdownMode {
    /// When every client has left by itself.
    WaitForClients,
    /// When clients have left as they do not notice, and after `drain_timeout` as their transactions end.
    WaitForServers,
    /// Now.
    Immediate,
}

/// Whether new clients should be sent to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Listening, configured, not draining.
    Ready,
    /// Not listening yet.
    Starting,
    /// Waits for its first grant of server connections.
    AwaitingGrant,
    /// Leaves.
    Draining,
}

impl Readiness {
    /// Why not, for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting: not listening yet",
            Self::AwaitingGrant => "starting: no server connections granted yet",
            Self::Draining => "draining: clients leave",
        }
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ControlError {
    /// Nobody has asked for that database, and no rule names it.
    #[error("no such database: {0}")]
    NoSuchDatabase(String),
    /// `PAUSE` of what is paused.
    #[error("already paused")]
    AlreadyPaused,
    /// `RESUME` of a process that is not paused.
    #[error("pooler is not paused")]
    NotPaused,
    /// `RESUME` of a process whose document says that it is paused.
    #[error("the configuration says that the pooler is paused: set paused = false there")]
    PausedByDocument,
    /// `RESUME db` of a database that is not paused.
    #[error("database {0} is not paused")]
    DatabaseNotPaused(String),
    /// `RESUME` came before a `PAUSE` was through.
    #[error("resumed before all server connections were closed")]
    Resumed,
    /// `KILL_CLIENT` of nobody.
    #[error("client not found")]
    NoSuchClient,
    /// The process leaves.
    #[error("pooler is shutting down")]
    ShuttingDown,
}
