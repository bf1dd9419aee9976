//! The Secret that applications connect with: the login role of the target, at the Service of the pooler.

use std::fmt::Write as _;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::api::TlsMode;
use crate::plan::Seen;
use crate::plan::pooler::Pooler;

use super::meta::meta;

/// The Secret, if one is wanted. Its keys are those of CloudNativePG's and Crunchy's Secrets for applications.
pub fn render(pooler: &Pooler, seen: Seen<'_>) -> Option<Secret> {
    let name = pooler.connection_secret.clone()?;
    let host = pooler.host();
    let port = pooler.service.port;
    let (user, password) = (&seen.target.user, &seen.target.password.0);
    let database = &seen.target.database;
    let (login, place) = (format!("{}:{}", encoded(user), encoded(password)), encoded(database));
    let mode = sslmode(pooler.client_tls);
    let uri = format!("postgresql://{login}@{host}:{port}/{place}?sslmode={mode}");
    let jdbc = format!(
        "jdbc:postgresql://{host}:{port}/{place}?user={}&password={}&sslmode={mode}",
        encoded(user),
        encoded(password)
    );
    let authority = seen.materials.authority.as_ref().map(|authority| ("ca.crt", authority.0.clone()));
    let data = [
        ("host", host.clone()),
        ("port", port.to_string()),
        ("dbname", database.clone()),
        ("username", user.clone()),
        ("password", password.clone()),
        ("uri", uri),
        ("jdbc-uri", jdbc),
    ];
    let data = data.into_iter().chain(authority);
    Some(Secret {
        metadata: meta(pooler, name),
        type_: Some("Opaque".to_owned()),
        data: Some(data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect()),
        ..Secret::default()
    })
}

/// What clients should insist on: they cannot be told here where the authority's file will be.
fn sslmode(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::Disable => "disable",
        TlsMode::Prefer => "prefer",
        TlsMode::Require | TlsMode::VerifyCA | TlsMode::VerifyFull => "require",
    }
}

/// Percent-encoded (RFC 3986): all but unreserved characters.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            // writing to a String cannot fail
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn what_a_uri_could_take_for_its_own_is_encoded() {
        assert_eq!(encoded("a-b_c.d~1"), "a-b_c.d~1");
        assert_eq!(encoded("p@ss:w/o?r#d%é "), "p%40ss%3Aw%2Fo%3Fr%23d%25%C3%A9%20");
    }
}
