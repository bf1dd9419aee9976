//! A client in its seat: what happens to it between login and leave.
//!
//! ```text
//! idle -> checkout (queued -> ) relay -> release -> idle ...
//!             '-> refused: answered by a task, which brings it back
//! ```
//!
//! The reactor says which seats something is new for, and each is served by a direct call: no task, no waker, no
//! allocation in a transaction. What needs to wait for a client's next bytes outside of a transaction is a task.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use pgpooler_core::pool::ClientId;
use pgpooler_core::wire::{ErrorResponse, SqlState};
use tracing::debug;

use crate::event_loop::checkout::{Grant, Refusal, look_in_queue, take_up};
use crate::event_loop::client::{ClientConn, ClientShared, Kick};
use crate::event_loop::refuse;
use crate::event_loop::relay::{self, End};
use crate::event_loop::server::ServerConn;
use crate::event_loop::worker::Worker;
use crate::reactor::{self, Seat, spawn_local};
use crate::report::ClientState;

/// Seats served before the clock is looked at again.
const SEATS_A_TICK: usize = 32;

/// A client and how far it is.
#[derive(Debug)]
pub(crate) struct Sitter {
    client: ClientConn,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Idle,
    /// In the queue since then.
    Queued(Instant),
    Linked(Box<ServerConn>),
}

/// What ended a client's silence.
enum Stir {
    Readable,
    Closed,
    Kicked(Kick),
}

/// What becomes of a client when it has been served.
enum Fate {
    Stays,
    Leaves,
    /// Something is to be said to it that it has to wait for.
    Away(Errand),
}

/// What a task does with a client.
#[derive(Debug)]
enum Errand {
    /// Its last message.
    Goodbye(Vec<u8>),
    /// The answer to what it asks for next.
    Reject(ErrorResponse),
}

impl Worker {
    /// Serves the seats that something is new for.
    pub(crate) fn serve_ready(self: &Rc<Self>) {
        for served in 1..=Seat::count_ready() {
            let Some(seat) = Seat::next_ready() else { return };
            self.serve(ClientId(seat.0));
            if served % SEATS_A_TICK == 0 {
                reactor::tick();
            }
        }
    }

    fn serve(self: &Rc<Self>, slot: ClientId) {
        // nobody: it has left, or is with a task
        let Some(mut sitter) = self.stand_up(slot) else { return };
        match sitter.poll(self) {
            Fate::Stays => self.put_back(slot, sitter),
            Fate::Leaves => self.see_off(sitter.client),
            Fate::Away(errand) => self.send_away(sitter.client, errand),
        }
    }

    /// How a client calls its application.
    pub(crate) fn application_name(&self, client: &ClientShared) -> String {
        self.with_sitter(client.slot, |sitter| {
            let own = sitter.and_then(|sitter| sitter.client.session.settings().get("application_name"));
            own.or(client.application_name.as_deref()).unwrap_or_default().to_owned()
        })
    }

    /// Our address of a client's connection; none is known while it is with a task.
    pub(crate) fn local_address(&self, client: &ClientShared) -> SocketAddr {
        let of_socket = |sitter: Option<&Sitter>| sitter?.client.stream.local_addr().ok();
        let known = client.local().or_else(|| self.with_sitter(client.slot, of_socket));
        known.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into())
    }

    /// A client is served in its seat from now on.
    pub(crate) fn sit_down(self: &Rc<Self>, client: ClientConn) {
        let shared = &client.shared;
        shared.sit_down();
        let (slot, seat) = (shared.slot, shared.seat());
        client.stream.tcp().own(Some(seat));
        self.put_back(slot, Box::new(Sitter { client, stage: Stage::Idle }));
        // it may have sent something meanwhile, or been kicked
        reactor::ready(seat);
    }

    fn send_away(self: &Rc<Self>, mut client: ClientConn, errand: Errand) {
        let worker = Rc::clone(self);
        spawn_local(async move {
            if errand.run(&worker, &mut client).await {
                worker.sit_down(client);
            } else {
                worker.see_off(client);
            }
        });
    }

    fn see_off(&self, mut client: ClientConn) {
        client.stream.say_goodbye();
        self.forget_client(&client.shared);
        self.process.connection_ended(self.me);
    }

    /// What a kick comes to.
    fn kicked(&self, client: &ClientConn, kick: Kick) -> Fate {
        client.shared.kick.set(None);
        let fatal = |state, message: &'static str| ErrorResponse::fatal(state, message);
        let error = match kick {
            Kick::HungUp => return Fate::Leaves,
            Kick::Shutdown => {
                fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
            }
            Kick::Killed(killed) => killed.response(),
            Kick::SilentTooLong => fatal(SqlState::IDLE_SESSION_TIMEOUT, "client_idle_timeout"),
            Kick::Canceled => {
                ErrorResponse::error(SqlState::QUERY_CANCELED, "canceling statement due to user request")
            }
            Kick::WaitedTooLong => ErrorResponse::error(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                "query_wait_timeout: no server connection became free in time",
            )
            .hint("The pool is busy, or PostgreSQL cannot be reached; the statement was not sent."),
        };
        self.count_error(error.sqlstate.as_str());
        Fate::Away(match kick {
            Kick::Canceled | Kick::WaitedTooLong => Errand::Reject(error),
            _ => Errand::Goodbye(error.to_bytes()),
        })
    }
}

impl Errand {
    /// Whether the client stays.
    async fn run(self, worker: &Rc<Worker>, client: &mut ClientConn) -> bool {
        match self {
            Self::Goodbye(response) => {
                refuse::last_words(client, &response).await;
                false
            }
            Self::Reject(error) => {
                matches!(refuse::reject(worker, client, error).await, Ok(refuse::Outcome::Stays))
            }
        }
    }
}

impl Sitter {
    /// Goes on as far as it can. Not a future: whoever it waits for lets its seat be served again.
    fn poll(&mut self, worker: &Rc<Worker>) -> Fate {
        loop {
            let step = match mem::replace(&mut self.stage, Stage::Idle) {
                Stage::Idle => self.idle(worker),
                Stage::Queued(asked) => self.queued(worker, asked),
                Stage::Linked(server) => self.linked(worker, server),
            };
            if let Poll::Ready(fate) = step {
                return fate;
            }
        }
    }

    /// [`Poll::Pending`]: another stage has begun.
    fn idle(&mut self, worker: &Rc<Worker>) -> Poll<Fate> {
        let mut cx = Context::from_waker(Waker::noop());
        match self.client.poll_idle(&mut cx) {
            Poll::Pending => Poll::Ready(Fate::Stays),
            Poll::Ready(Ok(Stir::Readable)) => {
                let now = reactor::now();
                self.stage = match worker.try_checkout(&self.client.shared, now) {
                    Some(server) => Stage::Linked(self.link(server, now)),
                    None => Stage::Queued(now),
                };
                Poll::Pending
            }
            Poll::Ready(Ok(Stir::Kicked(kick))) => Poll::Ready(worker.kicked(&self.client, kick)),
            Poll::Ready(Ok(Stir::Closed)) => Poll::Ready(Fate::Leaves),
            Poll::Ready(Err(error)) => {
                debug!(client = self.client.shared.id, %error, "client connection broke");
                Poll::Ready(Fate::Leaves)
            }
        }
    }

    fn queued(&mut self, worker: &Rc<Worker>, asked: Instant) -> Poll<Fate> {
        let shared = &self.client.shared;
        match look_in_queue(shared, self.client.stream.tcp().is_read_closed()) {
            None => {
                self.stage = Stage::Queued(asked);
                Poll::Ready(Fate::Stays)
            }
            Some(Ok(Grant::Server(server))) => {
                take_up(shared, &server);
                self.stage = Stage::Linked(self.link(server, asked));
                Poll::Pending
            }
            // a slot alone is for those who wait in dedicated pools
            Some(Ok(_)) => Poll::Ready(Fate::Leaves),
            Some(Err(refusal)) => {
                worker.leave_queue(shared);
                shared.enter(ClientState::Idle, reactor::now());
                Poll::Ready(match refusal {
                    Refusal::Kicked(kick) => worker.kicked(&self.client, kick),
                    Refusal::Server(response) => Fate::Away(Errand::Goodbye(response)),
                    Refusal::Away(error) => {
                        worker.count_error(error.sqlstate.as_str());
                        Fate::Away(Errand::Reject(error))
                    }
                })
            }
        }
    }

    fn link(&self, mut server: Box<ServerConn>, asked: Instant) -> Box<ServerConn> {
        server.stream.tcp().own(Some(self.client.shared.seat()));
        server.lease = relay::Lease::begin(asked, reactor::now());
        server
    }

    fn linked(&mut self, worker: &Rc<Worker>, server: Box<ServerConn>) -> Poll<Fate> {
        let killed = match self.client.shared.kick.get() {
            Some(Kick::Killed(killed)) => Some(killed),
            _ => None,
        };
        let moved = match killed {
            Some(killed) => Err(relay::cut(worker, &mut self.client, server, &killed.response())),
            None => relay::poll(worker, &mut self.client, server),
        };
        let end = match moved {
            Ok(server) => {
                self.stage = Stage::Linked(server);
                return Poll::Ready(Fate::Stays);
            }
            Err(end) => end,
        };
        let shared = &self.client.shared;
        shared.set_server(None);
        shared.statements.set(self.client.session.statement_count() as u32);
        shared.enter(ClientState::Idle, reactor::now());
        match end {
            End::Released if worker.is_leaving() => Poll::Ready(worker.kicked(&self.client, Kick::Shutdown)),
            End::Released => Poll::Pending,
            End::ClientGone => Poll::Ready(Fate::Leaves),
            End::Told(response) => Poll::Ready(Fate::Away(Errand::Goodbye(response))),
        }
    }
}

impl ClientConn {
    /// Delivers what is left of the last reply and looks for the client's next message, without a buffer.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stir>> {
        if let Some(kick) = self.shared.kick.take() {
            return Poll::Ready(Ok(Stir::Kicked(kick)));
        }
        if !self.spill.is_empty() {
            ready!(self.spill.poll_flush(&mut self.stream, cx))?;
        }
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
