//! One loop's idle connections and waiting clients.

mod pool;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

use pool::{Idle, Pool, Waiting};

use super::slots::{Ahead, Cell, LoopId, PoolId, Slots, Taken, Verdict};

/// A client of this loop. It waits for at most one connection at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

/// A server connection of this loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u32);

/// Limits of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Idle for longer: closed. Zero: never.
    pub idle_timeout: Duration,
}

/// The answer to a client that wants a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkout {
    /// It has this one.
    Take(ServerId),
    /// It is in the queue; ask [`Ledger::next`] what to do about it.
    Wait,
}

/// What becomes of a connection that its client has finished with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// This client has waited longest: it gets the connection.
    Hand(ClientId),
    /// Put it among the idle ones, under this id.
    Keep,
    /// Close it: over a limit, or another pool needs the slot.
    Close,
    /// Another loop needs it.
    Lend(LoopId),
}

/// When an idle connection is taken again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before the others: it has the warmest caches.
    First,
    /// After the others: its last client may come back for it.
    Last,
}

/// What to do for the clients that wait for a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: nobody waits, or enough is under way.
    Nothing,
    /// Open a connection; its slot is taken.
    Connect,
    /// Close this idle connection of that pool, then ask again.
    Close(PoolId, ServerId),
    /// No slot is free; the want is registered.
    Lack,
}

/// Which idle connections may be closed for their slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those that their pools have beyond what they keep.
    BeyondKept,
    /// All.
    All,
}

/// How a pool stands on this loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Connections that could be used at once.
    pub idle: u32,
    /// Connections being opened.
    pub connecting: u32,
    /// All connections: idle, in use, being opened or closed.
    pub open: u32,
    /// Clients in the queue.
    pub waiting: u32,
}

/// After a failure, how much longer nobody opens a connection that nobody waits for.
const AHEAD_PAUSE: Duration = Duration::from_secs(10);

/// One loop's idle connections and waiting clients, pool by pool.
#[derive(Debug)]
pub struct Ledger {
    me: LoopId,
    pools: BTreeMap<PoolId, Pool>,
    /// Connections being opened, of all pools.
    logins: u32,
}

impl Ledger {
    /// The ledger of a loop.
    pub fn new(me: LoopId) -> Self {
        Self { me, pools: BTreeMap::new(), logins: 0 }
    }

    /// Makes a pool known, or gives it other limits.
    pub fn set_limits(&mut self, pool: PoolId, limits: PoolLimits) {
        self.pools.entry(pool).and_modify(|known| known.limits = limits).or_insert(Pool {
            limits,
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            connecting: 0,
            open: 0,
            paused: false,
            retry_at: None,
            lacking: false,
        });
    }

    /// A client wants a connection.
    pub fn checkout(&mut self, pool: PoolId, client: ClientId, now: Instant) -> Checkout {
        let Some(pool) = self.pools.get_mut(&pool) else { return Checkout::Wait };
        if !pool.paused
            && pool.waiting.is_empty()
            // the one used last has the warmest caches
            && let Some(idle) = pool.idle.pop_back()
        {
            return Checkout::Take(idle.server);
        }
        pool.waiting.push_back(Waiting { client, since: now });
        Checkout::Wait
    }

    /// Takes this one of the idle connections, if nobody waits who was there before.
    pub fn take(&mut self, pool: PoolId, server: ServerId) -> bool {
        let Some(pool) = self.pools.get_mut(&pool) else { return false };
        let at = pool.idle.iter().position(|idle| idle.server == server);
        match at {
            Some(at) if !pool.paused && pool.waiting.is_empty() => pool.idle.remove(at).is_some(),
            _ => false,
        }
    }

    /// A client does not wait any more.
    pub fn leave(&mut self, pool: PoolId, client: ClientId) {
        if let Some(pool) = self.pools.get_mut(&pool)
            && let Some(at) = pool.waiting.iter().position(|waiting| waiting.client == client)
        {
            pool.waiting.remove(at);
        }
    }

    /// Nobody on this loop waits for a connection of this pool.
    pub fn is_spare(&self, pool: PoolId) -> bool {
        self.pools.get(&pool).is_none_or(Pool::is_spare)
    }

    /// Since when the first in the pool's queue has waited; nobody, while it hands nothing out.
    pub fn oldest(&self, pool: PoolId) -> Option<Instant> {
        self.pools.get(&pool).filter(|pool| !pool.paused)?.waiting.front().map(|waiting| waiting.since)
    }

    /// A client whose connection turned out to be dead before it had used it keeps its place in the queue.
    pub fn requeue(&mut self, pool: PoolId, client: ClientId, now: Instant) {
        if let Some(pool) = self.pools.get_mut(&pool) {
            let since = pool.waiting.front().map_or(now, |next| next.since);
            pool.waiting.push_front(Waiting { client, since });
        }
    }

    /// Takes all clients out of a pool's queue: PostgreSQL will not have them.
    pub fn drain_waiting(&mut self, pool: PoolId) -> Vec<ClientId> {
        self.pools
            .get_mut(&pool)
            .map_or_else(Vec::new, |pool| pool.waiting.drain(..).map(|waiting| waiting.client).collect())
    }

    /// A clean connection comes back, or a new or lent one is ready. `id`: what it is called if it is kept.
    /// `verdict`: what the process's account says ([`Slots::verdict`]).
    pub fn release(
        &mut self,
        pool: PoolId,
        id: ServerId,
        now: Instant,
        verdict: Verdict,
        place: Place,
    ) -> Release {
        let Some(pool) = self.pools.get_mut(&pool) else { return Release::Close };
        match verdict {
            Verdict::Close => return Release::Close,
            Verdict::Lend(to) => return Release::Lend(to),
            Verdict::Keep => {}
        }
        if !pool.paused
            && let Some(waiting) = pool.waiting.pop_front()
        {
            return Release::Hand(waiting.client);
        }
        let idle = Idle { server: id, since: now, place };
        match place {
            Place::First => pool.idle.push_back(idle),
            Place::Last => pool.idle.push_front(idle),
        }
        Release::Keep
    }

    /// [`Self::next`] would change something for `pool`: clients wait, and no want is registered for them yet,
    /// or one is and nobody waits any more.
    pub fn has_next(&self, pool: PoolId) -> bool {
        self.pools.get(&pool).is_some_and(|pool| (pool.lacks() > 0) != pool.lacking)
    }

    /// A slot came free: wants are to be looked at again.
    pub fn slot_came_free(&mut self) {
        self.pools.values_mut().for_each(|pool| pool.lacking = false);
    }

    /// What to do next for the clients that wait for `pool`. Call until it says [`Next::Nothing`] or [`Next::Lack`].
    pub fn next(&mut self, pool: PoolId, now: Instant, slots: &mut Slots) -> Next {
        let cell = (self.me, pool);
        let Some(this) = self.pools.get_mut(&pool) else { return Next::Nothing };
        let lacks = this.lacks();
        this.lacking = false;
        if lacks > 0 && this.retry_at.is_some_and(|at| at > now) && slots.is_barred(pool) {
            // another loop may have an idle one of this pool
            this.lacking = true;
            slots.want(cell, lacks, this.lacks_since());
            return Next::Lack;
        }
        if lacks == 0 || this.retry_at.is_some_and(|at| at > now) || self.logins >= this.parallel_logins() {
            slots.want(cell, 0, None);
            return Next::Nothing;
        }
        // what the pool is due depends on it
        slots.want(cell, lacks, this.lacks_since());
        match slots.take(cell, now) {
            Taken::Slot => {
                this.connecting += 1;
                this.open += 1;
                self.logins += 1;
                slots.want(cell, lacks - 1, this.lacks_since());
                Next::Connect
            }
            Taken::PoolFull => {
                // another loop may have an idle one of this pool
                this.lacking = true;
                Next::Lack
            }
            Taken::NoneFree => self.lack(cell, slots),
            // nobody should give up a connection for that
            Taken::Unknown => {
                slots.want(cell, 0, None);
                Next::Nothing
            }
        }
    }

    /// Whether to open a connection that nobody waits for yet, since the pool has fewer than it keeps; its slot is taken
    /// then. `known`: its user is known, and may log in.
    pub fn open_ahead(&mut self, pool: PoolId, known: bool, now: Instant, slots: &mut Slots) -> bool {
        let cell = (self.me, pool);
        let Some(pool) = self.pools.get_mut(&pool) else { return false };
        let failed = pool.retry_at.is_some_and(|at| at + AHEAD_PAUSE > now);
        let ahead = if known && !pool.paused && !failed { Ahead::Yes } else { Ahead::No };
        let opens = slots.take_ahead(cell, ahead, now);
        pool.connecting += u32::from(opens);
        pool.open += u32::from(opens);
        self.logins += u32::from(opens);
        opens
    }

    fn lack(&mut self, cell: Cell, slots: &mut Slots) -> Next {
        if let Some(pool) = self.pools.get_mut(&cell.1) {
            pool.lacking = true;
        }
        if slots.is_enough_closing(cell) {
            return Next::Lack;
        }
        self.least_needed(Reach::BeyondKept, slots)
            .map_or(Next::Lack, |(owner, server)| Next::Close(owner, server))
    }

    /// Takes out an idle connection for its slot: of the pool that has most beyond its due the one that was idle longest.
    pub fn least_needed(&mut self, reach: Reach, slots: &Slots) -> Option<(PoolId, ServerId)> {
        let may_go = |pool: PoolId| reach == Reach::All || slots.beyond_kept(pool) > 0;
        let (id, _) = self
            .pools
            .iter()
            .filter_map(|(id, pool)| Some((*id, pool.idle.front()?.since)))
            .filter(|(id, _)| may_go(*id))
            .min_by_key(|(id, since)| (-slots.surplus(*id).max(0), *since))?;
        let idle = self.pools.get_mut(&id)?.idle.pop_front()?;
        Some((id, idle.server))
    }

    /// Takes out an idle connection for another loop that lacks one of this pool.
    pub fn take_idle(&mut self, pool: PoolId) -> Option<ServerId> {
        let idle = &mut self.pools.get_mut(&pool)?.idle;
        let free = idle.iter().position(|idle| idle.place == Place::First).unwrap_or(0);
        idle.remove(free).map(|idle| idle.server)
    }

    /// A connection that was being opened is there; release it next.
    pub fn connected(&mut self, pool: PoolId) {
        if let Some(pool) = self.login_ended(pool) {
            pool.retry_at = None;
        }
    }

    /// Opening one failed; no further attempt before `retry_at`. Its slot is given back separately.
    pub fn connect_failed(&mut self, pool: PoolId, retry_at: Instant) {
        if let Some(pool) = self.login_ended(pool) {
            pool.retry_at = Some(retry_at);
        }
    }

    fn login_ended(&mut self, pool: PoolId) -> Option<&mut Pool> {
        let pool = self.pools.get_mut(&pool)?;
        let ended = pool.connecting.min(1);
        pool.connecting -= ended;
        self.logins -= ended;
        Some(pool)
    }

    /// A slot to see whether a login succeeds, though nobody waits for one: taken, if nobody else sees to that and it is
    /// time. Open a connection then.
    #[must_use]
    pub fn probe(&mut self, pool: PoolId, now: Instant, slots: &mut Slots) -> bool {
        let cell = (self.me, pool);
        let Some(pool) = self.pools.get_mut(&pool) else { return false };
        let early = pool.retry_at.is_some_and(|at| at > now);
        if pool.paused || pool.connecting > 0 || early || slots.take(cell, now) != Taken::Slot {
            return false;
        }
        pool.connecting += 1;
        pool.open += 1;
        self.logins += 1;
        true
    }

    /// What made logins fail is over: nobody waits any longer before the next attempt.
    pub fn retry_now(&mut self) {
        self.pools.values_mut().for_each(|pool| pool.retry_at = None);
    }

    /// A connection's end was read, or it went to another loop.
    pub fn closed(&mut self, pool: PoolId) {
        if let Some(pool) = self.pools.get_mut(&pool) {
            pool.open = pool.open.saturating_sub(1);
        }
    }

    /// A connection came from another loop; release it next.
    pub fn borrowed(&mut self, pool: PoolId) {
        if let Some(pool) = self.pools.get_mut(&pool) {
            pool.open += 1;
        }
    }

    /// An idle connection is gone from under us.
    pub fn forget_idle(&mut self, pool: PoolId, server: ServerId) {
        if let Some(pool) = self.pools.get_mut(&pool) {
            pool.idle.retain(|idle| idle.server != server);
        }
    }

    /// Takes out idle connections that are past their timeout. `spared`: how many connections a pool has beyond those
    /// that it keeps.
    pub fn expire(&mut self, now: Instant, mut spared: impl FnMut(PoolId) -> u32) -> Vec<(PoolId, ServerId)> {
        let mut expired = Vec::new();
        for (id, pool) in &mut self.pools {
            let timeout = pool.limits.idle_timeout;
            if timeout.is_zero() {
                continue;
            }
            let is_over = |idle: &Idle| now.saturating_duration_since(idle.since) >= timeout;
            if !pool.idle.iter().any(is_over) {
                continue;
            }
            let mut left = spared(*id);
            pool.idle.retain(|idle| {
                let keeps = left == 0 || !is_over(idle);
                if !keeps {
                    left -= 1;
                    expired.push((*id, idle.server));
                }
                keeps
            });
        }
        expired
    }

    /// Takes out all idle connections of a pool.
    pub fn drain_idle(&mut self, pool: PoolId) -> Vec<ServerId> {
        let Some(pool) = self.pools.get_mut(&pool) else { return Vec::new() };
        pool.idle.drain(..).map(|idle| idle.server).collect()
    }

    /// Stops or resumes handing out a pool's connections; clients queue meanwhile.
    pub fn set_paused(&mut self, pool: PoolId, paused: bool) {
        if let Some(pool) = self.pools.get_mut(&pool) {
            pool.paused = paused;
        }
    }

    /// Takes the next client out of a pool's queue when an idle connection is there for it.
    pub fn match_up(&mut self, pool: PoolId) -> Option<(ClientId, ServerId)> {
        let pool = self.pools.get_mut(&pool)?;
        if pool.paused || pool.idle.is_empty() {
            return None;
        }
        let client = pool.waiting.pop_front()?.client;
        pool.idle.pop_back().map(|idle| (client, idle.server))
    }

    /// The first pool behind `last` that [`Self::next`] has something to say about: clients wait, or a want is
    /// registered. So all are gone through while each is seen to.
    pub fn waiting_pool(&self, last: Option<PoolId>) -> Option<PoolId> {
        let behind = last.map_or(Bound::Unbounded, Bound::Excluded);
        let unsettled = |pool: &Pool| !pool.waiting.is_empty() || pool.lacking;
        let mut pools = self.pools.range((behind, Bound::Unbounded));
        pools.find(|(_, pool)| unsettled(pool)).map(|(id, _)| *id)
    }

    /// Pools with an idle connection that nobody on this loop waits for.
    pub fn spare_pools(&self) -> impl Iterator<Item = PoolId> {
        self.pools.iter().filter(|(_, pool)| !pool.idle.is_empty() && pool.is_spare()).map(|(id, _)| *id)
    }

    /// All pools.
    pub fn pools(&self) -> impl Iterator<Item = PoolId> {
        self.pools.keys().copied()
    }

    /// How a pool stands.
    pub fn counts(&self, pool: PoolId) -> PoolCounts {
        self.pools.get(&pool).map_or_else(PoolCounts::default, |pool| PoolCounts {
            idle: pool.idle.len() as u32,
            connecting: pool.connecting,
            open: pool.open,
            waiting: pool.waiting.len() as u32,
        })
    }
}

#[cfg(test)]
mod tests;
