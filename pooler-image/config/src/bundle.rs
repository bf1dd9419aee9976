//! A document together with the files that it names, as it travels in one command.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Document;

/// Bytes of HMAC-SHA-256 that [`Bundle::hash`] shows.
const HASH_BYTES: usize = 16;

/// The longest part of a path that is quoted back.
const QUOTED: usize = 100;

/// All that a pooler needs to serve: the document's text, and the content of every file that it names, by the path that
/// the document has for it. Whether it can be used is for the pooler to say. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    document: String,
    files: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

/// Not the text of a bundle. The message says where, and nothing of what is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not JSON, or JSON of something else.
    #[error("not a bundle: line {line}, column {column}")]
    Form {
        /// Counted from one.
        line: usize,
        /// Counted from one.
        column: usize,
    },
    /// The content of a file is not in base64.
    #[error("not a bundle: {0:?} is not in base64")]
    Content(String),
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    document: String,
    files: BTreeMap<String, String>,
}

impl Bundle {
    /// A document without files.
    pub fn new(document: impl Into<String>) -> Self {
        Self { document: document.into(), files: BTreeMap::new() }
    }

    /// Puts a file in, under the path that the document has for it.
    pub fn insert(&mut self, path: &Path, content: impl Into<Vec<u8>>) {
        self.files.insert(path.to_string_lossy().into_owned(), Zeroizing::new(content.into()));
    }

    /// The document's text.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// The content of a file, by the path that the document has for it.
    pub fn file(&self, path: &Path) -> Option<&[u8]> {
        self.files.get(&*path.to_string_lossy()).map(|content| content.as_slice())
    }

    /// Reads what [`to_text`](Self::to_text) has written.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        // serde's own message may quote a secret
        let Text { document, files } = serde_json::from_str(text)
            .map_err(|error| BundleError::Form { line: error.line(), column: error.column() })?;
        let files = files.into_iter().map(|(path, content)| {
            let content = Zeroizing::new(content);
            match STANDARD.decode(content.as_bytes()) {
                Ok(content) => Ok((path, Zeroizing::new(content))),
                Err(_) => Err(BundleError::Content(path.chars().take(QUOTED).collect())),
            }
        });
        Ok(Self { document, files: files.collect::<Result<_, _>>()? })
    }

    /// One line of JSON, with the files in base64.
    #[expect(clippy::missing_panics_doc, reason = "it does not")]
    pub fn to_text(&self) -> Zeroizing<String> {
        let files = self.files.iter().map(|(path, content)| (path.clone(), STANDARD.encode(content)));
        let text = Text { document: self.document.clone(), files: files.collect() };
        #[expect(clippy::expect_used, reason = "strings, and a map with strings as keys, have a JSON form")]
        Zeroizing::new(serde_json::to_string(&text).expect("a bundle has a JSON form"))
    }

    /// A digest of the document's text and of every file that `document`, which is that text parsed, names: the same for
    /// whoever has the same configuration, wherever it comes from.
    ///
    /// It is keyed with the secret that the peers share, so that nobody who sees it can try passwords on it. Without such
    /// a secret it covers the document alone.
    pub fn hash(&self, document: &Document) -> String {
        let secret = self.file(&document.peer_secret_file).unwrap_or_default();
        let mut mac = keyed(secret);
        let mut part = |bytes: &[u8]| {
            mac.update(&(bytes.len() as u64).to_be_bytes());
            mac.update(bytes);
        };
        part(self.document.as_bytes());
        if !secret.is_empty() {
            let named: BTreeMap<_, _> =
                document.files().into_iter().map(|(_, path)| (path, self.file(path))).collect();
            for (path, content) in named {
                part(path.to_string_lossy().as_bytes());
                part(content.unwrap_or_default());
            }
        }
        let digest = mac.finalize().into_bytes();
        digest.iter().take(HASH_BYTES).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("a key of any length")
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("files", &self.files.keys()).finish_non_exhaustive()
    }
}
