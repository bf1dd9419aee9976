//! A node's machine: a first process with network, mount and process namespaces of its own.
//!
//! Everything of a node lives and dies with that first process: when it is killed, the kernel kills all others in
//! its process namespace, and with the last of them go the mounts and the network. So nothing has to be undone,
//! however the command that started it ended. Of the machine outside, only cgroups and the state folder are used.
//!
//! `ip netns exec` is not used: it mounts a fresh /sys over the cgroup hierarchies, which kubelet and runtime need.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};

use super::layout::{Layout, Node};
use super::shell::{self, wait_until};

/// Kernel settings that a kubelet insists on. They belong to the whole machine, so instead of being set they are
/// shown to it: files with these values lie over the real ones in its mount namespace, and it finds nothing to do.
const SHOWN_SETTINGS: &[(&str, &str)] = &[
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// The first process: private /run, /var/lib and /var/log, then reaping orphans for ever.
const FIRST: &str = r#"
set -e
folder=$2
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock
mount --bind "$folder/lib" /var/lib
mount --bind "$folder/log" /var/log
cd "$folder/settings"
find . -type f | while read -r name; do
    [ ! -e "/proc/sys/$name" ] || mount --bind "$name" "/proc/sys/$name"
done
cd /
mount --make-rshared /
: > "$folder/started"
while :; do sleep 3600; done
"#;

/// One part for ever; the first argument is its log. A part that keeps ending is tried less and less often.
const SUPERVISE: &str = r#"
shift
wait=1
while :; do
    began=$(date +%s)
    "$@"
    echo "pgpooler-cluster: $1 ended with status $?, starting it again in $wait s"
    sleep $wait
    if [ $(($(date +%s) - began)) -gt 30 ]; then wait=1; elif [ $wait -lt 8 ]; then wait=$((wait * 2)); fi
done
"#;

/// A running machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Which node.
    pub(crate) node: Node,
    /// The process that holds it, outside; killing it ends all.
    holder: Pid,
    /// Its first process, as seen from outside.
    first: Pid,
}

/// A process inside a machine.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// As seen from outside.
    pub(crate) pid: i32,
    /// Its command line.
    pub(crate) command: Vec<String>,
    /// Resident memory, KiB.
    pub(crate) resident_kib: u64,
}

impl Machine {
    /// The machine of a node, if it runs.
    pub(crate) fn find(layout: &Layout, node: Node) -> Option<Self> {
        let marker = layout.marker(node);
        let holder = pids().find(|pid| {
            let command = command_line(*pid);
            command.first().is_some_and(|name| name == "unshare") && command.contains(&marker)
        })?;
        let first = pids().find(|pid| parent(*pid) == Some(holder))?;
        Some(Self { node, holder: Pid::from_raw(holder)?, first: Pid::from_raw(first)? })
    }

    /// Starts the machine of a node.
    pub(crate) fn start(layout: &Layout, node: Node) -> Result<Self> {
        let folder = layout.node(node);
        for name in ["lib", "log", "settings"] {
            fs::create_dir_all(folder.join(name))?;
        }
        for (name, value) in SHOWN_SETTINGS {
            let path = folder.join("settings").join(name);
            fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            fs::write(path, format!("{value}\n"))?;
        }
        let started = folder.join("started");
        // a machine of this node that was lost left it
        let _ = fs::remove_file(&started);
        let log = File::create(layout.log(node, "machine"))?;
        Command::new("setsid")
            .args([
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                FIRST,
            ])
            .arg(layout.marker(node))
            .args([OsStr::new("--"), folder.as_os_str()])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run unshare")?;
        wait_until("the node's machine starts", Duration::from_secs(10), || Ok(started.exists()))
            .with_context(|| tail(&layout.log(node, "machine")))?;
        Self::find(layout, node).ok_or_else(|| anyhow!("the node's machine ended at once"))
    }

    /// A command inside all namespaces of the machine.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.enter(&["--net", "--mount", "--pid"], program)
    }

    /// A command that has the machine's network only: files are those outside.
    pub(crate) fn network_command(&self, program: impl AsRef<OsStr>) -> Command {
        self.enter(&["--net"], program)
    }

    fn enter(&self, namespaces: &[&str], program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.first.to_string()).args(namespaces).arg("--").arg(program);
        command
    }

    /// The network namespace, as a path to enter it by; valid while the machine runs.
    pub(crate) fn network(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.first))
    }

    /// The pid of the first process, for programs that take a namespace by pid.
    pub(crate) fn first_pid(&self) -> String {
        self.first.to_string()
    }

    /// Starts a long-running part, which is started again a second after it ends, as a service manager would.
    pub(crate) fn run(&self, program: &Path, arguments: &[String], log: &Path) -> Result<()> {
        const DETACH: &str = r#"setsid sh -c "$0" supervise "$@" </dev/null >>"$1" 2>&1 &"#;
        let mut command = self.command("sh");
        command.args(["-c", DETACH, SUPERVISE]).arg(log).arg(program).args(arguments);
        shell::output(&mut command).map(drop)
    }

    /// The processes of the machine itself, not those of pods (a pod has a process namespace of its own).
    pub(crate) fn processes(&self) -> Vec<Process> {
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let Some(ours) = namespace(self.first.as_raw_nonzero().get()) else { return Vec::new() };
        let inside = pids().filter(|pid| namespace(*pid).as_ref() == Some(&ours));
        inside
            .map(|pid| Process { pid, command: command_line(pid), resident_kib: resident_kib(pid) })
            .collect()
    }

    /// The parts that were started: they run, or are about to be started again.
    pub(crate) fn programs(&self) -> BTreeSet<PathBuf> {
        self.processes()
            .iter()
            .filter_map(|process| supervised(&process.command))
            .map(PathBuf::from)
            .collect()
    }

    /// Whether a part runs.
    pub(crate) fn runs(&self, program: &Path) -> bool {
        self.programs().contains(program)
    }

    /// Whether something accepts connections at an address inside.
    pub(crate) fn accepts(&self, address: &str) -> bool {
        let attempt = || -> Result<bool> {
            let address = address.parse()?;
            Ok(TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok())
        };
        self.in_network(attempt).unwrap_or(false)
    }

    /// Calls a function on a thread that has the machine's network; sockets it makes keep that network.
    pub(crate) fn in_network<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        let namespace = File::open(self.network())?;
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                use std::os::fd::AsFd;
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                work()
            });
            worker.join().map_err(|_| anyhow!("a thread in the cluster's network panicked"))?
        })
    }

    /// Kills the machine with everything in it and waits until the kernel has done so.
    pub(crate) fn kill(&self) {
        let namespace = self.processes();
        // both: the holder's death kills the first process, but only if the holder is still the one we found
        let _ = kill_process(self.first, Signal::KILL);
        let _ = kill_process(self.holder, Signal::KILL);
        let end = Instant::now() + Duration::from_secs(20);
        while namespace.iter().any(|process| is_alive(process.pid, &process.command)) && Instant::now() < end
        {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    format!("{} ends with:\n{}", log.display(), lines[lines.len().saturating_sub(15)..].join("\n"))
}

/// The program of a command line `sh -c SUPERVISE supervise LOG PROGRAM ...`.
fn supervised(command: &[String]) -> Option<&str> {
    (command.get(3)? == "supervise").then(|| command.get(5).map(String::as_str)).flatten()
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn command_line(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).split_terminator('\0').map(str::to_owned).collect()
}

/// A pid may be taken again by another program while we wait.
fn is_alive(pid: i32, command: &[String]) -> bool {
    !command.is_empty() && command_line(pid) == command
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name, in parentheses, may hold spaces
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn resident_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
