//! Lines that say what is going on and how long it took, and tables.

use std::{io::IsTerminal as _, sync::LazyLock, time::Instant};

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Starts the clock of [`say`].
pub(crate) fn begin() {
    LazyLock::force(&BEGAN);
}

/// Prints a line with the seconds since the command began to standard error; standard output is for answers.
pub(crate) fn say(line: &str) {
    eprintln!("{:7.1} s  {line}", BEGAN.elapsed().as_secs_f64());
}

/// The same, in bold: a part of a long task begins.
pub(crate) fn heading(line: &str) {
    say(&paint("1", line));
}

/// Green on a terminal.
pub(crate) fn good(text: &str) -> String {
    paint("32", text)
}

/// Red on a terminal.
pub(crate) fn bad(text: &str) -> String {
    paint("31", text)
}

/// Columns as wide as their widest cell, the first row ruled off.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let width = |column: usize| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    if !lines.is_empty() {
        lines.insert(1, widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("  "));
    }
    lines.join("\n")
}

fn paint(code: &str, text: &str) -> String {
    if std::io::stderr().is_terminal() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_columns_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "errors".to_owned()], vec!["direct".to_owned(), "903".to_owned()]];
        assert_eq!(table(&rows), "a       errors\n------  ------\ndirect  903");
    }
}
