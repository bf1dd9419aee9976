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
use std::time::{Duration, Instant};

use pgpooler_core::drain::Way;
use pgpooler_core::pool::ClientId;
use pgpooler_core::wire::{ErrorResponse, SqlState};
use tracing::debug;

use crate::event_loop::checkout::{Grant, Refusal, look_in_queue, take_up};
use crate::event_loop::client::{self, ClientConn, ClientShared, Kick};
use crate::event_loop::parting::Heard;
use crate::event_loop::refuse;
use crate::event_loop::relay::{self, End};
use crate::event_loop::server::ServerConn;
use crate::event_loop::worker::Worker;
use crate::reactor::{self, Seat, spawn_local};
use crate::report::ClientState;

/// So many times as long as another one is a client silent that was last seen in the middle of something.
const LONG_SILENCE: u32 = 25;

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
            let name = sitter.map(|sitter| sitter.client.application_name());
            name.or(client.application_name.as_deref()).unwrap_or_default().to_owned()
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
        self.note_departure(&client.shared, client.application_name());
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
            Kick::Shutdown => return Fate::Away(Errand::Goodbye(self.farewell(client, Way::Deadline))),
            Kick::Killed(killed) => killed.response(),
            Kick::Stalled => client::stalled(),
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
            Poll::Ready(Ok(Stir::Readable)) => self.serve(worker),
            // what it has sent by now is done first
            Poll::Ready(Ok(Stir::Kicked(Kick::Shutdown)))
                if self.client.spill.is_empty() && self.has_something_to_say() =>
            {
                self.serve(worker)
            }
            Poll::Ready(Ok(Stir::Kicked(kick))) => Poll::Ready(worker.kicked(&self.client, kick)),
            Poll::Ready(Ok(Stir::Closed)) => Poll::Ready(Fate::Leaves),
            Poll::Ready(Err(error)) => {
                debug!(client = self.client.shared.id, %error, "client connection broke");
                Poll::Ready(Fate::Leaves)
            }
        }
    }

    /// Something has come from a client that is idle.
    fn serve(&mut self, worker: &Rc<Worker>) -> Poll<Fate> {
        if worker.parting.get()
            && let Some(fate) = self.parting(worker)
        {
            return Poll::Ready(fate);
        }
        let now = reactor::now();
        self.stage = match worker.try_checkout(&self.client.shared, now) {
            Some(server) => Stage::Linked(self.link(server, now)),
            None => Stage::Queued(now),
        };
        Poll::Pending
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
        let cut = match self.client.shared.kick.get() {
            Some(Kick::Killed(killed)) => Some(killed.response()),
            Some(Kick::Stalled) => Some(client::stalled()),
            _ => None,
        };
        let moved = match cut {
            Some(why) => Err(relay::cut(worker, &mut self.client, server, &why)),
            None if worker.parting.get() && self.parts_linked(worker, &server) => {
                relay::end(worker, &mut self.client, server);
                let words = worker.farewell(&self.client, Way::LivenessTest);
                Err(End::Told(words))
            }
            None => relay::poll(worker, &mut self.client, server),
        };
        let end = match moved {
            Ok(server) if server.is_at_boundary() && worker.closes(&self.client.shared) => {
                relay::end(worker, &mut self.client, server);
                End::Released
            }
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
            End::Released if worker.closes(shared) => {
                Poll::Ready(worker.kicked(&self.client, Kick::Shutdown))
            }
            End::Released => {
                // it was told to leave before it began with what it is in the middle of
                if shared.kick.get() == Some(Kick::Shutdown) {
                    shared.kick.set(None);
                }
                Poll::Pending
            }
            End::ClientGone => Poll::Ready(Fate::Leaves),
            End::Told(response) => Poll::Ready(Fate::Away(Errand::Goodbye(response))),
        }
    }
}

/// While clients are parted with.
impl Sitter {
    /// Looks at what an idle client has sent before anything is done for it; `None`: it is served.
    fn parting(&mut self, worker: &Worker) -> Option<Fate> {
        match self.client.hear(worker) {
            Ok(Heard::Test) if worker.parts_on_test(&self.client) => {
                Some(Fate::Away(Errand::Goodbye(worker.farewell(&self.client, Way::LivenessTest))))
            }
            Ok(Heard::Test | Heard::Other) => None,
            Ok(Heard::Nothing) => Some(Fate::Stays),
            Ok(Heard::End) | Err(_) => Some(Fate::Leaves),
        }
    }

    /// The same for a client that has a server connection to itself: it has tested its connection, and leaves for it.
    /// One that is tied to its server connection by what it holds there stays.
    fn parts_linked(&mut self, worker: &Worker, server: &ServerConn) -> bool {
        let client = &mut self.client;
        let is_idle = server.is_at_boundary() && server.session.may_part();
        is_idle
            && client.spill.is_empty()
            && !client.session.is_leaving()
            // what is at its end is seen by the relay
            && matches!(client.hear(worker), Ok(Heard::Test))
            && worker.parts_on_test(client)
    }

    /// Whether it has been silent for so long behind the end of what it was about. Who has only tested its connection, or
    /// prepared, may be about to begin; nobody takes as long as [`LONG_SILENCE`] for that, but idle pools test, too.
    pub(super) fn has_been_silent(&self, limit: Duration, now: Instant) -> bool {
        let limit = if self.client.shared.is_between.get() { limit } else { limit * LONG_SILENCE };
        self.silent_since().is_some_and(|since| now.saturating_duration_since(since) >= limit)
    }

    fn silent_since(&self) -> Option<Instant> {
        let client = &self.client;
        let is_silent =
            client.shared.kick.get().is_none() && client.spill.is_empty() && client.carry.is_empty();
        let since = match &self.stage {
            Stage::Idle => Some(client.shared.since()),
            Stage::Linked(server) if server.is_at_boundary() && server.session.may_part() => {
                server.lease.rests_since()
            }
            Stage::Queued(_) | Stage::Linked(_) => None,
        };
        since.filter(|_| is_silent)
    }

    /// It has sent something, or closed its side, by now.
    pub(super) fn has_something_to_say(&self) -> bool {
        self.client.stream.tcp().has_unread()
    }
}

impl Worker {
    /// What a client hears that is parted with.
    fn farewell(&self, client: &ClientConn, way: Way) -> Vec<u8> {
        let shared = &client.shared;
        shared.way.set(shared.way.get().or(Some(way)));
        let told = "terminating connection due to administrator command";
        let error = ErrorResponse::fatal(SqlState::ADMIN_SHUTDOWN, told);
        self.count_error(error.sqlstate.as_str());
        error.to_bytes()
    }

    /// Closes the connection of a client that is idle.
    pub(super) fn part_with(self: &Rc<Self>, sitter: Sitter, way: Way) {
        let Sitter { mut client, stage } = sitter;
        if let Stage::Linked(server) = stage {
            relay::end(self, &mut client, server);
            client.shared.set_server(None);
            client.shared.enter(ClientState::Idle, reactor::now());
        }
        let words = self.farewell(&client, way);
        self.send_away(client, Errand::Goodbye(words));
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
