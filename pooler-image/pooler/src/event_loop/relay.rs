//! One client on one server connection, from checkout to release.
//!
//! Both sockets are driven by one poll function, so nothing is sent between tasks. The server connection is
//! released as soon as its last reply was read, before the client has taken it.

use std::num::NonZeroU64;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use pgpooler_core::session::{ClientFault, Naming, ServerFault, Tally};
use pgpooler_core::wire::{ErrorResponse, SqlState};
use tracing::warn;

use crate::event_loop::buffers::poll_read;
use crate::event_loop::client::ClientConn;
use crate::event_loop::server::{Awaited, ServerConn, WorkKind};
use crate::event_loop::worker::{Scratch, Worker};
use crate::reactor;

/// How a link ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The server connection is back; the client goes on.
    Released,
    /// The client has left; the server connection is taken care of.
    ClientGone,
    /// The client is to be sent this and closed.
    Told(Vec<u8>),
}

/// Turns of one link before others get theirs.
const TURNS: u32 = 16;

/// What is to be known of a server connection while a client has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    asked: Instant,
    given: Instant,
    /// Since when replies are owed.
    busy: Option<Instant>,
    /// Since when none are.
    rests: Option<Instant>,
    begun: bool,
}

impl Lease {
    pub(crate) fn begin(asked: Instant, given: Instant) -> Self {
        Self { asked, given, busy: None, rests: None, begun: false }
    }

    /// Since when the client has been owed nothing; none: it has asked for nothing yet.
    pub(crate) fn rests_since(self) -> Option<Instant> {
        self.rests
    }
}

/// A client's server connection, while bytes are moved.
struct Link {
    /// There until the link ends.
    server: Option<Box<ServerConn>>,
}

/// What one side's turn came to.
enum Turn {
    Progress,
    Nothing,
    End(End),
}

/// Moves bytes both ways until nothing moves; the server connection comes back while the link goes on.
pub(crate) fn poll(
    worker: &Rc<Worker>,
    client: &mut ClientConn,
    server: Box<ServerConn>,
) -> Result<Box<ServerConn>, End> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut link = Link { server: Some(server) };
    let end = link.poll(worker, client, &mut cx);
    match (end, link.server) {
        (None, Some(server)) => Ok(server),
        (end, _) => Err(end.unwrap_or(End::ClientGone)),
    }
}

/// Ends a link between two transactions.
pub(crate) fn end(worker: &Rc<Worker>, client: &mut ClientConn, server: Box<ServerConn>) {
    Link { server: Some(server) }.let_go(worker, client);
}

/// Ends a link in the middle: what the server is at is cancelled, and its connection closed.
pub(crate) fn cut(
    worker: &Rc<Worker>,
    client: &mut ClientConn,
    server: Box<ServerConn>,
    why: &ErrorResponse,
) -> End {
    let end = told(&server, why.to_bytes());
    worker.count_error(why.sqlstate.as_str());
    server.doom();
    worker.cancel_on_server(&server.shared);
    Link { server: Some(server) }.let_go(worker, client);
    end
}

impl Link {
    /// None: whatever the link waits for lets the client's seat be served again.
    fn poll(&mut self, worker: &Rc<Worker>, client: &mut ClientConn, cx: &mut Context<'_>) -> Option<End> {
        let scratch = &mut *worker.scratch.borrow_mut();
        for _ in 0..TURNS {
            match self.turn(worker, client, scratch, cx) {
                Turn::Progress => {}
                Turn::Nothing => {
                    self.note_awaited();
                    return None;
                }
                Turn::End(end) => {
                    // answers of our own are owed all the same
                    let delivered =
                        client.spill.send(&mut client.stream, cx, &mut scratch.desk.to_client, &[]);
                    scratch.desk.to_server.clear();
                    self.let_go(worker, client);
                    return Some(if delivered.is_ok() { end } else { End::ClientGone });
                }
            }
        }
        client.shared.wake();
        None
    }

    fn turn(
        &mut self,
        worker: &Rc<Worker>,
        client: &mut ClientConn,
        scratch: &mut Scratch,
        cx: &mut Context<'_>,
    ) -> Turn {
        let Some(server) = self.server.as_deref_mut() else { return Turn::Nothing };
        if let Some(end) = flush(server, client, cx) {
            return Turn::End(end);
        }
        let sent = match from_client(server, client, scratch, cx) {
            // the poller was wrong: the client has sent nothing, and must not hold a server connection for that
            Turn::Nothing if !server.lease.begun => return Turn::End(End::Released),
            // what the server sends now is for nobody
            Turn::End(end) => return Turn::End(end),
            sent => sent,
        };
        self.note_start();
        self.note_work(worker);
        let Some(server) = self.server.as_deref_mut() else { return Turn::Nothing };
        let moved = match (sent, from_server(server, client, scratch, cx)) {
            (_, Turn::End(end)) => return Turn::End(end),
            (Turn::Nothing, Turn::Nothing) => false,
            _ => true,
        };
        self.note_work(worker);
        let end = self.ended(client);
        if end.is_some() {
            // the server connection goes first: a client that reads slowly must not keep it
            self.let_go(worker, client);
        }
        let Scratch { read, desk } = scratch;
        let delivered = client.spill.send(&mut client.stream, cx, &mut desk.to_client, read);
        match end {
            _ if delivered.is_err() => Turn::End(End::ClientGone),
            Some(end) => Turn::End(end),
            None if moved => Turn::Progress,
            None => Turn::Nothing,
        }
    }

    /// The link has come to its proper end.
    fn ended(&mut self, client: &mut ClientConn) -> Option<End> {
        self.note_end(client);
        let server = self.server.as_deref()?;
        if client.session.is_leaving() && !server.session.is_busy() && server.is_quiet() {
            // it goes when it has taken what is left
            return Some(client.last_words.take().map_or(End::Released, |words| End::Told(words.into())));
        }
        let parts = server.session.may_part() && server.is_quiet();
        (parts && server.lease.begun && client.session.naming() == Naming::Shared).then_some(End::Released)
    }

    fn note_work(&self, worker: &Rc<Worker>) {
        let Some(server) = self.server.as_deref() else { return };
        let kind = match server.session.is_busy() {
            false => WorkKind::Nobodys,
            true if server.session.is_at_own_question() => WorkKind::Ours,
            true => WorkKind::Clients,
        };
        worker.turn_to(&server.shared, kind);
    }

    /// Whether it is the client that all wait for, in the middle of its message: the janitor looks how it gets on.
    fn note_awaited(&self) {
        let Some(server) = self.server.as_deref() else { return };
        let awaited = &server.shared.awaited;
        let awaits = server.session.awaits_rest() && !server.spill.is_full();
        if awaits != awaited.get().is_some() {
            awaited.set(awaits.then(|| Awaited::begin(reactor::now())));
        }
    }

    fn note_start(&mut self) {
        if let Some(server) = &mut self.server
            && server.lease.busy.is_none()
            && server.session.is_busy()
        {
            server.lease.busy = Some(reactor::now());
        }
    }

    fn note_end(&mut self, client: &ClientConn) {
        let Some(server) = self.server.as_deref_mut() else { return };
        if server.session.is_busy() {
            return;
        }
        let Some(began) = server.lease.busy.take() else { return };
        let tally = server.session.take_tally();
        let now = reactor::now();
        server.lease.rests = Some(now);
        if let Some(ends) = tally.ends_unit() {
            client.shared.is_between.set(ends);
        }
        client.shared.pool.note_queries(tally, now.saturating_duration_since(began));
        let (held, holds) = (server.shared.holds.get(), server.session.holds());
        if held != holds {
            server.shared.holds.set(holds);
            client.shared.pool.note_pin(held, holds);
        }
    }

    /// Gives the server connection to whoever it is for next.
    fn let_go(&mut self, worker: &Rc<Worker>, client: &mut ClientConn) {
        let Some(mut server) = self.server.take() else { return };
        if server.session.holds_statement_back() {
            client.carry.reread();
        }
        let now = reactor::now();
        server.stream.tcp().own(None);
        server.session.part(&client.session);
        let sequences = server.session.has_sequences_of(&client.session);
        client.shared.sequences.set(NonZeroU64::new(server.shared.id).filter(|_| sequences));
        server.shared.holds.take();
        server.shared.awaited.take();
        let tally: Tally = server.session.take_tally();
        let Lease { asked, given, .. } = server.lease;
        client.shared.pool.note_link(tally, given - asked, now - given);
        server.shared.statements.set(server.session.statement_count() as u32);
        server.shared.link.set(None);
        worker.turn_to(&server.shared, WorkKind::Nobodys);
        if server.session.is_clean() {
            client.shared.pool.proven.set(Some(now));
        }
        worker.recycle(server, now);
    }
}

/// What is left over goes first; the end, if a side is gone.
fn flush(server: &mut ServerConn, client: &mut ClientConn, cx: &mut Context<'_>) -> Option<End> {
    if !server.spill.is_empty()
        && let Poll::Ready(Err(_)) = server.spill.poll_flush(&mut server.stream, cx)
    {
        return Some(server_lost(server));
    }
    if !client.spill.is_empty()
        && let Poll::Ready(Err(_)) = client.spill.poll_flush(&mut client.stream, cx)
    {
        return Some(End::ClientGone);
    }
    None
}

fn from_client(
    server: &mut ServerConn,
    client: &mut ClientConn,
    scratch: &mut Scratch,
    cx: &mut Context<'_>,
) -> Turn {
    if client.session.is_leaving() {
        let comes = server.session.needs_no_more() || server.session.is_ending();
        let waits = comes && !client.shared.is_overdue();
        return if waits { Turn::Nothing } else { Turn::End(End::ClientGone) };
    }
    let waits = server.session.is_asking() || server.session.is_waiting() || server.session.owes_much();
    if waits || server.spill.is_full() {
        return Turn::Nothing;
    }
    let Scratch { read, desk } = scratch;
    let fresh = if client.carry.is_unseen() || server.session.may_resume() {
        0
    } else {
        match poll_read(&mut client.stream, cx, read) {
            Poll::Pending => return Turn::Nothing,
            Poll::Ready(Ok(0)) if server.session.is_busy() => {
                // it may only have closed its own side
                client.session.leave();
                client.shared.leaves();
                server.session.terminate(server.spill.bytes());
                return Turn::Progress;
            }
            Poll::Ready(Ok(0) | Err(_)) => return Turn::End(End::ClientGone),
            Poll::Ready(Ok(fresh)) => fresh,
        }
    };
    if let Some(awaited) = server.shared.awaited.get() {
        server.shared.awaited.set(Some(awaited.with(fresh)));
    }
    let ClientConn { session, carry, .. } = client;
    let fresh = read.get(..fresh).unwrap_or_default();
    let input = carry.join(fresh);
    let mut exchange = desk.exchange(session, &mut server.session);
    if !server.lease.begun {
        server.lease.begun = true;
        exchange.begin();
    }
    let outcome = exchange.client_bytes(input);
    client.shared.pool.note_received(fresh.len());
    let sent = server.spill.send(&mut server.stream, cx, &mut desk.to_server, input);
    match outcome {
        Ok(dealt_with) => {
            client.carry.keep(fresh, dealt_with);
            if server.session.is_ending() {
                client.shared.leaves();
            }
        }
        Err(fault) => {
            client.last_words = faulted(fault).map(Vec::into_boxed_slice);
            client.session.leave();
            // what is owed comes first
            if !(server.session.is_busy() && server.session.needs_no_more()) {
                return Turn::End(
                    client.last_words.take().map_or(End::ClientGone, |words| told(server, words.into())),
                );
            }
        }
    }
    if sent.is_err() { Turn::End(server_lost(server)) } else { Turn::Progress }
}

fn from_server(
    server: &mut ServerConn,
    client: &mut ClientConn,
    scratch: &mut Scratch,
    cx: &mut Context<'_>,
) -> Turn {
    if client.spill.is_full() {
        return Turn::Nothing;
    }
    // answers of our own must not be written behind what the next read puts in the buffer
    let Scratch { read, desk } = scratch;
    if !desk.to_client.is_empty()
        && client.spill.send(&mut client.stream, cx, &mut desk.to_client, &[]).is_err()
    {
        return Turn::End(End::ClientGone);
    }
    let fresh = match poll_read(&mut server.stream, cx, read) {
        Poll::Pending => return Turn::Nothing,
        Poll::Ready(Ok(0) | Err(_)) if server.session.is_ending() => {
            server.doom();
            return Turn::End(End::ClientGone);
        }
        Poll::Ready(Ok(0) | Err(_)) => return Turn::End(server_lost(server)),
        Poll::Ready(Ok(fresh)) => fresh,
    };
    let ServerConn { session, carry, .. } = server;
    let fresh = read.get(..fresh).unwrap_or_default();
    let was_empty = carry.is_empty();
    let input = carry.join(fresh);
    let outcome = desk.exchange(&mut client.session, session).server_bytes(input);
    client.shared.pool.note_sent(desk.to_client.len());
    let delivered = if was_empty && outcome.is_ok() {
        // left in the outbox: the link may end here, and then the server connection is let go first
        Ok(())
    } else {
        client.spill.send(&mut client.stream, cx, &mut desk.to_client, input)
    };
    match (outcome, delivered) {
        (_, Err(_)) => Turn::End(End::ClientGone),
        (Ok(dealt_with), Ok(())) => {
            carry.keep(fresh, dealt_with);
            if session.is_in_block_of(&client.session) {
                client.last_words = Some(block_refused().into());
                client.session.leave();
            }
            ask(server, scratch, cx)
        }
        (Err(fault), Ok(())) => Turn::End(faulty(server, fault)),
    }
}

/// What the session has to say to the server on its own.
fn ask(server: &mut ServerConn, scratch: &mut Scratch, cx: &mut Context<'_>) -> Turn {
    let to_server = &mut scratch.desk.to_server;
    if !to_server.is_empty() && server.spill.send(&mut server.stream, cx, to_server, &[]).is_err() {
        return Turn::End(server_lost(server));
    }
    Turn::Progress
}

fn server_lost(server: &mut ServerConn) -> End {
    server.lose();
    let error =
        ErrorResponse::fatal(SqlState::CONNECTION_FAILURE, "the server closed the connection unexpectedly")
            .detail("The connection between pgpooler and PostgreSQL ended; the transaction was rolled back.");
    told(server, error.to_bytes())
}

/// As PgBouncer does: what the client sends behind it would be done outside of the transaction that it is meant for.
fn block_refused() -> Vec<u8> {
    let told = "transaction blocks not allowed in statement pooling mode";
    ErrorResponse::fatal(SqlState::NO_ACTIVE_SQL_TRANSACTION, told)
        .detail("The transaction was rolled back.")
        .hint(
            "Statements in one simple query are one transaction; pool_mode = \"transaction\" allows blocks.",
        )
        .to_bytes()
}

/// To a length that no message has, PostgreSQL says nothing.
fn faulted(fault: ClientFault) -> Option<Vec<u8>> {
    match fault {
        ClientFault::Frame(_) => None,
        fault => Some(ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, fault.to_string()).to_bytes()),
    }
}

/// Inside a message nothing can be said.
fn told(server: &ServerConn, error: Vec<u8>) -> End {
    if server.session.is_mid_reply() { End::ClientGone } else { End::Told(error) }
}

fn faulty(server: &mut ServerConn, fault: ServerFault) -> End {
    server.doom();
    match fault {
        ServerFault::Terminated { response } => {
            server.lose();
            End::Told(response)
        }
        ServerFault::Replay { response } => End::Told(response),
        fault => {
            warn!(server = server.shared.id, %fault, "server connection closed: the protocol was broken");
            let error = ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, fault.to_string());
            End::Told(error.to_bytes())
        }
    }
}
