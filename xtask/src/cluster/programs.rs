//! The programs, built once per version and kept in the user's cache.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::families::{self, Need, Program, needed};
use super::layout::{self, Layout};
use super::progress::say;
use super::shell;

/// Go 1.27 and later build an API server of 1.36 whose /openapi answers 503.
const GO: &str = "go1.26";
/// Fetched by Go itself where the installed one is another.
const GO_TOOLCHAIN: &str = "go1.26.8";

/// Paths of programs by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Programs(BTreeMap<&'static str, PathBuf>);

impl Programs {
    /// The path of a program that was part of the need.
    pub(crate) fn path(&self, name: &str) -> Result<&Path> {
        self.0.get(name).map(PathBuf::as_path).with_context(|| format!("{name} was not asked for"))
    }
}

/// Gives every program needed: from `KUBE_BIN` where it is there, else from the cache, else built now.
pub(crate) fn ensure_all(layout: &Layout, need: Need) -> Result<Programs> {
    ensure_these(layout, &needed(need))
}

/// The same for a single program, which needs no cluster.
pub(crate) fn ensure_one(layout: &Layout, name: &str) -> Result<PathBuf> {
    let program = families::find(name).with_context(|| format!("there is no program {name}"))?;
    ensure_these(layout, &[program])?.path(name).map(Path::to_path_buf)
}

fn ensure_these(layout: &Layout, programs: &[&'static Program]) -> Result<Programs> {
    let ready_made =
        env::var_os("KUBE_BIN").map(|folder| fs::canonicalize(folder).context("KUBE_BIN")).transpose()?;
    let mut found = Programs::default();
    let mut missing = Vec::new();
    for program in programs.iter().copied() {
        let given = ready_made.as_ref().map(|folder| folder.join(program.name)).filter(|path| path.is_file());
        let path = match given {
            Some(path) => path,
            None => cached(layout, program)?,
        };
        if !path.is_file() {
            missing.push(program);
        }
        found.0.insert(program.name, path);
    }
    build_all(layout, &missing)?;
    Ok(found)
}

fn cached(layout: &Layout, program: &Program) -> Result<PathBuf> {
    let family = format!("{}-{}", program.family.name, program.family.version()?);
    Ok(layout.cache.join("bin").join(family).join(program.name))
}

fn build_all(layout: &Layout, missing: &[&Program]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let _lock = lock(layout, "build")?;
    let toolchain = toolchain()?;
    let mut left: u32 = missing.iter().map(|program| program.seconds).sum();
    say(format!(
        "{} programs to build, once; about {} on two quiet cores, downloads included",
        missing.len(),
        time(left)
    ));
    for (index, program) in missing.iter().enumerate() {
        let path = cached(layout, program)?;
        // another command may have built it while this one waited for the lock
        if !path.is_file() {
            say(format!(
                "building {} ({} of {}, about {} left in all)",
                program.name,
                index + 1,
                missing.len(),
                time(left)
            ));
            let began = Instant::now();
            build(program, &path, &toolchain)?;
            say(format!("built {} in {}", program.name, time(began.elapsed().as_secs() as u32)));
        }
        left -= program.seconds;
    }
    Ok(())
}

/// Builds beside the final path and renames, so that a killed build leaves no broken program behind.
fn build(program: &Program, path: &Path, toolchain: &str) -> Result<()> {
    let folder = path.parent().context("a program lies in a folder")?;
    fs::create_dir_all(folder)?;
    // its own name for each try: the Go of a command that was killed may still be writing the last one
    let partial = tempfile::Builder::new().prefix(&format!(".{}.", program.name)).tempdir_in(folder)?;
    let output = partial.path().join(program.name);
    let mut log = tempfile::tempfile()?;
    let child = Command::new("nice")
        .args(["-n", "10", "go", "build", "-trimpath", "-buildvcs=false", "-ldflags"])
        .arg(program.family.linker_flags(&program.family.version()?))
        .arg("-o")
        .arg(&output)
        .arg(program.package)
        .current_dir(layout::sources().join(program.family.name))
        .envs([
            ("CGO_ENABLED", "0"),
            ("GOTOOLCHAIN", toolchain),
            ("GOFLAGS", "-mod=readonly"),
            ("GOWORK", "off"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.try_clone()?)
        .spawn()
        .context("cannot run go")?;
    let status = watch(child, program)?;
    if !status.success() {
        bail!("building {} failed:\n{}", program.name, tail(&mut log)?);
    }
    fs::rename(&output, path).with_context(|| format!("cannot write {}", path.display()))
}

/// Waits for a build and says every half minute that it goes on.
fn watch(mut child: std::process::Child, program: &Program) -> Result<std::process::ExitStatus> {
    let began = Instant::now();
    let mut said = 0;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(200));
        let seconds = began.elapsed().as_secs() as u32;
        if seconds / 30 > said {
            said = seconds / 30;
            say(format!(
                "  still building {}: {} of about {}",
                program.name,
                time(seconds),
                time(program.seconds)
            ));
        }
    }
}

fn tail(log: &mut File) -> Result<String> {
    use std::io::{Read, Seek};
    let mut text = String::new();
    log.rewind()?;
    log.read_to_string(&mut text)?;
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("go: downloading")).collect();
    Ok(lines[lines.len().saturating_sub(30)..].join("\n"))
}

/// The value of GOTOOLCHAIN that gives a Go known to build all of them right.
fn toolchain() -> Result<String> {
    let version = shell::output(Command::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local"))
        .with_context(|| {
            format!("Go is needed to build the programs (1.21 or newer; {GO_TOOLCHAIN} is what is used)")
        })?;
    let version = version.trim();
    if version == GO || version.starts_with(&format!("{GO}.")) {
        return Ok("local".to_owned());
    }
    let minor: u32 = version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0);
    ensure!(minor >= 21, "{version} cannot fetch another Go by itself: install {GO_TOOLCHAIN}");
    say(format!("{version} is installed; {GO_TOOLCHAIN} is fetched for these builds"));
    Ok(GO_TOOLCHAIN.to_owned())
}

/// One command at a time; the lock ends with the file that is returned, also when the process is killed.
pub(crate) fn lock(layout: &Layout, what: &str) -> Result<File> {
    use rustix::fs::{FlockOperation, flock};
    fs::create_dir_all(&layout.cache)?;
    let path = layout.cache.join(format!("{what}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        say(format!("waiting for another command that holds {}", path.display()));
        flock(&file, FlockOperation::LockExclusive)?;
    }
    Ok(file)
}

fn time(seconds: u32) -> String {
    if seconds < 100 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) }
}
