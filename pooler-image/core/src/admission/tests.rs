use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { open: 4, open_per_origin: 0, failures_per_second: 100 };

fn origin(n: u8) -> Origin {
    Origin::from(IpAddr::from(Ipv4Addr::new(10, 0, 0, n)))
}

fn admit(admission: &mut Admission<u32>, from: u8, handle: u32, now: Instant) -> Admitted<u32> {
    admission.admit(origin(from), handle, now).unwrap()
}

/// Fails so many logins at one instant; whether the address was slowed down at any of them.
fn fail(admission: &mut Admission<u32>, from: u8, times: u32, now: Instant) -> bool {
    (0..times).fold(false, |slowed, n| {
        let ticket = Ticket { origin: origin(from), number: u64::MAX - u64::from(n) };
        admission.leave(ticket, Outcome::Failed, now) || slowed
    })
}

#[test]
fn the_oldest_of_the_address_that_has_the_most_goes_first() {
    let (mut admission, now) = (Admission::new(LIMITS), Instant::now());
    for (from, handle) in [(1, 10), (2, 20), (2, 21), (3, 30)] {
        assert_eq!(admit(&mut admission, from, handle, now).evicted, None);
    }
    let evicted = |admitted: Admitted<u32>| admitted.evicted.map(|evicted| evicted.handle);
    assert_eq!(evicted(admit(&mut admission, 4, 40, now)), Some(20));
    // all have one now, then the newcomer has two
    assert_eq!(evicted(admit(&mut admission, 5, 50, now)), Some(10));
    assert_eq!(evicted(admit(&mut admission, 5, 51, now)), Some(21));
    assert_eq!(evicted(admit(&mut admission, 6, 60, now)), Some(50), "who floods loses to itself");
    assert_eq!(admission.open(), 4);
    assert_eq!(admission.evict_all().len(), 4);
    assert_eq!((admission.open(), admission.crowds.len()), (0, 0));
}

#[test]
fn a_limit_of_one_address_leaves_others_alone() {
    let limits = Limits { open: 100, open_per_origin: 2, ..LIMITS };
    let (mut admission, now) = (Admission::new(limits), Instant::now());
    for handle in 0..2 {
        assert_eq!(admit(&mut admission, 1, handle, now).evicted, None);
    }
    assert_eq!(admit(&mut admission, 2, 9, now).evicted, None);
    let expected = Evicted { origin: origin(1), handle: 0 };
    assert_eq!(admit(&mut admission, 1, 2, now).evicted, Some(expected));
}

#[test]
fn ten_thousand_who_log_in_from_one_address_at_once_all_go_at_once() {
    let limits = Limits { open: 10_000, ..LIMITS };
    let (mut admission, now) = (Admission::new(limits), Instant::now());
    let admitted: Vec<_> = (0..10_000).map(|n| admit(&mut admission, 1, n, now)).collect();
    assert!(admitted.iter().all(|admitted| admitted.turn == Turn::Go && admitted.evicted.is_none()));
    for admitted in admitted {
        assert!(!admission.leave(admitted.ticket, Outcome::Fair, now));
    }
    assert_eq!(admission.origins.len(), 0, "nothing is remembered of them");
}

#[test]
fn an_address_that_fails_more_often_than_it_may_is_served_at_that_pace() {
    let (mut admission, now) = (Admission::new(Limits { open: 1000, ..LIMITS }), Instant::now());
    assert!(!fail(&mut admission, 1, 99, now));
    assert_eq!(admit(&mut admission, 1, 0, now).turn, Turn::Go);
    assert!(fail(&mut admission, 1, 1, now));
    assert!(!fail(&mut admission, 1, 500, now), "it is told once");
    let turns: Vec<_> = (0..200).filter_map(|n| admission.admit(origin(1), n, now)).collect();
    assert_eq!(turns.len(), 101, "those of the next second wait, others are refused");
    assert_eq!(turns[100].turn, Turn::GoAt(now + Duration::from_secs(1)));
    assert_eq!(admit(&mut admission, 2, 0, now).turn, Turn::Go, "other addresses are served at once");
}

#[test]
fn an_address_that_fails_no_more_is_served_at_once_after_half_a_second() {
    let (mut admission, now) = (Admission::new(LIMITS), Instant::now());
    assert!(fail(&mut admission, 1, 10_000, now));
    let after = |millis| now + Duration::from_millis(millis);
    assert!(matches!(admit(&mut admission, 1, 0, after(499)).turn, Turn::GoAt(_)));
    assert_eq!(admit(&mut admission, 1, 1, after(500)).turn, Turn::Go);
}

#[test]
fn with_zero_failures_nobody_is_slowed_down() {
    let (mut admission, now) = (Admission::new(Limits { failures_per_second: 0, ..LIMITS }), Instant::now());
    assert!(!fail(&mut admission, 1, 10_000, now));
    assert_eq!(admit(&mut admission, 1, 0, now).turn, Turn::Go);
}

#[test]
fn failures_of_any_number_of_addresses_are_remembered_in_bounded_memory() {
    let (mut admission, now) = (Admission::<u32>::new(LIMITS), Instant::now());
    for n in 0..50_000_u32 {
        let from = Origin::from(IpAddr::from(n.to_be_bytes()));
        admission.leave(Ticket { origin: from, number: 0 }, Outcome::Failed, now);
    }
    assert!(admission.origins.len() <= MOST_QUIET, "{}", admission.origins.len());
    let _ = admission.admit(origin(1), 0, now + Duration::from_secs(2));
    assert_eq!(admission.origins.len(), 1, "when they have been paid off, they are forgotten");
}

#[derive(Debug, Clone)]
enum Act {
    Admit(u8),
    Leave(usize, bool),
    Evict,
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_u8..5).prop_map(Act::Admit),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, failed)| Act::Leave(which, failed)),
        1 => Just(Act::Evict),
        1 => (0_u64..2_000).prop_map(Act::Wait),
    ]
}

proptest! {
    #[test]
    fn the_books_hold_whatever_happens(
        acts in prop::collection::vec(act(), 1..200), open in 1_u32..6, of_one in 0_u32..4, failures in 0_u32..5,
    ) {
        let limits = Limits { open, open_per_origin: of_one, failures_per_second: failures };
        let (mut admission, mut now) = (Admission::new(limits), Instant::now());
        let mut tickets: Vec<Ticket> = Vec::new();
        for (handle, act) in acts.into_iter().enumerate() {
            match act {
                Act::Admit(from) => {
                    // evicted ones leave later, as their tasks do
                    let admitted = admission.admit(origin(from), handle, now);
                    tickets.extend(admitted.map(|admitted| admitted.ticket));
                }
                Act::Leave(which, failed) if !tickets.is_empty() => {
                    let outcome = if failed { Outcome::Failed } else { Outcome::Fair };
                    admission.leave(tickets.swap_remove(which % tickets.len()), outcome, now);
                }
                Act::Leave(..) => {}
                Act::Evict => {
                    let most = admission.crowds.last().copied();
                    let evicted = admission.evict();
                    prop_assert_eq!(evicted.map(|evicted| evicted.origin), most.map(|(_, _, origin)| origin));
                }
                Act::Wait(millis) => now += Duration::from_millis(millis),
            }
            prop_assert!(admission.open() <= open as usize);
            let mut counts = std::collections::BTreeMap::<Origin, u32>::new();
            admission.open.keys().for_each(|ticket| *counts.entry(ticket.origin).or_default() += 1);
            prop_assert!(of_one == 0 || counts.values().all(|count| *count <= of_one));
            let oldest = |origin| admission.open.range(Ticket::of(origin)).next().map(|(ticket, _)| ticket.number);
            let crowd = |(origin, count): (&Origin, &u32)| (*count, Reverse(oldest(*origin).unwrap()), *origin);
            prop_assert_eq!(&counts.iter().map(crowd).collect::<BTreeSet<_>>(), &admission.crowds);
            prop_assert!(counts.iter().all(|(origin, count)| admission.origins[origin].open == *count));
        }
        for ticket in tickets {
            admission.leave(ticket, Outcome::Fair, now);
        }
        now += Duration::from_secs(3);
        let _ = admission.admit(origin(9), 0, now);
        prop_assert_eq!(admission.origins.len(), 1);
    }
}
