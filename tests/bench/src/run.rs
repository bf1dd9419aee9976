//! The driver: rounds over cells over peers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    cells::{Cell, Figure, Notes, Pace, World},
    floor,
    options::Options,
    peers::{Kind, Peer, Postgres},
    proc,
    report::{self, About, Report},
    results::{Failure, Results, Row},
};

/// Very many clients, where the limit of open files allows them.
const MANY: usize = 10_000;
/// Open files of a pooler and of the harness besides clients.
const OTHER_FILES: usize = 200;

/// Measures what was asked for and reports it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let clock = Clock(Instant::now());
    if let Some(&[port, server_port, servers]) = options.floor.as_deref() {
        return floor::run(port, server_port, servers.into());
    }
    if let (true, Some(folder)) = (options.page.render, &options.page.out) {
        return Report::read(folder)?.write(folder);
    }
    ensure!(options.rounds > 0, "at least one round");
    let report = measure(options, clock)?;
    println!("{}", report::terminal(&report));
    if let Some(folder) = &options.page.out {
        report.write(folder)?;
        clock.say(&format!("written to {}", folder.display()));
    }
    clock.say(&format!("{} failures", report.results.failures.len()));
    Ok(())
}

fn measure(options: &Options, clock: Clock) -> Result<Report> {
    let peers = options.peers()?;
    let files = raise_file_limit()?;
    let mut about = About::here(options.page.command.clone(), options.page.commit.clone(), options.rounds);
    about.versions = versions(options, &peers)?;
    clock.say("starting PostgreSQL");
    let postgres = Postgres::start(&options.postgres()?)?;
    let cells = Cell::all(options);
    let mut world = World::new(postgres, pace(options.quick, files))?;
    let mut results = Results {
        peers: peers.iter().map(|peer| peer.name.clone()).collect(),
        ours: peers.iter().filter(|peer| peer.kind == Kind::Pgpooler).map(|peer| peer.name.clone()).collect(),
        ..Results::default()
    };
    for round in 1..=options.rounds {
        world.round = round;
        about.disturbance.push(proc::busy_share()?);
        for (at, cell) in cells.iter().enumerate().filter(|(_, cell)| cell.is_due(round)) {
            clock.say(&format!("round {round} of {}: {}", options.rounds, cell.name()));
            for peer in rotated(&peers, round + at).filter(|peer| cell.fits(peer)) {
                visit(*cell, peer, &world, &mut results);
            }
        }
    }
    Ok(Report { about, results })
}

/// Says what goes on, with the seconds since the start.
#[derive(Debug, Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn say(self, line: &str) {
        eprintln!("{:7.1} s  {line}", self.0.elapsed().as_secs_f64());
    }
}

fn versions(options: &Options, peers: &[Peer]) -> Result<BTreeMap<String, String>> {
    let mut versions = BTreeMap::from([("PostgreSQL".to_owned(), options.postgres()?.says("--version")?)]);
    for peer in peers.iter().filter(|peer| !matches!(peer.kind, Kind::Direct | Kind::Floor)) {
        versions.insert(peer.name.clone(), peer.program.says("--version")?);
    }
    Ok(versions)
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
        let row = Row { cell: &cell, clients, metric: &metric };
        results.add(row, &peer.name, world.round, value);
    }
}

/// Every peer comes first as often as the others.
fn rotated(peers: &[Peer], by: usize) -> impl Iterator<Item = &Peer> {
    peers.iter().cycle().skip(by % peers.len()).take(peers.len())
}

fn pace(quick: bool, files: usize) -> Pace {
    let millis = Duration::from_millis;
    if quick {
        return Pace { warm_up: millis(50), measure: millis(150), many: MANY.min(files) / 20, quick };
    }
    Pace { warm_up: millis(200), measure: millis(700), many: MANY.min(files), quick }
}

/// Ten thousand clients need as many files here as in a pooler, which inherits the limit; what there may be of them.
fn raise_file_limit() -> Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, wanted).context("the limit of open files")?;
    let files = limit.maximum.map_or(usize::MAX, |files| files as usize);
    Ok(files.saturating_sub(OTHER_FILES))
}
