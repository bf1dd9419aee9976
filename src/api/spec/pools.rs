//! Settings for the pools of some databases and users.

#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a block of its own")]

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::api::Duration;

/// Settings for the pools of some databases and users. A pool is a pair of database and user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!('*' in self.users) || self.users.size() == 1").message("users: `*` stands alone, since it is everybody"),
    validation = Rule::new("!has(self.maxConnections) || self.minConnections <= self.maxConnections").message("minConnections is above maxConnections")
)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Name in logs and metrics.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Database, or `*` for every one.
    #[serde(default = "any")]
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// Users, or `*` alone for every one.
    #[serde(default = "any_user")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63)))]
    pub users: Vec<String>,
    /// Overrides `mode` of the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<PoolMode>,
    /// Its part, compared with other pools, when all of them want more.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: i32,
    /// Server connections of one such pool, over all pods, that stay open once it was used and that no other pool takes.
    #[serde(default)]
    #[schemars(range(min = 0, max = 262_143))]
    pub min_connections: i32,
    /// Most server connections of one such pool over all pods; a pod gets its part of it, one at least. Unset: only
    /// the budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 262_143))]
    pub max_connections: Option<i32>,
    /// Overrides `queueTimeout` of the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_timeout: Option<Duration>,
    /// Overrides `sessionState` of the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_state: Option<SessionState>,
}

/// When a server connection goes back to its pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PoolMode {
    /// When the transaction ends.
    #[default]
    Transaction,
    /// When the client disconnects.
    Session,
    /// When the statement ends; transactions of several statements are refused.
    Statement,
}

/// What becomes, in mode `Transaction`, of session state that cannot follow its client to another server connection:
/// LISTEN, temporary objects, cursors WITH HOLD, session advisory locks, PREPARE, SESSION AUTHORIZATION, LOAD.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SessionState {
    /// It is wiped off when the transaction ends.
    Reset,
    /// Its client keeps the server connection for as long as it is there.
    #[default]
    Pin,
    /// Statements that make it are refused with 0A000; what gets through is wiped off.
    Reject,
}

fn any() -> String {
    pgpooler_config::ANY.to_owned()
}

fn any_user() -> Vec<String> {
    vec![any()]
}

fn hundred() -> i32 {
    100
}

/// Pools are a map by name, so that two owners can each apply their own.
pub(super) fn pools_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Vec<Pool>>();
    schema.insert("x-kubernetes-list-type".into(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".into(), serde_json::json!(["name"]));
    schema
}
