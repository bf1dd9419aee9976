//! The clients' side, PostgreSQL's side, and the end of a pod.

#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a block of its own")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ClientTls;
use crate::api::Duration;

/// The clients' side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Clients {
    /// Most clients of one pod.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: i32,
    /// A client that is silent for longer outside a transaction is closed; 0: never.
    pub idle_timeout: Duration,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// TLS with clients. Unset: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
}

/// The side of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Servers {
    /// A server connection unused for longer is closed; 0: never.
    pub idle_timeout: Duration,
    /// A server connection older than this is closed when it is next idle; 0: never.
    pub lifetime: Duration,
    /// How long a connection to PostgreSQL with its login may take.
    pub connect_timeout: Duration,
    /// Prepared statements kept on a server connection, the least recently used closed first.
    #[schemars(range(min = 0, max = 100_000))]
    pub max_prepared_statements: i32,
}

/// How a pod ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.timeout == '0' || duration(self.timeout) <= duration('1h')").message("timeout may be 1h at most")
)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// How long clients of a pod that ends are still served when they cannot be closed without their noticing. Pools that
    /// test their connections have left after seconds, whatever it is; those of others stay until then. So it is as long as
    /// nodes wait that are taken away by the usual machinery (the cluster autoscaler: ten minutes at most), with room for
    /// the rest. Then clients are closed as their transactions end, and after five seconds more these are cancelled.
    #[serde(default = "five_minutes")]
    pub timeout: Duration,
}

impl Default for Clients {
    fn default() -> Self {
        Self { max: 10_000, idle_timeout: "0".into(), login_timeout: "60s".into(), tls: None }
    }
}

impl Default for Servers {
    fn default() -> Self {
        Self {
            idle_timeout: "10m".into(),
            lifetime: "1h".into(),
            connect_timeout: "15s".into(),
            max_prepared_statements: 200,
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout: five_minutes() }
    }
}

fn five_minutes() -> Duration {
    "5m".into()
}
