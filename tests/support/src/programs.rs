//! Where PostgreSQL's server programs are, and the account that may run them.

use std::{
    cmp::Reverse,
    env, fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// The folder with `initdb` and `postgres` of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The folder.
    pub folder: PathBuf,
    /// The major version.
    pub version: u32,
}

impl Programs {
    /// The programs of `version`, or the newest found: in `PG_BIN`, Debian's folders, `PATH`.
    pub fn find(version: Option<u32>) -> Result<Self> {
        let mut found: Vec<Self> = candidates().iter().filter_map(|folder| Self::at(folder)).collect();
        if let Some(version) = version {
            found.retain(|programs| programs.version == version);
        } else if env::var_os("PG_BIN").is_none() {
            found.sort_by_key(|programs| Reverse(programs.version));
        }
        let wanted = version.map_or_else(|| "15".to_owned(), |version| version.to_string());
        found.into_iter().next().with_context(|| {
            format!(
                "PostgreSQL's server programs were not found in PG_BIN, /usr/lib/postgresql/*/bin or PATH: \
                 apt-get install postgresql-{wanted}, or set PG_BIN to the folder of initdb and postgres"
            )
        })
    }

    /// The path of one program.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn at(folder: &Path) -> Option<Self> {
        // a link in PATH leads to the folder that has the other programs too
        let folder = fs::canonicalize(folder.join("initdb")).ok()?.parent()?.to_owned();
        let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let version = parse_version(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { folder, version })
    }
}

/// Who runs the server: PostgreSQL refuses to run as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    ids: Option<(u32, u32)>,
}

impl Account {
    /// The current user, or for root the first of `postgres` and `nobody` that exists.
    pub fn unprivileged() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { ids: None });
        }
        let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        for name in ["postgres", "nobody"] {
            if let Some(ids) = passwd.lines().find_map(|line| ids_of(line, name)) {
                return Ok(Self { ids: Some(ids) });
            }
        }
        bail!("PostgreSQL does not run as root, and /etc/passwd has neither postgres nor nobody")
    }

    /// A command that runs as this account, in a process group of its own.
    pub fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.ids {
            command.uid(uid).gid(gid);
        }
        command.process_group(0);
        command
    }

    /// Gives a file or folder to this account.
    pub fn own(self, path: &Path) -> Result<()> {
        match self.ids {
            Some((uid, gid)) => {
                chown(path, Some(uid), Some(gid)).with_context(|| format!("cannot chown {}", path.display()))
            }
            None => Ok(()),
        }
    }

    /// Names the account in cache folders.
    pub(crate) fn label(self) -> u32 {
        self.ids.map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid)
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("PG_BIN").map(PathBuf::from).into_iter().collect();
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|entry| entry.path().join("bin")));
    }
    folders.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
    folders
}

fn parse_version(text: &str) -> Option<u32> {
    text.split_whitespace().find_map(|word| {
        let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    })
}

fn ids_of(line: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = line.split(':');
    if fields.next()? != name {
        return None;
    }
    let uid = fields.nth(1)?.parse().ok()?;
    Some((uid, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_first_number_of_the_banner() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"), Some(15));
        assert_eq!(parse_version("postgres (PostgreSQL) 19devel"), Some(19));
        assert_eq!(parse_version(""), None);
    }

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        assert_eq!(
            ids_of("postgres:x:101:103:admin:/var/lib/postgresql:/bin/bash", "postgres"),
            Some((101, 103))
        );
        assert_eq!(ids_of("postgres2:x:101:103::/:/bin/sh", "postgres"), None);
    }
}
