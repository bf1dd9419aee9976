//! What happens in which order, as a fuzzer's bytes say.

use pgpooler_core::wire::frontend;

use super::message;
use super::world::World;

const CLIENTS: usize = 3;

/// Bytes that decide; zeros when they are used up.
struct Dice<'a>(std::slice::Iter<'a, u8>);

impl Dice<'_> {
    fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    fn of(&mut self, choices: usize) -> usize {
        usize::from(self.next()) % choices
    }

    /// How many bytes move at once: all, or a few.
    fn bytes(&mut self) -> usize {
        match self.next() {
            few @ 1..=40 => usize::from(few),
            _ => usize::MAX,
        }
    }

    fn pick<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        let at = self.of(choices.len());
        choices.get(at).copied().unwrap_or_default()
    }
}

/// Plays what `data` says, and panics when a client sees what it should not, or an unclean server is called clean.
pub fn session(data: &[u8]) {
    let mut dice = Dice(data.iter());
    let mut world = World::new(CLIENTS, 1 + dice.of(2));
    while !dice.0.as_slice().is_empty() {
        step(&mut world, &mut dice);
    }
    world.conclude();
}

fn step(world: &mut World, dice: &mut Dice<'_>) {
    let what = dice.next();
    let n = usize::from(what >> 5) % CLIENTS;
    let server = usize::from(what >> 5) % 2;
    match what & 31 {
        0..=15 => compose(world, n, dice),
        16..=18 => drop(world.read_client(n, dice.bytes())),
        19..=21 => drop(world.work(server, dice.bytes())),
        22..=24 => drop(world.read_server(server, dice.bytes())),
        25..=27 => world.run(),
        28 => {
            world.end(n);
            world.replace_client(n);
        }
        29 => world.terminate(server),
        30 => {
            let count = dice.of(8);
            let noise: Vec<u8> = (0..count).map(|_| dice.next()).collect();
            send(world, n, |out| out.extend(noise));
        }
        _ => {
            compose(world, n, dice);
            send(world, n, frontend::sync);
            world.run();
        }
    }
}

fn send(world: &mut World, n: usize, write: impl FnOnce(&mut Vec<u8>)) {
    if let Some(client) = world.clients.get_mut(n)
        && !client.over
    {
        write(&mut client.outgoing);
    }
}

const STATEMENTS: [&str; 5] = ["", "a", "b", "_p0", "_p1"];
const PORTALS: [&str; 3] = ["", "p", "q"];
const TEXTS: [&str; 14] = [
    "select one",
    "select two",
    "select three",
    "select four",
    "select rows 3",
    "begin",
    "commit",
    "rollback",
    "select 1/0",
    "selec",
    "",
    "copy t from stdin",
    "set search_path to mine",
    "show search_path",
];
const QUERIES: [&str; 18] = [
    "select one",
    "begin",
    "commit",
    "rollback",
    "select 1/0",
    "select one;select 1/0;select two",
    "",
    "do notice",
    "copy t from stdin",
    "select one;copy t from stdin;select two",
    "copy t to stdout",
    "set search_path to mine",
    "set application_name to 'other'",
    "set timezone to utc;select 1/0",
    "show search_path",
    "show application_name",
    "begin;set timezone to mars",
    "show timezone",
];

fn compose(world: &mut World, n: usize, dice: &mut Dice<'_>) {
    let kind = dice.of(24);
    let (statement, portal) = (dice.pick(&STATEMENTS), dice.pick(&PORTALS));
    let extra = dice.next();
    send(world, n, |out| match kind {
        0..=3 => frontend::query(out, of(&QUERIES, extra)),
        4..=6 => frontend::parse(out, statement, of(&TEXTS, extra), &[]),
        7..=8 => message::bind(out, portal, statement),
        9..=10 => message::execute(out, portal, extra % 4),
        11 => message::named(out, frontend::DESCRIBE, frontend::STATEMENT, statement),
        12 => message::named(out, frontend::DESCRIBE, frontend::PORTAL, portal),
        13 => message::named(out, frontend::CLOSE, frontend::STATEMENT, statement),
        14 => message::named(out, frontend::CLOSE, frontend::PORTAL, portal),
        15..=16 => frontend::sync(out),
        17 => match extra % 4 {
            0 => frontend::copy_fail(out, "no"),
            1 => message::put(out, frontend::COPY_DONE, b""),
            _ => message::put(out, frontend::COPY_DATA, b"line\n"),
        },
        18 if extra > 200 => frontend::terminate(out),
        18 if extra > 100 => message::put(out, frontend::FUNCTION_CALL, &[0; 12]),
        19 => frontend::flush(out),
        // what drivers send
        20..=21 => {
            frontend::parse(out, statement, of(&TEXTS, extra), &[]);
            message::named(out, frontend::DESCRIBE, frontend::STATEMENT, statement);
            run(out, statement, portal);
        }
        22 => run(out, statement, portal),
        _ => {
            frontend::query(out, "copy t from stdin");
            message::put(out, frontend::COPY_DATA, b"line\n");
            message::put(out, frontend::COPY_DONE, b"");
        }
    });
}

fn run(out: &mut Vec<u8>, statement: &str, portal: &str) {
    message::bind(out, portal, statement);
    message::named(out, frontend::DESCRIBE, frontend::PORTAL, portal);
    message::execute(out, portal, 0);
    frontend::sync(out);
}

fn of<'t>(choices: &[&'t str], byte: u8) -> &'t str {
    choices.get(usize::from(byte) % choices.len()).copied().unwrap_or_default()
}
