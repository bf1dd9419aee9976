//! TLS: PgBouncer's files become Secrets, and the commands that make them are noted.

use super::notes::Notes;
use super::secrets::{option, shell};
use super::settings::Settings;
use super::yaml::Map;

/// Whose certificates they are.
pub(super) struct Names<'a> {
    /// Of the `PgPooler`.
    pub(super) pooler: &'a str,
    /// Of its namespace, if it is known.
    pub(super) namespace: Option<&'a str>,
}

/// `server_tls_*` become `spec.target.tls`.
pub(super) fn servers(settings: &mut Settings, target: &mut Map, names: &Names<'_>, notes: &mut Notes) {
    let text = settings.take("server_tls_sslmode");
    if let Some(text) = &text {
        server(text, target, notes);
    }
    let file = settings.take("server_tls_ca_file");
    match (file, text.is_some_and(|text| text.starts_with("verify-"))) {
        (Some(file), true) => {
            let name = format!("{}-server-ca", names.pooler);
            authority(&name, target.child("tls").child("caRef"));
            authority_secret(&name, &file, "the authority of PostgreSQL's certificate", names, notes);
        }
        (Some(_), false) => notes.add(
            "server_tls_ca_file was not used, since the server's certificate was not verified; target.tls.mode VerifyFull does.",
        ),
        (None, true) => notes.add("target.tls.mode needs target.tls.caRef, the authority of PostgreSQL's certificate."),
        (None, false) => {}
    }
    if let Some((certificate, key)) = pair(settings, "server_tls_cert_file", "server_tls_key_file") {
        let name = format!("{}-server-cert", names.pooler);
        target.child("tls").child("certificateRef").set("name", name.as_str());
        let purpose = "the certificate that PostgreSQL is shown";
        certificate_secret(&name, (&certificate, &key), purpose, names, notes);
    }
}

/// `client_tls_*` become `spec.clients.tls`.
pub(super) fn clients(settings: &mut Settings, spec: &mut Map, names: &Names<'_>, notes: &mut Notes) {
    let mode = settings.take("client_tls_sslmode");
    let authority = settings.take("client_tls_ca_file");
    let files = pair(settings, "client_tls_cert_file", "client_tls_key_file");
    let Some(text) = mode.filter(|mode| mode != "disable") else { return };
    let Some(mode) = client_mode(&text) else {
        notes.add(format!("client_tls_sslmode = {text}: there is no such mode; nothing was made of it."));
        return;
    };
    let tls = spec.child("clients").child("tls");
    tls.set("mode", mode);
    let name = format!("{}-client-tls", names.pooler);
    tls.child("secretRef").set("name", name.as_str());
    let (certificate, key) = files.unwrap_or_else(|| ("tls.crt".to_owned(), "tls.key".to_owned()));
    certificate_secret(&name, (&certificate, &key), "the certificate that clients are shown", names, notes);
    if text.starts_with("verify-") {
        let name = format!("{}-client-ca", names.pooler);
        self::authority(&name, tls.child("clientCARef"));
        let file = authority.unwrap_or_else(|| "ca.crt".to_owned());
        authority_secret(&name, &file, "the authority of the clients' certificates", names, notes);
    }
}

/// Sets the mode of the server side.
pub(super) fn server(text: &str, target: &mut Map, notes: &mut Notes) {
    match server_mode(text) {
        Some(mode) => target.child("tls").set("mode", mode),
        None => {
            notes.add(format!("server_tls_sslmode = {text}: there is no such mode; nothing was made of it."));
        }
    }
}

/// A reference to an authority in a Secret.
pub(super) fn authority(name: &str, reference: &mut Map) {
    reference.set("kind", "Secret");
    reference.set("name", name);
    reference.set("key", "ca.crt");
}

/// The mode of the server side.
fn server_mode(text: &str) -> Option<&'static str> {
    Some(match text {
        "disable" => "Disable",
        // PgBouncer's `allow` is its `prefer`
        "allow" | "prefer" => "Prefer",
        "require" => "Require",
        "verify-ca" => "VerifyCA",
        "verify-full" => "VerifyFull",
        _ => return None,
    })
}

/// The mode of the clients' side. PgBouncer's two that verify are one: the name is compared by `auth_type = cert` only.
pub(super) fn client_mode(text: &str) -> Option<&'static str> {
    Some(match text {
        "allow" | "prefer" => "Prefer",
        "require" => "Require",
        "verify-ca" | "verify-full" => "VerifyCA",
        _ => return None,
    })
}

fn pair(settings: &mut Settings, certificate: &str, key: &str) -> Option<(String, String)> {
    let (certificate, key) = (settings.take(certificate), settings.take(key));
    Some((certificate?, key?))
}

fn certificate_secret(
    name: &str,
    (certificate, key): (&str, &str),
    purpose: &str,
    names: &Names<'_>,
    notes: &mut Notes,
) {
    notes.add(format!(
        "Secret `{name}`, {purpose}: kubectl create secret tls {name}{} --cert={} --key={}",
        option(names.namespace),
        shell(certificate),
        shell(key)
    ));
}

fn authority_secret(name: &str, file: &str, purpose: &str, names: &Names<'_>, notes: &mut Notes) {
    notes.add(format!(
        "Secret `{name}`, {purpose}: kubectl create secret generic {name}{} --from-file=ca.crt={}",
        option(names.namespace),
        shell(file)
    ));
}
