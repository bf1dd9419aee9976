//! A client, and what others see of it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use pgpooler_core::drain::Way;
use pgpooler_core::pool::ClientId;
use pgpooler_core::session;
use pgpooler_core::wire::{ErrorResponse, SqlState};

use crate::event_loop::arrival::{self, Admitted};
use crate::event_loop::buffers::{Carry, Spill};
use crate::event_loop::checkout::Grant;
use crate::event_loop::compact::{Address, Stamp};
use crate::event_loop::home::Newcomer;
use crate::event_loop::pool::Pool;
use crate::event_loop::server::ServerShared;
use crate::event_loop::worker::Worker;
use crate::process::Pass;
use crate::reactor::{self, Seat, Socket};
use crate::report::ClientState;
use crate::tls::Protocol;
use crate::transport::Transport;

/// A logged-in client, as its seat holds it, or a task for a while.
#[derive(Debug)]
pub(crate) struct ClientConn {
    pub(crate) stream: Transport,
    pub(crate) session: session::Client,
    pub(crate) carry: Carry,
    pub(crate) spill: Spill,
    /// What it is told when it has got what it is owed.
    pub(crate) last_words: Option<Box<[u8]>>,
    pub(crate) shared: Rc<ClientShared>,
}

/// What others may see of a client, and how they reach it. Small, since there are many.
pub(crate) struct ClientShared {
    /// Unique in the process.
    pub(crate) id: u64,
    /// Its place in the loop.
    pub(crate) slot: ClientId,
    pub(crate) pool: Rc<Pool>,
    peer: Address,
    /// Of those who never have a seat; a seated client's socket is asked when somebody wants to know.
    local: Option<Address>,
    pub(crate) tls: Option<Protocol>,
    connected: Stamp,
    /// Of those who never have a seat; a seated client's is among its settings.
    pub(crate) application_name: Option<Box<str>>,
    pub(crate) state: Cell<ClientState>,
    /// Since when it is in that state.
    since: Cell<Stamp>,
    pub(crate) statements: Cell<u32>,
    server: Cell<Option<Rc<ServerShared>>>,
    /// The server connection that has its sequences, by its id in the process.
    pub(crate) sequences: Cell<Option<NonZeroU64>>,
    pub(crate) grant: Cell<Option<Grant>>,
    pub(crate) kick: Cell<Option<Kick>>,
    /// As far as can be told it is between two units of what it does: what it did last was no test of its connection.
    pub(crate) is_between: Cell<bool>,
    /// How it is being parted with.
    pub(crate) way: Cell<Option<Way>>,
    /// Since when its side of the connection is closed while it is owed replies.
    left: Cell<Option<Stamp>>,
    waker: Cell<Option<Waker>>,
}

impl std::fmt::Debug for ClientShared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ClientShared")
            .field("id", &self.id)
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

/// How long a client that has closed its side may wait in a queue.
const WAIT_AFTER_LEAVING: Duration = Duration::from_millis(500);

/// What replies may take to a client that has closed its side. Few close only their own; what the others asked for
/// would go on for nobody.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a client is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kick {
    /// It has waited longer than `query_wait_timeout`.
    WaitedTooLong,
    /// It was cancelled while it waited.
    Canceled,
    /// It has been silent longer than `client_idle_timeout`.
    SilentTooLong,
    /// It has sent too little of a message for too long.
    Stalled,
    /// It hung up while it waited.
    HungUp,
    /// The process leaves.
    Shutdown,
    /// It is to go at once, whatever it is at.
    Killed(Killed),
}

/// Who wants it to go at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Killed {
    /// `KILL_CLIENT`
    Itself,
    /// `KILL`
    WithDatabase,
}

impl Kick {
    /// It is meant for the client, not for what the client waits for.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Shutdown | Self::Killed(_))
    }
}

/// What a client is told that does not go on with its message.
pub(crate) fn stalled() -> ErrorResponse {
    let told = "terminating connection due to client_message_timeout";
    ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, told)
        .detail("Only a part of a message has come, and the rest came too slowly or not at all.")
}

impl Killed {
    /// What the client is told: PgBouncer's words.
    pub(crate) fn response(self) -> ErrorResponse {
        let told = match self {
            Self::Itself => "admin forced disconnect",
            Self::WithDatabase => "database removed",
        };
        ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, told)
    }
}

impl ClientShared {
    pub(crate) fn new(id: u64, slot: ClientId, pool: Rc<Pool>, peer: SocketAddr) -> Self {
        let now = Stamp::from(Instant::now());
        Self {
            id,
            slot,
            pool,
            peer: peer.into(),
            local: None,
            tls: None,
            connected: now,
            application_name: None,
            state: Cell::new(ClientState::Idle),
            since: Cell::new(now),
            statements: Cell::new(0),
            server: Cell::new(None),
            sequences: Cell::new(None),
            grant: Cell::new(None),
            kick: Cell::new(None),
            is_between: Cell::new(true),
            way: Cell::new(None),
            left: Cell::new(None),
            waker: Cell::new(None),
        }
    }

    /// One that has no seat. `local`: our address of its connection.
    pub(crate) fn without_seat(self, application_name: &str, local: SocketAddr) -> Self {
        Self { application_name: Some(application_name.into()), local: Some(local.into()), ..self }
    }

    /// The client's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        (&self.peer).into()
    }

    /// Our address of its connection, if it has no seat.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.local.as_ref().map(Into::into)
    }

    /// Since when it is there.
    pub(crate) fn connected(&self) -> Instant {
        self.connected.into()
    }

    /// Since when it is in its state.
    pub(crate) fn since(&self) -> Instant {
        self.since.get().into()
    }

    /// The server connection that it has.
    pub(crate) fn server(&self) -> Option<Rc<ServerShared>> {
        let server = self.server.take();
        self.server.set(server.clone());
        server
    }

    /// It has this server connection from now on, or none.
    pub(crate) fn set_server(&self, server: Option<Rc<ServerShared>>) {
        self.server.set(server);
    }

    /// It closed its side while it waits, some time ago: it may have asked for something before and listen still, but
    /// has more likely given up, and what it asked for must not be done then.
    pub(crate) fn has_hung_up(&self) -> bool {
        let left = self.left.get().unwrap_or_else(|| Instant::now().into());
        self.left.set(Some(left));
        Instant::from(left).elapsed() >= WAIT_AFTER_LEAVING
    }

    /// It has closed its side while it is owed replies.
    pub(crate) fn leaves(&self) {
        self.left.set(Some(Instant::now().into()));
    }

    /// It has closed its side, and its replies take so long that it has more likely gone for good.
    pub(crate) fn is_overdue(&self) -> bool {
        self.left.get().is_some_and(|left| Instant::from(left).elapsed() >= PATIENCE)
    }

    /// On a connection with TLS.
    pub(crate) fn over(self, tls: Option<Protocol>) -> Self {
        Self { tls, ..self }
    }

    pub(crate) fn enter(&self, state: ClientState, now: Instant) {
        self.state.set(state);
        self.since.set(now.into());
    }

    /// Lets it look at what is new: in its seat, or in the task that it is with.
    pub(crate) fn wake(&self) {
        let waker = self.waker.take();
        match &waker {
            Some(waker) => waker.wake_by_ref(),
            None => reactor::ready(self.seat()),
        }
        self.waker.set(waker);
    }

    pub(crate) fn seat(&self) -> Seat {
        Seat(self.slot.0)
    }

    /// No task has it any more.
    pub(crate) fn sit_down(&self) {
        self.waker.take();
    }

    pub(crate) fn kick(&self, kick: Kick) {
        self.kick.set(Some(kick));
        self.wake();
    }

    /// The task to wake, until it sits down.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        let waker = self.waker.take().filter(|known| known.will_wake(cx.waker()));
        self.waker.set(Some(waker.unwrap_or_else(|| cx.waker().clone())));
    }
}

/// Gives a seat to a client that has logged in on another loop.
pub(crate) async fn move_in(worker: Rc<Worker>, newcomer: Box<Newcomer>) {
    match newcomer.arrive(&worker).await {
        Some(client) => worker.sit_down(client),
        None => worker.process.connection_ended(worker.me),
    }
}

/// Serves one connection until it has a seat, or its end.
pub(crate) async fn serve(worker: Rc<Worker>, stream: Socket, pass: Pass) {
    match arrival::admit(&worker, stream, pass).await {
        Some(Admitted::Client(client)) => return worker.sit_down(client),
        Some(Admitted::Walsender(session)) => session.run().await,
        None => {}
    }
    worker.process.connection_ended(worker.me);
}
