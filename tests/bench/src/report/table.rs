//! Tables for a terminal.

use crate::results::{BASE, Results, Row, Summary};

/// A table of every row, each peer's lowest figure with the median ratio to PgBouncer behind it.
pub(crate) fn terminal(results: &Results) -> String {
    let mut lines = vec![header(results)];
    lines.extend(results.rows().into_iter().map(|row| line(results, row)));
    aligned(&lines)
}

fn header(results: &Results) -> Vec<String> {
    let fixed = ["cell", "clients", "metric"].map(str::to_owned);
    fixed.into_iter().chain(results.peers.iter().cloned()).collect()
}

fn line(results: &Results, row: Row<'_>) -> Vec<String> {
    let fixed = [row.cell.to_owned(), row.clients.to_string(), row.metric.to_owned()];
    let peers = results.peers.iter().map(|peer| match results.summary(row, peer) {
        Some(summary) => shown(row.metric, peer, summary),
        None => String::new(),
    });
    fixed.into_iter().chain(peers).collect()
}

/// Of what is better when it is high, the highest; of the rest the lowest: disturbance only ever adds.
fn best(metric: &str, summary: Summary) -> f64 {
    if matches!(metric, "tps" | "mb_per_s") { summary.highest } else { summary.lowest }
}

fn shown(metric: &str, peer: &str, summary: Summary) -> String {
    let figure = number(best(metric, summary));
    match summary.ratio {
        Some(ratio) if peer != BASE => format!("{figure} ({ratio:.2})"),
        _ => figure,
    }
}

/// With about three digits.
pub(crate) fn number(value: f64) -> String {
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

fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| lines.iter().filter_map(move |line| line.get(column));
    let widths: Vec<usize> = (0..columns)
        .map(|column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let shown = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 2 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(shown).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_about_three_digits() {
        let shown = [0.0, 0.456, 12.34, 456.7, 1_234.5, 1_234_567.0].map(number);
        assert_eq!(shown, ["0", "0.46", "12.3", "457", "1,235", "1,234,567"]);
    }
}
