//! What the programs of a language need: its toolchain, and the driver's packages in a cache of their own.

use std::{
    ffi::OsStr,
    fs,
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
    /// Modules by the go command.
    Go,
    /// Packages by Maven, compiled by javac.
    Java,
    /// Crates by cargo, in a workspace of their own.
    Rust,
}

/// A language whose packages are there.
#[derive(Debug)]
pub(super) struct Ready {
    language: Language,
    /// Where its packages and what was built from its sources are.
    cache: PathBuf,
}

/// What people may have made in a source folder when they ran something by hand.
const BY_HAND: &[&str] = &["node_modules", "venv", "target", "__pycache__"];

/// A command that ends well if something is installed, and the Debian package that brings it.
type Need = (&'static [&'static str], &'static str);

impl Language {
    /// All of them.
    pub(super) const ALL: &[Self] = &[Self::Python, Self::Node, Self::Go, Self::Java, Self::Rust];

    /// As people call it; in lower case, its folder.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Python => "Python",
            Self::Node => "Node",
            Self::Go => "Go",
            Self::Java => "Java",
            Self::Rust => "Rust",
        }
    }

    /// What [`prepare`](Self::prepare) does.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Python => "pip installs the drivers into a virtual environment",
            Self::Node => "npm installs the drivers",
            Self::Go => "go fetches and compiles the drivers",
            Self::Java => "Maven fetches the drivers, javac compiles the programs",
            Self::Rust => "cargo fetches and compiles the drivers",
        }
    }

    fn needs(self) -> &'static [Need] {
        match self {
            Self::Python => &[(&["python3", "-c", "import ensurepip, venv"], "python3-venv")],
            Self::Node => &[(&["node", "--version"], "nodejs"), (&["npm", "--version"], "npm")],
            Self::Go => &[(&["go", "version"], "golang-go")],
            Self::Java => {
                &[(&["javac", "-version"], "default-jdk-headless"), (&["mvn", "--version"], "maven")]
            }
            Self::Rust => &[],
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
            Self::Python => vec![
                program("python3", "-m venv venv"),
                program(
                    cache.join("venv/bin/python"),
                    "-m pip install --quiet --disable-pip-version-check -r requirements.txt",
                ),
            ],
            Self::Node => vec![program("npm", "ci --no-audit --no-fund --loglevel=error")],
            Self::Go => vec![program("go", "build -o programs/ ./...")],
            Self::Java => vec![
                program(
                    "mvn",
                    "--quiet --batch-mode dependency:copy-dependencies -DoutputDirectory=packages",
                ),
                program(
                    "javac",
                    "-d classes -cp packages/* PgjdbcDriver.java Harness.java PgjdbcFleet.java Fleet.java",
                ),
            ],
            Self::Rust => vec![program("cargo", "build --quiet --locked --bins --target-dir target")],
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
    /// Which one it is.
    pub(super) fn language(&self) -> Language {
        self.language
    }

    /// How one of its programs is run.
    pub(super) fn command(&self, name: &str) -> Command {
        let mut command = match self.language {
            Language::Python => program(self.cache.join("venv/bin/python"), &format!("{name}.py")),
            Language::Node => program("node", &format!("{name}.mjs")),
            Language::Go => program(self.cache.join("programs").join(name), ""),
            Language::Java => program("java", &format!("-cp classes:packages/* {name}")),
            Language::Rust => program(self.cache.join("target/debug").join(name), ""),
        };
        command.current_dir(&self.cache);
        command
    }
}

/// A program with its arguments, which spaces divide.
fn program(name: impl AsRef<OsStr>, arguments: &str) -> Command {
    let mut command = Command::new(name);
    command.args(arguments.split_whitespace());
    command
}

fn succeeds(check: &[&str]) -> bool {
    let Some((name, arguments)) = check.split_first() else { return false };
    let mut command = Command::new(name);
    let status =
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// All files below a folder, as paths relative to it.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = PathBuf::from(entry.file_name());
        if !entry.file_type()?.is_dir() {
            files.push(name);
        } else if !BY_HAND.iter().any(|made| name == Path::new(made)) {
            files.extend(self::files(&entry.path())?.into_iter().map(|below| name.join(below)));
        }
    }
    files.sort();
    Ok(files)
}

/// All files below a folder as one text, which changes when any of them does.
fn contents(folder: &Path) -> Result<String> {
    let mut text = String::new();
    for file in files(folder)? {
        let path = folder.join(&file);
        let content = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        text.extend([&file.to_string_lossy(), "\n", &content, "\n"]);
    }
    Ok(text)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for file in files(from)? {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().unwrap_or(to))?;
        fs::copy(from.join(&file), target).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(())
}
