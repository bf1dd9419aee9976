//! The driver: rounds over cells over peers.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    cells::{Cell, Figure, Notes, Pace, World},
    options::Options,
    peers::{Peer, Postgres},
    report,
    results::{Failure, Record, Results},
};

/// Measures what was asked for and reports it.
pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "at least one round");
    let began = Instant::now();
    let say = |line: &str| eprintln!("{:7.1} s  {line}", began.elapsed().as_secs_f64());
    let peers = options.peers()?;
    raise_file_limit()?;
    say("starting PostgreSQL");
    let postgres = Postgres::start(&options.postgres()?)?;
    let cells = Cell::all(options);
    let mut world = World::new(postgres, pace(options.quick))?;
    let mut results =
        Results { peers: peers.iter().map(|peer| peer.name.clone()).collect(), ..Results::default() };
    for round in 1..=options.rounds {
        world.round = round;
        for (at, cell) in cells.iter().enumerate().filter(|(_, cell)| cell.is_due(round)) {
            say(&format!("round {round} of {}: {}", options.rounds, cell.name()));
            for peer in rotated(&peers, round + at).filter(|peer| cell.fits(peer)) {
                visit(*cell, peer, &world, &mut results);
            }
        }
    }
    println!("{}", report::table::terminal(&results));
    if let Some(folder) = &options.out {
        fs::create_dir_all(folder)?;
        let path = folder.join("results.json");
        fs::write(&path, serde_json::to_string_pretty(&results)?).context("results.json")?;
        say(&format!("written to {}", path.display()));
    }
    say(&format!("{} failures", results.failures.len()));
    Ok(())
}

fn visit(cell: Cell, peer: &Peer, world: &World, results: &mut Results) {
    let mut notes = Notes::default();
    if let Err(error) = cell.visit(peer, world, &mut notes) {
        notes.errors.push(format!("{error:#}"));
    }
    for error in notes.errors {
        eprintln!("          {} of {}: {error}", peer.name, cell.name());
        let (cell, peer) = (cell.name(), peer.name.clone());
        results.failures.push(Failure { cell, peer, round: world.round, error });
    }
    for Figure { cell, clients, metric, value } in notes.figures {
        let peer = peer.name.clone();
        results.records.push(Record { cell, clients, metric, peer, round: world.round, value });
    }
}

/// Every peer comes first as often as the others.
fn rotated(peers: &[Peer], by: usize) -> impl Iterator<Item = &Peer> {
    peers.iter().cycle().skip(by % peers.len()).take(peers.len())
}

fn pace(quick: bool) -> Pace {
    let millis = Duration::from_millis;
    if quick {
        Pace { warm_up: millis(50), measure: millis(150), quick }
    } else {
        Pace { warm_up: millis(250), measure: millis(800), quick }
    }
}

/// Ten thousand clients need as many files here as in a pooler, which inherits the limit.
fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, wanted).context("the limit of open files")
}
