//! What a document must be beyond its form, and how a fault is told to its author.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::{ANY, Document, PoolRule, Seconds, Target, TlsMode};

/// What [`PoolRule::weight`] may be.
const WEIGHTS: RangeInclusive<u32> = 1..=1000;

/// A document that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// Counted from one.
        line: usize,
        /// In characters, counted from one.
        column: usize,
        /// What is wrong there; names the key when it is unknown.
        message: String,
    },
    /// A value that cannot work.
    #[error(transparent)]
    Invalid(#[from] ValidationError),
}

/// A value that cannot work, under its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {fault}")]
pub struct ValidationError {
    /// The key, with its table or the name of its pool in front.
    pub key: String,
    /// What is wrong with the value.
    pub fault: &'static str,
}

impl DocumentError {
    pub(crate) fn of(error: &toml::de::Error, text: &str) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self::Syntax {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            message: error.message().to_owned(),
        }
    }
}

impl Document {
    /// Checks everything that the types do not; [`Document::parse`] has done so.
    pub fn validate(&self) -> Result<(), ValidationError> {
        check(!self.listen_addr.is_empty(), "listen_addr", "must not be empty")?;
        check(self.listen_port != 0, "listen_port", "must be 1 to 65535")?;
        check(!self.http_addr.is_empty(), "http_addr", "must not be empty")?;
        let same = self.http_port == self.listen_port;
        check(!same, "http_port", "must differ from listen_port")?;
        check(!self.auth_file.as_os_str().is_empty(), "auth_file", "must not be empty")?;
        check(self.auth_query.contains("$1"), "auth_query", "must take the user's name as $1")?;
        check(self.max_client_conn >= 1, "max_client_conn", "must be at least 1")?;
        check(self.max_server_connections >= 1, "max_server_connections", "must be at least 1")?;
        check(self.max_buffered_bytes >= 1 << 20, "max_buffered_bytes", "must be at least 1048576")?;
        check_positive(self.client_login_timeout, "client_login_timeout")?;
        check_positive(self.server_connect_timeout, "server_connect_timeout")?;
        self.validate_target()?;
        self.validate_tls()?;
        self.validate_pools()?;
        self.validate_peers()
    }

    fn validate_target(&self) -> Result<(), ValidationError> {
        let target = &self.target;
        check(!target.host.is_empty(), "target.host", "must not be empty")?;
        check(target.port != 0, "target.port", "must be 1 to 65535")?;
        let alone = target.hosts.is_empty() || target.host == Target::default().host;
        check(alone, "target.host", "must be left out where target.hosts names the servers")?;
        let places: Vec<_> = target.places().collect();
        let different: BTreeSet<_> = places.iter().collect();
        check(different.len() == places.len(), "target.hosts", "must not name a server twice")
    }

    fn validate_peers(&self) -> Result<(), ValidationError> {
        let named = !self.peers_dns.is_empty();
        check(
            !named || self.peer_id == 0,
            "peer_id",
            "has no meaning with peers_dns: peers are told apart by address",
        )?;
        check(!named || self.peers.is_empty(), "peers", "must be empty with peers_dns")?;
        check(
            self.peers.is_empty() || self.peer_id != 0,
            "peer_id",
            "must be at least 1 for a process with peers",
        )?;
        let secret = !self.peer_secret_file.as_os_str().is_empty();
        let needed = named || self.peer_id != 0;
        check(secret || !needed, "peer_secret_file", "must be set for a process with peers")?;
        let mut ids = BTreeSet::new();
        for peer in &self.peers {
            let key = |key| format!("peers.{}.{key}", peer.peer_id);
            check(peer.peer_id != 0, &key("peer_id"), "must be at least 1")?;
            check(ids.insert(peer.peer_id), &key("peer_id"), "must be different from the other peers' ids")?;
            check(!peer.host.is_empty(), &key("host"), "must not be empty")?;
            check(peer.port != 0, &key("port"), "must be 1 to 65535")?;
        }
        Ok(())
    }

    fn validate_tls(&self) -> Result<(), ValidationError> {
        let client = self.client_tls_sslmode;
        let on = client > TlsMode::Disable;
        let needed = "must be set unless client_tls_sslmode is \"disable\"";
        check(!on || self.client_tls_cert_file.is_some(), "client_tls_cert_file", needed)?;
        check(!on || self.client_tls_key_file.is_some(), "client_tls_key_file", needed)?;
        check(
            client < TlsMode::VerifyCa || self.client_tls_ca_file.is_some(),
            "client_tls_ca_file",
            "must be set where client_tls_sslmode asks for client certificates",
        )?;
        check(
            self.server_tls_sslmode < TlsMode::VerifyCa || self.server_tls_ca_file.is_some(),
            "server_tls_ca_file",
            "must be a file or \"system\" where server_tls_sslmode verifies certificates",
        )?;
        let pair = self.server_tls_cert_file.is_some() == self.server_tls_key_file.is_some();
        check(pair, "server_tls_key_file", "must be set together with server_tls_cert_file")?;
        let internal = self.internal_tls_ca_file.is_some();
        let needed = "must be set together with the other internal_tls settings, or none of them";
        check(self.internal_tls_cert_file.is_some() == internal, "internal_tls_cert_file", needed)?;
        check(self.internal_tls_key_file.is_some() == internal, "internal_tls_key_file", needed)
    }

    fn validate_pools(&self) -> Result<(), ValidationError> {
        let mut names = BTreeSet::new();
        for rule in &self.pools {
            check(!rule.name.is_empty(), "pools.name", "must not be empty")?;
            check(
                names.insert(&rule.name),
                &rule.key("name"),
                "must be different from the other pools' names",
            )?;
            rule.validate()?;
        }
        self.validate_minimums()
    }

    /// What pools keep open. How many pools a rule with [`ANY`] makes is not known; a process that may hold fewer than
    /// all of them keep scales them down.
    fn validate_minimums(&self) -> Result<(), ValidationError> {
        let fits = |minimum: u32| minimum <= self.max_server_connections;
        let fault = "must not be more than max_server_connections";
        check(fits(self.min_pool_size), "min_pool_size", fault)?;
        let (mut seen, mut all) = (BTreeSet::new(), 0_u32);
        for rule in &self.pools {
            let minimum = rule.min_pool_size.unwrap_or(self.min_pool_size);
            check(fits(minimum), &rule.key("min_pool_size"), fault)?;
            for user in rule.users.iter().filter(|user| *user != ANY && rule.database != ANY) {
                // the first rule that matches wins
                let first = seen.insert((&rule.database, user));
                all = all.saturating_add(if first { minimum } else { 0 });
            }
            let fault = "must not be more than max_server_connections together with the pools before";
            check(fits(all), &rule.key("min_pool_size"), fault)?;
        }
        Ok(())
    }
}

impl PoolRule {
    fn validate(&self) -> Result<(), ValidationError> {
        check(
            !self.database.is_empty(),
            &self.key("database"),
            "must not be empty; `*` means every database",
        )?;
        check(!self.users.is_empty(), &self.key("users"), "must not be empty; [\"*\"] means every user")?;
        check(self.users.iter().all(|user| !user.is_empty()), &self.key("users"), "must have no empty name")?;
        let alone = self.users.len() == 1 || self.users.iter().all(|user| user != ANY);
        check(alone, &self.key("users"), "must have \"*\" alone")?;
        check(self.pool_size_total != Some(0), &self.key("pool_size_total"), "must be at least 1")?;
        check(self.pool_size != Some(0), &self.key("pool_size"), "must be at least 1")?;
        let fits = |least: Option<u32>, most: Option<u32>| most.is_none_or(|most| least.unwrap_or(0) <= most);
        check(
            fits(self.min_pool_size, self.pool_size),
            &self.key("min_pool_size"),
            "must not be more than pool_size",
        )?;
        check(
            fits(self.min_pool_size_total, self.pool_size_total),
            &self.key("min_pool_size_total"),
            "must not be more than pool_size_total",
        )?;
        check(WEIGHTS.contains(&self.weight), &self.key("weight"), "must be 1 to 1000")
    }

    fn key(&self, key: &str) -> String {
        format!("pools.{}.{key}", self.name)
    }
}

fn check(holds: bool, key: &str, fault: &'static str) -> Result<(), ValidationError> {
    if holds { Ok(()) } else { Err(ValidationError { key: key.to_owned(), fault }) }
}

fn check_positive(value: Seconds, key: &str) -> Result<(), ValidationError> {
    check(!value.is_zero(), key, "must be more than zero")
}
