//! The scenes, tried out as far as a test may take; `cargo run --profile demo -p pgpooler-model` tries more.

#![allow(clippy::unwrap_used, reason = "tests")]

use pgpooler_model::Scene;
use pgpooler_model::faults::Rule;
use pgpooler_model::world::World;
use proptest::prelude::*;
use stateright::{Checker as _, HasDiscoveries, Model};

/// Steps of one scene.
const MOST_STEPS: usize = 250_000;
/// A broken rule is noticed within so many.
const MOST_STEPS_BROKEN: usize = 3_500_000;

fn broken(scene: Scene, most_steps: usize) -> Vec<&'static str> {
    let checker = scene
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(most_steps)
        .spawn_bfs()
        .join();
    checker.discoveries().into_keys().collect()
}

#[test]
fn the_budget_holds_and_all_is_given_out_in_every_scene() {
    for scene in Scene::all() {
        let name = scene.name;
        assert_eq!(broken(scene, MOST_STEPS), Vec::<&str>::new(), "scene {name}");
    }
}

fn is_noticed(rule: Rule) {
    let (_, name) = Rule::ALL.into_iter().find(|(one, _)| *one == rule).unwrap();
    let scene = Scene::all().into_iter().find(|scene| scene.name == name).unwrap();
    let found = broken(Scene { broken: Some(rule), ..scene }, MOST_STEPS_BROKEN);
    assert_eq!(found, ["the budget holds"], "without {rule:?} nothing happens in {name}");
}

#[test]
fn without_charging_the_unheard_the_budget_breaks() {
    is_noticed(Rule::ChargeTheUnheard);
}

#[test]
fn without_asking_the_server_the_budget_breaks() {
    is_noticed(Rule::AskTheServer);
}

#[test]
fn without_a_confirmation_the_budget_breaks() {
    is_noticed(Rule::ConfirmBeforeGrant);
}

#[test]
fn without_writing_ahead_the_budget_breaks() {
    is_noticed(Rule::WriteAhead);
}

#[test]
fn without_waiting_for_backends_the_budget_breaks() {
    is_noticed(Rule::WaitForBackends);
}

#[test]
fn without_refusing_old_epochs_the_budget_breaks() {
    is_noticed(Rule::RefuseOldEpochs);
}

/// Everything at once, many times over: no order is left out on purpose, and none is sure to be tried.
fn everything(members: u32) -> Scene {
    let mut scene = Scene::all().into_iter().find(|scene| scene.name == "begin").unwrap();
    let most = pgpooler_model::Limits {
        takeovers: 3,
        deaths: 3,
        ends: 2,
        births: 3,
        restarts: 3,
        wants: 12,
        tellings: 12,
        cuts: 6,
        opens: 20,
        closes: 8,
        give_ups: 2,
    };
    (scene.members, scene.most, scene.budgets) = (members, most, [12, 7]);
    scene
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn long_walks_keep_the_budget(members in 1u32..=2, choices in prop::collection::vec(any::<u16>(), 400)) {
        let scene = everything(members);
        let mut world: World = scene.init_states().remove(0);
        let mut actions = Vec::new();
        for choice in choices {
            actions.clear();
            scene.actions(&world, &mut actions);
            if actions.is_empty() {
                break;
            }
            let action = actions.swap_remove(usize::from(choice) % actions.len());
            if let Some(next) = scene.next_state(&world, action.clone()) {
                world = next;
            }
            for property in scene.properties() {
                prop_assert!((property.condition)(&scene, &world), "{} after {action:?}", property.name);
            }
        }
    }
}
