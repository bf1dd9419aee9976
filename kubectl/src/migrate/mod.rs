//! The way to a `PgPooler` from what was there before: text in, text out. What has no counterpart, or means something
//! else, is said in comments; passwords are printed only if that was asked for.

mod auth;
mod cloudnative;
mod config;
mod draft;
mod ini;
mod notes;
mod pgbouncer;
mod secrets;
mod settings;
mod sum;
mod tls;
mod userlist;
mod words;
mod yaml;

use std::io;
use std::path::{Path, PathBuf};

pub use cloudnative::PoolerError;
pub use ini::IniError;
pub use userlist::UserlistError;

use config::Config;

/// Nothing can be made of it.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The configuration file.
    #[error(transparent)]
    Ini(#[from] IniError),
    /// The list of users that was asked for.
    #[error("cannot read {path}")]
    Userlist {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in it.
    #[error(transparent)]
    User(#[from] UserlistError),
    /// There is no database in it.
    #[error("{0} has no [databases], so there is no server to make a PgPooler for")]
    NoDatabase(PathBuf),
    /// The manifest.
    #[error(transparent)]
    Pooler(#[from] PoolerError),
    /// The name that was asked for.
    #[error("`{0}` is no name for a PgPooler: at most 52 small letters, digits and dashes, a letter first")]
    BadName(String),
}

/// What is asked of [`pgbouncer()`].
#[derive(Debug, Clone, Default)]
pub struct PgBouncer {
    /// `pgbouncer.ini`
    pub file: PathBuf,
    /// `auth_file`, if not the one that the file names.
    pub userlist: Option<PathBuf>,
    /// Name of the `PgPooler`.
    pub name: Option<String>,
    /// Namespace of everything.
    pub namespace: Option<String>,
    /// Print the Secrets too, with the passwords in them.
    pub with_secrets: bool,
}

/// `PgPoolers` for the servers of a `pgbouncer.ini`. `reader` reads files.
pub fn pgbouncer(
    options: &PgBouncer,
    reader: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<String, MigrateError> {
    if let Some(name) = options.name.as_ref().filter(|name| words::object_name(name).as_ref() != Some(name)) {
        return Err(MigrateError::BadName(name.clone()));
    }
    let mut config = Config::new(ini::read(&options.file, reader)?);
    if config.databases.is_empty() {
        return Err(MigrateError::NoDatabase(options.file.clone()));
    }
    read_users(&mut config, options, reader)?;
    let mut text = String::new();
    for draft in pgbouncer::drafts(&config, options.name.as_deref(), options.namespace.as_deref()) {
        draft.write(&mut text, options.with_secrets);
    }
    Ok(text)
}

/// A list that was asked for must be there; one that only the configuration names may be on another machine.
fn read_users(
    config: &mut Config,
    options: &PgBouncer,
    reader: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<(), MigrateError> {
    let named = config.settings.take("auth_file").map(PathBuf::from);
    let Some(path) = options.userlist.clone().or_else(|| named.clone()) else { return Ok(()) };
    let beside = options.file.parent().zip(path.file_name()).map(|(folder, name)| folder.join(name));
    let text = match reader(&path) {
        Err(source) if options.userlist.is_some() => return Err(MigrateError::Userlist { path, source }),
        Err(_) => beside.and_then(|path| reader(&path).ok()),
        Ok(text) => Some(text),
    };
    match text {
        Some(text) => config.userlist = Some(userlist::parse(&path.display().to_string(), &text)?),
        None => config.notes.add(format!(
            "auth_file {} was not found here: give it with --userlist, so that there is a Secret for each user.",
            path.display()
        )),
    }
    Ok(())
}

/// `PgPoolers` for the Poolers of CloudNativePG in a manifest. `path` is for messages.
pub fn cloudnative_pg(path: &Path, text: &str) -> Result<String, MigrateError> {
    let mut out = String::new();
    for draft in cloudnative::drafts(path, text)? {
        draft.write(&mut out, false);
    }
    Ok(out)
}
