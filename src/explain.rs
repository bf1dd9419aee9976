//! `pgpooler-operator explain`: reads manifests, says what the sum would be.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::api::PgPooler;
use crate::cli::Explain;
use crate::plan::explain::{self, ExplainError};
use crate::plan::facts::Server;

/// Nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum Unexplained {
    /// A file.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its content.
    #[error("{path} is no YAML")]
    Yaml {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<serde_saphyr::Error>,
    },
    /// A `PgPooler` in it.
    #[error("{path} has a PgPooler that cannot be read")]
    Object {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The sum.
    #[error(transparent)]
    Sum(#[from] ExplainError),
}

/// The sum, for people.
pub fn text(options: &Explain) -> Result<String, Unexplained> {
    let mut poolers = Vec::new();
    for path in &options.files {
        let source = read(path).map_err(|source| Unexplained::Read { path: path.clone(), source })?;
        poolers.extend(parse(path, &source)?);
    }
    let server = Server {
        max_connections: options.max_connections,
        superuser_reserved: options.superuser_reserved,
        reserved: options.reserved,
        role_limit: options.role_limit,
        ..Server::default()
    };
    Ok(explain::explain(&poolers, &server, options.foreign)?)
}

fn read(path: &Path) -> io::Result<String> {
    if path == Path::new("-") { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) }
}

/// Manifests often have Secrets and the like beside it.
fn parse(path: &Path, text: &str) -> Result<Vec<PgPooler>, Unexplained> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|source| Unexplained::Yaml { path: path.to_owned(), source: Box::new(source) })?;
    let ours = documents.into_iter().filter(|document| document["kind"] == "PgPooler");
    ours.map(|document| {
        serde_json::from_value(document)
            .map_err(|source| Unexplained::Object { path: path.to_owned(), source })
    })
    .collect()
}
