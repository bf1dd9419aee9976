//! The protocol of floors and grants, tried in every order of events by a model checker.
//!
//! What is tried is not a copy: [`pgpooler_core::budget::Ledger`] and [`pgpooler_core::budget::Holder`] decide here as
//! they do in the operator and in the pods. Around them the [`world`] is as unkind as it can be: messages are lost,
//! doubled and reordered, pods come, die and leave connections behind that the server has not noticed yet, operators
//! crash at every point and two of them act at once, and PostgreSQL restarts with another `max_connections`.
//!
//! Two things are checked in every state: that the server connections of all pods cannot exceed what the server bears,
//! and that, if nothing more goes wrong from there on, everything is given out and who needs more has it.

pub mod calm;
pub mod faults;
pub mod operator;
pub mod world;

use stateright::{Model, Property};

use faults::Rule;
use world::{Action, World};

/// What may happen, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// Its name on the command line.
    pub name: &'static str,
    /// `PgPoolers` on the server.
    pub members: u32,
    /// Pods that exist at the beginning.
    pub pods: u32,
    /// Most pods of each `PgPooler` at once.
    pub most_pods: u32,
    /// Budget with the large and with the small `max_connections`.
    pub budgets: [u32; 2],
    /// How often each may happen.
    pub most: Limits,
    /// PostgreSQL at the beginning: 0 is large, 1 is small.
    pub server: u8,
    /// Where it begins.
    pub begin: Begin,
    /// A rule that is broken on purpose, to see that the model notices.
    pub broken: Option<Rule>,
}

/// How often each may happen; the rest happens as often as it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Operators that begin to lead, after the first.
    pub takeovers: u8,
    /// Processes that die and start again in their pod.
    pub deaths: u8,
    /// Pods that end.
    pub ends: u8,
    /// Pods that come.
    pub births: u8,
    /// Restarts of PostgreSQL with another `max_connections`.
    pub restarts: u8,
    /// Changes of what a pod needs.
    pub wants: u8,
    /// Reports that nobody asked for.
    pub tellings: u8,
    /// Links that break.
    pub cuts: u8,
    /// Pods that open all that they may hold.
    pub opens: u8,
    /// Pods that close what is above their limit, or all.
    pub closes: u8,
    /// Pods that nobody has spoken to in time.
    pub give_ups: u8,
}

/// Where a scene begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Begin {
    /// The operator has just begun to lead.
    Nothing,
    /// The operator has met the pods that exist, and the first of them has all that can be given.
    Settled,
}

impl Scene {
    /// All scenes. Together they have everything; each alone is small enough to be tried out.
    pub fn all() -> Vec<Self> {
        let scene = |name, most| Self {
            name,
            members: 1,
            pods: 2,
            most_pods: 3,
            budgets: [6, 3],
            most,
            server: 0,
            begin: Begin::Settled,
            broken: None,
        };
        let none = Limits::default();
        let nothing = |name, most| Self { begin: Begin::Nothing, ..scene(name, most) };
        vec![
            nothing("begin", Limits { give_ups: 1, opens: 1, wants: 1, ..none }),
            scene("grants", Limits { wants: 3, tellings: 2, cuts: 1, opens: 2, closes: 1, ..none }),
            scene("takeover", Limits { takeovers: 1, wants: 1, opens: 1, ..none }),
            scene("newborn", Limits { takeovers: 1, births: 1, wants: 1, ..none }),
            scene("deaths", Limits { deaths: 1, tellings: 1, wants: 1, opens: 2, ..none }),
            scene("death-and-takeover", Limits { deaths: 1, takeovers: 1, opens: 1, ..none }),
            scene("death-seen-by-two", Limits { deaths: 1, takeovers: 1, ..none }),
            scene("ends", Limits { ends: 1, births: 1, opens: 1, wants: 1, ..none }),
            scene("end-and-takeover", Limits { ends: 1, takeovers: 1, opens: 1, ..none }),
            scene("restart", Limits { restarts: 1, wants: 1, opens: 1, ..none }),
            scene("restarts", Limits { restarts: 2, opens: 1, ..none }),
            scene("restart-and-takeover", Limits { restarts: 1, takeovers: 1, ..none }),
            Self { server: 1, ..scene("rise-and-takeover", Limits { restarts: 1, takeovers: 1, ..none }) },
            Self {
                members: 2,
                most_pods: 2,
                ..scene("two-poolers", Limits { wants: 3, opens: 1, tellings: 1, ..none })
            },
            Self {
                pods: 1,
                most_pods: 2,
                ..scene("three-operators", Limits { takeovers: 2, births: 1, ..none })
            },
        ]
    }
}

impl Model for Scene {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![calm::begin(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        world.actions(self, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.act(self, action);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the budget holds", |scene: &Self, world: &World| {
                world.could_hold() <= scene.budgets[usize::from(world.server)]
            }),
            Property::always("when faults stop, all is given out", |scene: &Self, world: &World| {
                calm::comes_to_rest(scene, world)
            }),
        ]
    }
}
