//! What the ledger takes for a transaction: a connection that is idle, and one that is handed on to who waits.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use pgpooler_core::pool::{
    Checkout, ClientId, Ledger, LoopId, Place, PoolId, PoolLimits, Release, ServerId, Verdict,
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

criterion_group!(pool, idle, handed_on);
criterion_main!(pool);
