//! Removing every trace of a cluster, however it ended.

use std::fs;

use anyhow::{Context, Result};

use super::cgroups;
use super::layout::{Layout, Node};
use super::machine::Machine;

/// Kills the machines, removes cgroups and the state folder; returns whether there was anything.
pub(crate) fn wipe(layout: &Layout) -> Result<bool> {
    let machines: Vec<_> =
        [Node(2), Node(1)].into_iter().filter_map(|node| Machine::find(layout, node)).collect();
    let found = !machines.is_empty() || layout.root.exists();
    for machine in &machines {
        machine.kill();
    }
    cgroups::remove(layout)?;
    if layout.root.exists() {
        fs::remove_dir_all(&layout.root)
            .with_context(|| format!("cannot remove {}", layout.root.display()))?;
    }
    Ok(found)
}
