//! What pods should run: the document in the `ConfigMap` with the files in the internal Secret, just as a pod that starts
//! reads them. So a pod that has started with both has the same hash and is told nothing.

use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use pgpooler_config::{Bundle, Document};

use crate::names;

use super::facts::Facts;
use super::pooler::AUTH_DIR;
use super::render;

/// What pods should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// What a pod that runs it says.
    pub hash: String,
    /// Clients are to wait.
    pub paused: bool,
    /// All of it.
    pub bundle: Bundle,
}

impl Configuration {
    /// As the two children have it; `None` if the document cannot be read, as after a change by hand.
    pub fn of(config: &ConfigMap, auth: &Secret) -> Option<Self> {
        let text = config.data.as_ref()?.get(names::DOCUMENT_KEY)?;
        let document = Document::parse(text).ok()?;
        let mut bundle = Bundle::new(text.as_str());
        for (_, path) in document.files() {
            // what is elsewhere is in the image, and what is missing is for the pod to tell
            if let Some(content) = content(auth, path) {
                bundle.insert(path, content);
            }
        }
        Some(Self { hash: bundle.hash(&document), paused: document.paused, bundle })
    }
}

fn content<'a>(auth: &'a Secret, path: &Path) -> Option<&'a [u8]> {
    let key = path.strip_prefix(AUTH_DIR).ok()?.to_str()?;
    Some(&auth.data.as_ref()?.get(key)?.0)
}

/// The document that pods run, with `paused` as it should be; `None` if it is so already.
pub fn with_pause(config: &ConfigMap, paused: bool) -> Option<Document> {
    let document = Document::parse(config.data.as_ref()?.get(names::DOCUMENT_KEY)?).ok()?;
    (document.paused != paused).then_some(Document { paused, ..document })
}

/// A hash of what only another process can have: settings that need a restart, the secret that the peers share, and what
/// operator and pods know each other by, since without that nobody can tell a pod anything. Of the authorities the last
/// counts: a new one comes before the one that it succeeds, and is pushed.
pub fn restart_hash(document: &Document, facts: &Facts) -> String {
    let Facts { peer_secret, admin_password, internal_tls, .. } = facts;
    let ca = internal_tls.ca.trim_end();
    let last = ca.rfind("-----BEGIN").and_then(|start| ca.get(start..)).unwrap_or(ca).to_owned();
    let text = [document.restart_only(), peer_secret.0.clone(), admin_password.0.clone(), last];
    render::meta::hash_bytes(text.join("\n").as_bytes())
}
