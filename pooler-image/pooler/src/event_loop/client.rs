//! A client, and what others see of it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};

use pgpooler_core::pool::ClientId;
use pgpooler_core::session;

use crate::event_loop::buffers::{Carry, Spill};
use crate::event_loop::checkout::Grant;
use crate::event_loop::pool::Pool;
use crate::event_loop::server::ServerShared;
use crate::event_loop::welcome::{self, Admitted};
use crate::event_loop::worker::Worker;
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
    pub(crate) last_words: Option<Vec<u8>>,
    pub(crate) shared: Rc<ClientShared>,
}

/// What others may see of a client, and how they reach it.
#[derive(Debug)]
pub(crate) struct ClientShared {
    /// Unique in the process.
    pub(crate) id: u64,
    /// Its place in the loop.
    pub(crate) slot: ClientId,
    pub(crate) pool: Rc<Pool>,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) tls: Option<Protocol>,
    pub(crate) connected: SystemTime,
    pub(crate) application_name: RefCell<String>,
    pub(crate) state: Cell<ClientState>,
    /// Since when it is in that state.
    pub(crate) since: Cell<Instant>,
    pub(crate) statements: Cell<u32>,
    pub(crate) server: RefCell<Option<Rc<ServerShared>>>,
    /// The server connection that has its sequences, by its id in the process.
    pub(crate) sequences: Cell<Option<u64>>,
    pub(crate) grant: RefCell<Option<Grant>>,
    pub(crate) kick: Cell<Option<Kick>>,
    /// Since when its side of the connection is closed while it is owed replies.
    pub(crate) left: Cell<Option<Instant>>,
    waker: RefCell<Option<Waker>>,
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
    /// It hung up while it waited.
    HungUp,
    /// The process leaves.
    Shutdown,
}

impl ClientShared {
    pub(crate) fn new(
        id: u64,
        slot: ClientId,
        pool: Rc<Pool>,
        (peer, local): (SocketAddr, SocketAddr),
        application_name: String,
    ) -> Self {
        Self {
            id,
            slot,
            pool,
            peer,
            local,
            tls: None,
            connected: SystemTime::now(),
            application_name: RefCell::new(application_name),
            state: Cell::new(ClientState::Idle),
            since: Cell::new(Instant::now()),
            statements: Cell::new(0),
            server: RefCell::new(None),
            sequences: Cell::new(None),
            grant: RefCell::new(None),
            kick: Cell::new(None),
            left: Cell::new(None),
            waker: RefCell::new(None),
        }
    }

    /// It closed its side while it waits, some time ago: it may have asked for something before and listen still, but
    /// has more likely given up, and what it asked for must not be done then.
    pub(crate) fn has_hung_up(&self) -> bool {
        let left = self.left.get().unwrap_or_else(Instant::now);
        self.left.set(Some(left));
        left.elapsed() >= WAIT_AFTER_LEAVING
    }

    /// It has closed its side, and its replies take so long that it has more likely gone for good.
    pub(crate) fn is_overdue(&self) -> bool {
        self.left.get().is_some_and(|left| left.elapsed() >= PATIENCE)
    }

    /// On a connection with TLS.
    pub(crate) fn over(self, tls: Option<Protocol>) -> Self {
        Self { tls, ..self }
    }

    pub(crate) fn enter(&self, state: ClientState, now: Instant) {
        self.state.set(state);
        self.since.set(now);
    }

    /// Lets it look at what is new: in its seat, or in the task that it is with.
    pub(crate) fn wake(&self) {
        match &*self.waker.borrow() {
            Some(waker) => waker.wake_by_ref(),
            None => reactor::ready(self.seat()),
        }
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
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
}

/// Serves one connection until it has a seat, or its end.
pub(crate) async fn serve(worker: Rc<Worker>, stream: Socket, peer: SocketAddr) {
    match welcome::admit(&worker, stream, peer).await {
        Some(Admitted::Client(client)) => return worker.sit_down(client),
        Some(Admitted::Walsender(session)) => session.run().await,
        None => {}
    }
    worker.process.connection_ended(worker.me);
}
