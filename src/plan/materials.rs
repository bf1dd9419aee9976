//! What the objects that a spec names hold: users and their passwords, certificates, authorities.
//!
//! Everything is looked at before anything is rendered: what is missing or faulty leaves the pods with what they have.

use std::collections::{BTreeMap, BTreeSet};

use pgpooler_core::certificate::Certificate;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::api::{CaKind, CaRef, PgPooler, Reason};
use crate::names;

use super::backends::Roles;
use super::checks::Blocked;
use super::facts::{Hidden, SecretFact};
use super::target::{Target, Tls};

/// Kind and name of an object.
pub type Reference = (CaKind, String);

/// What the objects that a spec names hold.
pub type References = BTreeMap<Reference, SecretFact>;

/// A role and its password.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The role.
    pub user: String,
    /// Its password.
    pub password: Hidden,
}

/// A certificate of somebody's, and until when it is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// Where it is from, for people.
    pub whose: String,
    /// Its last second, since 1970.
    pub not_after: i64,
}

/// What the objects hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Materials {
    /// Further roles.
    pub users: Vec<Credentials>,
    /// Who looks up roles, if it is not the login role.
    pub lookup: Option<Credentials>,
    /// Who asks for the operator, if it is not the login role.
    pub monitor: Option<Credentials>,
    /// Files for the pods, PEM, by key in the internal Secret.
    pub files: BTreeMap<&'static str, Hidden>,
    /// The authority of the certificate that clients are shown, where its Secret has it; PEM.
    pub authority: Option<Hidden>,
    /// All certificates among them.
    pub expiries: Vec<Expiry>,
}

/// Every object that a `PgPooler` reads: those of its target first.
pub fn references(object: &PgPooler) -> BTreeSet<Reference> {
    let spec = &object.spec;
    let secret = |name: &str| (CaKind::Secret, name.to_owned());
    let ca = |ca: &CaRef| (ca.kind, ca.name.clone());
    let mut all: BTreeSet<_> = [(CaKind::Secret, spec.target.secret_name())].into();
    all.extend(spec.target.monitor_secret_ref.iter().map(|one| secret(&one.name)));
    all.extend(spec.target.ca().iter().map(ca));
    all.extend(spec.target.tls.certificate_ref.iter().map(|one| secret(&one.name)));
    all.extend(spec.auth.users.iter().map(|one| secret(&one.name)));
    let lookup = spec.auth.query.as_ref().and_then(|query| query.secret_ref.as_ref());
    all.extend(lookup.map(|one| secret(&one.name)));
    all.extend(client_secret(object).map(|name| (CaKind::Secret, name)));
    let tls = spec.clients.tls.as_ref();
    all.extend(tls.and_then(|tls| tls.client_ca_ref.as_ref()).map(ca));
    all
}

/// Secret with the certificate that clients are shown, where they are shown one.
pub fn client_secret(object: &PgPooler) -> Option<String> {
    let tls = object.spec.clients.tls.as_ref()?;
    let own = || names::client_tls(object.metadata.name.as_deref().unwrap_or_default());
    let ordered = || tls.issuer_ref.as_ref().map(|_| own());
    tls.secret_ref.as_ref().map(|secret| secret.name.clone()).or_else(ordered)
}

/// Reads all of it.
pub fn materials(object: &PgPooler, references: &References) -> Result<Materials, Blocked> {
    let spec = &object.spec;
    let mut found = Materials::default();
    for user in &spec.auth.users {
        found.users.push(credentials(references, &user.name, "spec.auth.users")?);
    }
    if let Some(secret) = spec.auth.query.as_ref().and_then(|query| query.secret_ref.as_ref()) {
        found.lookup = Some(credentials(references, &secret.name, "spec.auth.query.secretRef")?);
    }
    found.monitor = monitor(object, references)?;
    found.server(object, references)?;
    if let Some(name) = client_secret(object) {
        let keys = (names::CLIENT_CERT_KEY, names::CLIENT_KEY_KEY);
        found.certificate(references, keys, &name, "spec.clients.tls")?;
        found.authority = data(references, CaKind::Secret, &name, "spec.clients.tls")
            .ok()
            .and_then(|data| text(data, "ca.crt"))
            .map(Hidden);
    }
    if let Some(ca) = spec.clients.tls.as_ref().and_then(|tls| tls.client_ca_ref.as_ref()) {
        found.authority(references, names::CLIENT_CA_KEY, ca, "spec.clients.tls.clientCARef")?;
    }
    Ok(found)
}

/// TLS with the target, as far as it was read.
pub fn server_tls(object: &PgPooler, references: &References) -> Result<Tls, Blocked> {
    let mut found = Materials::default();
    found.server(object, references)?;
    let mut take = |key| found.files.remove(key);
    let (ca, certificate, key) =
        (take(names::SERVER_CA_KEY), take(names::SERVER_CERT_KEY), take(names::SERVER_KEY_KEY));
    Ok(Tls { mode: object.spec.target.tls.mode, ca, identity: certificate.zip(key) })
}

/// Who asks for the operator, if it is not the login role.
pub fn monitor(object: &PgPooler, references: &References) -> Result<Option<Credentials>, Blocked> {
    let secret = object.spec.target.monitor_secret_ref.as_ref();
    secret.map(|secret| credentials(references, &secret.name, "spec.target.monitorSecretRef")).transpose()
}

impl Materials {
    /// All roles that pods log in as.
    pub fn roles(&self, object: &PgPooler, target: &Target) -> Roles {
        if object.spec.auth.query.is_some() {
            return Roles::Any;
        }
        let users = self.users.iter().map(|role| role.user.clone());
        Roles::these(users.chain([target.user.clone()]))
    }

    fn server(&mut self, object: &PgPooler, references: &References) -> Result<(), Blocked> {
        let target = &object.spec.target;
        match target.ca() {
            Some(ca) => self.authority(references, names::SERVER_CA_KEY, &ca, "spec.target.tls.caRef")?,
            None if target.tls.mode.verifies() => {
                let message = "spec.target.tls: to verify the server takes caRef".to_owned();
                return Err(Blocked { reason: Reason::SpecInvalid, message });
            }
            None => {}
        }
        let Some(secret) = &target.tls.certificate_ref else { return Ok(()) };
        let keys = (names::SERVER_CERT_KEY, names::SERVER_KEY_KEY);
        self.certificate(references, keys, &secret.name, "spec.target.tls.certificateRef")
    }

    fn authority(
        &mut self,
        references: &References,
        key: &'static str,
        from: &CaRef,
        field: &str,
    ) -> Result<(), Blocked> {
        let kind = kind(from.kind);
        let data = data(references, from.kind, &from.name, field)?;
        let text = text(data, &from.key).ok_or_else(|| {
            invalid(format!("{kind} `{}` ({field}) has no key `{}` with a PEM text", from.name, from.key))
        })?;
        let whose = format!("{kind} `{}` ({field})", from.name);
        let certificates = chain(&text).map_err(|why| faulty(format!("{whose}: {}: {why}", from.key)))?;
        // what has come to its end does not make the others worse: the latest counts
        let last = certificates.iter().map(|(_, not_after)| *not_after).max();
        self.expiries.extend(last.map(|not_after| Expiry { whose, not_after }));
        self.files.insert(key, Hidden(text));
        Ok(())
    }

    fn certificate(
        &mut self,
        references: &References,
        (certificate_key, key_key): (&'static str, &'static str),
        name: &str,
        field: &str,
    ) -> Result<(), Blocked> {
        let data = data(references, CaKind::Secret, name, field)?;
        let whose = format!("Secret `{name}` ({field})");
        let part = |key| {
            text(data, key).ok_or_else(|| invalid(format!("{whose} has no key `{key}` with a PEM text")))
        };
        let (certificate, key) = (part("tls.crt")?, part("tls.key")?);
        let chain = chain(&certificate).map_err(|why| faulty(format!("{whose}: tls.crt: {why}")))?;
        belong_together(&chain, &key).map_err(|why| faulty(format!("{whose}: {why}")))?;
        let first = chain.iter().map(|(_, not_after)| *not_after).min();
        self.expiries.extend(first.map(|not_after| Expiry { whose, not_after }));
        self.files.insert(certificate_key, Hidden(certificate));
        self.files.insert(key_key, Hidden(key));
        Ok(())
    }
}

/// A role and its password, as Secrets of type `kubernetes.io/basic-auth` and those of other operators have them.
fn credentials(references: &References, name: &str, field: &str) -> Result<Credentials, Blocked> {
    let data = data(references, CaKind::Secret, name, field)?;
    let part = |keys: [&str; 2]| keys.iter().find_map(|key| text(data, key));
    let missing = |key| invalid(format!("Secret `{name}` ({field}) has no key `{key}` with plain text"));
    let user = part(["username", "user"]).ok_or_else(|| missing("username"))?;
    let password = part(["password", "password"]).ok_or_else(|| missing("password"))?;
    // in a user list each has its line
    if user.contains(char::is_control) || password.contains(char::is_control) {
        return Err(invalid(format!(
            "Secret `{name}` ({field}): user name and password must be of one line"
        )));
    }
    Ok(Credentials { user, password: Hidden(password) })
}

fn data<'a>(
    references: &'a References,
    of: CaKind,
    name: &str,
    field: &str,
) -> Result<&'a BTreeMap<String, Vec<u8>>, Blocked> {
    match references.get(&(of, name.to_owned())) {
        Some(SecretFact::Found(data)) => Ok(data),
        _ => Err(Blocked {
            reason: Reason::SecretMissing,
            message: format!(
                "{} `{name}`, which {field} needs, does not exist in this namespace; create it or change {field}",
                kind(of)
            ),
        }),
    }
}

/// Without the line end that `echo` leaves behind a password; PEM has no use for it either.
fn text(data: &BTreeMap<String, Vec<u8>>, key: &str) -> Option<String> {
    let text = std::str::from_utf8(data.get(key)?).ok()?.trim_end_matches(['\r', '\n']);
    (!text.is_empty()).then(|| text.to_owned())
}

/// The certificates of a PEM text, with their ends.
fn chain(pem: &str) -> Result<Vec<(CertificateDer<'static>, i64)>, String> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let der = certificate.map_err(|error| format!("not PEM: {error}"))?;
        let not_after = Certificate::parse(&der).map_err(|error| error.to_string())?.not_after;
        chain.push((der, not_after));
    }
    if chain.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(chain) }
}

fn belong_together(chain: &[(CertificateDer<'static>, i64)], key: &str) -> Result<(), String> {
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        // the parser's words could have a part of the key
        .map_err(|_| "tls.key: there is no private key in it".to_owned())?;
    let provider = rustls::crypto::ring::default_provider();
    let chain = chain.iter().map(|(der, _)| der.clone()).collect();
    CertifiedKey::from_der(chain, key, &provider)
        .map(|_| ())
        .map_err(|error| format!("tls.key and tls.crt do not go together: {error}"))
}

fn kind(of: CaKind) -> &'static str {
    match of {
        CaKind::Secret => "Secret",
        CaKind::ConfigMap => "ConfigMap",
    }
}

fn invalid(message: String) -> Blocked {
    Blocked { reason: Reason::SecretInvalid, message }
}

fn faulty(message: String) -> Blocked {
    Blocked { reason: Reason::CertificateInvalid, message }
}
