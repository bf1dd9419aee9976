//! One entry a client or server connection, for `SHOW CLIENTS`, `SHOW SERVERS` and `SHOW SOCKETS`.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use pgpooler_core::session::Holds;

/// The socket under a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketReport {
    /// The other end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// When it was connected.
    pub connected: SystemTime,
    /// Protocol version and cipher, without TLS: empty.
    pub tls: String,
}

/// A client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientReport {
    /// Unique in the process.
    pub id: u64,
    /// Database asked for.
    pub database: String,
    /// User logged in as.
    pub user: String,
    /// What it is doing.
    pub state: ClientState,
    /// Its socket.
    pub socket: SocketReport,
    /// When it last asked for something.
    pub requested: Option<SystemTime>,
    /// How long it has been waiting for a server connection.
    pub wait: Duration,
    /// The server connection it holds.
    pub link: Option<u64>,
    /// Its `application_name`.
    pub application_name: String,
    /// Named prepared statements that it has.
    pub prepared_statements: u32,
    /// Why it keeps its server connection between transactions; empty: it does not.
    pub pinned: Holds,
}

/// A server connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReport {
    /// Unique in the process.
    pub id: u64,
    /// Database connected to.
    pub database: String,
    /// User logged in as.
    pub user: String,
    /// What it is doing.
    pub state: ServerState,
    /// Its socket.
    pub socket: SocketReport,
    /// When it was last lent.
    pub requested: Option<SystemTime>,
    /// Closed as soon as it is released, by `RECONNECT` or a changed document.
    pub close_needed: bool,
    /// The client that holds it.
    pub link: Option<u64>,
    /// Process id of the PostgreSQL backend; 0: not known yet.
    pub backend_pid: u32,
    /// `application_name` of the client that holds it.
    pub application_name: String,
    /// Prepared statements on it.
    pub prepared_statements: u32,
    /// Why its client keeps it between transactions; empty: it does not.
    pub pinned: Holds,
}

/// States of a client, in PgBouncer's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientState {
    /// Holds a server connection.
    Active,
    /// Holds none and asks for none.
    Idle,
    /// Waits for a server connection.
    Waiting,
    /// A cancel request that was passed on.
    ActiveCancel,
    /// A cancel request that waits to be passed on.
    WaitingCancel,
}

/// States of a server connection, in PgBouncer's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// Lent to a client.
    Active,
    /// Ready to be lent.
    Idle,
    /// Idle, to be checked before it is lent.
    Used,
    /// Being reset or checked.
    Tested,
    /// Logging in.
    New,
    /// Carries a cancel request.
    ActiveCancel,
    /// Kept until a cancel request aimed at it is answered.
    BeingCanceled,
    /// Closed by us, end of file from PostgreSQL awaited.
    Closing,
}

impl ClientState {
    /// PgBouncer's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::ActiveCancel => "active_cancel_req",
            Self::WaitingCancel => "waiting_cancel_req",
        }
    }

    /// PgBouncer's word in `SHOW SOCKETS`, where a client that asks for nothing is active too.
    pub fn socket_word(self) -> &'static str {
        match self {
            Self::Active | Self::Idle => "cl_active",
            Self::Waiting => "cl_waiting",
            Self::ActiveCancel => "cl_active_cancel_req",
            Self::WaitingCancel => "cl_waiting_cancel_req",
        }
    }
}

impl ServerState {
    /// PgBouncer's word; it has none for a connection whose end of file it awaits, since it does not await it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Used => "used",
            Self::Tested => "tested",
            Self::New => "new",
            Self::ActiveCancel => "active_cancel",
            Self::BeingCanceled => "being_canceled",
            Self::Closing => "closing",
        }
    }

    /// PgBouncer's word in `SHOW SOCKETS`.
    pub fn socket_word(self) -> &'static str {
        match self {
            Self::Active => "sv_active",
            Self::Idle => "sv_idle",
            Self::Used => "sv_used",
            Self::Tested => "sv_tested",
            Self::New => "sv_login",
            Self::ActiveCancel => "sv_active_cancel",
            Self::BeingCanceled => "sv_being_canceled",
            Self::Closing => "sv_closing",
        }
    }
}
