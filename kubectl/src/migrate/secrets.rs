//! Secrets that a manifest needs. What is in them is printed only when it was asked for.

use std::fmt;

use serde_json::Value;

use super::notes::Notes;
use super::yaml::Map;

/// A Secret with a user and a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// Name of the Secret.
    pub(super) name: String,
    /// The user; `None`: not known.
    pub(super) user: Option<String>,
    /// The password or what PostgreSQL stores of it; `None`: not known.
    pub(super) password: Option<String>,
    /// What it is for.
    pub(super) purpose: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Says how to make it, without what is in it.
    pub(super) fn say(&self, namespace: Option<&str>, notes: &mut Notes) {
        let user = self.user.as_deref().map_or_else(|| "USER".to_owned(), shell);
        notes.add(format!(
            "Secret `{}`, {}: kubectl create secret generic {}{} --from-literal=username={user} \
             --from-literal=password=...",
            self.name,
            self.purpose,
            self.name,
            option(namespace)
        ));
    }

    /// The manifest, if all that is in it is known.
    pub(super) fn manifest(&self, namespace: Option<&str>) -> Option<Map> {
        let (user, password) = (self.user.as_ref()?, self.password.as_ref()?);
        let mut map = Map::default();
        map.set("apiVersion", "v1");
        map.set("kind", "Secret");
        map.child("metadata").set("name", self.name.as_str());
        if let Some(namespace) = namespace {
            map.child("metadata").set("namespace", namespace);
        }
        map.set("type", "kubernetes.io/basic-auth");
        map.child("stringData").set("username", Value::from(user.as_str()));
        map.child("stringData").set("password", Value::from(password.as_str()));
        Some(map)
    }
}

/// The option of kubectl, with a space in front.
pub(super) fn option(namespace: Option<&str>) -> String {
    namespace.map_or_else(String::new, |namespace| format!(" -n {namespace}"))
}

/// A word for a shell.
pub(super) fn shell(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
