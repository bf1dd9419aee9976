//! What the ledger says, and that nobody is forgotten whatever happens.

use proptest::prelude::*;

use super::*;
use crate::pool::{PoolSize, PoolTerms, Stage, Terms};

const ME: LoopId = LoopId(0);
const P: PoolId = PoolId(1);
const Q: PoolId = PoolId(2);

const KEEP: Verdict = Verdict::Keep;

fn ledger() -> Ledger {
    let mut ledger = Ledger::new(ME);
    for pool in [P, Q] {
        ledger.set_limits(pool, PoolLimits { idle_timeout: Duration::from_mins(1) });
    }
    ledger
}

#[test]
fn the_first_who_waits_is_the_first_who_gets_one() {
    let (mut ledger, mut slots, now) = (ledger(), Slots::new(1), Instant::now());
    assert_eq!(ledger.checkout(P, ClientId(1), now), Checkout::Wait);
    assert_eq!(ledger.checkout(P, ClientId(2), now), Checkout::Wait);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Connect);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Lack);
    ledger.connected(P);
    assert_eq!(ledger.release(P, ServerId(0), now, KEEP, Place::First), Release::Hand(ClientId(1)));
    assert_eq!(ledger.release(P, ServerId(0), now, KEEP, Place::First), Release::Hand(ClientId(2)));
    assert_eq!(ledger.release(P, ServerId(0), now, KEEP, Place::First), Release::Keep);
    assert_eq!(ledger.checkout(P, ClientId(3), now), Checkout::Take(ServerId(0)));
}

#[test]
fn an_idle_connection_of_another_pool_gives_its_slot() {
    let (mut ledger, mut slots, now) = (ledger(), Slots::new(1), Instant::now());
    ledger.checkout(P, ClientId(1), now);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Connect);
    ledger.connected(P);
    ledger.leave(P, ClientId(1));
    assert_eq!(ledger.release(P, ServerId(5), now, KEEP, Place::First), Release::Keep);
    ledger.checkout(Q, ClientId(2), now);
    assert_eq!(ledger.next(Q, now, &mut slots), Next::Close(P, ServerId(5)));
    slots.closing(P);
    assert_eq!(ledger.next(Q, now, &mut slots), Next::Lack, "the slot is held until the end was read");
    ledger.closed(P);
    assert_eq!(slots.give_back((ME, P), Stage::Login), Some(ME));
    assert_eq!(ledger.next(Q, now, &mut slots), Next::Connect);
}

#[test]
fn a_login_is_tried_without_anybody_waiting_one_at_a_time_and_not_too_soon() {
    let (mut ledger, mut slots, now) = (ledger(), Slots::new(2), Instant::now());
    assert!(ledger.probe(P, now, &mut slots));
    assert_eq!((slots.held(), ledger.counts(P).connecting, ledger.counts(P).open), (1, 1, 1));
    assert!(!ledger.probe(P, now, &mut slots), "one is under way");
    let later = now + Duration::from_secs(1);
    ledger.connect_failed(P, later);
    slots.closing(P);
    ledger.closed(P);
    slots.give_back((ME, P), Stage::Login);
    assert!(!ledger.probe(P, now, &mut slots), "too soon");
    ledger.set_paused(P, true);
    assert!(!ledger.probe(P, later, &mut slots), "paused");
    ledger.set_paused(P, false);
    assert!(ledger.probe(P, later, &mut slots));
    ledger.connect_failed(P, later + Duration::from_mins(1));
    ledger.retry_now();
    assert!(ledger.probe(P, later, &mut slots), "the server is back");
    assert!(!ledger.probe(Q, later, &mut slots), "no slot is free");
    assert_eq!(slots.held(), 2);
}

#[test]
fn a_pool_keeps_to_its_size_and_waits_after_a_failure() {
    let (mut ledger, mut slots, now) = (ledger(), Slots::new(9), Instant::now());
    slots.set_pool(P, PoolTerms::of_size(PoolSize::own(1)));
    ledger.checkout(P, ClientId(1), now);
    ledger.checkout(P, ClientId(2), now);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Connect);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Lack);
    let later = now + Duration::from_secs(1);
    ledger.connect_failed(P, later);
    ledger.closed(P);
    slots.give_back((ME, P), Stage::Login);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Nothing);
    assert_eq!(ledger.next(P, later, &mut slots), Next::Connect);
}

#[test]
fn after_a_failure_one_login_tries_and_when_it_succeeds_the_others_follow() {
    let (mut ledger, mut slots, now) = (ledger(), Slots::new(9), Instant::now());
    for client in 0..3 {
        ledger.checkout(P, ClientId(client), now);
    }
    assert_eq!(ledger.next(P, now, &mut slots), Next::Connect);
    ledger.connect_failed(P, now);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Connect);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Nothing);
    ledger.connected(P);
    ledger.release(P, ServerId(0), now, KEEP, Place::First);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Connect);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Connect);
}

#[test]
fn a_want_ends_with_the_last_client_that_waits() {
    let (mut ledger, mut slots, now) = (ledger(), Slots::new(0), Instant::now());
    ledger.checkout(P, ClientId(1), now);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Lack);
    ledger.leave(P, ClientId(1));
    assert!(ledger.has_next(P));
    assert_eq!(ledger.waiting_pool(None), Some(P));
    assert_eq!(ledger.waiting_pool(Some(P)), None);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Nothing);
    assert_eq!(slots.pressure(), crate::pool::Pressure::None, "nobody closes a connection for it any more");
    assert_eq!(ledger.waiting_pool(None), None);
}

#[test]
fn a_paused_pool_hands_nothing_out() {
    let (mut ledger, mut slots, now) = (ledger(), Slots::new(9), Instant::now());
    ledger.set_paused(P, true);
    ledger.checkout(P, ClientId(1), now);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Nothing);
    ledger.set_paused(P, false);
    assert_eq!(ledger.next(P, now, &mut slots), Next::Connect);
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Checkout(bool, u32),
    Connected(bool),
    Failed(bool),
    Release(usize),
    Close(usize),
    Limit(u32),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (any::<bool>(), 0..40_u32).prop_map(|(pool, client)| Act::Checkout(pool, client)),
        any::<bool>().prop_map(Act::Connected),
        any::<bool>().prop_map(Act::Failed),
        (0..8_usize).prop_map(Act::Release),
        (0..8_usize).prop_map(Act::Close),
        (1..6_u32).prop_map(Act::Limit),
    ];
    prop::collection::vec(act, 0..200)
}

/// A stand-in for the sockets around the ledger.
struct World {
    ledger: Ledger,
    slots: Slots,
    now: Instant,
    connecting: Vec<PoolId>,
    used: Vec<(PoolId, ServerId)>,
    closing: Vec<PoolId>,
    waiting: Vec<ClientId>,
    next_server: u32,
    most: u32,
}

impl World {
    fn act(&mut self, act: Act) {
        let pool = |p: bool| if p { P } else { Q };
        match act {
            Act::Checkout(p, client) if !self.waiting.contains(&ClientId(client)) => {
                match self.ledger.checkout(pool(p), ClientId(client), self.now) {
                    Checkout::Take(server) => self.used.push((pool(p), server)),
                    Checkout::Wait => self.waiting.push(ClientId(client)),
                }
            }
            Act::Checkout(..) => {}
            Act::Connected(p) => {
                if let Some(at) = self.connecting.iter().position(|c| *c == pool(p)) {
                    self.connecting.remove(at);
                    self.ledger.connected(pool(p));
                    self.next_server += 1;
                    self.release(pool(p), ServerId(self.next_server));
                }
            }
            Act::Failed(p) => {
                if let Some(at) = self.connecting.iter().position(|c| *c == pool(p)) {
                    self.connecting.remove(at);
                    self.ledger.connect_failed(pool(p), self.now);
                    self.close(pool(p));
                }
            }
            Act::Release(n) if !self.used.is_empty() => {
                let (pool, server) = self.used.remove(n % self.used.len());
                self.release(pool, server);
            }
            Act::Close(n) if !self.closing.is_empty() => {
                let pool = self.closing.remove(n % self.closing.len());
                self.ledger.closed(pool);
                self.slots.give_back((ME, pool), Stage::Login);
            }
            Act::Limit(limit) => {
                self.slots.set_terms(Terms { limit, ..Terms::default() });
                self.most = self.most.max(limit);
            }
            Act::Release(_) | Act::Close(_) => {}
        }
        for pool in [P, Q] {
            self.pump(pool);
        }
    }

    fn release(&mut self, pool: PoolId, server: ServerId) {
        let verdict = self.slots.verdict((ME, pool), self.ledger.oldest(pool), self.now);
        match self.ledger.release(pool, server, self.now, verdict, Place::First) {
            Release::Hand(client) => {
                self.waiting.retain(|waiting| *waiting != client);
                self.used.push((pool, server));
            }
            Release::Keep => {}
            Release::Close => self.close(pool),
            Release::Lend(_) => panic!("there is no other loop"),
        }
    }

    fn pump(&mut self, pool: PoolId) {
        loop {
            match self.ledger.next(pool, self.now, &mut self.slots) {
                Next::Connect => self.connecting.push(pool),
                Next::Close(owner, _) => self.close(owner),
                Next::Nothing | Next::Lack => return,
            }
        }
    }

    fn close(&mut self, pool: PoolId) {
        self.slots.closing(pool);
        self.closing.push(pool);
    }

    fn sockets(&self) -> u32 {
        let idle: u32 = [P, Q].iter().map(|pool| self.ledger.counts(*pool).idle).sum();
        idle + (self.connecting.len() + self.used.len() + self.closing.len()) as u32
    }
}

proptest! {
    #[test]
    fn slots_are_exactly_the_sockets_and_everybody_is_served_in_the_end(acts in acts()) {
        let mut world = World {
            ledger: ledger(), slots: Slots::new(3), now: Instant::now(), connecting: vec![],
            used: vec![], closing: vec![], waiting: vec![], next_server: 0, most: 3,
        };
        for act in acts {
            world.act(act);
            prop_assert_eq!(world.slots.held(), world.sockets());
            prop_assert!(world.slots.held() <= world.most);
        }
        for _ in 0..400 {
            for act in [Act::Close(0), Act::Connected(true), Act::Connected(false), Act::Release(0)] {
                world.act(act);
            }
        }
        prop_assert!(world.waiting.is_empty(), "{:?} still wait", world.waiting);
    }
}

#[test]
fn a_connection_that_its_last_client_may_come_back_for_is_taken_and_lent_last() {
    let (mut ledger, now) = (ledger(), Instant::now());
    for (id, place) in [(0, Place::First), (1, Place::Last), (2, Place::First)] {
        ledger.release(P, ServerId(id), now, KEEP, place);
    }
    assert_eq!(ledger.take_idle(P), Some(ServerId(0)), "for another loop");
    assert_eq!(ledger.checkout(P, ClientId(1), now), Checkout::Take(ServerId(2)));
    assert!(ledger.take(P, ServerId(1)), "by its last client");
    assert!(!ledger.take(P, ServerId(1)), "only once");
}
