//! The cluster's cgroup in every hierarchy: made before a kubelet that is told to stay below it, removed at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::layout::{Layout, Node};
use super::progress::say;

/// Makes a node's cgroup in every hierarchy.
pub(crate) fn make(layout: &Layout, node: Node) -> Result<()> {
    for hierarchy in hierarchies(&fs::read_to_string("/proc/mounts")?) {
        let cluster = hierarchy.path.join(layout.cgroup());
        let own = cluster.join(node.name());
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
        if hierarchy.unified {
            delegate(&[&hierarchy.path, &cluster, &own])?;
        } else {
            fill_cpuset(&[&hierarchy.path, &cluster, &own])?;
        }
    }
    Ok(())
}

/// Removes the cluster's cgroups. Their processes must have been killed; the kernel may still be at it.
pub(crate) fn remove(layout: &Layout) -> Result<()> {
    // all of them: beside version 1, runc makes groups in the unified hierarchy too
    for hierarchy in mounted(&fs::read_to_string("/proc/mounts")?) {
        let top = hierarchy.path.join(layout.cgroup());
        let end = Instant::now() + Duration::from_secs(10);
        while top.exists() {
            remove_below(&top);
            if Instant::now() >= end {
                say(format!("cannot remove the cgroup {}", top.display()));
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// A mounted cgroup hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    path: PathBuf,
    unified: bool,
}

/// The hierarchies that kubelet and runc use: those of version 1, or else the unified one.
fn hierarchies(mounts: &str) -> Vec<Hierarchy> {
    let all = mounted(mounts);
    let mixed = all.iter().any(|hierarchy| !hierarchy.unified);
    all.into_iter().filter(|hierarchy| !mixed || !hierarchy.unified).collect()
}

fn mounted(mounts: &str) -> Vec<Hierarchy> {
    mounts.lines().filter_map(hierarchy).collect()
}

fn hierarchy(line: &str) -> Option<Hierarchy> {
    let mut words = line.split(' ').skip(1);
    let (path, kind) = (words.next()?, words.next()?);
    let of_system = path.starts_with("/sys/fs/cgroup");
    (of_system && (kind == "cgroup" || kind == "cgroup2"))
        .then(|| Hierarchy { path: PathBuf::from(path), unified: kind == "cgroup2" })
}

/// In version 2 a group's controllers are those that the group above hands down.
fn delegate(groups: &[&Path]) -> Result<()> {
    for group in groups {
        let available = fs::read_to_string(group.join("cgroup.controllers"))?;
        let all: Vec<_> = available.split_whitespace().map(|name| format!("+{name}")).collect();
        fs::write(group.join("cgroup.subtree_control"), all.join(" "))
            .with_context(|| format!("cannot hand down the controllers of {}", group.display()))?;
    }
    Ok(())
}

/// In version 1 a new cpuset has no processors and no memory, and nothing can run in it.
fn fill_cpuset(groups: &[&Path]) -> Result<()> {
    for pair in groups.windows(2) {
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let (above, own) = (pair[0].join(name), pair[1].join(name));
            if own.exists() && fs::read_to_string(&own)?.trim().is_empty() {
                fs::write(&own, fs::read_to_string(above)?)?;
            }
        }
    }
    Ok(())
}

fn remove_below(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    // still busy, or gone meanwhile: the caller looks again
    let _ = fs::remove_dir(group);
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION_1: &str = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                             cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

    #[test]
    fn beside_version_1_the_unified_hierarchy_is_left_alone() {
        let found = hierarchies(VERSION_1);
        assert_eq!(found, [Hierarchy { path: "/sys/fs/cgroup/cpu".into(), unified: false }]);
    }

    #[test]
    fn alone_the_unified_hierarchy_is_used() {
        let found = hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
        assert_eq!(found, [Hierarchy { path: "/sys/fs/cgroup".into(), unified: true }]);
    }
}
