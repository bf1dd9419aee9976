//! A `PgPooler` in the making, and its text: the remarks first, then the object, then its Secrets.

use super::notes::Notes;
use super::secrets::Credentials;
use super::yaml::{self, Map};

/// One `PgPooler`.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// What it is made from.
    pub(super) title: String,
    /// `metadata`
    pub(super) metadata: Map,
    /// `spec`
    pub(super) spec: Map,
    /// What people must know.
    pub(super) notes: Notes,
    /// Secrets with users.
    pub(super) secrets: Vec<Credentials>,
    /// Of all of them.
    pub(super) namespace: Option<String>,
}

impl Draft {
    /// The text. With `secrets` it has their manifests, passwords and all; otherwise it says how to make them.
    pub(super) fn write(mut self, text: &mut String, secrets: bool) {
        let namespace = self.namespace.as_deref();
        let mut manifests = Vec::new();
        for secret in &self.secrets {
            match secret.manifest(namespace).filter(|_| secrets) {
                Some(manifest) => manifests.push(manifest),
                None => secret.say(namespace, &mut self.notes),
            }
        }
        for manifest in manifests {
            text.push_str("---\n");
            manifest.write(text, 0);
        }
        text.push_str("---\n");
        yaml::comment(text, &self.title);
        self.notes.write(text);
        let mut object = Map::default();
        object.set("apiVersion", "pgpooler.dev/v1alpha1");
        object.set("kind", "PgPooler");
        object.set_map("metadata", self.metadata);
        object.set_map("spec", self.spec);
        object.write(text, 0);
    }
}
