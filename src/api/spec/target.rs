//! The PostgreSQL server behind the pooler.

#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a block of its own")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CaRef, LocalRef, TlsMode};
use crate::api::Duration;

/// The PostgreSQL server behind the pooler. What is set here counts before what the Secret says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.secretRef) || has(self.clusterRef)").message("target needs secretRef, or clusterRef for a Cluster of CloudNativePG"),
    validation = Rule::new("(has(self.host) ? 1 : 0) + (has(self.hosts) ? 1 : 0) + (has(self.clusterRef) ? 1 : 0) <= 1").message("only one of host, hosts and clusterRef can say where the server is"),
    validation = Rule::new("!has(self.clusterRef) || !has(self.port)").message("port is that of the Cluster"),
    validation = Rule::new("self.holdTimeout == '0' || duration(self.holdTimeout) <= duration('24h')").message("holdTimeout may be 24h at most")
)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Secret with `username` (or `user`), `password`, and unless they are set here `host`, `port` and `dbname` (or
    /// `database`), or all of it as `uri`. The Secrets of CloudNativePG, Crunchy and Zalando for an application work as
    /// they are. Unset: that of the Cluster, `NAME-app`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
    /// Cluster of CloudNativePG. Its Service by role (`NAME-rw`, `NAME-ro`, `NAME-r`) is the host, its Secret `NAME-app` has
    /// the credentials and `NAME-ca` the authority, unless they are set here. Unset: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<LocalRef>,
    /// Host name or address. A name without dots is a Service of the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
    /// Several servers of which one at a time has the role, each as `host` or `host:port`; they are tried in turn. One
    /// PostgreSQL cluster, all with the same data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 259)), extend("x-kubernetes-list-type" = "set"))]
    pub hosts: Vec<String>,
    /// Port; unset here and in the Secret: 5432.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Database that the operator connects to for its own session; clients choose their own. Unset here and in the
    /// Secret: the name of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub database: Option<String>,
    /// What the server must be. One that is something else is treated as if it were not there.
    #[serde(default)]
    pub role: Role,
    /// Secret with `username` (or `user`) and `password` of a role for the operator's own session, which wants
    /// `pg_monitor`. Unset: the role of `secretRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_secret_ref: Option<LocalRef>,
    /// TLS with the server.
    #[serde(default)]
    pub tls: TargetTls,
    /// How long clients are held, without an error, while no server of this role answers; then they are refused at once
    /// until one does. 0: as long as `queueTimeout`.
    #[serde(default = "a_minute")]
    pub hold_timeout: Duration,
}

/// What a server must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Role {
    /// It takes writes.
    #[default]
    Primary,
    /// It follows a primary.
    Standby,
    /// Either.
    Any,
}

/// TLS with the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.caRef) || self.mode in ['VerifyCA', 'VerifyFull']").message("caRef is of no use in this mode; VerifyFull checks the server's certificate and name")
)]
#[serde(rename_all = "camelCase")]
pub struct TargetTls {
    /// Whether connections to the server use TLS, and what its certificate must be.
    #[serde(default)]
    pub mode: TlsMode,
    /// The authorities that sign the server's certificate, PEM. Unset: those of `clusterRef`; otherwise the modes that
    /// verify need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// Secret of type `kubernetes.io/tls` with a certificate that the server asks for. Unset: none is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_ref: Option<LocalRef>,
}

fn a_minute() -> Duration {
    "1m".into()
}

impl Target {
    /// Name of the Secret with the credentials of the login role.
    pub fn secret_name(&self) -> String {
        let of_cluster = || self.cluster_ref.as_ref().map(|cluster| format!("{}-app", cluster.name));
        self.secret_ref.as_ref().map(|secret| secret.name.clone()).or_else(of_cluster).unwrap_or_default()
    }

    /// Host that the Cluster's Services have for the role.
    pub fn cluster_host(&self) -> Option<String> {
        let suffix = match self.role {
            Role::Primary => "rw",
            Role::Standby => "ro",
            Role::Any => "r",
        };
        self.cluster_ref.as_ref().map(|cluster| format!("{}-{suffix}", cluster.name))
    }

    /// Where the authorities for the server's certificate are, if it is verified.
    pub fn ca(&self) -> Option<CaRef> {
        let of_cluster =
            || self.cluster_ref.as_ref().map(|cluster| CaRef::secret(format!("{}-ca", cluster.name)));
        self.tls.mode.verifies().then(|| self.tls.ca_ref.clone().or_else(of_cluster)).flatten()
    }
}
