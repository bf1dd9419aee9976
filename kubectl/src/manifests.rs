//! Files that the command line names.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Stands for standard input.
const STDIN: &str = "-";

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{path} is no YAML")]
    Yaml {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<serde_saphyr::Error>,
    },
    /// There is no `PgPooler` in any of them.
    #[error("there is no PgPooler in what was given")]
    NoPgPooler,
    /// One without a name.
    #[error("a PgPooler in {0} has no name")]
    NoName(PathBuf),
}

/// A file, or standard input.
pub fn read(path: &Path) -> io::Result<String> {
    if path == Path::new(STDIN) { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(path) }
}

/// The `PgPoolers` of these files, as they are written; other objects are passed over.
pub fn poolers(paths: &[PathBuf]) -> Result<Vec<Value>, ManifestError> {
    let mut poolers = Vec::new();
    for path in paths {
        let text = read(path).map_err(|source| ManifestError::Read { path: path.clone(), source })?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
            .map_err(|source| ManifestError::Yaml { path: path.clone(), source: Box::new(source) })?;
        let ours = documents.into_iter().filter(|document| document["kind"] == "PgPooler");
        for pooler in ours {
            if pooler.pointer("/metadata/name").and_then(Value::as_str).is_none() {
                return Err(ManifestError::NoName(path.clone()));
            }
            poolers.push(pooler);
        }
    }
    if poolers.is_empty() { Err(ManifestError::NoPgPooler) } else { Ok(poolers) }
}
