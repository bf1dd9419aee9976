//! Plays scripts on both grounds and tells what differs.

use std::fmt::Write as _;
use std::thread;

use super::describe::{difference, whole};
use super::ground::{self, SIZES, Size};
use super::player::play;
use super::rivals::Rivals;
use super::script::Script;
use super::transcript::Event;
use super::traps::KNOWN;

/// The script gives the same through every pooler as directly.
#[track_caller]
pub(crate) fn same(script: &Script) {
    same_each([("", script.clone())]);
}

/// The same for several scripts with a label each, so that one that differs does not hide the others.
#[track_caller]
pub(crate) fn same_each<'a>(scripts: impl IntoIterator<Item = (&'a str, Script)>) {
    let test = thread::current().name().unwrap_or_default().to_owned();
    let mut report = String::new();
    for (label, script) in scripts {
        let found = differences(&script);
        if let Some(found) = &found {
            // at once: the other scripts may take long
            println!("{test} {label:?}\n{found}");
        }
        let is_this = |known: &(&str, &str, &str)| known.0 == test && known.1 == label;
        let known = KNOWN.iter().find(|known| is_this(known));
        match (found, known) {
            (None, None) => {}
            (Some(_), Some((.., why))) => println!("{test} {label:?} differs as known: {why}"),
            (Some(found), None) => {
                let _ = writeln!(report, "{test} {label:?}\n{found}");
            }
            (None, Some(_)) => {
                let _ = writeln!(report, "{test} {label:?} no longer differs: take it off the list");
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

fn differences(script: &Script) -> Option<String> {
    let expected = play(script, &ground::direct(), None);
    if let Some((_, Event::Failed(_))) = expected.last() {
        return Some(format!(" against PostgreSQL itself:\n{}", whole(&expected)));
    }
    let sizes = SIZES.into_iter().filter(|size| size.servers > 1 || !script.needs_many);
    // one difference is enough: a script that waits in vain takes its time
    sizes.into_iter().find_map(|size| {
        let found = through_pooler(script, size, &expected)?;
        Some(format!(" {} server connections, {} loops:\n{found}", size.servers, size.loops))
    })
}

fn through_pooler(script: &Script, size: Size, expected: &super::transcript::Transcript) -> Option<String> {
    let pooler = ground::take(size);
    let login = pooler.login("app", "app", "postgres");
    let only_server = size.servers == 1;
    let mut rivals = (!(only_server && script.pins())).then(|| Rivals::start(login.clone(), only_server));
    let found = play(script, &login, rivals.as_mut());
    let difference = difference(expected, &found);
    if difference.is_none() {
        drop(rivals);
        ground::give_back(size, pooler);
    }
    difference
}
