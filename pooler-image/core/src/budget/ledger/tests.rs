//! The account, step by step; `tests/model` tries all steps in all orders.

use super::*;
use crate::budget::{Phase, Use};

const ORDERS: MemberId = MemberId(1);
const BILLS: MemberId = MemberId(2);

/// A leader, with pods that obey at once.
struct Stage {
    ledger: Ledger,
    pods: BTreeMap<PodId, Report>,
}

fn member(most_pods: u32) -> Member {
    Member { floor: 1, most_pods, weight: 100, cap: u32::MAX }
}

/// On the latest connection, or on the first.
fn reported(ledger: &mut Ledger, number: u64, report: &Report) -> Answer {
    let link = match ledger.pods.get(&id(number)).map(|pod| pod.link) {
        Some(Link(0)) | None => ledger.link(id(number)),
        Some(link) => link,
    };
    ledger.reported(id(number), link, report)
}

fn id(number: u64) -> PodId {
    PodId(number)
}

impl Stage {
    fn new(budget: u32, most_pods: u32) -> Self {
        let mut ledger = Ledger::begin(1, budget);
        ledger.set_server(100, budget);
        ledger.set_member(ORDERS, member(most_pods));
        ledger.listed();
        Self { ledger, pods: BTreeMap::new() }
    }

    fn comes(&mut self, number: u64, member: MemberId) {
        self.ledger.add_pod(id(number), member, 1);
        let report = Report {
            incarnation: number,
            uptime: 0,
            number: 1,
            stamp: Stamp { epoch: self.ledger.epoch(), sequence: 0 },
            phase: Phase::Floor,
            floor: 1,
            limit: 1,
            max_connections: None,
            usage: Use::default(),
            clients: None,
        };
        reported(&mut self.ledger, number, &report);
        self.pods.insert(id(number), report);
        self.settle();
    }

    fn says(&mut self, number: u64, change: impl FnOnce(&mut Report)) {
        let report = self.pods.get_mut(&id(number)).expect("has come");
        change(report);
        report.number += 1;
        reported(&mut self.ledger, number, report);
    }

    /// Carries out what the ledger wants until it wants nothing more.
    fn settle(&mut self) {
        for _ in 0..50 {
            let effects = self.ledger.decide();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(effect);
                let totals = self.ledger.totals();
                let known = totals.unheard == 0 && totals.budget == totals.committed;
                assert!(totals.is_covered() || !known, "{totals:?}");
            }
        }
        panic!("it does not come to rest");
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Confirm(mark) => self.ledger.confirmed(mark),
            Effect::Commit(budget) => self.ledger.written(budget),
            Effect::Send(pod, Command::Limit { stamp, limit, .. }) => self.says(pod.0, |report| {
                (report.stamp, report.limit, report.phase) = (stamp, limit, Phase::Serving);
                report.usage.held = report.usage.held.min(limit);
            }),
            Effect::Send(_, Command::Claim { .. }) => panic!("claims are the link's"),
        }
    }

    fn wants(&mut self, number: u64, slots: u32) {
        self.ledger.want(id(number), slots);
    }

    fn limits(&self) -> Vec<u32> {
        self.pods.values().map(|report| report.limit).collect()
    }
}

#[test]
fn a_lone_pod_has_all_but_the_floors_of_those_that_could_come() {
    let mut stage = Stage::new(77, 13);
    stage.comes(1, ORDERS);
    assert_eq!(stage.limits(), [65]);
    assert_eq!(stage.ledger.totals().aside, 12);
}

#[test]
fn a_pod_that_comes_gets_its_part_of_what_others_do_not_need() {
    let mut stage = Stage::new(77, 13);
    stage.comes(1, ORDERS);
    stage.wants(1, 10);
    stage.comes(2, ORDERS);
    stage.wants(2, 40);
    stage.settle();
    assert_eq!(stage.limits(), [26, 40], "no more was taken than was needed");
}

#[test]
fn a_busy_pod_beside_idle_ones_has_nearly_all() {
    let mut stage = Stage::new(77, 13);
    (1..=6).for_each(|number| stage.comes(number, ORDERS));
    (1..=6).for_each(|number| stage.wants(number, 0));
    stage.wants(3, 500);
    stage.settle();
    assert_eq!(stage.limits(), [1, 1, 65, 1, 1, 1]);
}

#[test]
fn busy_pods_have_the_same_and_stay_there() {
    let mut stage = Stage::new(77, 13);
    (1..=3).for_each(|number| stage.comes(number, ORDERS));
    (1..=3).for_each(|number| stage.wants(number, 500));
    stage.settle();
    let mut limits = stage.limits();
    limits.sort_unstable();
    assert_eq!(limits, [22, 22, 23]);
    for round in 0..20 {
        (1..=3).for_each(|number| stage.wants(number, 400 + (round * number as u32 * 37) % 90));
        assert_eq!(stage.ledger.decide(), [], "need above the fair part moves nothing");
    }
}

#[test]
fn poolers_on_one_server_share_by_weight_and_lend_what_they_do_not_need() {
    let mut stage = Stage::new(80, 5);
    stage.ledger.set_member(BILLS, Member { weight: 300, ..member(5) });
    stage.comes(1, ORDERS);
    stage.comes(2, BILLS);
    stage.wants(1, 500);
    stage.wants(2, 0);
    stage.settle();
    assert_eq!(stage.limits(), [71, 1]);
    stage.wants(2, 500);
    stage.settle();
    assert_eq!(stage.limits(), [19, 53]);
}

#[test]
fn a_pgpooler_stays_within_its_own_cap() {
    let mut stage = Stage::new(80, 5);
    stage.ledger.set_member(BILLS, Member { cap: 20, ..member(5) });
    stage.comes(1, ORDERS);
    stage.comes(2, BILLS);
    stage.wants(2, 500);
    stage.settle();
    assert_eq!(stage.limits()[1], 16, "20 less the floors of its four pods to come");
    stage.ledger.set_member(BILLS, Member { cap: 10, ..member(5) });
    stage.settle();
    assert_eq!(stage.limits()[1], 6);
}

#[test]
fn a_pod_that_is_met_gets_no_more_than_its_floor_before_the_lease_is_confirmed() {
    let mut ledger = Ledger::begin(1, 77);
    ledger.set_server(100, 77);
    ledger.set_member(ORDERS, member(13));
    ledger.listed();
    let mut stage = Stage { ledger, pods: BTreeMap::new() };
    stage.ledger.add_pod(id(1), ORDERS, 1);
    let mut report = Stage::new(1, 1);
    report.comes(1, ORDERS);
    let first = Report { stamp: Stamp { epoch: 1, sequence: 0 }, ..report.pods[&id(1)] };
    reported(&mut stage.ledger, 1, &Report { limit: 1, ..first });
    let effects = stage.ledger.decide();
    assert!(matches!(effects[..], [Effect::Confirm(_)]), "{effects:?}");
    let Effect::Confirm(mark) = effects[0] else { panic!("just seen") };
    stage.ledger.confirmed(mark);
    assert!(matches!(stage.ledger.decide()[..], [Effect::Send(PodId(1), Command::Limit { limit: 65, .. })]));
}

#[test]
fn what_a_silent_pod_could_have_is_not_given_to_others() {
    let mut first = Stage::new(77, 13);
    (1..=2).for_each(|number| first.comes(number, ORDERS));
    first.wants(1, 0);
    first.wants(2, 500);
    first.settle();
    assert_eq!(first.limits(), [1, 65]);
    // the next leader hears one pod only
    let mut second = Stage { ledger: Ledger::begin(2, 77), pods: BTreeMap::new() };
    second.ledger.set_server(100, 77);
    second.ledger.set_member(ORDERS, member(13));
    (1..=2).for_each(|number| second.ledger.add_pod(id(number), ORDERS, 1));
    second.ledger.listed();
    let claimed = Report { stamp: Stamp { epoch: 2, sequence: 0 }, number: 99, ..first.pods[&id(1)] };
    second.pods.insert(id(1), claimed);
    reported(&mut second.ledger, 1, &claimed);
    second.wants(1, 500);
    second.settle();
    assert_eq!(second.limits(), [1]);
    assert_eq!(second.ledger.totals().unheard, 76);
    let other = Report { stamp: Stamp { epoch: 2, sequence: 0 }, number: 99, ..first.pods[&id(2)] };
    second.pods.insert(id(2), other);
    reported(&mut second.ledger, 2, &other);
    second.settle();
    assert_eq!(second.ledger.totals().unheard, 0);
    assert_eq!(second.limits().iter().sum::<u32>(), 66);
}

#[test]
fn a_process_that_died_counts_until_the_server_holds_nothing_of_it() {
    let mut stage = Stage::new(77, 5);
    stage.comes(1, ORDERS);
    assert_eq!(stage.limits(), [73]);
    stage.says(1, |report| {
        (report.incarnation, report.number, report.limit) = (7, 0, 1);
        report.stamp.sequence = 0;
    });
    stage.settle();
    assert_eq!(stage.limits(), [1], "the one before still has all of it");
    assert_eq!(stage.ledger.totals().departed, 73);
    stage.ledger.backends(id(1), Some(1), 10);
    stage.settle();
    assert_eq!(stage.limits(), [77 - 10 - 3]);
    stage.ledger.backends(id(1), Some(1), 0);
    stage.settle();
    assert_eq!(stage.limits(), [73]);
}

#[test]
fn a_pod_that_drains_gives_back_what_it_does_not_need() {
    let mut stage = Stage::new(77, 5);
    (1..=2).for_each(|number| stage.comes(number, ORDERS));
    stage.wants(1, 3);
    stage.wants(2, 3);
    stage.says(1, |report| report.phase = Phase::Draining);
    // it is told to end: what it says then is no more than that it drains
    let effects = stage.ledger.decide();
    let limit = |pod| {
        effects.iter().find_map(|effect| match effect {
            Effect::Send(id, Command::Limit { limit, .. }) if id.0 == pod => Some(*limit),
            _ => None,
        })
    };
    assert_eq!(limit(1), Some(3));
}

#[test]
fn a_smaller_server_shrinks_all_and_a_larger_budget_is_written_first() {
    let mut stage = Stage::new(45, 5);
    (1..=2).for_each(|number| stage.comes(number, ORDERS));
    stage.ledger.set_server(100, 77);
    let effects = stage.ledger.decide();
    assert_eq!(effects, [Effect::Commit(77),]);
    assert_eq!(stage.ledger.totals().budget, 45);
    stage.ledger.written(77);
    stage.settle();
    assert_eq!(stage.limits().iter().sum::<u32>(), 74);
    stage.ledger.set_server(60, 45);
    stage.settle();
    assert_eq!(stage.limits().iter().sum::<u32>(), 42);
    assert_eq!(stage.ledger.totals().committed, 45);
}

#[test]
fn a_command_that_may_have_been_lost_counts_until_a_later_one_is_acknowledged() {
    let mut stage = Stage::new(77, 5);
    (1..=2).for_each(|number| stage.comes(number, ORDERS));
    assert_eq!(stage.limits(), [73, 1]);
    stage.wants(1, 1);
    stage.wants(2, 500);
    let effects = stage.ledger.decide();
    // the first is told to shrink and obeys, the second is told to grow and is not heard of
    for effect in effects {
        stage.carry_out(effect);
    }
    let grown = stage.ledger.decide();
    assert!(matches!(grown[..], [Effect::Send(PodId(2), Command::Limit { limit: 73, .. })]), "{grown:?}");
    stage.ledger.link(id(2));
    stage.wants(1, 500);
    stage.wants(2, 1);
    let effects = stage.ledger.decide();
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Send(PodId(2), _))), "{effects:?}");
    assert_eq!(stage.ledger.totals().charged, 74);
}
