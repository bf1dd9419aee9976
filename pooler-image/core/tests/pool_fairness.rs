//! Several pools on several loops compete for too few connections: who gets how many, and that nobody is forgotten.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pgpooler_core::pool::{
    Checkout, ClientId, Ledger, LoopId, Next, Place, PoolId, PoolLimits, PoolSize, PoolTerms, Pressure,
    Reach, Release, ServerId, Slots, Stage, TURN, Terms, Verdict,
};
use proptest::prelude::*;

/// What one step of the clock is.
const STEP: Duration = Duration::from_millis(1);

/// Steps that a login takes, and a close.
const LOGIN: u64 = 3;
const CLOSE: u64 = 1;

/// Steps between two looks of a loop's janitor.
const LOOK: u64 = 200;

/// What the clients of one pool do.
#[derive(Debug, Clone)]
struct Load {
    weight: u32,
    minimum: u32,
    /// On each loop.
    clients: u32,
    /// Steps of a transaction, and between two of a client's.
    works: u64,
    rests: u64,
}

impl Load {
    fn saturating(weight: u32, works: u64) -> Self {
        Self { weight, minimum: 0, clients: 12, works, rests: 0 }
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// A client comes, or comes back.
    Asks(usize, PoolId, ClientId),
    /// A transaction ends.
    Ends(usize, PoolId, ClientId),
    LoggedIn(usize, PoolId),
    Closed(usize, PoolId),
}

/// A stand-in for loops, sockets and clients.
struct World {
    now: Instant,
    step: u64,
    slots: Slots,
    ledgers: Vec<Ledger>,
    loads: Vec<Load>,
    due: BTreeMap<u64, Vec<Event>>,
    ids: u32,
    random: u64,
    /// By pool: connection-steps in use, and clients that wait since when.
    used: Vec<u64>,
    waits: BTreeMap<(usize, PoolId, ClientId), u64>,
    longest_wait: u64,
    /// Logged in or logging in.
    open: Vec<u32>,
    /// Slots that may be held, and were held a step ago.
    most: u32,
    held_before: u32,
}

impl World {
    fn new(limit: u32, loops: usize, loads: Vec<Load>, seed: u64) -> Self {
        let mut slots = Slots::new(limit);
        let mut ledgers: Vec<_> = (0..loops).map(|id| Ledger::new(LoopId(id as u16))).collect();
        for (pool, load) in loads.iter().enumerate() {
            let minimum = PoolSize::own(load.minimum);
            let terms = PoolTerms { minimum, weight: load.weight, ..PoolTerms::default() };
            slots.set_pool(PoolId(pool as u32), terms);
            for ledger in &mut ledgers {
                ledger.set_limits(PoolId(pool as u32), PoolLimits { idle_timeout: Duration::ZERO });
            }
        }
        let (used, open) = (vec![0; loads.len()], vec![0; loads.len()]);
        let mut world = Self {
            now: Instant::now(),
            step: 0,
            slots,
            ledgers,
            loads,
            due: BTreeMap::new(),
            ids: 0,
            random: seed | 1,
            used,
            waits: BTreeMap::new(),
            longest_wait: 0,
            open,
            most: limit,
            held_before: 0,
        };
        world.arrive();
        world
    }

    fn arrive(&mut self) {
        for at in 0..self.ledgers.len() {
            for pool in 0..self.loads.len() {
                for client in 0..self.loads[pool].clients {
                    let after = self.some(50);
                    let id = ClientId(pool as u32 * 1000 + client);
                    self.later(after, Event::Asks(at, PoolId(pool as u32), id));
                }
            }
        }
    }

    /// A number below `bound`, but 0 for 0.
    fn some(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if bound == 0 { 0 } else { self.random % bound }
    }

    /// About as many.
    fn about(&mut self, steps: u64) -> u64 {
        steps / 2 + self.some(steps + 1)
    }

    fn later(&mut self, steps: u64, event: Event) {
        self.due.entry(self.step + steps.max(1)).or_default().push(event);
    }

    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step += 1;
            self.now += STEP;
            for event in self.due.remove(&self.step).unwrap_or_default() {
                self.happens(event);
            }
            for at in 0..self.ledgers.len() {
                // loops do not look at the same time
                if (self.step + at as u64 * 67).is_multiple_of(LOOK) {
                    self.look(at);
                }
            }
            // above a limit that has shrunk it only falls
            self.most = self.slots.limit().max(self.most.min(self.held_before));
            self.held_before = self.slots.held();
            assert!(self.held_before <= self.most, "step {}", self.step);
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Asks(at, pool, client) => match self.ledgers[at].checkout(pool, client, self.now) {
                Checkout::Take(_) => self.begins(at, pool, client),
                Checkout::Wait => {
                    self.waits.insert((at, pool, client), self.step);
                    self.settle(at, pool);
                }
            },
            Event::Ends(at, pool, client) => {
                self.release(at, pool);
                let rests = self.loads[pool.0 as usize].rests;
                let rests = self.about(rests);
                self.later(rests, Event::Asks(at, pool, client));
            }
            Event::LoggedIn(at, pool) => {
                self.ledgers[at].connected(pool);
                self.slots.opened();
                self.release(at, pool);
            }
            Event::Closed(at, pool) => {
                self.ledgers[at].closed(pool);
                if let Some(LoopId(lacks)) = self.slots.give_back((LoopId(at as u16), pool), Stage::Open) {
                    self.slot_came_free(usize::from(lacks));
                }
            }
        }
    }

    fn begins(&mut self, at: usize, pool: PoolId, client: ClientId) {
        if let Some(since) = self.waits.remove(&(at, pool, client)) {
            self.longest_wait = self.longest_wait.max(self.step - since);
        }
        let works = self.loads[pool.0 as usize].works;
        let works = self.about(works).max(1);
        self.used[pool.0 as usize] += works;
        self.later(works, Event::Ends(at, pool, client));
    }

    fn release(&mut self, at: usize, pool: PoolId) {
        let cell = (LoopId(at as u16), pool);
        let verdict = match self.slots.pressure() {
            Pressure::None => Verdict::Keep,
            Pressure::Only(wanting) if wanting == cell => Verdict::Keep,
            _ => self.slots.verdict(cell, self.ledgers[at].oldest(pool), self.now),
        };
        self.ids += 1;
        match self.ledgers[at].release(pool, ServerId(self.ids), self.now, verdict, Place::First) {
            Release::Hand(client) => self.begins(at, pool, client),
            Release::Keep => {}
            Release::Close => self.close(at, pool),
            Release::Lend(to) => self.lend(at, to, pool),
        }
        self.settle(at, pool);
    }

    fn lend(&mut self, at: usize, to: LoopId, pool: PoolId) {
        self.ledgers[at].closed(pool);
        self.slots.lend((LoopId(at as u16), pool), to);
        self.ledgers[usize::from(to.0)].borrowed(pool);
        self.release(usize::from(to.0), pool);
    }

    fn connect(&mut self, at: usize, pool: PoolId) {
        self.open[pool.0 as usize] += 1;
        self.later(LOGIN, Event::LoggedIn(at, pool));
    }

    fn close(&mut self, at: usize, pool: PoolId) {
        self.slots.closing(pool);
        self.open[pool.0 as usize] -= 1;
        self.later(CLOSE, Event::Closed(at, pool));
    }

    fn settle(&mut self, at: usize, pool: PoolId) {
        if self.ledgers[at].has_next(pool) {
            self.pump(at, pool);
        }
    }

    fn pump(&mut self, at: usize, pool: PoolId) {
        loop {
            if let Some((client, _)) = self.ledgers[at].match_up(pool) {
                self.begins(at, pool, client);
                continue;
            }
            match self.ledgers[at].next(pool, self.now, &mut self.slots) {
                Next::Connect => self.connect(at, pool),
                Next::Close(owner, _) => self.close(at, owner),
                Next::Lack => {
                    return (0..self.ledgers.len())
                        .filter(|other| *other != at)
                        .for_each(|other| self.spare_idle(other));
                }
                Next::Nothing => return,
            }
        }
    }

    fn slot_came_free(&mut self, at: usize) {
        self.ledgers[at].slot_came_free();
        self.pump_all(at);
    }

    fn pump_all(&mut self, at: usize) {
        let mut last = None;
        while let Some(pool) = self.ledgers[at].waiting_pool(last) {
            self.pump(at, pool);
            last = Some(pool);
        }
    }

    fn spare_idle(&mut self, at: usize) {
        let mut pools: Vec<_> = self.ledgers[at].spare_pools().collect();
        pools.sort_by_key(|pool| -self.slots.surplus(*pool));
        for pool in pools {
            while self.ledgers[at].is_spare(pool) {
                let verdict = self.slots.verdict((LoopId(at as u16), pool), None, self.now);
                if verdict == Verdict::Keep || self.ledgers[at].take_idle(pool).is_none() {
                    break;
                }
                match verdict {
                    Verdict::Lend(to) => self.lend(at, to, pool),
                    Verdict::Close | Verdict::Keep => self.close(at, pool),
                }
            }
        }
    }

    fn set_limit(&mut self, limit: u32) {
        self.most = self.most.max(self.slots.limit());
        self.slots.set_terms(Terms::from(limit));
        for at in 0..self.ledgers.len() {
            self.close_excess(at, Reach::BeyondKept);
            self.slot_came_free(at);
        }
    }

    fn close_excess(&mut self, at: usize, reach: Reach) {
        while self.slots.excess() > 0 {
            let Some((pool, _)) = self.ledgers[at].least_needed(reach, &self.slots) else { return };
            self.close(at, pool);
        }
    }

    fn look(&mut self, at: usize) {
        self.close_excess(at, Reach::All);
        self.pump_all(at);
        for pool in 0..self.loads.len() as u32 {
            if self.loads[pool as usize].minimum > 0
                && self.ledgers[at].open_ahead(PoolId(pool), true, self.now, &mut self.slots)
            {
                self.connect(at, PoolId(pool));
            }
        }
        if self.slots.pressure() != Pressure::None {
            self.spare_idle(at);
        }
    }

    /// Connections in use by each pool, on average over so many steps from now on.
    fn average(&mut self, steps: u64) -> Vec<f64> {
        let before = self.used.clone();
        self.run(steps);
        self.used.iter().zip(before).map(|(used, before)| (used - before) as f64 / steps as f64).collect()
    }
}

/// Long enough for every pool to have had many turns.
const LONG: u64 = 60 * TURN.as_millis() as u64;

#[test]
fn three_to_one_on_four_connections() {
    for loops in [1, 2] {
        let loads = vec![Load::saturating(300, 5), Load::saturating(100, 5)];
        let mut world = World::new(4, loops, loads, 7);
        world.run(LONG / 10);
        let had = world.average(LONG);
        assert!((had[0] - 3.0).abs() < 0.1 && (had[1] - 1.0).abs() < 0.1, "{had:?} on {loops} loops");
    }
}

#[test]
fn more_pools_than_connections_have_them_in_turns() {
    let loads = (0..12).map(|_| Load::saturating(100, 5)).collect();
    let mut world = World::new(3, 2, loads, 3);
    world.run(LONG / 10);
    let had = world.average(4 * LONG);
    assert!(had.iter().all(|had| (had - 0.25).abs() < 0.08), "{had:?}");
    assert!(world.longest_wait < 6 * LONG / 10, "{}", world.longest_wait);
}

fn loads() -> impl Strategy<Value = Vec<Load>> {
    let saturating = (1_u32..=10, 1_u64..30).prop_map(|(weight, works)| Load::saturating(weight * 10, works));
    prop::collection::vec(saturating, 2..5)
}

fn mixed() -> impl Strategy<Value = Vec<Load>> {
    // who has one turn of eighteen waits for seventeen
    let one = (50_u32..=200, 0_u32..3, 0_u32..8, 1_u64..40, 0_u64..400);
    let one = one.prop_map(|(weight, minimum, clients, works, rests)| Load {
        weight,
        minimum,
        clients,
        works,
        rests,
    });
    prop::collection::vec(one, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn under_saturation_each_pool_has_its_share_over_time(
        loads in loads(),
        limit in 2_u32..9,
        loops in 1_usize..3,
        seed: u64,
    ) {
        let all: u32 = loads.iter().map(|load| load.weight).sum();
        let shares: Vec<_> = loads.iter().map(|load| f64::from(limit * load.weight) / f64::from(all)).collect();
        let mut world = World::new(limit, loops, loads, seed);
        world.run(LONG / 6);
        let had = world.average(LONG);
        for (had, share) in had.iter().zip(&shares) {
            // connections that change hands are nobody's for a while
            prop_assert!((had - share).abs() < 0.25 + share / 10.0, "{had:?} of {share:?}, all {shares:?}");
        }
    }

    #[test]
    fn everybody_is_served_and_what_a_pool_keeps_it_keeps(
        loads in mixed(),
        limit in 1_u32..8,
        loops in 1_usize..3,
        seed: u64,
    ) {
        let minimums: Vec<_> = loads.iter().map(|load| load.minimum).collect();
        // one connection is left to those who keep none
        let others = u32::from(minimums.contains(&0));
        let fit = minimums.iter().sum::<u32>() + others <= limit;
        let mut world = World::new(limit, loops, loads, seed);
        world.run(LONG / 4);
        for _ in 0..LONG / 10 {
            world.run(10);
            let kept = world.open.iter().zip(&minimums).all(|(open, minimum)| open >= minimum);
            prop_assert!(kept || !fit, "{:?} instead of {minimums:?} at {}", world.open, world.step);
        }
        let oldest = world.waits.values().min().map_or(0, |since| world.step - since);
        prop_assert!(oldest.max(world.longest_wait) < LONG / 2, "somebody waits for {oldest}, or did {}", world.longest_wait);
    }

    #[test]
    fn a_limit_that_changes_is_kept_to(loads in mixed(), limits in prop::collection::vec(1_u32..8, 1..6), seed: u64) {
        let mut world = World::new(8, 2, loads, seed);
        for limit in limits {
            world.run(LONG / 20);
            world.set_limit(limit);
            world.run(LONG / 20);
            prop_assert!(world.slots.held() <= limit);
        }
    }
}
