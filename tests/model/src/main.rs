//! Tries the scenes out, and says how many states there were.

use std::time::Instant;

use clap::Parser;
use pgpooler_model::Scene;
use pgpooler_model::faults::Rule;
use stateright::{Checker as _, HasDiscoveries, Model as _};

/// Tries the budget's protocol in every order of events.
#[derive(Debug, Parser)]
struct Options {
    /// Only the scenes whose names have this in them.
    scene: Option<String>,
    /// Give up a scene after so many states; 0: never.
    #[arg(long, default_value_t = 3_000_000)]
    most_states: usize,
    /// Break each rule in turn, and show that it is noticed.
    #[arg(long)]
    broken: bool,
}

fn main() {
    let options = Options::parse();
    let mut failed = false;
    let wanted = |scene: &Scene| options.scene.as_ref().is_none_or(|name| scene.name.contains(name.as_str()));
    for scene in Scene::all().into_iter().filter(wanted) {
        if !options.broken {
            failed |= !holds(&scene, options.most_states);
            continue;
        }
        for (rule, _) in Rule::ALL.into_iter().filter(|(_, name)| *name == scene.name) {
            failed |= holds(&Scene { broken: Some(rule), ..scene.clone() }, options.most_states);
        }
    }
    std::process::exit(i32::from(failed));
}

fn holds(scene: &Scene, most_states: usize) -> bool {
    let started = Instant::now();
    let mut builder = scene.clone().checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    if most_states > 0 {
        builder = builder.target_state_count(most_states);
    }
    let checker = builder.spawn_bfs().join();
    let found = checker.discoveries();
    let broken = scene.broken.map_or_else(String::new, |rule| format!(", without {rule:?}"));
    let generated = checker.state_count();
    let end = if most_states == 0 || generated < most_states { "all tried" } else { "stopped" };
    println!(
        "{}{broken}: {} states, depth {}, {end} ({generated} steps), {:.1} s: {}",
        scene.name,
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f64(),
        if found.is_empty() { "holds" } else { "BROKEN" }
    );
    for (name, path) in &found {
        println!("  not true: {name}");
        for (number, action) in path.clone().into_actions().iter().enumerate() {
            println!("  {number:3} {action:?}");
        }
    }
    found.is_empty()
}
