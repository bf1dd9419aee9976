//! Where programs are, and how they are run: in a Debian root or as they are.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use pgpooler_test_support::{Account, Leash};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The user of the root's PostgreSQL package, which may run the other programs too.
const USER: &str = "postgres";

/// A program.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    runs: Runs,
}

#[derive(Debug, Clone)]
enum Runs {
    /// As the harness's own user.
    Plainly,
    /// Not as root.
    As(Account),
    /// In this root, as the user with these ids.
    Inside(PathBuf, u32, u32),
}

/// A folder that one process reads and writes.
#[derive(Debug)]
pub(crate) struct Folder {
    folder: TempDir,
    root: Option<PathBuf>,
}

/// A running program, ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    leash: Option<Leash>,
    signal: Signal,
}

impl Program {
    /// Run as the harness's own user.
    pub(crate) fn plain(path: &Path) -> Self {
        Self { path: path.to_owned(), runs: Runs::Plainly }
    }

    /// Run as a user that is not root.
    pub(crate) fn unprivileged(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned(), runs: Runs::As(Account::unprivileged()?) })
    }

    /// Run in a Debian root, by its path there.
    pub(crate) fn inside(root: &Path, path: &str) -> Result<Self> {
        let found = root.join(path.trim_start_matches('/'));
        ensure!(found.symlink_metadata().is_ok(), "there is no {}", found.display());
        let passwd = fs::read_to_string(root.join("etc/passwd")).context("the root's users")?;
        let (uid, gid) = ids(&passwd).with_context(|| format!("{} has no user {USER}", root.display()))?;
        Ok(Self { path: path.into(), runs: Runs::Inside(root.to_owned(), uid, gid) })
    }

    /// The program of another name in the same folder.
    pub(crate) fn sibling(&self, name: &str) -> Self {
        Self { path: self.path.with_file_name(name), runs: self.runs.clone() }
    }

    /// A command that runs it.
    pub(crate) fn command(&self) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = match &self.runs {
            Runs::Plainly => Command::new(&self.path),
            Runs::As(account) => account.command(&self.path),
            Runs::Inside(root, uid, gid) => {
                let mut command = Command::new("chroot");
                command.arg(format!("--userspec={uid}:{gid}")).arg(root).arg(&self.path);
                command
            }
        };
        command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null()).process_group(0);
        command
    }

    /// A new folder that it may read and write.
    pub(crate) fn folder(&self) -> Result<Folder> {
        let root = if let Runs::Inside(root, ..) = &self.runs { Some(root.clone()) } else { None };
        let parent = root.as_ref().map_or_else(std::env::temp_dir, |root| root.join("tmp"));
        let folder = tempfile::Builder::new().prefix("pgpooler-bench-").tempdir_in(parent)?;
        self.own(folder.path())?;
        Ok(Folder { folder, root })
    }

    /// Writes a file that it may read.
    pub(crate) fn write(&self, folder: &Folder, name: &str, text: &str) -> Result<PathBuf> {
        let path = folder.host(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        self.own(&path)?;
        Ok(folder.inside(name))
    }

    /// Starts it; what it says goes to `log` in the folder.
    pub(crate) fn start(&self, folder: &Folder, arguments: &[&OsStr], signal: Signal) -> Result<Running> {
        let log = File::create(folder.host("log"))?;
        let child = self
            .command()
            .args(arguments)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.path.display()))?;
        let name = if signal == Signal::QUIT { "QUIT" } else { "KILL" };
        let leash = Leash::new(child.id(), name, Some(folder.folder.path()))?;
        Ok(Running { child, leash: Some(leash), signal })
    }

    /// The first line of what it says to an option such as `--version`.
    pub(crate) fn says(&self, option: &str) -> Result<String> {
        let output = self.command().arg(option).output().with_context(|| self.path.display().to_string())?;
        let text = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
    }

    fn own(&self, path: &Path) -> Result<()> {
        match &self.runs {
            Runs::Plainly => Ok(()),
            Runs::As(account) => account.own(path),
            Runs::Inside(_, uid, gid) => chown(path, Some(*uid), Some(*gid)).context("chown"),
        }
    }
}

impl Folder {
    /// The path of a file as the harness sees it.
    pub(crate) fn host(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The path of a file as the program sees it.
    pub(crate) fn inside(&self, name: &str) -> PathBuf {
        let path = self.host(name);
        let Some(root) = &self.root else { return path };
        path.strip_prefix(root).map_or_else(|_| path.clone(), |path| Path::new("/").join(path))
    }

    /// The end of what the program has said.
    pub(crate) fn log(&self) -> String {
        let text = fs::read_to_string(self.host("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(10).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Running {
    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        // a process that cannot die is left to the machine
        const END: Duration = Duration::from_secs(20);
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // one that has ended already has failed its cell elsewhere
            let _ = kill_process(pid, self.signal);
        }
        let asked = Instant::now();
        while self.runs() && asked.elapsed() < END {
            if asked.elapsed() > PATIENCE {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(leash) = self.leash.take() {
            leash.release();
        }
    }
}

fn ids(passwd: &str) -> Option<(u32, u32)> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(USER))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
