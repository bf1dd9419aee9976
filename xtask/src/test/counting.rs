//! Runs a Rust test program, shows its output and counts its tests.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::Count;

/// Runs to the end. A failure without a failed test (it did not compile, it crashed) counts as one.
pub(crate) fn run(command: &mut Command) -> Result<Count> {
    let name = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let output = child.stdout.take().context("the program's output")?;
    let mut count = Count::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("the program's output")?;
        count += result(&line);
        println!("{line}");
    }
    if !child.wait()?.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// What a line such as `test result: ok. 4 passed; 0 failed; 0 ignored` says.
fn result(line: &str) -> Count {
    let Some(rest) = line.strip_prefix("test result: ") else { return Count::default() };
    let words: Vec<&str> = rest.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
    let before = |what: &str| {
        let pair = words.windows(2).find(|pair| pair.ends_with(&[what]));
        pair.and_then(|pair| pair.first()).and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    Count { passed: before("passed"), failed: before("failed") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closing_line_counts() {
        let line = "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.00s";
        assert_eq!(result(line), Count { passed: 4, failed: 2 });
        assert_eq!(result("test a ... ok"), Count::default());
    }
}
