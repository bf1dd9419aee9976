//! The internal Secret: users and passwords, certificates, and what the pods share. It is all that pods have in files
//! besides their document.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use pgpooler_config::{UserSecret, Userlist};

use crate::names;
use crate::plan::Seen;
use crate::plan::facts::Hidden;
use crate::plan::pooler::Pooler;

use super::meta::meta;

/// The Secret.
pub fn render(pooler: &Pooler, seen: Seen<'_>) -> Secret {
    let bytes = |text: Hidden| ByteString(text.0.into_bytes());
    Secret {
        metadata: meta(pooler, names::auth(&pooler.name)),
        type_: Some("Opaque".to_owned()),
        data: Some(files(seen).into_iter().map(|(key, text)| (key.to_owned(), bytes(text))).collect()),
        ..Secret::default()
    }
}

/// What is in it, by key.
pub fn files(seen: Seen<'_>) -> BTreeMap<&'static str, Hidden> {
    let facts = seen.facts;
    let mut files = seen.materials.files.clone();
    files.extend([
        (names::USERLIST_KEY, userlist(seen)),
        (names::ADMIN_PASSWORD_KEY, facts.admin_password.clone()),
        (names::PEER_SECRET_KEY, facts.peer_secret.clone()),
        (names::INTERNAL_CA_KEY, Hidden(facts.internal_tls.ca.clone())),
        (names::INTERNAL_CERT_KEY, Hidden(facts.internal_tls.certificate.clone())),
        (names::INTERNAL_KEY_KEY, facts.internal_tls.key.clone()),
    ]);
    files
}

/// Roles and their passwords. Whoever is called like the admin user keeps their own password: clients must be able to
/// log in. The login role of the target counts before all others.
fn userlist(seen: Seen<'_>) -> Hidden {
    let mut list = Userlist::default();
    list.insert(names::ADMIN_USER, UserSecret::of(seen.facts.admin_password.0.as_str()));
    for role in seen.materials.lookup.iter().chain(&seen.materials.users) {
        list.insert(role.user.as_str(), UserSecret::of(role.password.0.as_str()));
    }
    list.insert(seen.target.user.as_str(), UserSecret::of(seen.target.password.0.as_str()));
    Hidden(list.render().expose().to_owned())
}
