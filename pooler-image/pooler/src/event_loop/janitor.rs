//! What happens because time has passed.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgpooler_config::Document;
use pgpooler_core::pool::{LoopId, Pressure, Reach};

use crate::event_loop::client::{ClientShared, Kick};
use crate::event_loop::pool::{Kind, Pool};
use crate::event_loop::worker::Worker;
use crate::reactor::sleep;
use crate::report::ClientState;

/// How late a timeout may come.
const PERIOD: Duration = Duration::from_millis(200);

/// Every so many rounds, clients in the queue look whether they are still there.
const LOOK_ROUNDS: u64 = 5;

/// Every so many rounds, memory that clients have left behind is given back.
const TRIM_ROUNDS: u64 = 25;

/// Every so many rounds, what triggers may do is asked again: somebody may have made one past us.
const DOUBT_ROUNDS: u64 = 50;

/// Looks after a loop; never returns.
pub(crate) async fn run(worker: Rc<Worker>) {
    for round in 0_u64.. {
        sleep(PERIOD).await;
        let now = Instant::now();
        worker.sweep_clients(now, round % LOOK_ROUNDS == 0);
        worker.sweep_stalled(now);
        worker.sweep_idle();
        worker.expire_idle(now);
        worker.close_excess(Reach::All);
        worker.look_at_server(now);
        // attempts that had to wait, and wants whose turn may have come without a word
        worker.pump_all(now);
        worker.open_ahead(now);
        if round % TRIM_ROUNDS == 0 {
            worker.scratch.borrow_mut().desk.trim();
        }
        if round % DOUBT_ROUNDS == 0 && worker.me == LoopId(0) {
            worker.process.statement_clock.doubt_definitions();
        }
        worker.cut(now);
        if worker.process.pressure() != Pressure::None {
            worker.spare_idle();
        }
    }
}

impl Worker {
    fn sweep_clients(&self, now: Instant, look: bool) {
        let document = Arc::clone(&self.current.borrow().loaded.document);
        self.look_at_clients(|client| {
            if let Some(kick) = due(client, &document, now) {
                client.kick(kick);
            } else if look && client.state.get() == ClientState::Waiting || client.is_overdue() {
                client.wake();
            }
        });
    }

    /// Ends clients that have server connections wait for the rest of a message.
    fn sweep_stalled(&self, now: Instant) {
        let limit = self.current.borrow().loaded.document.client_message_timeout.as_duration();
        for server in self.servers.borrow().values().filter(|_| !limit.is_zero()) {
            let Some(awaited) = server.awaited.get() else { continue };
            let looked = awaited.look(limit, now);
            server.awaited.set(looked);
            if looked.is_none() {
                let link = server.link.get();
                self.look_at_clients(|client| {
                    if Some(client.id) == link {
                        client.kick(Kick::Stalled);
                    }
                });
            }
        }
    }

    fn expire_idle(self: &Rc<Self>, now: Instant) {
        // nothing is kept that nobody will come for any more
        let keeps = self.serves_on();
        let spared =
            |pool| if keeps { self.process.slots(|slots| slots.beyond_kept(pool)) } else { u32::MAX };
        let expired = self.ledger.borrow_mut().expire(now, spared);
        for (_, id) in expired {
            if let Some(server) = self.remove_idle(id) {
                self.retire(server);
            }
        }
        self.close_stale_idle();
    }

    /// Opens one connection for each pool that has fewer than it keeps.
    fn open_ahead(self: &Rc<Self>, now: Instant) {
        if !self.serves_on() {
            return;
        }
        let auth = Arc::clone(&self.current.borrow().auth);
        let pools = self.pools_that_keep_some();
        for pool in pools {
            // who has been deleted, or not been seen since the secret changed, may not be let in
            let user = auth.user(&pool.database, &pool.user_name);
            let known = user.is_some_and(|user| Arc::ptr_eq(&user, &pool.user()));
            let mut ledger = self.ledger.borrow_mut();
            let opens = self.process.slots(|slots| ledger.open_ahead(pool.id, known, now, slots));
            drop(ledger);
            if opens {
                self.open(pool.id);
            }
        }
    }

    fn pools_that_keep_some(&self) -> Vec<Rc<Pool>> {
        let pools = self.pools.borrow();
        let keeps = |pool: &&Rc<Pool>| pool.kind == Kind::Shared && pool.rule().keeps_some();
        pools.values().filter(keeps).cloned().collect()
    }

    /// The process does not leave.
    pub(super) fn serves_on(&self) -> bool {
        *self.process.phase.borrow() != crate::report::Phase::Draining && !self.is_leaving()
    }
}

fn due(client: &ClientShared, document: &Document, now: Instant) -> Option<Kick> {
    let since = now.saturating_duration_since(client.since());
    let over = |limit: Duration| !limit.is_zero() && since >= limit;
    match client.state.get() {
        ClientState::Waiting if over(client.pool.rule().query_wait_timeout) => Some(Kick::WaitedTooLong),
        ClientState::Idle if over(document.client_idle_timeout.as_duration()) => Some(Kick::SilentTooLong),
        _ => None,
    }
}

/// Up to a quarter more, so that those who failed together do not try again together.
pub(crate) fn jitter(period: Duration, seed: u64) -> Duration {
    let part = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u32;
    period + period / 4 * part / 256
}
