//! Who may begin to log in, over all loops, and what the log says about those who fail.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use pgpooler_config::Document;
use pgpooler_core::admission::{Admission, Evicted, Limits, Note, Notes, Origin, Outcome, Ticket, Turn};
use tokio::sync::oneshot;
use tracing::warn;

use super::Process;
use crate::handshake::Eviction;

/// What the log says something about, a few times for each address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A login that failed.
    Failed,
    /// An address that is slowed down.
    Slowed,
    /// Connections that went because there were too many.
    Crowded,
    /// Connections that could not be accepted.
    Unaccepted,
}

/// Ends a login.
type Handle = oneshot::Sender<Eviction>;

/// Touched twice by each login, by nothing else.
pub(super) struct Doorkeeper {
    admission: Mutex<Admission<Handle>>,
    notes: [Mutex<Notes>; 4],
}

/// A connection that may begin to log in; it counts as one that has not until this is dropped.
pub(crate) struct Pass {
    process: Arc<Process>,
    peer: SocketAddr,
    ticket: Ticket,
    outcome: Outcome,
    turn: Turn,
    evicted: oneshot::Receiver<Eviction>,
}

/// What a line says about those that are left out.
#[derive(Debug)]
pub(crate) struct Aside(Option<String>);

impl Aside {
    /// Most lines have nothing to say about others.
    pub(crate) fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl Doorkeeper {
    pub(super) fn new(document: &Document) -> Self {
        let admission = Mutex::new(Admission::new(limits(document)));
        Self { admission, notes: Default::default() }
    }

    pub(super) fn follow(&self, document: &Document) {
        self.with_admission(|admission| admission.set_limits(limits(document)));
    }

    fn with_admission<T>(&self, act: impl FnOnce(&mut Admission<Handle>) -> T) -> T {
        act(&mut self.admission.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Process {
    /// Lets a connection begin; `None`: its address fails too often. Who has to go for it hears so.
    pub(crate) fn admit(self: &Arc<Self>, peer: SocketAddr) -> Option<Pass> {
        let (handle, evicted) = oneshot::channel();
        let origin = Origin::from(peer.ip());
        let admitted =
            self.doorkeeper.with_admission(|admission| admission.admit(origin, handle, Instant::now()))?;
        if let Some(evicted) = admitted.evicted {
            self.say_evicted(evicted);
        }
        let process = Arc::clone(self);
        let (ticket, turn) = (admitted.ticket, admitted.turn);
        Some(Pass { process, peer, ticket, outcome: Outcome::Fair, turn, evicted })
    }

    /// Ends some logins, so that others have room: half of them at most.
    pub(crate) fn evict_some(&self, most: usize) {
        for _ in 0..most {
            let evicted = self
                .doorkeeper
                .with_admission(|admission| if admission.open() > most { admission.evict() } else { None });
            match evicted {
                Some(evicted) => self.say_evicted(evicted),
                None => return,
            }
        }
    }

    /// Nobody is let in any more: those who have not logged in are told so, and are not waited for.
    pub(crate) fn end_logins(&self) {
        for handle in self.doorkeeper.with_admission(Admission::evict_all) {
            let _ = handle.send(Eviction::Leaving);
        }
    }

    fn say_evicted(&self, Evicted { origin, handle }: Evicted<Handle>) {
        // it may have logged in at this very moment
        let _ = handle.send(Eviction::Crowded);
        if let Some(aside) = self.note(Subject::Crowded, origin) {
            let aside = aside.text();
            warn!(address = %origin, aside, "too many connections have not logged in: the oldest of this address are closed");
        }
    }

    /// Whether the log is to say something about this address now, and what it adds.
    pub(crate) fn note(&self, subject: Subject, origin: Origin) -> Option<Aside> {
        let notes = self.doorkeeper.notes.get(subject as usize)?;
        let note = notes.lock().unwrap_or_else(PoisonError::into_inner).note(origin, Instant::now());
        match note {
            Note::Write { left_out, last } => Some(aside(left_out, last)),
            Note::LeaveOut => None,
        }
    }
}

impl Pass {
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// When it is served.
    pub(crate) fn turn(&self) -> Turn {
        self.turn
    }

    /// Until it has to go. Cancel-safe.
    pub(crate) async fn eviction(&mut self) -> Eviction {
        // the other end is not dropped without a word while the process is there
        (&mut self.evicted).await.unwrap_or(Eviction::Leaving)
    }

    /// Until it has to go for others; that the process leaves is no reason. Cancel-safe.
    pub(crate) async fn is_crowded_out(&mut self) {
        if self.eviction().await == Eviction::Leaving {
            pending::<()>().await;
        }
    }

    /// The login failed, and that counts against its address.
    pub(crate) fn fail(&mut self) {
        self.outcome = Outcome::Failed;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let (ticket, outcome) = (self.ticket, self.outcome);
        let leave = |admission: &mut Admission<Handle>| admission.leave(ticket, outcome, Instant::now());
        let begins = self.process.doorkeeper.with_admission(leave);
        let origin = Origin::from(self.peer.ip());
        if begins && let Some(aside) = self.process.note(Subject::Slowed, origin) {
            let aside = aside.text();
            warn!(address = %origin, aside, "too many failed logins: the address is served slowly until they are fewer");
        }
    }
}

fn limits(document: &Document) -> Limits {
    Limits {
        open: document.most_client_logins(),
        open_per_origin: document.max_client_logins_per_address,
        failures_per_second: document.max_failed_logins_per_address,
    }
}

fn aside(left_out: u64, last: bool) -> Aside {
    let before =
        (left_out > 0).then(|| format!("{left_out} such lines about this address were left out before"));
    let then = last.then(|| format!("further ones are left out until {:?} from the first", Notes::PERIOD));
    let all: Vec<_> = before.into_iter().chain(then).collect();
    Aside((!all.is_empty()).then(|| all.join("; ")))
}
