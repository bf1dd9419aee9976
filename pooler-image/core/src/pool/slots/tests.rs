//! The account, act by act.

use std::sync::OnceLock;
use std::time::Duration;

use super::bars::BAR_FORGOTTEN;
use super::*;

const P: PoolId = PoolId(7);
const Q: PoolId = PoolId(8);
const A: Cell = (LoopId(0), P);
const B: Cell = (LoopId(1), P);
const AQ: Cell = (LoopId(0), Q);

/// One instant for all of a test: no turn ends.
fn now() -> Instant {
    static NOW: OnceLock<Instant> = OnceLock::new();
    *NOW.get_or_init(Instant::now)
}

fn size(own: u32) -> PoolTerms {
    PoolTerms::of_size(PoolSize::own(own))
}

fn held(limit: u32, cells: &[(Cell, u32)]) -> Slots {
    let mut slots = Slots::new(limit);
    for (cell, count) in cells {
        assert!((0..*count).all(|_| slots.take(*cell, now()) == Taken::Slot));
    }
    slots
}

#[test]
fn never_more_than_the_limit_over_all_loops_and_pools() {
    let mut slots = held(2, &[(A, 1), (B, 1)]);
    assert_eq!([slots.take(A, now()), slots.take(AQ, now())], [Taken::NoneFree; 2]);
}

#[test]
fn a_pool_has_its_size_over_all_loops() {
    let mut slots = held(9, &[(A, 1), (B, 1)]);
    slots.set_pool(P, size(2));
    assert_eq!(slots.take(A, now()), Taken::PoolFull);
    assert_eq!(slots.take(AQ, now()), Taken::Slot);
    slots.set_pool(P, size(1));
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Close);
}

#[test]
fn a_slot_given_back_goes_to_the_loop_that_lacks_one() {
    let mut slots = held(1, &[(A, 1)]);
    slots.want(B, 3, Some(now()));
    slots.closing(P);
    assert_eq!(slots.give_back(A, Stage::Open), Some(B.0));
}

#[test]
fn a_smaller_limit_is_reached_as_connections_close() {
    let mut slots = held(3, &[(A, 3)]);
    slots.set_terms(Terms { limit: 2, ..Terms::default() });
    slots.want(A, 1, Some(now()));
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Close);
    slots.closing(P);
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Keep, "one closing is enough");
    assert_eq!(slots.give_back(A, Stage::Open), None);
    assert_eq!(slots.take(A, now()), Taken::NoneFree);
}

#[test]
fn a_busy_cell_gives_only_what_evens_out_and_an_idle_one_what_it_spares() {
    let mut slots = held(4, &[(A, 3), (B, 1)]);
    slots.want(B, 5, Some(now()));
    assert_eq!(slots.pressure(), Pressure::Only(B));
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Lend(B.0));
    slots.lend(A, B.0);
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Keep);
    assert_eq!(slots.verdict(A, None, now()), Verdict::Lend(B.0));
    assert_eq!(slots.held(), 4);
}

#[test]
fn a_full_pool_gets_no_slots_of_others_but_its_own_connections_move_between_loops() {
    let mut slots = held(9, &[(A, 1), (AQ, 3)]);
    slots.set_pool(P, size(1));
    slots.want(B, 1, Some(now()));
    assert_eq!(slots.verdict(AQ, None, now()), Verdict::Keep, "a slot would not help");
    assert_eq!(slots.verdict(A, None, now()), Verdict::Lend(B.0));
}

#[test]
fn a_pool_whose_role_is_at_its_limit_is_helped_by_its_own_connections_alone() {
    let mut slots = held(9, &[(A, 1), (AQ, 3)]);
    let first = now();
    let later = first + Duration::from_secs(2);
    assert_eq!([slots.bar(P, first), slots.bar(P, later)], [first, first]);
    slots.want(B, 1, Some(now()));
    assert_eq!(slots.verdict(AQ, None, now()), Verdict::Keep);
    assert_eq!(slots.verdict(A, None, now()), Verdict::Lend(B.0));
    let much_later = later + BAR_FORGOTTEN * 2;
    assert_eq!(slots.bar(P, much_later), much_later);
}

#[test]
fn no_more_connections_are_closed_for_another_pool_than_it_lacks() {
    let mut slots = held(5, &[(A, 5)]);
    slots.want(AQ, 1, Some(now()));
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Close);
    slots.closing(P);
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Keep);
}

#[test]
fn a_pool_has_its_part_of_what_all_pods_may_have_but_one_at_least() {
    let total = PoolSize { own: None, total: Some(10) };
    assert_eq!(total.in_force(None), Some(10));
    assert_eq!(total.in_force(Some((7, 20))), Some(3));
    assert_eq!(total.in_force(Some((1, 100))), Some(1));
    assert_eq!(total.in_force(Some((5, 0))), Some(10));
    assert_eq!(PoolSize { own: Some(2), total: Some(10) }.in_force(None), Some(2));
    let mut slots = held(20, &[(A, 6)]);
    slots.set_pool(P, PoolTerms::of_size(total));
    assert_eq!((slots.pressure(), slots.excess_of(P)), (Pressure::None, 0));
    assert!(slots.set_terms(Terms { limit: 20, part: Some((10, 20)), unknown_server: None }));
    assert_eq!((slots.pressure(), slots.excess_of(P)), (Pressure::Some, 1));
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Close);
    slots.closing(P);
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Keep, "one closing is enough");
    assert_eq!(slots.room(P), 4, "with more of all slots it could have more");
}

#[test]
fn on_a_server_that_nobody_knows_few_log_in_until_it_is_known() {
    let mut slots = held(9, &[(A, 2)]);
    slots.opened();
    slots.opened();
    let unknown = Terms { limit: 9, unknown_server: Some(2), part: None };
    slots.set_terms(unknown);
    assert_eq!([A, A, A].map(|cell| slots.take(cell, now())), [Taken::Slot, Taken::Slot, Taken::Unknown]);
    slots.closing(P);
    slots.give_back(A, Stage::Open);
    assert_eq!(slots.take(B, now()), Taken::Unknown, "what was open has gone, what logs in has not");
    slots.closing(P);
    slots.give_back(A, Stage::Login);
    assert_eq!(slots.take(B, now()), Taken::Slot);
    slots.opened();
    slots.set_terms(Terms { unknown_server: None, ..unknown });
    assert_eq!(slots.take(B, now()), Taken::Slot);
    assert!(!slots.set_terms(Terms { unknown_server: None, ..unknown }), "nothing new");
}

fn keeps(minimum: u32, weight: u32) -> PoolTerms {
    PoolTerms { minimum: PoolSize::own(minimum), weight, ..PoolTerms::default() }
}

#[test]
fn a_pool_over_its_share_gives_what_comes_back_and_one_that_has_its_share_does_not() {
    let mut slots = held(4, &[(A, 4)]);
    slots.set_pool(P, keeps(0, 300));
    slots.want(A, 9, Some(now()));
    slots.want(AQ, 9, Some(now()));
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Close, "four of three");
    slots.closing(P);
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Keep, "its share");
    assert_eq!(slots.give_back(A, Stage::Login), Some(AQ.0));
    assert_eq!(slots.take(A, now()), Taken::NoneFree, "the other's");
    assert_eq!(slots.take(AQ, now()), Taken::Slot);
    assert_eq!(slots.verdict(AQ, Some(now()), now()), Verdict::Keep);
}

#[test]
fn what_a_pool_keeps_is_opened_ahead_and_not_taken_by_others() {
    let mut slots = held(4, &[(A, 4)]);
    slots.set_pool(Q, keeps(2, 100));
    assert_eq!(slots.pressure(), Pressure::None, "it cannot be opened");
    assert!(!slots.take_ahead(AQ, Ahead::Yes, now()), "none is free");
    assert_eq!(slots.pressure(), Pressure::Some);
    for _ in 0..2 {
        slots.want(A, 9, Some(now()));
        assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Close);
        slots.closing(P);
        slots.give_back(A, Stage::Open);
        assert_eq!(slots.take(A, now()), Taken::NoneFree, "it is kept for the other");
        assert!(slots.take_ahead(AQ, Ahead::Yes, now()));
    }
    assert!(!slots.take_ahead(AQ, Ahead::Yes, now()), "it has what it keeps");
    assert_eq!([slots.verdict(A, Some(now()), now()), slots.verdict(AQ, None, now())], [Verdict::Keep; 2]);
}

#[test]
fn nobody_waits_for_what_a_pool_would_keep_but_cannot_open() {
    let mut slots = held(2, &[(A, 1)]);
    slots.set_pool(Q, keeps(1, 100));
    let _ = slots.take_ahead(AQ, Ahead::No, now());
    assert_eq!(slots.take(A, now()), Taken::Slot);
}

#[test]
fn a_limit_that_shrinks_takes_what_is_kept_last_and_less_of_it_is_kept() {
    let mut slots = held(6, &[(A, 3), (AQ, 3)]);
    slots.set_pool(P, keeps(3, 100));
    slots.set_pool(Q, keeps(1, 100));
    slots.set_terms(Terms::from(4));
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Keep, "it has no more than it keeps");
    assert_eq!([P, Q].map(|pool| slots.beyond_kept(pool)), [0, 2]);
    assert_eq!(slots.verdict(AQ, Some(now()), now()), Verdict::Close);
    slots.set_terms(Terms::from(2));
    assert_eq!([P, Q].map(|pool| slots.beyond_kept(pool)), [2, 2], "one each");
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Close);
}

#[test]
fn a_part_of_a_minimum_is_rounded_up_so_that_all_pods_have_it() {
    let total = PoolSize { own: Some(1), total: Some(7) };
    assert_eq!(total.at_least(None), 7);
    assert_eq!(total.at_least(Some((10, 30))), 3);
    assert_eq!(total.at_least(Some((0, 30))), 1);
    assert_eq!(total.at_least(Some((5, 0))), 7);
}

#[test]
fn a_loop_without_a_connection_of_a_busy_pool_gets_one_after_a_turn() {
    let mut slots = held(1, &[(A, 1)]);
    slots.want(A, 5, Some(now()));
    slots.want(B, 1, Some(now()));
    assert_eq!(slots.verdict(A, Some(now()), now()), Verdict::Keep);
    assert_eq!(slots.verdict(A, Some(now() + TURN), now()), Verdict::Lend(B.0));
}

#[test]
fn loops_are_served_in_the_order_in_which_they_began_to_lack() {
    let mut slots = held(2, &[((LoopId(2), Q), 2)]);
    slots.want(B, 1, Some(now()));
    slots.want(A, 1, Some(now() + Duration::from_millis(1)));
    slots.want(B, 2, Some(now()));
    slots.closing(Q);
    assert_eq!(slots.give_back((LoopId(2), Q), Stage::Open), Some(B.0));
    assert_eq!(slots.take(B, now()), Taken::Slot);
    slots.want(B, 1, Some(now() + Duration::from_millis(3)));
    slots.closing(Q);
    assert_eq!(slots.give_back((LoopId(2), Q), Stage::Open), Some(A.0));
}
