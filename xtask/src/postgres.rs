//! A PostgreSQL image from the distribution's own packages: the server, `psql` and `pgbench`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use pgpooler_test_support::Programs;

use crate::{
    cluster::oci::{self, Archive, File},
    command,
    image::Image,
    ui,
};

/// The server's user in the image.
const POSTGRES: u32 = 70;
const PACKAGE: &str = "postgresql";
const PROGRAMS: [&str; 5] = ["initdb", "postgres", "psql", "pg_isready", "pgbench"];
/// Compiled queries need LLVM, which is five times as large as all the rest.
const LEFT_OUT: &str = "llvmjit";

/// PostgreSQL's programs, installed by apt-get where root may and nothing is there.
pub(crate) fn programs() -> Result<Programs> {
    match Programs::find(None) {
        Err(_) if may_install() => {
            ui::say("installing postgresql with apt-get (its own server is not started)");
            install(&[PACKAGE])?;
            Programs::find(None)
        }
        found => found,
    }
}

/// Writes the image of the installed PostgreSQL into `folder`, unless it is there already.
pub(crate) fn image(folder: &Path) -> Result<Image> {
    let programs = programs()?;
    let banner = command::output(Command::new(programs.path("postgres")).arg("--version"))?;
    let tag = banner.split_whitespace().nth(2).context("postgres --version says no version")?.to_owned();
    let archive = folder.join(format!("postgres-{tag}.oci.tar"));
    let image = Image { archive, name: "localhost/pgpooler-postgres".to_owned(), tag };
    if !image.archive.exists() {
        write(&programs, &image)?;
    }
    Ok(image)
}

fn write(programs: &Programs, image: &Image) -> Result<()> {
    let archive = Archive {
        reference: format!("{}:{}", image.name, image.tag),
        cmd: vec!["/bin/sh".to_owned()],
        user: format!("{POSTGRES}:{POSTGRES}"),
        env: vec![format!("PATH={}:/bin", programs.folder.display()), "LC_ALL=C".to_owned()],
        files: files(programs)?,
        ..Archive::default()
    };
    archive.write(&image.archive).map(drop)
}

fn files(programs: &Programs) -> Result<Vec<File>> {
    let passwd =
        format!("root:x:0:0:root:/:/bin/sh\npostgres:x:{POSTGRES}:{POSTGRES}:postgres:/tmp:/bin/sh\n");
    let mut files = vec![
        File::bytes("/etc/passwd", passwd, 0o644),
        File::bytes("/etc/group", format!("root:x:0:\npostgres:x:{POSTGRES}:\n"), 0o644),
        File::bytes("/etc/nsswitch.conf", "hosts: files dns\n", 0o644),
        File::folder("/tmp", 0o1777, (0, 0)),
    ];
    for zone in ["/usr/share/zoneinfo/UTC", "/usr/share/zoneinfo/GMT"] {
        files.extend(File::copy(zone, zone).ok());
    }
    files.extend(tree(&asked(programs, "--sharedir"), |_| true)?);
    let modules = tree(&asked(programs, "--pkglibdir"), |path| {
        let path = path.to_string_lossy();
        !path.contains(LEFT_OUT) && !path.contains("/bitcode")
    })?;
    let is_linked = |path: &PathBuf| path.extension().is_some_and(|end| end == "so");
    let mut linked: Vec<PathBuf> =
        modules.iter().map(|file| file.path.clone().into()).filter(is_linked).collect();
    files.extend(modules);
    linked.extend(PROGRAMS.iter().map(|name| programs.path(name)));
    // initdb runs the server through a shell, and the pod's start script is one
    linked.push("/bin/sh".into());
    for program in &linked {
        files.push(File::copy(program, program.to_string_lossy())?);
        files.extend(oci::libraries(program)?);
    }
    Ok(files)
}

/// A folder that PostgreSQL was configured with.
fn asked(programs: &Programs, option: &str) -> PathBuf {
    // pg_config belongs to the development package, and the server's folders follow from its own
    match command::output(Command::new(programs.path("pg_config")).arg(option)) {
        Ok(path) => path.trim().into(),
        Err(_) if option == "--sharedir" => format!("/usr/share/postgresql/{}", programs.version).into(),
        Err(_) => programs.folder.join("../lib"),
    }
}

/// Every file below `folder`, links followed, at its own path.
fn tree(folder: &Path, wanted: impl Fn(&Path) -> bool + Copy) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        // a link into a package that is not installed, such as a manual's, is no file
        let Ok(found) = fs::metadata(&path) else { continue };
        if !wanted(&path) || path.ends_with("man") {
            continue;
        }
        if found.is_dir() {
            files.extend(tree(&path, wanted)?);
        } else {
            files.push(File::copy(&path, path.to_string_lossy())?);
        }
    }
    Ok(files)
}

/// Whether apt-get is there and this is root.
pub(crate) fn may_install() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    rustix::process::geteuid().is_root()
        && env::split_paths(&path).any(|folder| folder.join("apt-get").is_file())
}

/// Installs Debian packages without starting what is in them.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        // RUNLEVEL=1 keeps the package from starting a server on the machine
        command::output(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1"))
    };
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())?;
    Ok(())
}
