//! What was measured, for people and for programs.

mod about;
mod bars;
mod charts;
mod page;
mod plot;
mod table;
mod verdict;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::results::Results;
pub(crate) use about::About;
pub(crate) use table::terminal;

const JSON: &str = "results.json";

/// A run: what it was about, and what came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Where, when, of what.
    pub(crate) about: About,
    /// The figures.
    pub(crate) results: Results,
}

impl Report {
    /// Reads what [`write`](Self::write) has written.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(JSON);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
    }

    /// Writes the figures and the plots into a folder and the page beside it, under the folder's name.
    ///
    /// What stands in the folder's `notes.md`, written by people, becomes a part of the page.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(folder.join(JSON), self.json()?).context(JSON)?;
        for (name, chart) in charts::all(&self.results) {
            fs::write(folder.join(name), chart.svg()).context(name)?;
        }
        let notes = fs::read_to_string(folder.join("notes.md")).unwrap_or_default();
        let name = folder.file_name().context("a folder without a name")?.to_string_lossy();
        fs::write(folder.with_extension("md"), page::page(self, &name, &notes)).context("the page")
    }

    /// JSON with one line for each series, so that a difference between two runs can be read.
    fn json(&self) -> Result<String> {
        let mut head = self.clone();
        let series = std::mem::take(&mut head.results.series);
        let lines: Vec<String> = series.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let text = serde_json::to_string_pretty(&head)?;
        Ok(text.replace("\"series\": []", &format!("\"series\": [\n{}\n]", lines.join(",\n"))) + "\n")
    }
}

/// A number with about three digits.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => grouped(value.round() as i64),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ if value.fract() == 0.0 => format!("{value}"),
        _ => format!("{value:.2}"),
    }
}

fn grouped(value: i64) -> String {
    let digits = value.abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Row;

    #[test]
    fn numbers_have_about_three_digits() {
        let shown = [0.0, 0.456, 12.34, 456.7, 1_234.5, 1_234_567.0].map(number);
        assert_eq!(shown, ["0", "0.46", "12.3", "457", "1,235", "1,234,567"]);
    }

    #[test]
    fn a_report_is_read_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("benchmarks");
        let mut results = Results { peers: vec!["pgbouncer".to_owned()], ..Results::default() };
        for (metric, round) in [("cpu_us", 1), ("cpu_us", 2), ("tps", 1)] {
            results.add(Row { cell: "simple", clients: 64, metric }, "pgbouncer", round, 12.5);
        }
        let report = Report { about: About::default(), results };
        report.write(&folder).unwrap();
        assert_eq!(Report::read(&folder).unwrap(), report);
        assert!(folder.with_extension("md").is_file());
    }
}
