//! The document with its files: read at start and again on `RELOAD`, or pushed by `CONFIGURE`.
//!
//! ```text
//! files --read--> Bundle --check--> Loaded --succeed--> what is in force
//! CONFIGURE ----> Bundle --/
//! ```
//!
//! All of it is checked before anything changes: what is faulty leaves the running settings as they are.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgpooler_config::{Bundle, Document, DocumentError, Secret, Userlist, UserlistError};
use thiserror::Error;

use crate::settings;
use crate::tls::{Tls, TlsError};

/// Bytes below which a secret can be guessed.
const PEER_SECRET_LENGTH: usize = 16;

/// Where the settings come from.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
}

/// Whether settings stand in files or were pushed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// They were read from files, and are there to be read again.
    #[default]
    Files,
    /// They came by `CONFIGURE`, and stand before the files until those are read.
    Pushed,
}

impl Origin {
    /// As the console shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Pushed => "pushed",
        }
    }
}

/// One generation of settings.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The document in force: what was read, but for settings that wait for a restart.
    pub document: Arc<Document>,
    /// Its users.
    pub userlist: Arc<Userlist>,
    /// Its certificates, keys and authorities.
    pub tls: Arc<Tls>,
    /// [`Bundle::hash`] of what was read: what whoever wrote it compares with.
    pub hash: String,
    /// What all of this was made from.
    pub bundle: Arc<Bundle>,
    /// Where that came from.
    pub origin: Origin,
    /// Settings in it that wait for a restart.
    pub needs_restart: Vec<String>,
    /// The secret that the peers share, as it was at the start of the process.
    pub peer_secret: Option<Arc<Secret>>,
}

/// What a reload changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadOutcome {
    /// Hash of what was read.
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
    /// Another operator has spoken since.
    #[error(transparent)]
    Outdated(#[from] pgpooler_core::budget::Refused),
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
        let text = fs::read_to_string(&self.path)
            .map_err(|fault| ReloadError::ReadDocument { path: self.path.clone(), fault })?;
        let document = self.document(&text)?;
        let mut bundle = Bundle::new(text);
        for (setting, path) in document.files() {
            bundle.insert(path, self.read(setting, path)?);
        }
        self.check(document, bundle, Origin::Files)
    }

    /// Checks what was pushed: it must have every file that its document names.
    pub fn accept(&self, bundle: Bundle) -> Result<Loaded, ReloadError> {
        self.check(self.document(bundle.document())?, bundle, Origin::Pushed)
    }

    /// Reads all files again and takes from them what a running process can; blocks on the file system.
    pub fn reload(&self, running: &Loaded) -> Result<(Loaded, ReloadOutcome), ReloadError> {
        self.load().map(|read| running.succeed(read))
    }

    /// The same settings with other certificates, keys and authorities, if the content of their files has changed. What
    /// was pushed is in no file. Blocks on the file system.
    pub fn renew(&self, running: &Loaded) -> Result<Option<Loaded>, ReloadError> {
        if running.origin == Origin::Pushed {
            return Ok(None);
        }
        let mut bundle = Bundle::clone(&running.bundle);
        for (setting, path) in running.document.files().into_iter().filter(|(setting, _)| is_tls(setting)) {
            bundle.insert(path, self.read(setting, path)?);
        }
        let content = |path: &Path| content(&bundle, path);
        let Some(tls) = running.tls.renew(&running.document, self.folder(), &content)? else {
            return Ok(None);
        };
        let hash = bundle.hash(&self.document(bundle.document())?);
        Ok(Some(Loaded { tls: Arc::new(tls), hash, bundle: Arc::new(bundle), ..running.clone() }))
    }

    /// Where relative paths begin.
    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    fn read(&self, setting: &'static str, path: &Path) -> Result<Vec<u8>, ReloadError> {
        let path = self.folder().join(path);
        fs::read(&path).map_err(|fault| unreadable(setting, path, fault))
    }

    fn document(&self, text: &str) -> Result<Document, ReloadError> {
        Document::parse(text).map_err(|fault| ReloadError::Document { path: self.path.clone(), fault })
    }

    fn check(&self, document: Document, bundle: Bundle, origin: Origin) -> Result<Loaded, ReloadError> {
        let userlist = self.userlist(&document, &bundle)?;
        let tls = Tls::load(&document, self.folder(), &|path| content(&bundle, path))?;
        let peer_secret = self.peer_secret(&document, &bundle)?;
        Ok(Loaded {
            hash: bundle.hash(&document),
            document: Arc::new(document),
            userlist: Arc::new(userlist),
            tls: Arc::new(tls),
            bundle: Arc::new(bundle),
            origin,
            needs_restart: Vec::new(),
            peer_secret: peer_secret.map(Arc::new),
        })
    }

    fn text(&self, setting: &'static str, named: &Path, bundle: &Bundle) -> Result<Secret, ReloadError> {
        let text = content(bundle, named)
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into()));
        text.map(Secret::new).map_err(|fault| unreadable(setting, self.folder().join(named), fault))
    }

    fn userlist(&self, document: &Document, bundle: &Bundle) -> Result<Userlist, ReloadError> {
        let text = self.text("auth_file", &document.auth_file, bundle)?;
        Userlist::parse(text.expose()).map_err(|fault| {
            let path = self.folder().join(&document.auth_file);
            ReloadError::Userlist { path, fault }
        })
    }

    fn peer_secret(&self, document: &Document, bundle: &Bundle) -> Result<Option<Secret>, ReloadError> {
        let path = &document.peer_secret_file;
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let text = self.text("peer_secret_file", path, bundle)?;
        let secret = text.expose().trim();
        if secret.len() < PEER_SECRET_LENGTH {
            return Err(ReloadError::ShortPeerSecret { path: self.folder().join(path) });
        }
        Ok(Some(Secret::new(secret)))
    }
}

fn content(bundle: &Bundle, path: &Path) -> io::Result<Vec<u8>> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "it is not in the bundle");
    bundle.file(path).map(<[u8]>::to_vec).ok_or_else(missing)
}

fn is_tls(setting: &str) -> bool {
    setting.contains("_tls_")
}

fn unreadable(setting: &'static str, path: PathBuf, fault: io::Error) -> ReloadError {
    match setting {
        "auth_file" => ReloadError::ReadUserlist { path, fault },
        "peer_secret_file" => ReloadError::ReadPeerSecret { path, fault },
        what => TlsError::Read { path, what, fault }.into(),
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
        // the keys of clients have been made with it
        let secret = "peer_secret_file".to_owned();
        if self.peer_secret != read.peer_secret && !needs_restart.contains(&secret) {
            needs_restart.push(secret);
        }
        let document = Arc::new(settings::keep_restart_only(&self.document, &read.document));
        let outcome =
            ReloadOutcome { hash: read.hash.clone(), changed, needs_restart: needs_restart.clone() };
        (Self { document, needs_restart, peer_secret: self.peer_secret.clone(), ..read }, outcome)
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
        let loaded = source.load().unwrap();
        assert_eq!(loaded.peer_secret.as_ref().unwrap().expose(), "sixteen bytes or more");
        fs::write(&path, "another of sixteen\n").unwrap();
        let (next, outcome) = source.reload(&loaded).unwrap();
        assert_eq!(outcome.needs_restart, ["peer_secret_file"]);
        assert_ne!(outcome.hash, loaded.hash);
        assert_eq!(
            source.reload(&next).unwrap().0.needs_restart,
            ["peer_secret_file"],
            "until it is started anew"
        );
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

    fn bundle(document: &str, users: &str) -> Bundle {
        let mut bundle = Bundle::new(document);
        bundle.insert(Path::new("userlist.txt"), users);
        bundle
    }

    #[test]
    fn what_is_pushed_is_what_the_same_files_are() {
        let (_folder, source) = source("max_client_conn = 10\n");
        let read = source.load().unwrap();
        let pushed = source.accept(bundle("max_client_conn = 10\n", USERS)).unwrap();
        assert_eq!(read.hash, pushed.hash);
        assert_eq!((read.origin, pushed.origin), (Origin::Files, Origin::Pushed));
        let (next, outcome) = read.succeed(pushed);
        assert_eq!(outcome, ReloadOutcome { hash: read.hash.clone(), ..ReloadOutcome::default() });
        assert_eq!(source.reload(&next).unwrap().0.origin, Origin::Files);
    }

    #[test]
    fn a_faulty_bundle_is_told_as_faulty_files_are() {
        let (_folder, source) = source("");
        let told = |bundle| source.accept(bundle).unwrap_err().to_string();
        assert!(told(bundle("max_clients = 3", USERS)).contains(":1:1: unknown field `max_clients`"));
        let faulty = told(bundle("", "\"app\" \"hunter2"));
        assert!(faulty.contains("userlist.txt:1: ") && !faulty.contains("hunter2"), "{faulty}");
        assert!(told(Bundle::new("")).ends_with("cannot read auth_file: it is not in the bundle"));
        let tls =
            "internal_tls_ca_file = 'ca'\ninternal_tls_cert_file = 'crt'\ninternal_tls_key_file = 'key'\n";
        assert!(told(bundle(tls, USERS)).contains("cannot read internal_tls_cert_file: it is not"));
        let mut with_tls = bundle(tls, USERS);
        for path in ["ca", "crt", "key"] {
            with_tls.insert(Path::new(path), "hunter2");
        }
        let faulty = told(with_tls);
        assert!(faulty.contains("crt: internal_tls_cert_file: ") && !faulty.contains("hunter2"), "{faulty}");
    }
}
