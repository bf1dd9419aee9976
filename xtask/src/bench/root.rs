//! A Debian root with PostgreSQL, PgBouncer and Odyssey: a distribution's own builds, newer than most have.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::is_there;
use crate::{cluster, command, postgres, ui};

/// Where PgBouncer and Odyssey are of this year.
const SUITE: &str = "sid";
const PACKAGES: &str = "postgresql-18,pgbouncer,odyssey";
/// Sure to be there when the root is whole.
const WITNESSES: [&str; 3] = ["usr/sbin/pgbouncer", "usr/bin/odyssey", "usr/lib/postgresql/18/bin/postgres"];
const BY_PATH: &str = "or give programs of your own: --postgres FOLDER --pgbouncer PATH --odyssey PATH";

/// The root in the user's cache, made if it is not there.
pub(super) fn obtain() -> Result<PathBuf> {
    let cache = cluster::cache_root();
    let root = cache.join("bench-root");
    if WITNESSES.iter().all(|file| root.join(file).exists()) {
        return Ok(root);
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "only root can make and enter a Debian root: use sudo, {BY_PATH}"
    );
    have("mmdebstrap", "mmdebstrap").context(BY_PATH)?;
    ui::heading(&format!("making a Debian root with {PACKAGES} (half a minute, 370 MB)"));
    fs::create_dir_all(&cache)?;
    // the name says that it is whole
    let scratch = cache.join(format!("bench-root.{}", std::process::id()));
    let made = command::output(
        Command::new("mmdebstrap")
            .args(["--variant=apt", "--aptopt=Acquire::Check-Valid-Until \"false\""])
            .arg(format!("--include={PACKAGES}"))
            .arg(SUITE)
            .arg(&scratch),
    );
    if let Err(error) = made {
        // what is left of it is of no use
        let _ = fs::remove_dir_all(&scratch);
        return Err(error.context(BY_PATH));
    }
    if root.exists() {
        fs::remove_dir_all(&root).context("an older root")?;
    }
    fs::rename(&scratch, &root).context("the root's place")?;
    Ok(root)
}

/// What the harness runs besides the peers.
pub(super) fn tools() -> Result<()> {
    have("strace", "strace")
}

fn have(program: &str, package: &str) -> Result<()> {
    if is_there(program) {
        return Ok(());
    }
    ensure!(
        postgres::may_install(),
        "{program} is missing: install it (in Debian: apt-get install {package})"
    );
    ui::say(&format!("installing {package} with apt-get"));
    postgres::install(&[package])
}
