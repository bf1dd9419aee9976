//! The distribution's packages that a cluster needs: container runtime, network plugins, packet filter.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::progress::say;
use super::shell;

/// Package, what must be there if it is installed (any one of them), and whether only nodes need it.
const PACKAGES: &[(&str, &[&str], bool)] = &[
    ("iproute2", &["ip"], false),
    ("util-linux", &["nsenter"], false),
    ("openssl", &["openssl"], false),
    ("containerd", &["containerd"], true),
    ("runc", &["runc"], true),
    ("containernetworking-plugins", &["/usr/lib/cni/bridge", "/opt/cni/bin/bridge"], true),
    ("iptables", &["iptables"], true),
    ("nftables", &["nft"], true),
    ("conntrack", &["conntrack"], true),
];

/// Installs what is missing where that is possible, else says what to install.
pub(crate) fn ensure_installed(with_nodes: bool) -> Result<()> {
    let missing = missing(with_nodes, present);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !present("apt-get") {
        bail!("these Debian packages, or what gives the same programs here, are missing: {list}");
    }
    say(format!("installing {list} with apt-get (no service is started by it here)"));
    let apt = |arguments: &[&str]| {
        shell::output(
            Command::new("apt-get")
                .args(arguments)
                .envs([("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")]),
        )
    };
    apt(&["update", "-qq"]).context("cannot refresh the package lists")?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], missing.as_slice()].concat())
        .with_context(|| format!("cannot install; do it by hand: apt-get install {list}"))?;
    Ok(())
}

fn missing(with_nodes: bool, is_present: impl Fn(&str) -> bool) -> Vec<&'static str> {
    PACKAGES
        .iter()
        .filter(|(_, _, for_nodes)| with_nodes || !for_nodes)
        .filter(|(_, programs, _)| !programs.iter().any(|program| is_present(program)))
        .map(|(package, _, _)| *package)
        .collect()
}

/// Whether a program is on the path or where administrators' programs are.
fn present(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(Into::into);
    env::split_paths(&path).chain(administrators).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_plane_needs_no_container_runtime() {
        assert_eq!(missing(false, |_| false), ["iproute2", "util-linux", "openssl"]);
    }

    #[test]
    fn either_place_of_the_network_plugins_will_do() {
        assert!(missing(true, |program| !program.starts_with("/usr/lib/cni")).is_empty());
    }
}
