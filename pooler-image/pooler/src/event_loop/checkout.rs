//! How a client comes by a server connection, and how one comes back.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use pgpooler_core::pool::{
    Checkout, ClientId, Next, Place, PoolId, Pressure, Release, ServerId, Stage, Verdict,
};
use pgpooler_core::session::Dirt;
use pgpooler_core::wire::ErrorResponse;

use crate::event_loop::buffers::poll_read;
use crate::event_loop::client::{ClientShared, Kick};
use crate::event_loop::server::{Lent, Outlook, ServerConn};
use crate::event_loop::worker::Worker;
use crate::process::Mail;
use crate::reactor::{self, Socket, spawn_local};
use crate::report::{ClientState, ServerState};

/// What a waiting client was given.
#[derive(Debug)]
pub(crate) enum Grant {
    Server(Box<ServerConn>),
    /// The slot alone, in a dedicated pool.
    Slot(Box<HeldSlot>),
    /// PostgreSQL will not have this pool's user or database: its ErrorResponse.
    Refused(Arc<Vec<u8>>),
    /// PostgreSQL has been away for too long.
    Away(Arc<ErrorResponse>),
}

/// A slot that no connection of the pool stands for; it is given back when dropped.
pub(crate) struct HeldSlot {
    worker: Rc<Worker>,
    pool: PoolId,
    pub(crate) stage: Stage,
}

impl std::fmt::Debug for HeldSlot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HeldSlot").field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl Drop for HeldSlot {
    fn drop(&mut self) {
        self.worker.process.slots(|slots| slots.closing(self.pool));
        self.worker.slot_back(self.pool, self.stage);
    }
}

/// Why a client got no server connection.
#[derive(Debug)]
pub(crate) enum Refusal {
    Kicked(Kick),
    /// PostgreSQL's ErrorResponse.
    Server(Vec<u8>),
    /// PostgreSQL has been away for too long: the client may ask again later.
    Away(ErrorResponse),
}

/// A client's place in the queue; it leaves the queue when dropped, and gives back what it was given meanwhile.
struct Ticket<'a> {
    worker: &'a Rc<Worker>,
    client: &'a Rc<ClientShared>,
    /// None: one of our own, which cannot hang up.
    stream: Option<&'a Socket>,
}

impl Future for Ticket<'_> {
    type Output = Result<Grant, Refusal>;

    fn poll(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.client.watch(cx);
        let gone = self.stream.is_some_and(|stream| {
            // to be told when it has
            let _ = stream.poll_read_ready(cx);
            stream.is_read_closed()
        });
        match look_in_queue(self.client, gone) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.worker.leave_queue(self.client);
    }
}

impl Worker {
    /// A server connection for a client, at once or after a wait.
    ///
    /// Cancel-safe: a client that is dropped while it waits leaves the queue.
    pub(crate) async fn checkout<'a>(
        self: &Rc<Self>,
        client: &Rc<ClientShared>,
        stream: impl Into<Option<&'a Socket>>,
        now: Instant,
    ) -> Result<Box<ServerConn>, Refusal> {
        let server = match self.take_idle(client, now) {
            Some(server) => server,
            None => match self.wait(client, stream.into(), now).await? {
                Grant::Server(server) => server,
                // not given to those who wait for a connection
                Grant::Slot(_) | Grant::Refused(_) | Grant::Away(_) => {
                    return Err(Refusal::Kicked(Kick::HungUp));
                }
            },
        };
        take_up(client, &server);
        Ok(server)
    }

    /// A server connection at once, or the client is in the queue.
    pub(crate) fn try_checkout(
        self: &Rc<Self>,
        client: &Rc<ClientShared>,
        now: Instant,
    ) -> Option<Box<ServerConn>> {
        if let Some(server) = self.take_idle(client, now) {
            take_up(client, &server);
            return Some(server);
        }
        client.enter(ClientState::Waiting, now);
        self.settle_wants(client.pool.id, now);
        None
    }

    /// A client does not wait any more. What it was given meanwhile goes back.
    pub(crate) fn leave_queue(self: &Rc<Self>, client: &ClientShared) {
        self.ledger.borrow_mut().leave(client.pool.id, client.slot);
        let granted = client.grant.take();
        let now = Instant::now();
        if let Some(Grant::Server(server)) = granted {
            self.release(server, now);
        }
        self.settle_wants(client.pool.id, now);
    }

    /// A slot for a connection that the client opens itself. Cancel-safe, as [`Self::checkout`].
    pub(crate) async fn checkout_slot(
        self: &Rc<Self>,
        client: &Rc<ClientShared>,
        stream: &Socket,
    ) -> Result<HeldSlot, Refusal> {
        // nothing is ever idle in a dedicated pool
        let _ = self.ledger.borrow_mut().checkout(client.pool.id, client.slot, Instant::now());
        match self.wait(client, Some(stream), Instant::now()).await? {
            Grant::Slot(slot) => Ok(*slot),
            Grant::Server(_) | Grant::Refused(_) | Grant::Away(_) => Err(Refusal::Kicked(Kick::HungUp)),
        }
    }

    /// Gives a slot that was just taken to whoever waits for it.
    pub(crate) fn give_slot(self: &Rc<Self>, pool: PoolId) {
        let slot = HeldSlot { worker: Rc::clone(self), pool, stage: Stage::Login };
        let waiting = {
            let mut ledger = self.ledger.borrow_mut();
            ledger.connected(pool);
            // whoever asked for it may have left
            let anybody = ledger.counts(pool).waiting > 0;
            anybody.then(|| {
                ledger.release(pool, ServerId(u32::MAX), Instant::now(), Verdict::Keep, Place::First)
            })
        };
        if let Some(Release::Hand(client)) = waiting {
            self.grant(client, Grant::Slot(Box::new(slot)));
        }
    }

    /// An idle connection that is still alive; else the client is in the queue.
    fn take_idle(self: &Rc<Self>, client: &Rc<ClientShared>, now: Instant) -> Option<Box<ServerConn>> {
        if let Some(server) = client.sequences.get().and_then(|id| self.take_again(client, id.get())) {
            return Some(server);
        }
        loop {
            let checkout = self.ledger.borrow_mut().checkout(client.pool.id, client.slot, now);
            let Checkout::Take(id) = checkout else { return None };
            let Some(mut server) = self.remove_idle(id) else { continue };
            if is_alive(&mut server) {
                return Some(server);
            }
            self.retire(server);
        }
    }

    /// The connection that a client had before, if it is idle: `currval` is known there only.
    fn take_again(self: &Rc<Self>, client: &ClientShared, id: u64) -> Option<Box<ServerConn>> {
        let place = self.idle_place(id)?;
        if !self.ledger.borrow_mut().take(client.pool.id, place) {
            return None;
        }
        let mut server = self.remove_idle(place)?;
        if is_alive(&mut server) {
            return Some(server);
        }
        self.retire(server);
        None
    }

    async fn wait(
        self: &Rc<Self>,
        client: &Rc<ClientShared>,
        stream: Option<&Socket>,
        now: Instant,
    ) -> Result<Grant, Refusal> {
        client.enter(ClientState::Waiting, now);
        let ticket = pin!(Ticket { worker: self, client, stream });
        self.settle_wants(client.pool.id, now);
        let outcome = ticket.await;
        if outcome.is_err() {
            client.enter(ClientState::Idle, Instant::now());
        }
        outcome
    }

    /// What becomes of a connection whose client has finished with it, whatever state it is in.
    pub(crate) fn recycle(self: &Rc<Self>, server: Box<ServerConn>, now: Instant) {
        let session = &server.session;
        if server.shared.outlook.get() >= Outlook::Doomed {
            self.retire(server);
        } else if !session.can_be_tidied() || !server.is_quiet() {
            self.abandon(server);
        } else if !server.shared.cancels.borrow().is_none() {
            self.await_cancels(server);
        } else if session.dirt() == Dirt::Connection {
            self.retire(server);
        } else if session.is_clean() && session.dirt() == Dirt::None {
            self.release(server, now);
        } else {
            self.tidy(server);
        }
    }

    /// The only way back into the pool. Whoever calls has seen that it is clean; it is looked at once more.
    pub(crate) fn release(self: &Rc<Self>, server: Box<ServerConn>, now: Instant) {
        let session = &server.session;
        if !(session.is_clean() && server.is_quiet() && session.dirt() == Dirt::None) || self.is_over(&server)
        {
            return self.retire(server);
        }
        if !server.shared.cancels.borrow().is_none() {
            return self.await_cancels(server);
        }
        let pool = server.shared.pool;
        let verdict = self.verdict(pool, now);
        let place = if session.has_sequences() { Place::Last } else { Place::First };
        let id = self.vacant_idle();
        let release = self.ledger.borrow_mut().release(pool, id, now, verdict, place);
        match release {
            Release::Hand(client) => self.grant(client, Grant::Server(server)),
            Release::Keep => {
                server.shared.state.set(ServerState::Idle);
                self.insert_idle(server);
            }
            Release::Close => self.retire(server),
            Release::Lend(to) => self.lend(server, to),
        }
        self.settle_wants(pool, now);
    }

    /// Tells the process's account when a pool begins or ceases to lack connections.
    pub(crate) fn settle_wants(self: &Rc<Self>, pool: PoolId, now: Instant) {
        if self.ledger.borrow().has_next(pool) {
            self.pump(pool, now);
        }
    }

    fn verdict(&self, pool: PoolId, now: Instant) -> Verdict {
        let cell = (self.me, pool);
        match self.process.pressure() {
            Pressure::None => Verdict::Keep,
            Pressure::Only(wanting) if wanting == cell => Verdict::Keep,
            _ => {
                let waits = self.ledger.borrow().oldest(pool);
                self.process.slots(|slots| slots.verdict(cell, waits, now))
            }
        }
    }

    pub(crate) fn grant(&self, client: ClientId, grant: Grant) {
        if let Some(client) = self.client(client) {
            client.grant.set(Some(grant));
            client.wake();
        }
    }

    /// Does what the ledger says for the clients that wait for a pool.
    pub(crate) fn pump(self: &Rc<Self>, pool: PoolId, now: Instant) {
        loop {
            let matched = self.ledger.borrow_mut().match_up(pool);
            if let Some((client, server)) = matched {
                self.hand_idle(client, server, pool, now);
                continue;
            }
            if self.turn_away(pool, now) {
                return;
            }
            let next = self.process.slots(|slots| self.ledger.borrow_mut().next(pool, now, slots));
            match next {
                Next::Connect => self.open(pool),
                Next::Close(_, server) => {
                    if let Some(server) = self.remove_idle(server) {
                        self.retire(server);
                    }
                }
                Next::Lack => return self.process.call_for_slots(self.me),
                Next::Nothing => return,
            }
        }
    }

    fn hand_idle(self: &Rc<Self>, client: ClientId, server: ServerId, pool: PoolId, now: Instant) {
        if let Some(mut server) = self.remove_idle(server) {
            if is_alive(&mut server) {
                return self.grant(client, Grant::Server(server));
            }
            self.retire(server);
        }
        self.ledger.borrow_mut().requeue(pool, client, now);
    }

    /// A slot came free for this loop.
    pub(crate) fn slot_came_free(self: &Rc<Self>) {
        self.ledger.borrow_mut().slot_came_free();
        self.pump_all(Instant::now());
    }

    /// As [`Self::pump`], for all pools that it would do something for.
    pub(crate) fn pump_all(self: &Rc<Self>, now: Instant) {
        let mut last = None;
        loop {
            last = self.ledger.borrow().waiting_pool(last);
            let Some(pool) = last else { return };
            self.pump(pool, now);
        }
    }

    /// Another loop lacks connections: gives what lies idle here, first of those pools that have most beyond their due.
    pub(crate) fn spare_idle(self: &Rc<Self>) {
        let now = Instant::now();
        let mut pools: Vec<_> = self.ledger.borrow().spare_pools().collect();
        self.process.slots(|slots| pools.sort_by_key(|pool| -slots.surplus(*pool)));
        for pool in pools {
            while self.ledger.borrow().is_spare(pool) {
                let verdict = self.process.slots(|slots| slots.verdict((self.me, pool), None, now));
                if verdict == Verdict::Keep {
                    break;
                }
                let Some(id) = self.ledger.borrow_mut().take_idle(pool) else { break };
                let Some(server) = self.remove_idle(id) else { continue };
                match verdict {
                    Verdict::Lend(to) => self.lend(server, to),
                    Verdict::Close | Verdict::Keep => self.retire(server),
                }
            }
        }
    }

    fn lend(self: &Rc<Self>, server: Box<ServerConn>, to: pgpooler_core::pool::LoopId) {
        let pool = server.shared.pool;
        let id = server.shared.id;
        match server.lend() {
            Ok(lent) => {
                if let Some(pool) = self.pools.borrow().get(&pool) {
                    pool.note_lend();
                }
                self.forget_server(id);
                self.ledger.borrow_mut().closed(pool);
                self.process.slots(|slots| slots.lend((self.me, pool), to));
                if let Err(Mail::Lent(lent)) = self.process.send(to, Mail::Lent(Box::new(lent))) {
                    // that loop has ended: the connection ends with it, and its slot with its socket
                    drop(lent);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "server connection could not be moved to another loop");
                self.forget_server(id);
                self.process.slots(|slots| slots.closing(pool));
                self.slot_back(pool, Stage::Open);
            }
        }
    }

    /// Takes a connection from another loop.
    pub(crate) fn borrow_server(self: &Rc<Self>, lent: Lent) {
        let pool = lent.facts.pool;
        self.ensure_pool(pool);
        self.ledger.borrow_mut().borrowed(pool);
        match lent.receive() {
            Ok(server) => {
                self.remember_server(&server.shared);
                self.release(Box::new(server), Instant::now());
            }
            Err(error) => {
                tracing::warn!(%error, "server connection could not be taken from another loop");
                self.process.slots(|slots| slots.closing(pool));
                self.slot_back(pool, Stage::Open);
            }
        }
    }

    /// What PostgreSQL has not dealt with yet could hit whatever the connection is used for next, be it a rollback.
    fn await_cancels(self: &Rc<Self>, server: Box<ServerConn>) {
        server.shared.state.set(ServerState::BeingCanceled);
        let worker = Rc::clone(self);
        spawn_local(async move {
            while !server.shared.cancels.borrow().is_none() {
                worker.cancel_done.notified().await;
            }
            worker.recycle(server, Instant::now());
        });
    }
}

/// What a client in the queue has come by. `gone`: its side of the connection is closed.
pub(crate) fn look_in_queue(client: &ClientShared, gone: bool) -> Option<Result<Grant, Refusal>> {
    // before what may have been granted meanwhile: whoever cancels must not be ignored for that
    if client.kick.get() == Some(Kick::Canceled) {
        client.kick.set(None);
        return Some(Err(Refusal::Kicked(Kick::Canceled)));
    }
    if let Some(grant) = client.grant.take() {
        return Some(match grant {
            Grant::Refused(response) => Err(Refusal::Server(response.to_vec())),
            Grant::Away(error) => Err(Refusal::Away(ErrorResponse::clone(&error))),
            given => Ok(given),
        });
    }
    match client.kick.take() {
        Some(kick) => Some(Err(Refusal::Kicked(kick))),
        // the janitor wakes whoever waits long, for this
        None if gone && client.has_hung_up() => Some(Err(Refusal::Kicked(Kick::HungUp))),
        None => None,
    }
}

/// A client has this server connection from now on.
pub(crate) fn take_up(client: &ClientShared, server: &ServerConn) {
    // what came too late for the wait is not for the next one
    if client.kick.get().is_some_and(|kick| !kick.is_final()) {
        client.kick.set(None);
    }
    let now = reactor::now();
    server.shared.state.set(ServerState::Active);
    server.shared.link.set(Some(client.id));
    server.shared.requested.set(Some(now));
    client.set_server(Some(Rc::clone(&server.shared)));
    client.enter(ClientState::Active, now);
}

/// Whether an idle connection is still there.
pub(crate) fn is_alive(server: &mut ServerConn) -> bool {
    let alive = is_silent(server);
    if !alive {
        server.lose();
    }
    alive
}

/// Reads what an idle connection has been sent: mostly nothing, which costs no system call.
fn is_silent(server: &mut ServerConn) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    if server.stream.poll_read_ready(&mut cx).is_pending() {
        return true;
    }
    let mut read = [0; 4096];
    loop {
        let fresh = match poll_read(&mut server.stream, &mut cx, &mut read) {
            Poll::Pending => return true,
            Poll::Ready(Ok(0) | Err(_)) => return false,
            Poll::Ready(Ok(fresh)) => read.get(..fresh).unwrap_or_default(),
        };
        let input = server.carry.join(fresh);
        match server.session.settle(input) {
            Ok(dealt_with) => server.carry.keep(fresh, dealt_with),
            Err(_) => return false,
        }
    }
}
