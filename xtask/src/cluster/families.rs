//! Which programs there are, which Go module each comes from, and what of them a cluster needs.

use std::fs;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::layout;

/// A Go module that gives programs, declared by a go.mod of its own below `tests/cluster`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Family {
    /// The folder below `tests/cluster`.
    pub(crate) name: &'static str,
    /// The module whose version is the family's; `None` for programs whose source is here.
    module: Option<&'static str>,
    /// Linker settings that give the program its version; `VERSION` and `MINOR` are replaced.
    stamp: &'static [&'static str],
}

/// A program: its name, its package, and the seconds that its build took on two quiet cores, after those before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// File name.
    pub(crate) name: &'static str,
    /// Go package.
    pub(crate) package: &'static str,
    /// Measured build time, for the estimate shown.
    pub(crate) seconds: u32,
    /// Where it comes from.
    pub(crate) family: &'static Family,
}

/// What a command is about to use.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Need {
    /// 0: the control plane only.
    pub(crate) nodes: u8,
    /// Programs beyond those of a plain cluster, by name; see [`EXTRAS`].
    pub(crate) extras: &'static [&'static str],
}

/// Programs that only some commands need: Helm, metrics-server, the self-test's, and a checker of manifests.
pub(crate) const EXTRAS: &[&str] = &["helm", "metrics-server", "probe", "kubeconform"];

// A client that reads the API server's version fails on the v0.0.0 that a build without stamps reports.
static KUBERNETES: Family = Family {
    name: "kubernetes",
    module: Some("k8s.io/kubernetes"),
    stamp: &[
        "k8s.io/component-base/version.gitVersion=VERSION",
        "k8s.io/component-base/version.gitMajor=1",
        "k8s.io/component-base/version.gitMinor=MINOR",
        "k8s.io/component-base/version.gitTreeState=clean",
        "k8s.io/client-go/pkg/version.gitVersion=VERSION",
        "k8s.io/client-go/pkg/version.gitMajor=1",
        "k8s.io/client-go/pkg/version.gitMinor=MINOR",
    ],
};
static ETCD: Family = Family { name: "etcd", module: Some("go.etcd.io/etcd/server/v3"), stamp: &[] };
static COREDNS: Family = Family { name: "coredns", module: Some("github.com/coredns/coredns"), stamp: &[] };
static HELM: Family = Family {
    name: "helm",
    module: Some("helm.sh/helm/v4"),
    stamp: &["helm.sh/helm/v4/internal/version.version=VERSION"],
};
static METRICS_SERVER: Family =
    Family { name: "metrics-server", module: Some("sigs.k8s.io/metrics-server"), stamp: &[] };
static KUBECONFORM: Family = Family {
    name: "kubeconform",
    module: Some("github.com/yannh/kubeconform"),
    stamp: &["main.version=VERSION"],
};
static TOOLS: Family = Family { name: "tools", module: None, stamp: &[] };

/// All programs, in the order in which they are built.
#[rustfmt::skip]
static ALL: &[Program] = &[
    Program { name: "etcd", package: "go.etcd.io/etcd/server/v3", seconds: 18, family: &ETCD },
    Program { name: "kube-apiserver", package: "k8s.io/kubernetes/cmd/kube-apiserver", seconds: 187, family: &KUBERNETES },
    Program { name: "kube-controller-manager", package: "k8s.io/kubernetes/cmd/kube-controller-manager", seconds: 50, family: &KUBERNETES },
    Program { name: "kubectl", package: "k8s.io/kubernetes/cmd/kubectl", seconds: 17, family: &KUBERNETES },
    Program { name: "kube-scheduler", package: "k8s.io/kubernetes/cmd/kube-scheduler", seconds: 4, family: &KUBERNETES },
    Program { name: "kubelet", package: "k8s.io/kubernetes/cmd/kubelet", seconds: 14, family: &KUBERNETES },
    Program { name: "kube-proxy", package: "k8s.io/kubernetes/cmd/kube-proxy", seconds: 6, family: &KUBERNETES },
    Program { name: "pause", package: "./pause", seconds: 2, family: &TOOLS },
    Program { name: "coredns", package: "github.com/coredns/coredns", seconds: 88, family: &COREDNS },
    Program { name: "helm", package: "helm.sh/helm/v4/cmd/helm", seconds: 90, family: &HELM },
    Program { name: "metrics-server", package: "sigs.k8s.io/metrics-server/cmd/metrics-server", seconds: 97, family: &METRICS_SERVER },
    Program { name: "probe", package: "./probe", seconds: 5, family: &TOOLS },
    Program { name: "kubeconform", package: "github.com/yannh/kubeconform/cmd/kubeconform", seconds: 3, family: &KUBECONFORM },
];

/// The programs that a need calls for.
pub(crate) fn needed(need: Need) -> Vec<&'static Program> {
    ALL.iter().filter(|program| is_needed(program.name, need)).collect()
}

/// The program of this name.
pub(crate) fn find(name: &str) -> Option<&'static Program> {
    ALL.iter().find(|program| program.name == name)
}

fn is_needed(program: &str, need: Need) -> bool {
    match program {
        extra if EXTRAS.contains(&extra) => need.extras.contains(&extra),
        "kube-scheduler" | "kubelet" | "kube-proxy" | "coredns" | "pause" => need.nodes > 0,
        _ => true,
    }
}

impl Family {
    /// The version that go.mod pins; for sources of our own, what they hash to.
    pub(crate) fn version(&self) -> Result<String> {
        let folder = layout::sources().join(self.name);
        let Some(module) = self.module else { return hash_of(&folder) };
        let path = folder.join("go.mod");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        pinned(&text, module).with_context(|| format!("{} does not require {module}", path.display()))
    }

    /// The linker's arguments.
    pub(crate) fn linker_flags(&self, version: &str) -> String {
        let minor = version.split('.').nth(1).unwrap_or_default();
        self.stamp.iter().fold(String::from("-s -w"), |flags, stamp| {
            format!("{flags} -X {}", stamp.replace("VERSION", version).replace("MINOR", minor))
        })
    }
}

/// The version in go.mod's line `require MODULE VERSION`, or in its block.
fn pinned(go_mod: &str, module: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(module)).then(|| words.next().unwrap_or_default().to_owned())
    })
}

fn hash_of(folder: &std::path::Path) -> Result<String> {
    let mut hash = Sha256::new();
    for name in ["go.mod", "pause/main.go", "probe/main.go"] {
        hash.update(fs::read(folder.join(name)).with_context(|| format!("cannot read {name}"))?);
    }
    let bytes = hash.finalize();
    Ok(bytes.iter().take(6).fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_a_line_and_from_a_block() {
        let text = "tool a/b\nrequire a/b v1.2.3\nrequire (\n\tc/d v4.5.6 // indirect\n)\n";
        assert_eq!(pinned(text, "a/b").as_deref(), Some("v1.2.3"));
        assert_eq!(pinned(text, "c/d").as_deref(), Some("v4.5.6"));
        assert_eq!(pinned(text, "e/f"), None);
    }

    #[test]
    fn every_family_pins_a_version() {
        for program in ALL {
            assert!(!program.family.version().unwrap().is_empty(), "{}", program.name);
        }
    }

    #[test]
    fn a_control_plane_alone_needs_four_programs() {
        let names: Vec<_> = needed(Need::default()).iter().map(|program| program.name).collect();
        assert_eq!(names, ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"]);
    }

    #[test]
    fn the_stamp_carries_version_and_minor() {
        let flags = KUBERNETES.linker_flags("v1.36.3");
        assert!(flags.contains("component-base/version.gitVersion=v1.36.3"), "{flags}");
        assert!(flags.contains("gitMinor=36"), "{flags}");
    }
}
