//! `cargo xtask cluster`: a real Kubernetes of one node or two, for development and tests.
//!
//! The steps, in order: [`programs`] (built once), [`packages`], [`certs`], [`machine`] and [`network`] (namespaces),
//! [`control_plane`], [`node`], and at the end [`teardown`]. `tests/cluster/README.md` is the user's page.

mod certs;
mod cgroups;
mod control_plane;
mod families;
mod images;
mod layout;
mod machine;
mod network;
mod node;
mod node_config;
pub(crate) mod oci;
mod packages;
mod programs;
mod progress;
mod self_test;
mod shell;
mod status;
mod tar;
mod teardown;
mod up;

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Subcommand;

use families::Need;
pub(crate) use layout::cache_root;
use layout::{Layout, Node};
use machine::Machine;
use progress::say;

/// Arguments of `cargo xtask cluster`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which cluster; several can be up at once.
    #[arg(long, global = true, env = "PGPOOLER_CLUSTER", default_value = "dev")]
    name: String,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Start it, or start what is missing of it.
    Up {
        /// How many nodes; 0 is the control plane only: an API to test against, without pods.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
        nodes: u8,
        /// Run metrics-server too (`kubectl top`, autoscaling by CPU).
        #[arg(long)]
        metrics_server: bool,
    },
    /// Stop it and remove every trace.
    Down,
    /// Show parts, memory and nodes.
    Status,
    /// Import an image archive (OCI or docker save) on every node.
    Load {
        /// The archive.
        file: PathBuf,
    },
    /// Run kubectl against it.
    #[command(disable_help_flag = true)]
    Kubectl {
        /// kubectl's own arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run Helm against it.
    #[command(disable_help_flag = true)]
    Helm {
        /// Helm's own arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run any program in the cluster's network, e.g. a test binary.
    #[command(disable_help_flag = true)]
    Exec {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Make the second node vanish at once, as by a power failure; `up --nodes 2` brings it back.
    KillNode,
    /// Print what a shell needs to reach it, for `eval`.
    Env,
    /// Build the programs and do nothing else; prints where they are.
    Build {
        /// Those of a node, Helm, metrics-server and kubeconform too.
        #[arg(long)]
        all: bool,
    },
    /// Check that it works: pods, Services, names, logs, exec, admission, authorization, drain.
    SelfTest,
}

/// Runs one command.
pub(crate) fn run(arguments: Args) -> Result<()> {
    let cluster = Cluster::open(&arguments.name)?;
    match arguments.task {
        Task::Up { nodes, metrics_server } => cluster.up(nodes, metrics_server),
        Task::Down => cluster.down(),
        Task::Status => {
            status::print(&cluster);
            Ok(())
        }
        Task::Load { file } => cluster.load_image(&file),
        Task::Kubectl { arguments } => replace_process(&mut cluster.kubectl(arguments)?),
        Task::Helm { arguments } => replace_process(&mut cluster.helm(arguments)?),
        Task::Exec { command } => {
            let (program, arguments) = command.split_first().context("no program given")?;
            replace_process(cluster.netns_command(program)?.args(arguments))
        }
        Task::KillNode => cluster.kill_node(2),
        Task::Env => cluster.print_environment(),
        Task::Build { all } => cluster.build(all),
        Task::SelfTest => self_test::run(&cluster),
    }
}

/// A program that is of use without a cluster, such as Helm: its path, built first if it is not there.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    programs::ensure_one(&Layout::of("dev")?, name)
}

/// A test cluster, up or down.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    layout: Layout,
}

impl Cluster {
    /// The cluster of this name: 1 to 20 lower-case letters and digits.
    pub(crate) fn open(name: &str) -> Result<Self> {
        Ok(Self { layout: Layout::of(name)? })
    }

    /// Brings it up with so many nodes (0: the control plane only), building and installing what is missing. Returns
    /// when the nodes are Ready, names resolve and pods can be made. What runs is kept: nodes are added, not removed.
    pub(crate) fn up(&self, nodes: u8, metrics_server: bool) -> Result<()> {
        up::up(&self.layout, Need { nodes, extras: if metrics_server { &["metrics-server"] } else { &[] } })
    }

    /// Stops it and removes every trace but the cached programs. Nothing to do is fine.
    pub(crate) fn down(&self) -> Result<()> {
        let _lock = programs::lock(&self.layout, &format!("cluster-{}", self.layout.name))?;
        let was_there = teardown::wipe(&self.layout)?;
        say(format!(
            "cluster {} {}",
            self.layout.name,
            if was_there { "is down" } else { "was down already" }
        ));
        Ok(())
    }

    /// Whether its first machine runs.
    pub(crate) fn is_up(&self) -> bool {
        Machine::find(&self.layout, Node(1)).is_some()
    }

    /// A kubectl command against it.
    pub(crate) fn kubectl<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Result<Command> {
        self.client("kubectl", &[], arguments)
    }

    /// A Helm command against it.
    pub(crate) fn helm<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Result<Command> {
        self.client("helm", &["helm"], arguments)
    }

    /// A command in the network of the first node, where node, pod and Service addresses are reached; its files are
    /// those outside. Names of Services do not resolve in it, and this machine's own 127.0.0.1 is not its own.
    pub(crate) fn netns_command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = self.first()?.network_command(program);
        command.envs(self.layout.environment());
        command.env("PGPOOLER_CLUSTER_NETNS", self.netns_path()?);
        Ok(command)
    }

    /// Calls a function on a thread in the network of the first node. Sockets that it makes may be used anywhere.
    pub(crate) fn in_network<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.first()?.in_network(work)
    }

    /// Imports an image archive (OCI or docker save) on every node.
    pub(crate) fn load_image(&self, archive: &Path) -> Result<()> {
        let mut loaded = 0;
        for node in [Node(1), Node(2)] {
            if let Some(machine) =
                Machine::find(&self.layout, node).filter(|machine| machine.runs("containerd".as_ref()))
            {
                node::load(&machine, archive)?;
                loaded += 1;
            }
        }
        ensure!(loaded > 0, "cluster {} has no node that runs", self.layout.name);
        say(format!("loaded {} on {loaded} node(s)", archive.display()));
        Ok(())
    }

    /// Requests of programs in pods, a line of JSON each.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.layout.audit_log()
    }

    /// The administrator's kubeconfig; its address is reached from the cluster's network only.
    pub(crate) fn kubeconfig_path(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The network namespace of the first node, as a path to enter it by.
    pub(crate) fn netns_path(&self) -> Result<PathBuf> {
        Ok(self.first()?.network())
    }

    /// Makes a node vanish at once, as by a power failure: its pods end, its kubelet falls silent.
    pub(crate) fn kill_node(&self, number: u8) -> Result<()> {
        ensure!(number == 2, "node 1 carries the control plane; only node 2 can be lost");
        Machine::find(&self.layout, Node(number)).context("that node does not run")?.kill();
        Ok(())
    }

    fn first(&self) -> Result<Machine> {
        Machine::find(&self.layout, Node(1))
            .with_context(|| format!("cluster {} is down: cargo xtask cluster up", self.layout.name))
    }

    fn client<I>(&self, name: &str, extras: &'static [&'static str], arguments: I) -> Result<Command>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let programs = programs::ensure_all(&self.layout, Need { nodes: 0, extras })?;
        let mut command = self.netns_command(programs.path(name)?)?;
        command.args(arguments);
        Ok(command)
    }

    fn print_environment(&self) -> Result<()> {
        let programs = programs::ensure_all(&self.layout, Need::default())?;
        for (name, value) in self.layout.environment() {
            println!("export {name}={}", quoted(&value.display().to_string()));
        }
        println!("export PGPOOLER_CLUSTER_NETNS={}", quoted(&self.netns_path()?.display().to_string()));
        let folder = programs.path("kubectl")?.parent().context("kubectl lies in a folder")?;
        println!("export PATH={}:\"$PATH\"", quoted(&folder.display().to_string()));
        println!("# then: nsenter --net=\"$PGPOOLER_CLUSTER_NETNS\" kubectl get nodes");
        Ok(())
    }

    fn build(&self, all: bool) -> Result<()> {
        let need = Need { nodes: u8::from(all), extras: if all { families::EXTRAS } else { &[] } };
        programs::ensure_all(&self.layout, need)?;
        println!("{}", self.layout.cache.join("bin").display());
        Ok(())
    }
}

/// Becomes the other program, so that its terminal, signals and exit code are the user's own.
fn replace_process(command: &mut Command) -> Result<()> {
    Err(command.exec()).with_context(|| format!("cannot run {}", command.get_program().display()))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_path_does_not_end_the_word() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
