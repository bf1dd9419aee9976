//! Who the target is: the Secret and the explicit fields brought together.

use std::collections::BTreeMap;

use crate::api;

use super::facts::Hidden;
use super::materials::Credentials;

/// The target, fully known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where it may be: one at least.
    pub hosts: Vec<Host>,
    /// What it must be.
    pub role: api::Role,
    /// TLS with it.
    pub tls: Tls,
    /// Who asks for the operator, if it is not the login role.
    pub monitor: Option<Credentials>,
    /// Database of the operator's own session.
    pub database: String,
    /// Login role.
    pub user: String,
    /// Its password.
    pub password: Hidden,
}

/// A place where the target may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// Name or address as given.
    pub name: String,
    /// Port.
    pub port: u16,
}

/// TLS with the target; PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Whether, and what the server's certificate must be.
    pub mode: api::TlsMode,
    /// Authorities.
    pub ca: Option<Hidden>,
    /// Our certificate and its key.
    pub identity: Option<(Hidden, Hidden)>,
}

/// The Secret does not say who the target is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A needed key is absent.
    #[error(
        "has no key `{0}`; it needs username and password, and host unless spec.target.host is set, or uri"
    )]
    KeyMissing(&'static str),
    /// A value is not text, or empty, or has control characters.
    #[error("key `{0}` is empty or not plain text")]
    NotText(&'static str),
    /// The port is no port.
    #[error("key `port` is not a number between 1 and 65535")]
    BadPort,
    /// The URI cannot be read.
    #[error("key `uri` is not of the form postgresql://user:password@host:port/database")]
    BadUri,
    /// A host of the spec is no host with a port.
    #[error("cannot be used: spec.target.hosts has `{0}`, which is not of the form host or host:port")]
    BadHost(String),
}

/// What a Secret may say.
#[derive(Default)]
struct Parts {
    user: Option<String>,
    password: Option<String>,
    host: Option<String>,
    /// Of a URI: each with its own port.
    hosts: Vec<(String, Option<u16>)>,
    port: Option<u16>,
    database: Option<String>,
}

/// Explicit fields count before keys, keys before the URI. Without TLS and the operator's own role, which are elsewhere.
pub fn resolve(spec: &api::Target, data: &BTreeMap<String, Vec<u8>>) -> Result<Target, TargetError> {
    let keys = from_keys(data)?;
    let given = given_hosts(spec)?;
    let explicit = !given.is_empty() || keys.host.is_some();
    let needed = !explicit || keys.user.is_none() || keys.password.is_none();
    let uri = text(data, "uri").and_then(|uri| uri.map(|uri| from_uri(&uri)).transpose());
    let uri = match uri {
        Err(error) if needed => return Err(error),
        uri => uri.ok().flatten().unwrap_or_default(),
    };
    let user = keys.user.or(uri.user).ok_or(TargetError::KeyMissing("username"))?;
    let port = match spec.cluster_ref {
        Some(_) => 5432,
        None => explicit_port(spec)?.or(keys.port).or(uri.port).unwrap_or(5432),
    };
    let named = keys.host.map(|host| vec![(host, None)]).unwrap_or(uri.hosts);
    let hosts = if given.is_empty() { named } else { given };
    let host = |(name, own): (String, Option<u16>)| Host { name, port: own.unwrap_or(port) };
    let hosts: Vec<_> = hosts.into_iter().map(host).collect();
    if hosts.is_empty() {
        return Err(TargetError::KeyMissing("host"));
    }
    Ok(Target {
        hosts,
        role: spec.role,
        tls: Tls { mode: spec.tls.mode, ..Tls::default() },
        monitor: None,
        database: spec.database.clone().or(keys.database).or(uri.database).unwrap_or_else(|| user.clone()),
        password: Hidden(keys.password.or(uri.password).ok_or(TargetError::KeyMissing("password"))?),
        user,
    })
}

impl Host {
    /// Host and port in one.
    pub fn address(&self) -> String {
        if self.name.contains(':') {
            format!("[{}]:{}", self.name, self.port)
        } else {
            format!("{}:{}", self.name, self.port)
        }
    }

    /// The host as the operator reaches it from its own namespace: a name without dots is a Service beside the
    /// `PgPooler`. No cluster domain is needed, since the resolver's search list completes `<service>.<namespace>.svc`.
    fn seen_from_elsewhere(self, namespace: &str) -> Self {
        if self.name.contains(['.', ':']) || self.name == "localhost" {
            return self;
        }
        Self { name: format!("{}.{namespace}.svc", self.name), ..self }
    }
}

impl Target {
    /// Hosts and ports, as status shows them.
    pub fn address(&self) -> String {
        let all: Vec<_> = self.hosts.iter().map(Host::address).collect();
        all.join(",")
    }

    /// The same with hosts that can be resolved from there.
    #[must_use]
    pub fn from_elsewhere(self, namespace: &str) -> Self {
        let hosts = self.hosts.into_iter().map(|host| host.seen_from_elsewhere(namespace)).collect();
        Self { hosts, ..self }
    }

    /// Role and password of the operator's own session.
    pub fn monitor(&self) -> (&str, &Hidden) {
        match &self.monitor {
            Some(monitor) => (&monitor.user, &monitor.password),
            None => (&self.user, &self.password),
        }
    }
}

/// Hosts that the spec names.
fn given_hosts(spec: &api::Target) -> Result<Vec<(String, Option<u16>)>, TargetError> {
    let one = spec.cluster_host().or_else(|| spec.host.clone());
    let bad = |text: &String| TargetError::BadHost(text.clone());
    let several = spec.hosts.iter().map(|text| {
        let (host, port) = split_place(text).map_err(|_| bad(text))?;
        let port = (!port.is_empty()).then(|| parse_port(port)).transpose().map_err(|_| bad(text))?;
        if host.is_empty() { Err(bad(text)) } else { Ok((host.to_owned(), port)) }
    });
    one.map(|host| Ok((host, None))).into_iter().chain(several).collect()
}

fn explicit_port(spec: &api::Target) -> Result<Option<u16>, TargetError> {
    spec.port.map(|port| u16::try_from(port).map_err(|_| TargetError::BadPort)).transpose()
}

fn from_keys(data: &BTreeMap<String, Vec<u8>>) -> Result<Parts, TargetError> {
    let either = |first, second| Ok(text(data, first)?.or(text(data, second)?));
    Ok(Parts {
        user: either("username", "user")?,
        password: text(data, "password")?,
        host: text(data, "host")?,
        hosts: Vec::new(),
        port: text(data, "port")?.map(|port| parse_port(&port)).transpose()?,
        database: either("dbname", "database")?,
    })
}

fn text(data: &BTreeMap<String, Vec<u8>>, key: &'static str) -> Result<Option<String>, TargetError> {
    let Some(bytes) = data.get(key) else { return Ok(None) };
    let text = std::str::from_utf8(bytes).map_err(|_| TargetError::NotText(key))?;
    // `echo secret | kubectl create secret --from-file` leaves a line end that nobody means
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.contains(char::is_control) {
        Err(TargetError::NotText(key))
    } else {
        Ok(Some(text.to_owned()))
    }
}

fn parse_port(text: &str) -> Result<u16, TargetError> {
    text.parse().ok().filter(|port| *port != 0).ok_or(TargetError::BadPort)
}

/// `postgresql://user:password@host:port/database?...`, as libpq reads it; parameters are not needed here.
fn from_uri(uri: &str) -> Result<Parts, TargetError> {
    let rest = ["postgresql://", "postgres://"].iter().find_map(|scheme| uri.strip_prefix(scheme));
    let rest = rest.ok_or(TargetError::BadUri)?;
    let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, place) = match authority.rsplit_once('@') {
        Some((login, place)) => (login, place),
        None => ("", authority),
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let places = place.split(',').filter(|place| !place.is_empty()).map(|place| {
        let (host, port) = split_place(place)?;
        let port = (!port.is_empty()).then(|| parse_port(port)).transpose()?;
        Ok(decoded(host)?.map(|host| (host, port)))
    });
    Ok(Parts {
        user: decoded(user)?,
        password: decoded(password)?,
        hosts: places.filter_map(Result::transpose).collect::<Result<_, _>>()?,
        database: decoded(database)?,
        ..Parts::default()
    })
}

fn split_place(place: &str) -> Result<(&str, &str), TargetError> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, tail) = rest.split_once(']').ok_or(TargetError::BadUri)?;
        return Ok((host, tail.strip_prefix(':').unwrap_or("")));
    }
    Ok(place.split_once(':').unwrap_or((place, "")))
}

/// Percent-decoded; `None` if there is nothing.
fn decoded(text: &str) -> Result<Option<String>, TargetError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit =
            || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or(TargetError::BadUri);
        let value = digit()? * 16 + digit()?;
        bytes.push(value as u8);
    }
    let text = String::from_utf8(bytes).map_err(|_| TargetError::BadUri)?;
    if text.contains(char::is_control) {
        Err(TargetError::BadUri)
    } else {
        Ok((!text.is_empty()).then_some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
    }

    fn spec() -> api::Target {
        serde_json::from_value(serde_json::json!({"secretRef": {"name": "s"}})).unwrap()
    }

    #[test]
    fn a_uri_says_it_all() {
        let data = secret(&[("uri", "postgresql://app:p%40ss@db.example:6543/shop?sslmode=require")]);
        let target = resolve(&spec(), &data).expect("complete");
        assert_eq!((target.address().as_str(), target.database.as_str()), ("db.example:6543", "shop"));
        assert_eq!((target.user.as_str(), target.password.0.as_str()), ("app", "p@ss"));
    }

    #[test]
    fn explicit_fields_count_before_keys_and_keys_before_the_uri() {
        let data = secret(&[
            ("uri", "postgres://u:p@one,two/x"),
            ("username", "app\n"),
            ("password", "word"),
            ("dbname", "shop"),
            ("port", "7777"),
        ]);
        let spec = api::Target { host: Some("three".into()), port: Some(8888), ..spec() };
        let target = resolve(&spec, &data).expect("complete");
        assert_eq!(target.address(), "three:8888");
        assert_eq!((target.user.as_str(), target.database.as_str()), ("app", "shop"));
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let cases: [(&[(&str, &str)], TargetError); 6] = [
            (&[], TargetError::KeyMissing("username")),
            (&[("user", "a"), ("password", "b")], TargetError::KeyMissing("host")),
            (&[("user", "a"), ("host", "h")], TargetError::KeyMissing("password")),
            (&[("user", "a"), ("password", ""), ("host", "h")], TargetError::NotText("password")),
            (&[("user", "a"), ("password", "b"), ("host", "h"), ("port", "0")], TargetError::BadPort),
            (&[("uri", "mysql://a:b@c/d")], TargetError::BadUri),
        ];
        for (pairs, error) in cases {
            assert_eq!(resolve(&spec(), &secret(pairs)), Err(error));
        }
    }

    #[test]
    fn a_host_without_dots_is_a_service_of_the_namespace() {
        let data = secret(&[("uri", "postgres://u:p@db/x")]);
        let target = resolve(&spec(), &data).expect("complete");
        assert_eq!(target.from_elsewhere("shop").address(), "db.shop.svc:5432");
    }

    #[test]
    fn several_hosts_have_each_its_port() {
        let data = secret(&[("uri", "postgres://u:p@one,two:7777,[::1]:8888/x")]);
        let target = resolve(&spec(), &data).expect("complete");
        assert_eq!(target.address(), "one:5432,two:7777,[::1]:8888");
        let hosts = vec!["a".to_owned(), "b:6543".to_owned()];
        let target = resolve(&api::Target { hosts, port: Some(99), ..spec() }, &data).expect("complete");
        assert_eq!(target.address(), "a:99,b:6543");
        let hosts = vec!["a:b".to_owned()];
        let bad = resolve(&api::Target { hosts, ..spec() }, &data);
        assert_eq!(bad, Err(TargetError::BadHost("a:b".to_owned())));
    }

    #[test]
    fn a_cluster_of_cloudnative_pg_has_a_service_for_each_role() {
        let data = secret(&[("username", "app"), ("password", "x"), ("host", "ignored"), ("dbname", "app")]);
        for (role, host) in [("Primary", "main-rw"), ("Standby", "main-ro"), ("Any", "main-r")] {
            let spec = serde_json::json!({"clusterRef": {"name": "main"}, "role": role});
            let spec: api::Target = serde_json::from_value(spec).unwrap();
            assert_eq!(spec.secret_name(), "main-app");
            assert_eq!(resolve(&spec, &data).expect("complete").address(), format!("{host}:5432"));
        }
    }
}
