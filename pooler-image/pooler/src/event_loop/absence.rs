//! What a loop does while the server is away, and when it comes back.
//!
//! Clients that want a server connection wait in their queues meanwhile, as for anything else. When that has lasted for
//! too long they are refused, and so is whoever comes, until a login succeeds.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgpooler_core::pool::{PoolId, ServerId};
use pgpooler_core::wire::ErrorResponse;
use tracing::debug;

use crate::event_loop::checkout::Grant;
use crate::event_loop::pool::{Kind, Pool};
use crate::event_loop::server::{Outlook, ServerConn};
use crate::event_loop::tidy::poll_settled;
use crate::event_loop::worker::{FIRST, Worker};
use crate::reactor::{spawn_local, timeout};
use crate::report::ServerState;

/// A pool whose connections were of use so recently has a server, whatever becomes of logins: nobody is refused.
const PROOF: Duration = Duration::from_secs(5);

/// How long an idle connection may take to show that it is still there.
const PING_LIMIT: Duration = Duration::from_secs(5);

impl Worker {
    /// Looks whether clients have waited for too long, and whether a login succeeds though nobody waits for one.
    pub(crate) fn look_at_server(self: &Rc<Self>, now: Instant) {
        if self.me == FIRST {
            self.process.look_at_hold(now);
        }
        if !self.is_leaving()
            && let Some(pool) = self.process.prober_on(self.me)
        {
            self.probe(pool, now);
        }
    }

    /// What a client of this pool is told instead of being served; none: it can be served, or may wait for it.
    pub(crate) fn absence(&self, pool: &Pool, now: Instant) -> Option<ErrorResponse> {
        if !self.process.refuses_for_server() || pool.kind == Kind::Dedicated {
            return None;
        }
        let proven = pool.proven.get().is_some_and(|at| now.saturating_duration_since(at) < PROOF);
        if proven || self.ledger.borrow().counts(pool.id).idle > 0 {
            return None;
        }
        self.process.absence(now)
    }

    /// Refuses those who wait for a pool, if nobody is to wait for the server any more. Whether it did.
    pub(crate) fn turn_away(self: &Rc<Self>, id: PoolId, now: Instant) -> bool {
        if !self.process.refuses_for_server() {
            return false;
        }
        let pool = self.pools.borrow().get(&id).cloned();
        let Some(error) = pool.and_then(|pool| self.absence(&pool, now)) else { return false };
        let waiting = self.ledger.borrow_mut().drain_waiting(id);
        self.process.note_refused_for_server(waiting.len());
        let error = Arc::new(error);
        for client in waiting {
            self.grant(client, Grant::Away(Arc::clone(&error)));
        }
        // the want of those who have gone is not registered any longer
        let _ = self.process.slots(|slots| self.ledger.borrow_mut().next(id, now, slots));
        // whoever comes sees to it that others will be served
        self.probe(id, now);
        true
    }

    /// Tries a login that nobody waits for, if it is time.
    pub(crate) fn probe(self: &Rc<Self>, pool: PoolId, now: Instant) {
        let can = self.process.slots(|slots| self.ledger.borrow_mut().probe(pool, now, slots));
        if can {
            self.open(pool);
        }
    }

    /// Logins succeed again: nobody waits any longer before the next.
    pub(crate) fn server_is_back(self: &Rc<Self>) {
        self.ledger.borrow_mut().retry_now();
        self.slot_came_free();
    }

    /// The server is at another address than it was: what is open elsewhere is closed when it is next idle.
    pub(crate) fn leave_others(self: &Rc<Self>, address: SocketAddr) {
        for server in self.servers.borrow().values().filter(|server| server.peer != address) {
            server.outlook.set(server.outlook.get().max(Outlook::Outlived));
        }
        self.close_stale_idle();
    }

    /// Asks idle connections whether they are still there. Clients wait for the answer rather than find out.
    pub(crate) fn doubt_idle(self: &Rc<Self>, address: Option<SocketAddr>) {
        // those that have ended need no question
        self.sweep_idle();
        let doubted: Vec<_> = {
            let idle = self.idle.borrow();
            let at =
                idle.iter().filter(|(_, server)| address.is_none_or(|address| server.shared.peer == address));
            at.map(|(id, server)| (ServerId(id as u32), server.shared.pool)).collect()
        };
        for (id, pool) in doubted {
            self.ledger.borrow_mut().forget_idle(pool, id);
            if let Some(server) = self.remove_idle(id) {
                self.ping(server);
            }
        }
    }

    fn ping(self: &Rc<Self>, mut server: Box<ServerConn>) {
        server.shared.state.set(ServerState::Tested);
        let worker = Rc::clone(self);
        spawn_local(async move {
            let there = timeout(PING_LIMIT, async {
                server.session.ping(server.spill.bytes());
                poll_fn(|cx| poll_settled(&mut server, cx)).await
            })
            .await;
            if !matches!(there, Ok(Ok(()))) {
                debug!(server = server.shared.id, ?there, "idle server connection does not answer");
                server.lose();
                return worker.retire(server);
            }
            worker.release(server, Instant::now());
        });
    }
}
