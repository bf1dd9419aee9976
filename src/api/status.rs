//! What the operator says of a `PgPooler`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// The state of a `PgPooler`; written by the operator alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PgPoolerStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that exist and are not going.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that serve clients.
    #[serde(default)]
    pub ready_replicas: i32,
    /// `readyReplicas` of the wanted ones, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// Label selector of the pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The PostgreSQL server behind the pooler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatus>,
    /// How the budget was reckoned; every number that the sum needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetStatus>,
    /// The clients of all pods; sampled, at most every 30 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientsStatus>,
    /// Conditions: Ready, `TargetReachable`, `WithinBudget`, `ConfigApplied`, Available.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// The PostgreSQL server behind the pooler, as last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// Host and port.
    pub address: String,
    /// Version of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// Identifier of the database cluster, where the login role may read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// `Primary` or `Standby`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// The sum: `maxConnections` - `reserved` = `usable`; `budget` is the least of `serverConnections` of it,
/// `usable` - `keepFree` and the limits of role and database; `maxPods` x `share` is never above `budget`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetStatus {
    /// `max_connections` of the server.
    pub max_connections: i32,
    /// `superuser_reserved_connections` and `reserved_connections` together.
    pub reserved: i32,
    /// What is left for ordinary roles.
    pub usable: i32,
    /// Kept free for others, as the spec says.
    pub keep_free: i32,
    /// CONNECTION LIMIT of the login role, if it has one that binds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_limit: Option<i32>,
    /// CONNECTION LIMIT of the database, if it has one that binds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_limit: Option<i32>,
    /// Most server connections of all pods together.
    pub budget: i32,
    /// `maxReplicas` that the budget bears.
    pub max_replicas: i32,
    /// Most pods that can exist at once: 2 x `maxReplicas` + 1, since old ones may still drain while new ones start.
    pub max_pods: i32,
    /// Most server connections of one pod.
    pub share: i32,
    /// Sessions on the server that are not from the pooler; sampled, at most every 30 seconds.
    pub foreign: i32,
    /// Server connections that the pods hold; sampled, at most every 30 seconds.
    pub used: i32,
}

/// The clients of all pods together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientsStatus {
    /// Clients that wait for a server connection.
    pub waiting: i32,
}

/// Conditions are a map by type for server-side apply.
fn conditions_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Vec<Condition>>();
    schema.insert("x-kubernetes-list-type".into(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".into(), serde_json::json!(["type"]));
    schema
}
