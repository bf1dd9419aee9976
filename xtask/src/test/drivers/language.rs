//! What the programs of a language need: its toolchain, and the driver's packages in a cache of their own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{command, postgres, ui, workspace};

/// A language, with a folder of its own under `tests/drivers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// Packages by pip, in a virtual environment.
    Python,
    /// Packages by npm.
    Node,
}

/// A language whose packages are there.
#[derive(Debug)]
pub(super) struct Ready {
    language: Language,
    /// Where its packages and what was built from its sources are.
    cache: PathBuf,
}

/// A command that ends well if something is installed, and the Debian package that brings it.
type Need = (&'static [&'static str], &'static str);

impl Language {
    /// All of them.
    pub(super) const ALL: &[Self] = &[Self::Python, Self::Node];

    /// As people call it; in lower case, its folder.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Python => "Python",
            Self::Node => "Node",
        }
    }

    /// What [`prepare`](Self::prepare) does.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Python => "pip installs the drivers into a virtual environment",
            Self::Node => "npm installs the drivers",
        }
    }

    fn needs(self) -> &'static [Need] {
        match self {
            Self::Python => &[(&["python3", "-c", "import ensurepip, venv"], "python3-venv")],
            Self::Node => &[(&["node", "--version"], "nodejs"), (&["npm", "--version"], "npm")],
        }
    }

    /// Installs a toolchain that is missing where that is possible, else says what to install.
    pub(super) fn ensure_installed(self) -> Result<()> {
        let missing: Vec<_> =
            self.needs().iter().filter(|(check, _)| !succeeds(check)).map(|(_, package)| *package).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if !postgres::may_install() {
            bail!("missing, as Debian calls it: {}", missing.join(" "));
        }
        ui::say(&format!("{}: installing {} with apt-get", self.name(), missing.join(" ")));
        postgres::install(&missing).with_context(|| format!("apt-get install {}", missing.join(" ")))
    }

    /// Fetches and builds what its programs need, unless the cache has it from the same files.
    pub(super) fn prepare(self, cache: &Path) -> Result<Ready> {
        let cache = cache.join(self.folder());
        let (sources, stamp) = (self.sources(), cache.join("stamp"));
        let wanted = contents(&sources)?;
        if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted) {
            return Ok(Ready { language: self, cache });
        }
        fs::create_dir_all(&cache)?;
        copy(&sources, &cache)?;
        for mut step in self.steps(&cache) {
            command::output(step.current_dir(&cache))?;
        }
        fs::write(stamp, wanted)?;
        Ok(Ready { language: self, cache })
    }

    fn steps(self, cache: &Path) -> Vec<Command> {
        match self {
            Self::Python => {
                let mut pip = Command::new(cache.join("venv/bin/python"));
                pip.args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "-r",
                    "requirements.txt",
                ]);
                vec![program("python3", &["-m", "venv", "venv"]), pip]
            }
            Self::Node => vec![program("npm", &["ci", "--no-audit", "--no-fund", "--loglevel=error"])],
        }
    }

    fn folder(self) -> String {
        self.name().to_lowercase()
    }

    fn sources(self) -> PathBuf {
        workspace::root().join("tests/drivers").join(self.folder())
    }
}

impl Ready {
    /// How one of its programs is run.
    pub(super) fn command(&self, name: &str) -> Command {
        let mut command = match self.language {
            Language::Python => program(self.cache.join("venv/bin/python"), &[&format!("{name}.py")]),
            Language::Node => program("node", &[&format!("{name}.mjs")]),
        };
        command.current_dir(&self.cache);
        command
    }
}

fn program(name: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments);
    command
}

fn succeeds(check: &[&str]) -> bool {
    let Some((name, arguments)) = check.split_first() else { return false };
    let mut command = Command::new(name);
    let status =
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

/// All files of a folder as one text, which changes when any of them does.
fn contents(folder: &Path) -> Result<String> {
    let mut text = env::consts::ARCH.to_owned();
    for path in files(folder)? {
        text.push_str(&format!("\n{}\n", path.display()));
        text.push_str(&fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(text)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for path in files(from)? {
        let name = path.file_name().context("a file has a name")?;
        fs::copy(&path, to.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
    }
    Ok(())
}
