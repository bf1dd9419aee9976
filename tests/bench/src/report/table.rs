//! Tables, for a terminal and for a page.

use super::{Report, bars::BARS, number};
use crate::results::{BASE, Results, Row};

/// What a terminal shows of everything that was measured.
pub(crate) const SHOWN: &[&str] = &[
    "cpu_us",
    "tps",
    "p50_us",
    "p99_us",
    "syscalls",
    "arrival_s",
    "queries_s",
    "refused",
    "lost",
    "cpu_s_per_gb",
    "mb_per_s",
    "empty_mb",
    "idle_bytes",
    "queried_bytes",
    "left_mb",
    "login_cpu_us",
    "logins_per_s",
];

/// Every row, each peer's best figure with the median ratio to PgBouncer behind it; then the promises.
pub(crate) fn terminal(report: &Report) -> String {
    let results = &report.results;
    let rows: Vec<_> = results.rows().into_iter().filter(|row| SHOWN.contains(&row.metric)).collect();
    let mut lines = vec![header(&["cell", "clients", "metric"], results)];
    lines.extend(rows.into_iter().map(|row| {
        let fixed = [row.cell.to_owned(), row.clients.to_string(), row.metric.to_owned()];
        fixed.into_iter().chain(figures(results, row)).collect()
    }));
    format!(
        "{}\n\nbest of the rounds; in brackets the median of the ratios to PgBouncer in the same round\n\n{}",
        aligned(&lines, &[1]),
        aligned(&promises(results), &[])
    )
}

/// The promises and what became of them; those that were not measured are left out.
pub(crate) fn promises(results: &Results) -> Vec<Vec<String>> {
    let mut lines = vec![["promise", "bar", "median", "ratio", "verdict"].map(str::to_owned).to_vec()];
    lines.extend(BARS.iter().filter_map(|bar| {
        let verdict = bar.judge(results)?;
        let ratio = verdict.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let kept = if verdict.kept { "reached" } else { "missed" };
        Some(vec![bar.what.to_owned(), verdict.wanted, verdict.figure, ratio, kept.to_owned()])
    }));
    lines
}

/// A table of these rows under these names, as Markdown.
pub(crate) fn markdown(results: &Results, rows: &[(String, Row<'_>)]) -> String {
    let mut lines = vec![header(&[""], results)];
    for (name, row) in rows {
        lines.push(std::iter::once(name.clone()).chain(figures(results, *row)).collect());
    }
    piped(&lines)
}

/// Markdown of lines, the first of which is the head; all columns but the first are numbers.
pub(crate) fn piped(lines: &[Vec<String>]) -> String {
    let line = |cells: &Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule = |head: &Vec<String>| {
        let rules: Vec<_> = (0..head.len()).map(|column| if column == 0 { "---" } else { "---:" }).collect();
        format!("| {} |\n", rules.join(" | "))
    };
    let mut text = String::new();
    for (at, cells) in lines.iter().enumerate() {
        text += &line(cells);
        if at == 0 {
            text += &rule(cells);
        }
    }
    text
}

fn header(fixed: &[&str], results: &Results) -> Vec<String> {
    fixed.iter().map(|name| (*name).to_owned()).chain(results.peers.iter().cloned()).collect()
}

fn figures(results: &Results, row: Row<'_>) -> impl Iterator<Item = String> {
    results.peers.iter().map(move |peer| {
        let Some(summary) = results.summary(row, peer) else { return String::new() };
        let figure = number(summary.best(row.metric));
        match summary.ratio {
            Some(ratio) if peer != BASE => format!("{figure} ({ratio:.2})"),
            _ => figure,
        }
    })
}

/// Columns as wide as their widest cell; the first and the `left` ones to the left.
fn aligned(lines: &[Vec<String>], right: &[usize]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| lines.iter().filter_map(move |line| line.get(column));
    let width = |column: usize| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let shown = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let to_the_right = column > 2 || right.contains(&column);
            if to_the_right { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(shown).collect::<Vec<_>>().join("\n")
}
