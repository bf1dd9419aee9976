//! What must hold for every spec, every server and every order of events.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fixtures;

use pgpooler_operator::api;
use pgpooler_operator::plan::budget::{self, Terms};
use pgpooler_operator::plan::facts::{Account, Coverage, Facts, Life, PodFact, ServerFact, Sharing};
use pgpooler_operator::plan::plan;
use pgpooler_operator::plan::rollout::{self, Deployed, Room, Template, Wanted, floors, next_step};
use proptest::prelude::*;
use serde_json::{Value, json};

use fixtures::{applied, as_json, facts, pods, pooler_with, server, settings};

fn spec() -> impl Strategy<Value = Value> {
    let labels = proptest::collection::btree_map("[a-z]{1,5}", "[a-z]{0,5}", 0..3);
    (0i32..=6, 6i32..=20, 1u32..=100, 0i32..50, proptest::option::of("[a-z]{1,8}"), labels).prop_map(
        |(replicas, most, percent, keep_free, image, labels)| {
            let mut spec = json!({
                "replicas": replicas, "maxReplicas": most,
                "budget": {"serverConnections": format!("{percent}%"), "keepFree": keep_free},
                "podTemplate": {"labels": labels.clone(), "nodeSelector": labels},
            });
            if let Some(image) = image {
                spec["image"] = image.into();
            }
            spec
        },
    )
}

proptest! {
    #[test]
    fn a_plan_applied_and_observed_gives_the_same_plan(spec in spec(), max_connections in 3u32..1000) {
        let object = pooler_with(spec);
        let before = Facts { server: ServerFact::Seen(server(max_connections)), ..facts() };
        let first = plan(&object, &before, &settings());
        prop_assert_eq!(as_json(&first.objects), as_json(&plan(&object, &before, &settings()).objects));

        let children = applied(&first, &before.children);
        let after = Facts { children, ..before };
        prop_assert_eq!(as_json(&first.objects), as_json(&plan(&object, &after, &settings()).objects));
    }

    #[test]
    fn the_selector_never_changes(one in spec(), other in spec()) {
        let selector = |spec| as_json(&plan(&pooler_with(spec), &facts(), &settings()).objects)
            .pointer("/deployment/spec/selector").cloned();
        let (one, other) = (selector(one), selector(other));
        prop_assert!(one.is_none() || other.is_none() || one == other);
    }

    #[test]
    fn pods_that_run_are_neither_replaced_nor_reconfigured_while_the_target_is_away(one in spec(), other in spec()) {
        let before = facts();
        let first = plan(&pooler_with(one), &before, &settings());
        prop_assume!(first.verdict.blocked.is_none());
        let children = applied(&first, &before.children);
        let template = |children: &pgpooler_operator::plan::facts::Children| {
            (children.config.clone(), children.deployment.as_ref().unwrap().spec.clone().unwrap().template)
        };
        let away = Facts {
            server: ServerFact::NotAsked, pods: pods(&children, 2), children: children.clone(), ..before
        };
        let later = applied(&plan(&pooler_with(other), &away, &settings()), &children);
        prop_assert_eq!(template(&later), template(&children));
    }
}

/// What may happen next.
#[derive(Debug, Clone)]
enum Happens {
    /// A person scales.
    Scale(u32),
    /// A person changes the image.
    NewImage,
    /// A person changes `maxReplicas`, and with it the floor of every pod.
    MaxReplicas(u32),
    /// The operator reconciles.
    Reconcile,
    /// The Deployment controller starts or ends one pod, whichever the number chooses of what it may do.
    Controller(usize),
    /// A pod becomes ready.
    Ready(usize),
    /// A pod has drained.
    Gone(usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        1 => (0u32..=8).prop_map(Happens::Scale),
        1 => Just(Happens::NewImage),
        1 => (1u32..=8).prop_map(Happens::MaxReplicas),
        6 => Just(Happens::Reconcile),
        18 => any::<usize>().prop_map(Happens::Controller),
        14 => any::<usize>().prop_map(Happens::Ready),
        // seldom: old pods that drain for long are what makes many
        1 => any::<usize>().prop_map(Happens::Gone),
    ]
}

trait BecomeReady {
    fn become_ready(&mut self);
}

impl BecomeReady for PodFact {
    fn become_ready(&mut self) {
        if self.life == Life::Starting {
            self.life = Life::Ready;
        }
    }
}

/// A Deployment controller, kubelets and the operator's rules; time is whatever order the test chooses.
struct World {
    server: u32,
    image: u32,
    replicas: u32,
    max_replicas: u32,
    deployed: Option<Deployed>,
    coverage: Option<Coverage>,
    pods: Vec<PodFact>,
}

impl World {
    fn sum(&self) -> budget::Sum {
        let spec = api::Budget::default();
        let terms = Terms {
            spec: &spec,
            max_replicas: self.max_replicas,
            role: "app",
            database: "app",
            standing_floor: self.deployed.as_ref().map(|deployed| deployed.floor),
        };
        budget::reckon(terms, &server(self.server), &Sharing::default()).unwrap()
    }

    fn reconcile(&mut self) {
        let sum = self.sum();
        if sum.floor == 0 {
            return;
        }
        let hash = format!("{}-{}", self.image, sum.floor);
        let wanted =
            Wanted { replicas: self.replicas.min(sum.max_replicas), template_hash: &hash, floor: sum.floor };
        let room =
            Room { reserve: sum.reserve(), part: sum.part, max_pods: sum.max_pods, coverage: self.coverage };
        let step = next_step(&self.pods, self.deployed.as_ref(), wanted, room);
        if step.template == Template::Replace {
            self.deployed = Some(Deployed {
                replicas: step.replicas,
                template_hash: hash,
                floor: sum.floor,
                made_by: None,
            });
        } else if let Some(deployed) = &mut self.deployed {
            deployed.replicas = step.replicas;
        }
    }

    /// `maxSurge: 1`, `maxUnavailable: 0`; pods that drain are not counted.
    fn control(&mut self, choice: usize) {
        let Some(Deployed { replicas, template_hash, floor, .. }) = self.deployed.clone() else { return };
        let alive = self.pods.iter().filter(|pod| !pod.is_terminating()).count() as u32;
        let current = |pod: &&PodFact| !pod.is_terminating() && pod.template_hash == template_hash;
        let new = self.pods.iter().filter(current).count() as u32;
        let ready = self.pods.iter().filter(|pod| pod.life == Life::Ready).count() as u32;
        let may_end = |pod: &PodFact| {
            let is_old = pod.template_hash != template_hash;
            !pod.is_terminating()
                && (is_old || new > replicas)
                && (pod.life != Life::Ready || ready > replicas)
        };
        let mut moves: Vec<Option<usize>> =
            (0..self.pods.len()).filter(|index| may_end(&self.pods[*index])).map(Some).collect();
        if new < replicas && alive < replicas + u32::from(alive > new) {
            moves.push(None);
        }
        match moves.get(choice % moves.len().max(1)) {
            Some(Some(index)) => self.pods[*index].life = Life::Terminating,
            Some(None) => self.pods.push(PodFact { floor, template_hash, ..PodFact::default() }),
            None => {}
        }
    }

    fn happen(&mut self, what: &Happens) {
        match *what {
            Happens::Scale(replicas) => self.replicas = replicas.min(self.max_replicas),
            Happens::NewImage => self.image += 1,
            Happens::MaxReplicas(most) => {
                self.max_replicas = most;
                self.replicas = self.replicas.min(most);
            }
            Happens::Reconcile => self.reconcile(),
            Happens::Controller(choice) => self.control(choice),
            Happens::Ready(choice) if !self.pods.is_empty() => {
                let index = choice % self.pods.len();
                self.pods[index].become_ready();
            }
            Happens::Gone(choice) => {
                let draining: Vec<_> =
                    (0..self.pods.len()).filter(|index| self.pods[*index].is_terminating()).collect();
                if !draining.is_empty() {
                    self.pods.remove(draining[choice % draining.len()]);
                }
            }
            Happens::Ready(_) => {}
        }
    }

    /// Nothing happens any more but what machines do.
    fn settle(&mut self) {
        for round in 0..400 {
            self.reconcile();
            self.control(round);
            for pod in &mut self.pods {
                pod.become_ready();
            }
            if round % 5 == 0 {
                self.pods.retain(|pod| !pod.is_terminating());
            }
        }
    }
}

fn world(max_connections: u32) -> World {
    World {
        server: max_connections,
        image: 0,
        replicas: 2,
        max_replicas: 6,
        deployed: None,
        coverage: None,
        pods: vec![],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_floors_of_all_pods_never_exceed_what_is_set_aside(
        max_connections in 14u32..200, events in proptest::collection::vec(happens(), 0..250),
    ) {
        let mut world = world(max_connections);
        for event in events.iter().filter(|event| !matches!(event, Happens::MaxReplicas(_))) {
            world.happen(event);
            prop_assert!(floors(&world.pods) <= world.sum().reserve(), "after {event:?}: {:?}", world.pods);
        }
    }

    #[test]
    fn the_floors_of_all_pods_never_exceed_the_budget(
        max_connections in 14u32..2000, events in proptest::collection::vec(happens(), 0..250),
    ) {
        let mut world = world(max_connections);
        for event in &events {
            world.happen(event);
            prop_assert!(floors(&world.pods) <= world.sum().part, "after {event:?}: {:?}", world.pods);
        }
    }

    #[test]
    fn nothing_more_comes_while_the_ledger_is_short(
        events in proptest::collection::vec(happens(), 0..100), later in proptest::collection::vec(happens(), 0..100),
    ) {
        let mut world = world(100);
        for event in &events {
            world.happen(event);
        }
        world.coverage = Some(Coverage::Short);
        let before = world.deployed.clone();
        for event in &later {
            world.happen(event);
            let (before, after) = (before.as_ref(), world.deployed.as_ref());
            prop_assert!(after.map_or(0, |now| now.replicas) <= before.map_or(0, |then| then.replicas));
            let as_large = before.zip(after).is_none_or(|(then, now)| now.floor >= then.floor);
            let as_before = before.zip(after).is_none_or(|(then, now)| now.template_hash == then.template_hash);
            prop_assert!(as_before || !as_large, "{before:?} {after:?}");
        }
    }

    #[test]
    fn in_the_end_every_wanted_pod_runs_what_is_wanted(
        max_connections in 50u32..2000, events in proptest::collection::vec(happens(), 0..100),
    ) {
        let mut world = world(max_connections);
        for event in &events {
            world.happen(event);
        }
        world.settle();
        let sum = world.sum();
        let hash = format!("{}-{}", world.image, sum.floor);
        let current = world.pods.iter().filter(|pod| pod.template_hash == hash).count() as u32;
        prop_assert!(current == world.replicas.min(sum.max_replicas), "{:?} {:?}", world.deployed, world.pods);
        prop_assert!(world.pods.len() as u32 == current);
    }

    #[test]
    fn neither_the_budget_nor_what_is_given_out_replaces_pods(
        spec in spec(), before in 100u32..1000, after in 100u32..1000, hidden in 0u32..20, foreign_peak in 0u32..40,
        charge in 0u32..50,
    ) {
        let object = pooler_with(spec);
        let seen = Facts { server: ServerFact::Seen(server(before)), ..facts() };
        let first = plan(&object, &seen, &settings());
        prop_assume!(first.verdict.blocked.is_none());
        let sum = first.verdict.sum.clone().unwrap();
        let children = applied(&first, &seen.children);
        let account = Account {
            budget: 77, aside: charge, coverage: Coverage::Covered { pods: sum.max_pods, floor: sum.floor },
            ..Account::default()
        };
        let later = Facts {
            server: ServerFact::Seen(server(after)),
            sharing: Sharing { hidden, foreign_peak, ..Sharing::default() },
            pods: pods(&children, object.spec.replicas as usize),
            account: Some(account),
            children: children.clone(),
            ..seen
        };
        let second = plan(&object, &later, &settings());
        prop_assume!(second.verdict.blocked.is_none());
        let now = second.verdict.sum.clone().unwrap();
        prop_assume!(now.max_replicas == sum.max_replicas);
        let template = |children: &pgpooler_operator::plan::facts::Children| {
            (children.config.clone(), children.deployment.as_ref().unwrap().spec.clone().unwrap().template)
        };
        let same = template(&applied(&second, &children)) == template(&children);
        prop_assert!(same || now.floor < sum.floor, "{sum:?} {now:?}");
    }
}

#[test]
fn a_scale_up_waits_while_pods_with_larger_floors_exist() {
    let old = PodFact { floor: 25, template_hash: "old".into(), ..PodFact::default() };
    let deployed = Deployed { replicas: 1, template_hash: "new".into(), floor: 5, made_by: None };
    let pods = [old.clone(), old.clone(), old];
    let room = Room { reserve: 77, part: 77, max_pods: 13, coverage: None };
    let step = rollout::scale(&pods, &deployed, 6, room);
    assert!(step.waits);
    assert_eq!(step.replicas, 1);
}

#[test]
fn a_larger_floor_waits_until_it_is_set_aside() {
    let deployed = Deployed { replicas: 2, template_hash: "old".into(), floor: 1, made_by: None };
    let wanted = Wanted { replicas: 2, template_hash: "new", floor: 5 };
    let step = |floor, pods| {
        let coverage = Some(Coverage::Covered { pods, floor });
        next_step(&[], Some(&deployed), wanted, Room { reserve: 65, part: 700, max_pods: 13, coverage })
    };
    assert_eq!(step(1, 13).template, Template::Keep);
    assert_eq!(step(5, 12).template, Template::Keep);
    assert_eq!(step(5, 13).template, Template::Replace);
}

#[test]
fn floors_that_must_shrink_do_so_without_a_pod_less() {
    let deployed = Deployed { replicas: 6, template_hash: "old".into(), floor: 5, made_by: None };
    let old = PodFact { floor: 5, template_hash: "old".into(), life: Life::Ready, ..PodFact::default() };
    let wanted = Wanted { replicas: 6, template_hash: "new", floor: 1 };
    let room = Room { reserve: 13, part: 80, max_pods: 13, coverage: Some(Coverage::Short) };
    let step = next_step(&vec![old; 6], Some(&deployed), wanted, room);
    assert_eq!((step.replicas, step.template), (6, Template::Replace));
}
