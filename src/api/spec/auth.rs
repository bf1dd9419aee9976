//! How clients prove who they are.

#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a block of its own")]

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::LocalRef;
use crate::api::Duration;

/// How clients prove who they are. The login role of the target is always known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Auth {
    /// What clients are asked for.
    #[serde(rename = "type")]
    pub type_: AuthType,
    /// Secrets with `username` (or `user`) and `password` of further roles, such as those of type
    /// `kubernetes.io/basic-auth`. They log in to the server as themselves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "users_schema")]
    pub users: Vec<LocalRef>,
    /// Looks up all other roles in PostgreSQL. Unset: only those above are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<AuthQuery>,
    /// Users of `users` or `query` who may run every command of the admin console.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub admin_users: Vec<String>,
    /// Users of `users` or `query` who may run `SHOW` on the admin console, such as an exporter's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub stats_users: Vec<String>,
}

/// What clients are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuthType {
    /// As the user's secret allows: md5 for an md5 hash, else SCRAM-SHA-256.
    #[default]
    Auto,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// md5, but SCRAM-SHA-256 for users with a verifier.
    Md5,
    /// The password as it is.
    Plain,
    /// A client certificate whose common name is the user; needs `clients.tls.clientCARef`.
    Cert,
}

/// Looks up roles in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.statement.contains('$1')").message("statement needs $1, the name of the role to look up"),
    validation = Rule::new("self.cacheTimeout == '0' || duration(self.cacheTimeout) <= duration('24h')").message("cacheTimeout may be 24h at most")
)]
#[serde(rename_all = "camelCase")]
pub struct AuthQuery {
    /// Secret with `username` (or `user`) and `password` of the role that looks up. Unset: the login role of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,
    /// Database that it looks up in. Unset: the one that the client asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub database: Option<String>,
    /// What it runs, with the name of the role to look up as `$1`; the row: name, password. The default calls the function
    /// that `pgpooler-operator auth-query-sql` prints.
    #[serde(default = "statement")]
    #[schemars(length(min = 1, max = 2048))]
    pub statement: String,
    /// How old an answer may be that stands in when PostgreSQL cannot be asked at once; 0: none does.
    #[serde(default = "five_minutes")]
    pub cache_timeout: Duration,
}

fn statement() -> String {
    pgpooler_config::AUTH_QUERY.to_owned()
}

fn five_minutes() -> Duration {
    "5m".into()
}

/// Users are a map by name of the Secret.
fn users_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Vec<LocalRef>>();
    schema.insert("maxItems".into(), serde_json::json!(256));
    schema.insert("x-kubernetes-list-type".into(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".into(), serde_json::json!(["name"]));
    schema
}
