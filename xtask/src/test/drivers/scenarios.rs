//! The lines that a driver's program prints: `ok NAME` or `FAILED NAME: WHY`.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

/// What one run of a program said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcomes {
    /// By scenario: why it failed, or nothing.
    scenarios: BTreeMap<String, Option<String>>,
    /// How the program ended, if that was not to be expected from its lines.
    end: Option<String>,
    /// What it wrote to standard error.
    pub(super) complaints: String,
}

/// Runs a program to its end.
pub(super) fn run(program: &mut Command) -> Result<Outcomes> {
    let name = program.get_program().display().to_string();
    let done = program.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    let complaints = String::from_utf8_lossy(&done.stderr).into_owned();
    let mut outcomes = Outcomes::parse(&String::from_utf8_lossy(&done.stdout));
    let all_passed = outcomes.scenarios.values().all(Option::is_none);
    if done.status.success() != all_passed || outcomes.scenarios.is_empty() {
        outcomes.end = Some(format!("the program ended with {}: {}", done.status, complaints.trim()));
    }
    outcomes.complaints = complaints;
    Ok(outcomes)
}

impl Outcomes {
    fn parse(lines: &str) -> Self {
        let scenario = |line: &str| {
            if let Some(name) = line.strip_prefix("ok ") {
                return Some((name.to_owned(), None));
            }
            let (name, why) = line.strip_prefix("FAILED ")?.split_once(": ")?;
            Some((name.to_owned(), Some(why.to_owned())))
        };
        Self { scenarios: lines.lines().filter_map(scenario).collect(), ..Self::default() }
    }

    /// Every scenario of either run: what is wrong with it directly, which makes the test itself wrong, or pooled.
    pub(super) fn compared_with(&self, pooled: &Self) -> Vec<(String, Result<(), String>)> {
        let runs = [(self, "directly"), (pooled, "pooled")];
        let mut verdicts: BTreeMap<String, Result<(), String>> = BTreeMap::new();
        for name in self.scenarios.keys().chain(pooled.scenarios.keys()) {
            let wrong = runs.iter().find_map(|(run, way)| match run.scenarios.get(name) {
                Some(None) => None,
                Some(Some(why)) => Some(format!("{way}: {why}")),
                None => Some(format!("{way}: not run")),
            });
            verdicts.insert(name.clone(), wrong.map_or(Ok(()), Err));
        }
        for (run, way) in runs {
            if let Some(end) = &run.end {
                verdicts.insert(format!("the end {way}"), Err(end.clone()));
            }
        }
        verdicts.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_passes_if_it_does_so_both_ways() {
        let direct = Outcomes::parse("ok a\nnoise\nok b\nFAILED c: wrong: test\nok d\n");
        let pooled = Outcomes::parse("ok a\nFAILED b: line 7: leak\nok c\n");
        let verdicts: Vec<_> =
            direct.compared_with(&pooled).into_iter().map(|(_, verdict)| verdict).collect();
        let wrong = |why: &str| Err(why.to_owned());
        assert_eq!(
            verdicts,
            [Ok(()), wrong("pooled: line 7: leak"), wrong("directly: wrong: test"), wrong("pooled: not run")]
        );
    }

    #[test]
    fn a_program_that_prints_nothing_has_failed() {
        let outcomes = run(&mut Command::new("true")).expect("it runs");
        assert_eq!(outcomes.compared_with(&Outcomes::default()).len(), 1);
    }
}
