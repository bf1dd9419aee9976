//! The document itself, its defaults and its checks.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};
use toml::{Table, Value};

use crate::{DocumentError, Seconds, Target};

/// In a [`PoolRule`]: every database, every user.
pub const ANY: &str = "*";

/// In [`Document::server_tls_ca_file`]: the authorities that the system trusts.
pub const SYSTEM: &str = "system";

/// The server name (SNI) that is served with [`Document::internal_tls_cert_file`], which is for this name.
pub const INTERNAL_SERVER_NAME: &str = "pgpooler.internal";

/// Settings that only a restart can change, and with them the content of [`Document::peer_secret_file`].
pub const RESTART_ONLY: [&str; 9] = [
    "listen_addr",
    "listen_port",
    "http_addr",
    "http_port",
    "workers",
    "log_format",
    "peer_id",
    "peers_dns",
    "peer_secret_file",
];

/// Calls the function that `pgpooler --print-auth-query-sql` prints.
pub const AUTH_QUERY: &str = "SELECT username, password FROM pgpooler.user_lookup($1)";

/// [`PoolRule::weight`] of pools whose rule gives none, or that have no rule.
pub const DEFAULT_WEIGHT: u32 = 100;

/// [`Document::max_client_logins`] by itself: a whole fleet may come in one instant.
const FEWEST_LOGINS: u32 = 10_000;

/// The whole configuration of one pooler process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    /// Address that clients connect to. Change needs a restart.
    pub listen_addr: String,
    /// Port that clients connect to. Change needs a restart.
    pub listen_port: u16,
    /// Address of `/metrics`, `/healthz` and `/readyz`. Change needs a restart.
    pub http_addr: String,
    /// Port of `/metrics`, `/healthz` and `/readyz`; 0 turns them off. Change needs a restart.
    pub http_port: u16,
    /// Event loops; 0: one per core that the process may use. Change needs a restart.
    pub workers: u16,
    /// Users and passwords in the format of PgBouncer's `userlist.txt`; a relative path is relative to the document.
    #[serde(serialize_with = "as_text")]
    pub auth_file: PathBuf,
    /// How clients prove who they are.
    pub auth_type: AuthType,
    /// User of `auth_file` who looks up users that are not in it; empty: nobody does.
    pub auth_user: String,
    /// What that user runs, with the name of the user to look up as `$1`; the row: name, password.
    pub auth_query: String,
    /// Database that it is run in; empty: the one that the client asks for.
    pub auth_dbname: String,
    /// How old an answer may be that stands in when PostgreSQL cannot be asked at once; 0: none does.
    pub auth_query_cache: Seconds,
    /// Users who may run every command of the admin console.
    pub admin_users: Vec<String>,
    /// Users who may run `SHOW` on the admin console.
    pub stats_users: Vec<String>,
    /// How long a client keeps a server connection.
    pub pool_mode: PoolMode,
    /// What becomes of session state that cannot follow its client to another server connection.
    pub session_state: SessionState,
    /// Server connections that one (database, user) pool keeps open, once it has had a client.
    pub min_pool_size: u32,
    /// Most clients connected at once; more are refused with 53300.
    pub max_client_conn: u32,
    /// Most server connections of the whole process, over all pools, logins and closing ones included.
    pub max_server_connections: u32,
    /// How long a client may wait for a server connection; 0: for ever.
    pub query_wait_timeout: Seconds,
    /// How long a client may take to log in, TLS included.
    pub client_login_timeout: Seconds,
    /// Most connections that have not logged in yet; 0: as many as [`max_client_conn`](Self::max_client_conn), 10,000 at
    /// least. Beyond it, the address that has the most of them loses its oldest.
    pub max_client_logins: u32,
    /// Most connections of one address (IPv6: of one /64 network) that have not logged in yet, beyond which it loses
    /// its oldest; 0: only [`max_client_logins`](Self::max_client_logins) counts.
    pub max_client_logins_per_address: u32,
    /// Most failed logins of one address (IPv6: of one /64 network) in a second; beyond it, its connections are served
    /// at that pace until it fails less, and those for which it would take longer than a second are refused; 0: no limit.
    pub max_failed_logins_per_address: u32,
    /// A client silent for longer, outside a transaction, is closed; 0: never.
    pub client_idle_timeout: Seconds,
    /// A client that holds a server connection with a part of a message is closed when for so long less than a kilobyte
    /// a second has come of the rest; 0: never.
    pub client_message_timeout: Seconds,
    /// A server connection unused for longer is closed; 0: never.
    pub server_idle_timeout: Seconds,
    /// A server connection older than this is closed when it is next idle; 0: never.
    pub server_lifetime: Seconds,
    /// How long a connection to PostgreSQL with its login may take.
    pub server_connect_timeout: Seconds,
    /// How long to wait after a failed login to PostgreSQL before the next attempt.
    pub server_login_retry: Seconds,
    /// While no login to PostgreSQL succeeds, clients wait for so long before they are refused; 0: only
    /// [`query_wait_timeout`](Self::query_wait_timeout) counts.
    pub server_hold_timeout: Seconds,
    /// Prepared statements kept on a server connection, the least recently used closed first.
    pub max_prepared_statements: u32,
    /// Most bytes of memory, over all connections, for what peers have not taken yet; beyond it, the other side is
    /// read more slowly. Each event loop has an equal part of it.
    pub max_buffered_bytes: u64,
    /// Startup parameters that are accepted and not passed on.
    pub ignore_startup_parameters: Vec<String>,
    /// Whether clients use TLS.
    pub client_tls_sslmode: TlsMode,
    /// Our certificate for clients, with its chain, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_tls_cert_file: Option<PathBuf>,
    /// The key of [`client_tls_cert_file`](Self::client_tls_cert_file), PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_tls_key_file: Option<PathBuf>,
    /// Authorities whose client certificates are accepted, PEM; unset: clients are asked for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_tls_ca_file: Option<PathBuf>,
    /// Whether connections to PostgreSQL use TLS, and what its certificate must be.
    pub server_tls_sslmode: TlsMode,
    /// Authorities whose server certificates are accepted, PEM; or [`SYSTEM`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_tls_ca_file: Option<PathBuf>,
    /// Our certificate for PostgreSQL, with its chain, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_tls_cert_file: Option<PathBuf>,
    /// The key of [`server_tls_cert_file`](Self::server_tls_cert_file), PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_tls_key_file: Option<PathBuf>,
    /// Authority that signs the certificates of all peers, PEM. With the two settings below, whoever begins TLS at once
    /// and asks for the server `pgpooler.internal` reaches the admin console, whatever `client_tls_sslmode` says; and
    /// peers pass cancel requests on so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_tls_ca_file: Option<PathBuf>,
    /// Our certificate for `pgpooler.internal`, with its chain, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_tls_cert_file: Option<PathBuf>,
    /// The key of [`internal_tls_cert_file`](Self::internal_tls_cert_file), PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_tls_key_file: Option<PathBuf>,
    /// After SIGTERM: how long clients are still served that cannot be closed without harm, after two seconds in which
    /// none is closed. Then all are closed as their transactions end, and after five seconds more those are cancelled.
    pub drain_timeout: Seconds,
    /// After SIGTERM: how long a client must have been silent behind a transaction to be closed before `drain_timeout`;
    /// 0: none is for its silence. Pools that test their connections do so before they use one that was idle for a second.
    pub drain_idle_timeout: Seconds,
    /// Number of this process among its [`peers`](Self::peers); 0: it has none. Change needs a restart.
    pub peer_id: u16,
    /// Name whose addresses are those of all peers, with or without a port; empty: [`peers`](Self::peers) says who they
    /// are. Change needs a restart.
    pub peers_dns: String,
    /// File with the secret that all peers share; empty: there is none. A relative path is relative to the document.
    /// Change needs a restart.
    #[serde(serialize_with = "as_text")]
    pub peer_secret_file: PathBuf,
    /// Format of the log on standard error.
    pub log_format: LogFormat,
    /// Clients wait, as after `PAUSE` on the admin console.
    pub paused: bool,
    /// The PostgreSQL server behind the pooler.
    pub target: Target,
    /// Rules for (database, user) pools; the first that matches wins, none: the settings above.
    pub pools: Vec<PoolRule>,
    /// Other poolers before the same server, to which cancel requests for their clients are passed on.
    pub peers: Vec<Peer>,
}

/// Another pooler before the same server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its [`Document::peer_id`].
    pub peer_id: u16,
    /// Host name or address.
    pub host: String,
    /// Port that its clients connect to.
    #[serde(default = "listen_port")]
    pub port: u16,
}

/// Settings for the pools of some databases and users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolRule {
    /// Name in logs, metrics and `SHOW`.
    pub name: String,
    /// Database, or [`ANY`].
    #[serde(default = "any")]
    pub database: String,
    /// Users, or one entry [`ANY`].
    #[serde(default = "any_user")]
    pub users: Vec<String>,
    /// Overrides [`Document::pool_mode`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_mode: Option<PoolMode>,
    /// Overrides [`Document::session_state`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_state: Option<SessionState>,
    /// Most server connections of one (database, user) pool; unset: only the process's limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_size: Option<u32>,
    /// Most server connections of one (database, user) pool over all pods together; a pod has a part of them as of the
    /// budget, but one at least. Without an operator: the same as [`pool_size`](Self::pool_size).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_size_total: Option<u32>,
    /// Overrides [`Document::min_pool_size`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_pool_size: Option<u32>,
    /// Server connections that one (database, user) pool keeps open over all pods together; a pod keeps its part of
    /// them as of the budget, rounded up. Without an operator: the same as [`min_pool_size`](Self::min_pool_size).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_pool_size_total: Option<u32>,
    /// The pool's part of the process's connections, in proportion to the other pools, while there are too few for all:
    /// 1 to 1000.
    #[serde(default = "weight")]
    pub weight: u32,
    /// Overrides [`Document::query_wait_timeout`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_wait_timeout: Option<Seconds>,
}

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthType {
    /// As the user's secret allows: md5 for an md5 hash, else SCRAM-SHA-256.
    #[default]
    Auto,
    /// SCRAM-SHA-256; an md5 hash is good for nothing.
    #[serde(rename = "scram-sha-256")]
    Scram,
    /// md5, but SCRAM-SHA-256 for users with a verifier.
    Md5,
    /// The password as it is.
    Plain,
    /// A client certificate whose common name is the user.
    Cert,
}

/// When a server connection goes back to its pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolMode {
    /// When the client disconnects.
    Session,
    /// When the transaction ends.
    #[default]
    Transaction,
    /// When the statement ends; transaction blocks are refused.
    Statement,
}

/// Whether a connection uses TLS, and what the peer's certificate must be: libpq's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never.
    #[default]
    Disable,
    /// Only if the other side insists.
    Allow,
    /// If the other side can.
    Prefer,
    /// Always.
    Require,
    /// Always, with a certificate of a known authority.
    VerifyCa,
    /// Always, with a certificate of a known authority and with the right name.
    VerifyFull,
}

/// What becomes, in transaction mode, of session state that cannot follow its client to another server connection:
/// LISTEN, temporary objects, cursors WITH HOLD, session advisory locks, PREPARE, SESSION AUTHORIZATION, LOAD.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// It is wiped off when the transaction ends.
    Reset,
    /// Its client keeps the server connection for as long as it is there.
    #[default]
    Pin,
    /// Statements that make it are refused with 0A000; what gets through is wiped off.
    Reject,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            listen_addr: "0.0.0.0".to_owned(),
            listen_port: listen_port(),
            http_addr: "0.0.0.0".to_owned(),
            http_port: 9127,
            workers: 0,
            auth_file: PathBuf::from("userlist.txt"),
            auth_type: AuthType::default(),
            auth_user: String::new(),
            auth_query: AUTH_QUERY.to_owned(),
            auth_dbname: String::new(),
            auth_query_cache: Seconds::from_secs(300),
            admin_users: Vec::new(),
            stats_users: Vec::new(),
            pool_mode: PoolMode::default(),
            session_state: SessionState::default(),
            min_pool_size: 0,
            max_client_conn: 10_000,
            max_server_connections: 20,
            query_wait_timeout: Seconds::from_secs(120),
            client_login_timeout: Seconds::from_secs(60),
            max_client_logins: 0,
            max_client_logins_per_address: 0,
            max_failed_logins_per_address: 100,
            client_idle_timeout: Seconds::ZERO,
            client_message_timeout: Seconds::from_secs(60),
            server_idle_timeout: Seconds::from_secs(600),
            server_lifetime: Seconds::from_secs(3600),
            server_connect_timeout: Seconds::from_secs(15),
            server_login_retry: Seconds::from_secs(1),
            server_hold_timeout: Seconds::from_secs(60),
            max_prepared_statements: 200,
            max_buffered_bytes: 256 << 20,
            ignore_startup_parameters: Vec::new(),
            client_tls_sslmode: TlsMode::Disable,
            client_tls_cert_file: None,
            client_tls_key_file: None,
            client_tls_ca_file: None,
            server_tls_sslmode: TlsMode::Prefer,
            server_tls_ca_file: None,
            server_tls_cert_file: None,
            server_tls_key_file: None,
            internal_tls_ca_file: None,
            internal_tls_cert_file: None,
            internal_tls_key_file: None,
            drain_timeout: Seconds::from_secs(300),
            drain_idle_timeout: Seconds::from_millis(1200),
            peer_id: 0,
            peers_dns: String::new(),
            peer_secret_file: PathBuf::new(),
            log_format: LogFormat::default(),
            paused: false,
            target: Target::default(),
            pools: Vec::new(),
            peers: Vec::new(),
        }
    }
}

impl Document {
    /// Reads a document and checks it.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let document: Self = toml::from_str(text).map_err(|error| DocumentError::of(&error, text))?;
        document.validate()?;
        Ok(document)
    }

    /// Writes the document; [`parse`](Self::parse) reads back an equal one.
    ///
    /// What has its default is left out, so that a document says the same in a version that does not know a setting which
    /// nobody uses. Defaults therefore never change.
    #[expect(clippy::missing_panics_doc, reason = "it does not")]
    pub fn to_toml(&self) -> String {
        #[expect(clippy::expect_used, reason = "a table has a TOML form")]
        toml::to_string(&self.changed()).expect("a table has a TOML form")
    }

    /// What of the document only a restart can change, in a form to compare.
    pub fn restart_only(&self) -> String {
        let mut table = self.changed();
        table.retain(|key, _| RESTART_ONLY.contains(&key));
        table.to_string()
    }

    /// The files that are read for it: each with the setting that names it, by the path that it has there.
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        let mut files = vec![("auth_file", self.auth_file.as_path())];
        if !self.peer_secret_file.as_os_str().is_empty() {
            files.push(("peer_secret_file", &self.peer_secret_file));
        }
        let client = self.client_tls_sslmode != TlsMode::Disable;
        let server = self.server_tls_sslmode != TlsMode::Disable;
        let authorities = self.server_tls_ca_file.as_ref().filter(|path| path.as_os_str() != SYSTEM);
        let tls = [
            (client, "client_tls_cert_file", self.client_tls_cert_file.as_ref()),
            (client, "client_tls_key_file", self.client_tls_key_file.as_ref()),
            (client, "client_tls_ca_file", self.client_tls_ca_file.as_ref()),
            (server, "server_tls_ca_file", authorities),
            (server, "server_tls_cert_file", self.server_tls_cert_file.as_ref()),
            (server, "server_tls_key_file", self.server_tls_key_file.as_ref()),
            (true, "internal_tls_ca_file", self.internal_tls_ca_file.as_ref()),
            (true, "internal_tls_cert_file", self.internal_tls_cert_file.as_ref()),
            (true, "internal_tls_key_file", self.internal_tls_key_file.as_ref()),
        ];
        let used = tls.into_iter().filter(|(is_used, ..)| *is_used);
        files.extend(used.filter_map(|(_, setting, path)| Some((setting, path?.as_path()))));
        files
    }

    /// [`max_client_logins`](Self::max_client_logins), or what stands for it.
    pub fn most_client_logins(&self) -> u32 {
        match self.max_client_logins {
            0 => self.max_client_conn.max(FEWEST_LOGINS),
            most => most,
        }
    }

    /// All settings, as a table.
    #[expect(clippy::missing_panics_doc, reason = "it does not")]
    pub fn to_table(&self) -> Table {
        #[expect(clippy::expect_used, reason = "every field has a TOML form: no map keys, no unit values")]
        Table::try_from(self).expect("a document has a TOML form")
    }

    /// The settings that have not their default.
    fn changed(&self) -> Table {
        without(self.to_table(), &Self::default().to_table())
    }

    /// The database in which a client's user is looked up; none when nobody is.
    pub fn lookup_database<'a>(&'a self, asked_for: &'a str) -> Option<&'a str> {
        let own = if self.auth_dbname.is_empty() { asked_for } else { &self.auth_dbname };
        (!self.auth_user.is_empty()).then_some(own)
    }

    /// Name and port of [`peers_dns`](Self::peers_dns), when there is one.
    pub fn peers_name(&self) -> Option<(&str, u16)> {
        let name = self.peers_dns.as_str();
        // an IPv6 address has more than one colon
        let with_port = name.split_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        (!name.is_empty()).then(|| with_port.unwrap_or((name, self.listen_port)))
    }

    /// The first rule that matches a pool.
    pub fn rule_for(&self, database: &str, user: &str) -> Option<&PoolRule> {
        self.pools.iter().find(|rule| rule.matches(database, user))
    }
}

impl PoolRule {
    /// Whether the rule is about this pool.
    pub fn matches(&self, database: &str, user: &str) -> bool {
        (self.database == ANY || self.database == database)
            && self.users.iter().any(|entry| entry == ANY || entry == user)
    }
}

/// What of `table` is not in `defaults`, tables in it likewise.
fn without(table: Table, defaults: &Table) -> Table {
    let differing = table.into_iter().filter_map(|(key, value)| match (value, defaults.get(&key)) {
        (Value::Table(value), Some(Value::Table(default))) => {
            let rest = without(value, default);
            (!rest.is_empty()).then_some((key, Value::Table(rest)))
        }
        (value, Some(default)) if value == *default => None,
        (value, _) => Some((key, value)),
    });
    differing.collect()
}

fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

const fn listen_port() -> u16 {
    6432
}

const fn weight() -> u32 {
    DEFAULT_WEIGHT
}

fn any() -> String {
    ANY.to_owned()
}

fn any_user() -> Vec<String> {
    vec![ANY.to_owned()]
}
