//! What the ledger takes for a transaction: a connection that is idle, and one that is handed on to who waits; and what
//! the account of slots takes when pools compete.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use pgpooler_core::pool::{
    Checkout, ClientId, Ledger, LoopId, Place, PoolId, PoolLimits, PoolTerms, Release, ServerId, Slots, TURN,
    Taken, Verdict,
};

const POOL: PoolId = PoolId(1);
const SERVERS: u32 = 20;

fn ledger(now: Instant) -> Ledger {
    let mut ledger = Ledger::new(LoopId(0));
    ledger.set_limits(POOL, PoolLimits { idle_timeout: Duration::from_mins(10) });
    for server in 0..SERVERS {
        release(&mut ledger, ServerId(server), now);
    }
    ledger
}

fn release(ledger: &mut Ledger, server: ServerId, now: Instant) -> Release {
    ledger.release(POOL, server, now, Verdict::Keep, Place::First)
}

/// Fewer clients than connections: each takes an idle one and gives it back.
fn idle(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut ledger = ledger(now);
    criterion.bench_function("ledger, an idle connection", |bencher| {
        bencher.iter(|| match ledger.checkout(POOL, black_box(ClientId(7)), now) {
            Checkout::Take(server) => release(&mut ledger, server, now),
            Checkout::Wait => unreachable!("all are idle"),
        });
    });
}

/// So many more clients than connections wait: each release goes to the oldest.
fn handed_on(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut group = criterion.benchmark_group("ledger, handed on");
    for waiting in [44, 980] {
        let mut ledger = ledger(now);
        for client in 0..SERVERS + waiting {
            ledger.checkout(POOL, ClientId(client), now);
        }
        group.bench_function(format!("{waiting} wait"), |bencher| {
            bencher.iter(|| match release(&mut ledger, black_box(ServerId(3)), now) {
                Release::Hand(client) => ledger.checkout(POOL, client, now),
                other => unreachable!("somebody waits, not {other:?}"),
            });
        });
    }
    group.finish();
}

/// Pools that all lack connections: what one of them is to do with a connection that comes back, within a turn and at its
/// end, when everybody's dues are worked out again.
fn contended(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("account");
    for pools in [2, 40] {
        let mut now = Instant::now();
        let mut slots = contended_slots(pools, now);
        let cell = (LoopId(0), POOL);
        group.bench_function(format!("{pools} pools, within a turn"), |bencher| {
            bencher.iter(|| slots.verdict(black_box(cell), Some(now), now));
        });
        group.bench_function(format!("{pools} pools, a turn's end"), |bencher| {
            bencher.iter(|| {
                now += TURN;
                slots.verdict(black_box(cell), Some(now), now)
            });
        });
        group.bench_function(format!("{pools} pools, pressure"), |bencher| {
            bencher.iter(|| black_box(&mut slots).pressure());
        });
    }
    group.finish();
}

/// Their weights differ, and all want more than there is.
fn contended_slots(pools: u32, now: Instant) -> Slots {
    let mut slots = Slots::new(SERVERS);
    for pool in (1..=pools).map(PoolId) {
        slots.set_pool(pool, PoolTerms { weight: 50 + pool.0, ..PoolTerms::default() });
    }
    for pool in (1..=pools).cycle().take(SERVERS as usize).map(PoolId) {
        assert_eq!(slots.take((LoopId(0), pool), now), Taken::Slot);
    }
    for pool in (1..=pools).map(PoolId) {
        slots.want((LoopId(0), pool), 8, Some(now));
    }
    slots
}

criterion_group!(pool, idle, handed_on, contended);
criterion_main!(pool);
