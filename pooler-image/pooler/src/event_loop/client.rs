//! A client, from its accepted connection to its end.
//!
//! ```text
//! handshake -> welcome -> idle -> checkout -> relay -> release -> idle ...
//!                                    '-> refused: answered, stays
//! ```

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant, SystemTime};

use pgpooler_core::pool::ClientId;
use pgpooler_core::session;
use pgpooler_core::wire::{ErrorResponse, SqlState};
use tokio::net::TcpStream;
use tracing::debug;

use crate::event_loop::buffers::{Carry, Spill};
use crate::event_loop::checkout::{Grant, Refusal};
use crate::event_loop::pool::Pool;
use crate::event_loop::refuse;
use crate::event_loop::relay::{self, End};
use crate::event_loop::server::ServerShared;
use crate::event_loop::welcome::{self, Admitted};
use crate::event_loop::worker::Worker;
use crate::report::ClientState;
use crate::tls::Protocol;
use crate::transport::Transport;

/// A logged-in client, as its task holds it.
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

    /// Lets its task look at what is new.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn kick(&self, kick: Kick) {
        self.kick.set(Some(kick));
        self.wake();
    }

    /// Whom to wake: the same task all its life, so this costs a comparison.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
}

/// What ended a client's silence.
enum Stir {
    Readable,
    Closed,
    Kicked(Kick),
}

/// Whether the client goes on.
enum Turn {
    Next,
    Leave,
}

/// Serves one connection until its end.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    // boxed, so that its state is freed before the client's long life begins
    let admitted = Box::pin(welcome::admit(&worker, stream, peer)).await;
    match admitted {
        Some(Admitted::Client(client)) => stay(&worker, client).await,
        Some(Admitted::Walsender(session)) => session.run().await,
        None => {}
    }
    worker.process.connection_ended(worker.me);
}

/// From login to leave.
async fn stay(worker: &Rc<Worker>, mut client: ClientConn) {
    loop {
        let turn = match poll_fn(|cx| client.poll_idle(cx)).await {
            Ok(Stir::Readable) => turn(worker, &mut client).await,
            Ok(Stir::Kicked(kick)) => kicked(worker, &mut client, kick).await,
            Ok(Stir::Closed) => Turn::Leave,
            Err(error) => {
                debug!(client = client.shared.id, %error, "client connection broke");
                Turn::Leave
            }
        };
        if let Turn::Leave = turn {
            break;
        }
    }
    client.stream.say_goodbye();
    worker.forget_client(&client.shared);
}

/// One checkout, and what the client does with it.
async fn turn(worker: &Rc<Worker>, client: &mut ClientConn) -> Turn {
    let asked = Instant::now();
    let server = match worker.checkout(&client.shared, client.stream.tcp(), asked).await {
        Ok(server) => server,
        Err(Refusal::Kicked(kick)) => return kicked(worker, client, kick).await,
        Err(Refusal::Server(response)) => {
            refuse::last_words(client, &response).await;
            return Turn::Leave;
        }
    };
    let mut link = relay::Link::new(server, asked);
    let end = poll_fn(|cx| link.poll(worker, client, cx)).await;
    client.shared.server.borrow_mut().take();
    client.shared.statements.set(client.session.statement_count() as u32);
    client.shared.enter(ClientState::Idle, Instant::now());
    match end {
        End::Released => after_release(worker, client).await,
        End::ClientGone => Turn::Leave,
        End::Told(response) => {
            refuse::last_words(client, &response).await;
            Turn::Leave
        }
    }
}

async fn after_release(worker: &Rc<Worker>, client: &mut ClientConn) -> Turn {
    if worker.is_leaving() {
        return kicked(worker, client, Kick::Shutdown).await;
    }
    Turn::Next
}

async fn kicked(worker: &Rc<Worker>, client: &mut ClientConn, kick: Kick) -> Turn {
    client.shared.kick.set(None);
    let fatal = |state, message: &'static str| ErrorResponse::fatal(state, message);
    let error = match kick {
        Kick::HungUp => return Turn::Leave,
        Kick::Shutdown => {
            fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
        }
        Kick::SilentTooLong => fatal(SqlState::IDLE_SESSION_TIMEOUT, "client_idle_timeout"),
        Kick::Canceled => {
            let error =
                ErrorResponse::error(SqlState::QUERY_CANCELED, "canceling statement due to user request");
            return reject(worker, client, error).await;
        }
        Kick::WaitedTooLong => {
            let error = ErrorResponse::error(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                "query_wait_timeout: no server connection became free in time",
            )
            .hint("The pool is busy, or PostgreSQL cannot be reached; the statement was not sent.");
            return reject(worker, client, error).await;
        }
    };
    worker.count_error(error.sqlstate.as_str());
    refuse::last_words(client, &error.to_bytes()).await;
    Turn::Leave
}

/// Answers the request that the client waits for with an error; the client stays.
async fn reject(worker: &Rc<Worker>, client: &mut ClientConn, error: ErrorResponse) -> Turn {
    worker.count_error(error.sqlstate.as_str());
    match refuse::reject(worker, client, error).await {
        Ok(refuse::Outcome::Stays) => Turn::Next,
        Ok(refuse::Outcome::Left) | Err(_) => Turn::Leave,
    }
}

impl ClientConn {
    /// Delivers what is left of the last reply and waits for the client's next message, without a buffer.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stir>> {
        self.shared.watch(cx);
        if let Some(kick) = self.shared.kick.take() {
            return Poll::Ready(Ok(Stir::Kicked(kick)));
        }
        ready!(self.spill.poll_flush(&mut self.stream, cx))?;
        if self.session.is_leaving() {
            return Poll::Ready(Ok(Stir::Closed));
        }
        if self.carry.is_unseen() {
            return Poll::Ready(Ok(Stir::Readable));
        }
        ready!(self.stream.poll_read_ready(cx))?;
        Poll::Ready(Ok(Stir::Readable))
    }
}
