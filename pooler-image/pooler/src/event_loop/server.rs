//! A logged-in connection to PostgreSQL, as its loop holds it.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use pgpooler_core::pool::PoolId;
use pgpooler_core::session::{self, Holds};
use pgpooler_core::wire::CancelKey;

use crate::event_loop::buffers::{Carry, Spill};
use crate::event_loop::cancel::{Cancels, Done};
use crate::event_loop::relay::Lease;
use crate::report::ServerState;
use crate::tls::TlsPeer;
use crate::transport::{Parked, Transport};

/// A connection that somebody holds: a client, the idle list, or a task that tidies it up.
#[derive(Debug)]
pub(crate) struct ServerConn {
    pub(crate) stream: Transport,
    pub(crate) session: session::Server,
    pub(crate) carry: Carry,
    pub(crate) spill: Spill,
    pub(crate) lease: Lease,
    pub(crate) shared: Rc<ServerShared>,
}

/// What is known of a connection from its login, and stays.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Unique in the process.
    pub(crate) id: u64,
    pub(crate) pool: PoolId,
    /// The process's epoch when it was opened; older than its pool's: closed at release.
    pub(crate) epoch: u32,
    pub(crate) key: Option<CancelKey>,
    /// For requests to cancel.
    pub(crate) tls: Option<TlsPeer>,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) opened: Instant,
    pub(crate) connected: SystemTime,
}

/// What others may see of it while somebody holds it.
#[derive(Debug)]
pub(crate) struct ServerShared {
    facts: Facts,
    pub(crate) state: Cell<ServerState>,
    /// What it is at.
    pub(crate) work: Cell<Work>,
    /// Not reusable before PostgreSQL has dealt with them.
    pub(crate) cancels: RefCell<Cancels>,
    /// Requests to cancel that wait until it is at the client's work.
    pub(crate) held: RefCell<Vec<Done>>,
    pub(crate) outlook: Cell<Outlook>,
    pub(crate) link: Cell<Option<u64>>,
    pub(crate) requested: Cell<Option<Instant>>,
    pub(crate) statements: Cell<u32>,
    /// What ties it to its client.
    pub(crate) holds: Cell<Holds>,
    /// The rest of a message that its client has yet to send.
    pub(crate) awaited: Cell<Option<Awaited>>,
}

/// The rest of a message whose beginning PostgreSQL has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Awaited {
    since: Instant,
    came: usize,
}

/// Bytes in a second with which a client keeps its server connection in the middle of a message.
const SLOWEST: u64 = 1024;

impl Awaited {
    pub(crate) fn begin(now: Instant) -> Self {
        Self { since: now, came: 0 }
    }

    /// So many bytes of it have come.
    pub(crate) fn with(self, bytes: usize) -> Self {
        Self { came: self.came + bytes, ..self }
    }

    /// What is awaited from now on; none: too little has come in that time.
    pub(crate) fn look(self, limit: Duration, now: Instant) -> Option<Self> {
        if now.saturating_duration_since(self.since) < limit {
            return Some(self);
        }
        let enough = limit.as_millis() * u128::from(SLOWEST) / 1000;
        (self.came as u128 >= enough).then(|| Self::begin(now))
    }
}

/// Whether it is used again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outlook {
    #[default]
    Good,
    /// It has lived long enough: to be closed when it comes back.
    Outlived,
    /// To be closed whatever its state.
    Doomed,
    /// The server has ended it without being asked.
    Lost,
}

impl Deref for ServerShared {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.facts
    }
}

impl ServerShared {
    /// Idle, with so many prepared statements.
    pub(crate) fn new(facts: Facts, statements: usize) -> Self {
        Self {
            facts,
            state: Cell::new(ServerState::Idle),
            work: Cell::default(),
            cancels: RefCell::default(),
            held: RefCell::default(),
            outlook: Cell::default(),
            link: Cell::default(),
            requested: Cell::default(),
            statements: Cell::new(statements as u32),
            holds: Cell::default(),
            awaited: Cell::default(),
        }
    }
}

/// What a server connection is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// How often it has begun to be at something.
    turn: u32,
    kind: WorkKind,
}

/// Whose replies it owes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum WorkKind {
    #[default]
    Nobodys,
    /// Ours: settings on their way, questions about its state. Not to be cancelled.
    Ours,
    Clients,
}

impl Work {
    pub(crate) fn kind(self) -> WorkKind {
        self.kind
    }

    /// It is at this from now on.
    pub(crate) fn turn_to(self, kind: WorkKind) -> Self {
        let turn = self.turn.wrapping_add(u32::from(self.kind == WorkKind::Nobodys && kind != self.kind));
        Self { turn, kind }
    }
}

/// A connection on its way to another loop.
#[derive(Debug)]
pub(crate) struct Lent {
    stream: Parked,
    session: session::Server,
    pub(crate) facts: Facts,
}

impl ServerConn {
    /// Takes it off this loop's poller. Only for an idle connection with nothing unread or unwritten.
    pub(crate) fn lend(self) -> io::Result<Lent> {
        Ok(Lent { stream: self.stream.park()?, session: self.session, facts: self.shared.facts.clone() })
    }

    /// It must not be used again.
    pub(crate) fn doom(&self) {
        self.shared.outlook.set(self.shared.outlook.get().max(Outlook::Doomed));
    }

    /// The server has ended it.
    pub(crate) fn lose(&self) {
        self.shared.outlook.set(Outlook::Lost);
    }

    /// Its client, which has it to itself or is tied to it, is outside of a transaction and owed nothing.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.lease.rests_since().is_some() && self.session.is_clean() && self.is_quiet()
    }

    /// Nothing of an earlier message is left on either side.
    pub(crate) fn is_quiet(&self) -> bool {
        self.carry.is_empty() && self.spill.is_empty()
    }
}

impl Lent {
    /// Puts it on this loop's poller.
    pub(crate) fn receive(self) -> io::Result<ServerConn> {
        let opened = self.facts.opened;
        let shared = ServerShared::new(self.facts, self.session.statement_count());
        Ok(ServerConn {
            stream: self.stream.unpark()?,
            session: self.session,
            carry: Carry::default(),
            spill: Spill::default(),
            lease: Lease::begin(opened, opened),
            shared: Rc::new(shared),
        })
    }
}
