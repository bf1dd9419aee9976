//! Who gets which connection is decided without memory from the allocator, also while pools compete and connections
//! change hands. A binary of its own with one test: whatever else runs in the process would be counted too.

use std::alloc::System;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pgpooler_core::pool::{
    Checkout, ClientId, Ledger, LoopId, Next, Place, PoolId, PoolLimits, PoolTerms, Release, ServerId, Slots,
    Stage,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HERE: LoopId = LoopId(0);
const WEIGHTS: [u32; 3] = [300, 100, 50];
const SERVERS: u32 = 4;
const CLIENTS: u32 = 6;

/// How long a transaction takes.
const STEP: Duration = Duration::from_millis(10);
const STEPS: u32 = 5_000;

/// One loop, whose clients want their next transaction as soon as they have had one.
struct World {
    ledger: Ledger,
    slots: Slots,
    now: Instant,
    /// Those in a transaction, in the order in which they began.
    busy: VecDeque<(PoolId, ClientId)>,
    changes_of_hands: u32,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            ledger: Ledger::new(HERE),
            slots: Slots::new(SERVERS),
            now: Instant::now(),
            busy: VecDeque::new(),
            changes_of_hands: 0,
        };
        for (pool, weight) in (0..).map(PoolId).zip(WEIGHTS) {
            world.ledger.set_limits(pool, PoolLimits { idle_timeout: Duration::ZERO });
            world.slots.set_pool(pool, PoolTerms { weight, ..PoolTerms::default() });
        }
        for client in 0..CLIENTS {
            (0..).map(PoolId).zip(WEIGHTS).for_each(|(pool, _)| world.asks(pool, ClientId(client)));
        }
        world
    }

    fn asks(&mut self, pool: PoolId, client: ClientId) {
        if let Checkout::Take(_) = self.ledger.checkout(pool, client, self.now) {
            self.busy.push_back((pool, client));
        } else if self.ledger.has_next(pool) {
            self.pump(pool);
        }
    }

    fn pump(&mut self, pool: PoolId) {
        loop {
            match self.ledger.next(pool, self.now, &mut self.slots) {
                Next::Connect => {
                    self.slots.opened();
                    self.ledger.connected(pool);
                    self.comes_back(pool);
                }
                Next::Close(owner, _) => self.close(owner),
                Next::Lack | Next::Nothing => return,
            }
        }
    }

    fn comes_back(&mut self, pool: PoolId) {
        let verdict = self.slots.verdict((HERE, pool), self.ledger.oldest(pool), self.now);
        match self.ledger.release(pool, ServerId(0), self.now, verdict, Place::First) {
            Release::Hand(client) => self.busy.push_back((pool, client)),
            Release::Close => self.close(pool),
            other => unreachable!("there is one loop, and its clients never rest: {other:?}"),
        }
    }

    fn close(&mut self, pool: PoolId) {
        self.changes_of_hands += 1;
        self.ledger.closed(pool);
        self.slots.closing(pool);
        if self.slots.give_back((HERE, pool), Stage::Open).is_some() {
            self.ledger.slot_came_free();
        }
        let mut last = None;
        while let Some(pool) = self.ledger.waiting_pool(last) {
            self.pump(pool);
            last = Some(pool);
        }
    }

    fn run(&mut self, steps: u32) {
        for _ in 0..steps {
            self.now += STEP;
            let Some((pool, client)) = self.busy.pop_front() else { return };
            self.comes_back(pool);
            self.asks(pool, client);
            // as the process does behind every act
            self.slots.pressure();
        }
    }
}

/// The harness has a thread of its own, which allocates while a test begins: that is over by the
/// next round.
const ROUNDS: u32 = 5;

#[test]
fn pools_that_compete_allocate_nothing() {
    let mut world = World::new();
    world.run(STEPS);
    let changes = world.changes_of_hands;
    let fewest = (0..ROUNDS).map(|_| allocations(|| world.run(STEPS))).min();
    assert_eq!(world.busy.len(), SERVERS as usize);
    assert!(world.changes_of_hands > changes + STEPS / 100, "no connection changes hands");
    assert_eq!(fewest, Some(0));
}

fn allocations(work: impl FnOnce()) -> usize {
    let count = || {
        let stats = ALLOCATOR.stats();
        stats.allocations + stats.reallocations
    };
    let before = count();
    work();
    count() - before
}
