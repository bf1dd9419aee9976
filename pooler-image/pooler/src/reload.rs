//! Reading the document and the user list, at start and again on `RELOAD`.
//!
//! Both are read and checked before anything changes: a faulty file leaves the running settings as they are.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgpooler_config::{Document, DocumentError, Secret, Userlist, UserlistError};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::settings;
use crate::tls::{Tls, TlsError};

/// Bytes below which a secret can be guessed.
const PEER_SECRET_LENGTH: usize = 16;

/// Where the settings come from.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
}

/// One generation of settings.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The document in force: what was read, but for settings that wait for a restart.
    pub document: Arc<Document>,
    /// Its users.
    pub userlist: Arc<Userlist>,
    /// Its certificates, keys and authorities.
    pub tls: Arc<Tls>,
    /// [`Document::hash`] of the document as it was read: what whoever wrote it compares with.
    pub hash: String,
}

/// What a reload changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadOutcome {
    /// Hash of the document that was read.
    pub hash: String,
    /// Settings that differ from before and are in force now; one that names a file also when only its content differs.
    pub changed: Vec<String>,
    /// Settings that differ from the running ones and wait for a restart.
    pub needs_restart: Vec<String>,
}

/// Why no settings could be had. The message is for whoever wrote the files: it says where, never a secret.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The document could not be read.
    #[error("{path}: cannot read the configuration: {fault}", path = path.display())]
    ReadDocument {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: io::Error,
    },
    /// The document is faulty.
    #[error("{}", Placed { path, fault })]
    Document {
        /// The file.
        path: PathBuf,
        /// Where and what.
        fault: DocumentError,
    },
    /// The user list could not be read.
    #[error("{path}: cannot read auth_file: {fault}", path = path.display())]
    ReadUserlist {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: io::Error,
    },
    /// The user list is faulty.
    #[error("{path}:{line}: {fault}", path = path.display(), line = fault.line, fault = fault.fault)]
    Userlist {
        /// The file.
        path: PathBuf,
        /// Where and what.
        fault: UserlistError,
    },
    /// A certificate, a key or an authority is missing or faulty.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The secret of the peers could not be read.
    #[error("{path}: cannot read peer_secret_file: {fault}", path = path.display())]
    ReadPeerSecret {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: io::Error,
    },
    /// The secret of the peers can be guessed.
    #[error("{path}: peer_secret_file must hold at least {PEER_SECRET_LENGTH} bytes", path = path.display())]
    ShortPeerSecret {
        /// The file.
        path: PathBuf,
    },
    /// Nothing can be read again: the settings came from no file, or the process leaves.
    #[error("cannot reload: {0}")]
    Unavailable(&'static str),
}

impl Source {
    /// Settings in the document at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Reads and checks all files; blocks on the file system.
    pub fn load(&self) -> Result<Loaded, ReloadError> {
        let document = self.load_document()?;
        let userlist = self.load_userlist(&document)?;
        let tls = Arc::new(Tls::load(&document, self.folder())?);
        self.peer_secret(&document)?;
        let hash = document.hash();
        Ok(Loaded { document: Arc::new(document), userlist: Arc::new(userlist), tls, hash })
    }

    /// The secret that the peers share; blocks on the file system.
    pub fn peer_secret(&self, document: &Document) -> Result<Option<Secret>, ReloadError> {
        if document.peer_secret_file.as_os_str().is_empty() {
            return Ok(None);
        }
        let path = self.folder().join(&document.peer_secret_file);
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(fault) => return Err(ReloadError::ReadPeerSecret { path, fault }),
        };
        let secret = text.trim();
        if secret.len() < PEER_SECRET_LENGTH {
            return Err(ReloadError::ShortPeerSecret { path });
        }
        Ok(Some(Secret::new(secret)))
    }

    /// Reads all files again and takes from them what a running process can; blocks on the file system.
    pub fn reload(&self, running: &Loaded) -> Result<(Loaded, ReloadOutcome), ReloadError> {
        self.load().map(|read| running.succeed(read))
    }

    /// Certificates, keys and authorities, if the content of their files has changed; blocks on the file system.
    pub fn renew(&self, running: &Loaded) -> Result<Option<Tls>, TlsError> {
        running.tls.renew(&running.document, self.folder())
    }

    /// Where relative paths begin.
    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    fn load_document(&self) -> Result<Document, ReloadError> {
        let path = || self.path.clone();
        let text = fs::read_to_string(&self.path)
            .map_err(|fault| ReloadError::ReadDocument { path: path(), fault })?;
        Document::parse(&text).map_err(|fault| ReloadError::Document { path: path(), fault })
    }

    fn load_userlist(&self, document: &Document) -> Result<Userlist, ReloadError> {
        let path = self.folder().join(&document.auth_file);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(fault) => return Err(ReloadError::ReadUserlist { path, fault }),
        };
        Userlist::parse(&text).map_err(|fault| ReloadError::Userlist { path, fault })
    }
}

impl Loaded {
    /// What is in force after `read` was read: all of it but the settings that only a restart can change.
    pub fn succeed(&self, read: Self) -> (Self, ReloadOutcome) {
        let (mut changed, mut needs_restart) = (Vec::new(), Vec::new());
        for key in settings::differing(&self.document, &read.document) {
            if settings::is_restart_only(&key) { needs_restart.push(key) } else { changed.push(key) }
        }
        if self.userlist != read.userlist && !changed.iter().any(|key| key == "auth_file") {
            changed.push("auth_file".to_owned());
        }
        for key in self.tls.differing(&read.tls) {
            if !changed.iter().any(|known| known == key) {
                changed.push(key.to_owned());
            }
        }
        let document = Arc::new(settings::keep_restart_only(&self.document, &read.document));
        let outcome = ReloadOutcome { hash: read.hash.clone(), changed, needs_restart };
        (Self { document, ..read }, outcome)
    }
}

/// `file:line:column: what`, the form that editors and people know.
struct Placed<'a> {
    path: &'a Path,
    fault: &'a DocumentError,
}

impl fmt::Display for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.fault {
            DocumentError::Syntax { line, column, message } => {
                write!(f, "{path}:{line}:{column}: {}", message.trim_end())
            }
            DocumentError::Invalid(fault) => write!(f, "{path}: {fault}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "\"app\" \"secret\"\n";

    fn source(document: &str) -> (tempfile::TempDir, Source) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("userlist.txt"), USERS).unwrap();
        fs::write(folder.path().join("pgpooler.toml"), document).unwrap();
        let source = Source::new(folder.path().join("pgpooler.toml"));
        (folder, source)
    }

    #[test]
    fn an_unknown_key_is_told_with_file_line_and_column() {
        let (_folder, source) = source("listen_port = 6432\n  max_clients = 3\n");
        let message = source.load().unwrap_err().to_string();
        assert!(message.contains("pgpooler.toml:2:3: unknown field `max_clients`"), "{message}");
    }

    #[test]
    fn a_user_list_is_looked_for_beside_the_document() {
        let (_folder, source) = source("");
        assert!(source.load().unwrap().userlist.lookup("app").is_some());
    }

    #[test]
    fn a_missing_user_list_is_told_by_its_path() {
        let (folder, source) = source("auth_file = 'nobody.txt'");
        let message = source.load().unwrap_err().to_string();
        let path = folder.path().join("nobody.txt");
        assert!(message.starts_with(&format!("{}: cannot read auth_file:", path.display())), "{message}");
    }

    #[test]
    fn a_faulty_user_list_is_told_by_its_line_without_its_secret() {
        let (folder, source) = source("");
        fs::write(folder.path().join("userlist.txt"), "\"app\" \"hunter2").unwrap();
        let message = source.load().unwrap_err().to_string();
        assert!(message.contains("userlist.txt:1: "), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn a_secret_of_the_peers_that_is_missing_or_short_is_told_by_its_path() {
        let (folder, source) = source("peer_id = 1\npeer_secret_file = 'peers'");
        let path = folder.path().join("peers");
        let message = source.load().unwrap_err().to_string();
        assert!(
            message.starts_with(&format!("{}: cannot read peer_secret_file:", path.display())),
            "{message}"
        );
        fs::write(&path, "hunter2\n").unwrap();
        let message = source.load().unwrap_err().to_string();
        assert!(
            message.ends_with("must hold at least 16 bytes") && !message.contains("hunter2"),
            "{message}"
        );
        fs::write(&path, "sixteen bytes or more\n").unwrap();
        let document = source.load().unwrap().document;
        assert_eq!(source.peer_secret(&document).unwrap().unwrap().expose(), "sixteen bytes or more");
    }

    #[test]
    fn a_reload_takes_what_can_change_and_names_what_needs_a_restart() {
        let (folder, source) = source("max_client_conn = 10\nlisten_port = 6432\n");
        let running = source.load().unwrap();
        fs::write(folder.path().join("pgpooler.toml"), "max_client_conn = 11\nlisten_port = 6433\n").unwrap();
        let (loaded, outcome) = source.reload(&running).unwrap();
        assert_eq!((loaded.document.max_client_conn, loaded.document.listen_port), (11, 6432));
        assert_eq!(outcome.changed, ["max_client_conn"]);
        assert_eq!(outcome.needs_restart, ["listen_port"]);
        assert_ne!(outcome.hash, running.hash);
        assert_eq!(outcome.hash, loaded.hash);
    }

    #[test]
    fn a_setting_that_waits_for_a_restart_is_named_by_every_reload() {
        let (folder, source) = source("workers = 1");
        let running = source.load().unwrap();
        fs::write(folder.path().join("pgpooler.toml"), "workers = 2").unwrap();
        let (next, _) = source.reload(&running).unwrap();
        assert_eq!(source.reload(&next).unwrap().1.needs_restart, ["workers"]);
    }

    #[test]
    fn a_changed_password_is_a_change_of_auth_file() {
        let (folder, source) = source("");
        let running = source.load().unwrap();
        fs::write(folder.path().join("userlist.txt"), "\"app\" \"other\"\n").unwrap();
        assert_eq!(source.reload(&running).unwrap().1.changed, ["auth_file"]);
    }

    #[test]
    fn reading_the_same_files_again_changes_nothing() {
        let (_folder, source) = source("");
        let running = source.load().unwrap();
        let outcome = source.reload(&running).unwrap().1;
        assert_eq!(outcome, ReloadOutcome { hash: running.hash, ..ReloadOutcome::default() });
    }
}
