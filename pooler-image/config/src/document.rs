//! The document itself, its defaults and its checks.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Seconds;

/// In a [`PoolRule`]: every database, every user.
pub const ANY: &str = "*";

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
    pub auth_file: PathBuf,
    /// Users who may run every command of the admin console.
    pub admin_users: Vec<String>,
    /// Users who may run `SHOW` on the admin console.
    pub stats_users: Vec<String>,
    /// How long a client keeps a server connection.
    pub pool_mode: PoolMode,
    /// Most clients connected at once; more are refused with 53300.
    pub max_client_conn: u32,
    /// Most server connections of the whole process, over all pools, logins and closing ones included.
    pub max_server_connections: u32,
    /// How long a client may wait for a server connection; 0: for ever.
    pub query_wait_timeout: Seconds,
    /// How long a client may take to log in.
    pub client_login_timeout: Seconds,
    /// A client silent for longer, outside a transaction, is closed; 0: never.
    pub client_idle_timeout: Seconds,
    /// A server connection unused for longer is closed; 0: never.
    pub server_idle_timeout: Seconds,
    /// A server connection older than this is closed when it is next idle; 0: never.
    pub server_lifetime: Seconds,
    /// How long a connection to PostgreSQL with its login may take.
    pub server_connect_timeout: Seconds,
    /// How long to wait after a failed login to PostgreSQL before the next attempt.
    pub server_login_retry: Seconds,
    /// Prepared statements kept on a server connection, the least recently used closed first.
    pub max_prepared_statements: u32,
    /// Startup parameters that are accepted and not passed on.
    pub ignore_startup_parameters: Vec<String>,
    /// After SIGTERM: how long running transactions may go on.
    pub drain_timeout: Seconds,
    /// Format of the log on standard error.
    pub log_format: LogFormat,
    /// The PostgreSQL server behind the pooler.
    pub target: Target,
    /// Rules for (database, user) pools; the first that matches wins, none: the settings above.
    pub pools: Vec<PoolRule>,
}

/// The PostgreSQL server behind the pooler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// Port.
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
    /// Most server connections of one (database, user) pool; unset: only the process's limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_size: Option<u32>,
    /// Overrides [`Document::query_wait_timeout`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_wait_timeout: Option<Seconds>,
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

fn any() -> String {
    ANY.to_owned()
}

fn any_user() -> Vec<String> {
    vec![ANY.to_owned()]
}
