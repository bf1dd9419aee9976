//! promtool, from Debian's package `prometheus`.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{postgres, ui};

/// A promtool command; the package is installed where that is possible.
pub(super) fn promtool() -> Result<Command> {
    let is_there = || Command::new("promtool").arg("--version").output().is_ok();
    if !is_there() {
        ensure!(postgres::may_install(), "no promtool: it is in Debian's package prometheus");
        ui::say("installing promtool (package prometheus) with apt-get");
        postgres::install(&["prometheus"])?;
    }
    Ok(Command::new("promtool"))
}
