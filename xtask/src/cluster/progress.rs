//! One line per step on standard error, with the seconds since the command began.

use std::sync::OnceLock;
use std::time::Instant;

static BEGAN: OnceLock<Instant> = OnceLock::new();

/// Prints one line. Standard output stays free for what a command answers.
pub(crate) fn say(line: impl AsRef<str>) {
    let began = BEGAN.get_or_init(Instant::now);
    eprintln!("{:7.1} s  {}", began.elapsed().as_secs_f64(), line.as_ref());
}
