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
    /// Where applications connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointStatus>,
    /// How the budget was reckoned; every number that the sum needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetStatus>,
    /// For the operator that comes next; written by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerStatus>,
    /// The clients of all pods; sampled, at most every 30 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientsStatus>,
    /// What each pod may hold and holds, 32 pods at most; sampled, at most every 30 seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodStatus>,
    /// What guards the budget in PostgreSQL itself: the login role's CONNECTION LIMIT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence: Option<FenceStatus>,
    /// What to write into `spec.budget`, by what was measured; only while `budget.mode` is `Observe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommendation: Option<Recommendation>,
    /// Hash of the configuration that all pods should run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// Conditions: Ready, `TargetReachable`, `WithinBudget`, `ConfigApplied`, Available, Fenced, `CertificatesValid`,
    /// `LookupReady`, Paused.
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

/// Where applications connect to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Host name of the Service, for the whole cluster.
    pub host: String,
    /// Its port.
    pub port: i32,
    /// Secret for applications that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

/// The sum: `maxConnections` - `reserved` = `usable`; - `hidden` - `keepFree` = `serverBudget`; `budget` is the least of
/// that, of `serverConnections` and of the limits of role and database. `charged` + `aside` is never above `budget`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetStatus {
    /// `max_connections` of the server.
    pub max_connections: i32,
    /// `superuser_reserved_connections` and `reserved_connections` together.
    pub reserved: i32,
    /// What is left for ordinary roles.
    pub usable: i32,
    /// Of these not to be had, as refusals of the server have taught.
    #[serde(default)]
    pub hidden: i32,
    /// Kept free for others: the most that any `PgPooler` on this server asks for, or `foreignPeak` if that is more.
    pub keep_free: i32,
    /// Sessions on the server that are not from a pooler; sampled, at most every 30 seconds.
    pub foreign: i32,
    /// The most of them within a day.
    #[serde(default)]
    pub foreign_peak: i32,
    /// What all pods of all `PgPoolers` on the server may hold together.
    #[serde(default)]
    pub server_budget: i32,
    /// CONNECTION LIMIT of the login role, if it has one that binds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_limit: Option<i32>,
    /// CONNECTION LIMIT of the database, if it has one that binds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_limit: Option<i32>,
    /// Most server connections of all pods together.
    pub budget: i32,
    /// What of it is there when all `PgPoolers` on the server want more, by weight; alone it is all.
    #[serde(default)]
    pub part: i32,
    /// Other `PgPoolers` on the same server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_with: Vec<String>,
    /// `maxReplicas` that the budget bears.
    pub max_replicas: i32,
    /// Most pods that can exist at once: 2 x `maxReplicas` + 1, since old ones may still drain while new ones start.
    pub max_pods: i32,
    /// What each pod may hold without hearing from anybody.
    #[serde(default)]
    pub floor: i32,
    /// Set aside: the floors of pods that could still come; sampled.
    #[serde(default)]
    pub aside: i32,
    /// What pods have been told that they may hold, floors included; sampled.
    #[serde(default)]
    pub granted: i32,
    /// The most that pods could be holding, also those that are silent or gone and still on the server; sampled.
    #[serde(default)]
    pub charged: i32,
    /// Server connections that the pods hold; sampled, at most every 30 seconds.
    pub used: i32,
}

/// What the operator that comes next has to assume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerStatus {
    /// Of the operator that wrote it: a later one has a higher epoch.
    pub epoch: i64,
    /// The largest budget that may be in use on the server: written before it is used.
    pub committed: i64,
}

/// What one pod may hold and holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Name.
    pub name: String,
    /// `Unheard`, `Awaiting`, `Floor`, `Serving`, `Draining`, `Standalone`, `Vanished` or `Gone`.
    pub phase: String,
    /// What it may hold without hearing from anybody.
    pub floor: i32,
    /// What it may hold.
    pub limit: i32,
    /// What it holds.
    pub held: i32,
    /// The most that it could be holding.
    pub charge: i32,
    /// Hash of the configuration that it runs, as it said last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
}

/// The CONNECTION LIMIT of the login role as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FenceStatus {
    /// The login role.
    pub role: String,
    /// Host and port of the server.
    pub address: String,
    /// Identifier of the database cluster, where the login role may read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// What the pods and the operator's session need: the budget and 1, while pods may still hold more, that.
    pub needs: i32,
    /// What all `PgPoolers` with this role on the server need, `serverBudget` at most; never more than `original`.
    pub wanted: i32,
    /// What was there before the operator set it, to be put back; -1: no limit. Unset: the operator has not set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<i32>,
}

/// What to write into `spec.budget`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recommendation {
    /// For `serverConnections`.
    pub server_connections: i32,
    /// For `keepFree`.
    pub keep_free: i32,
    /// Why.
    pub message: String,
}

impl PgPoolerStatus {
    /// What is told at once: all but figures that move by themselves, and the texts that have such figures in them.
    #[must_use]
    pub fn without_figures(&self) -> Self {
        let mut rest = self.clone();
        rest.clients = None;
        rest.recommendation = None;
        rest.pods.clear();
        for condition in &mut rest.conditions {
            condition.message.clear();
        }
        if let Some(budget) = &mut rest.budget {
            (budget.foreign, budget.foreign_peak) = (0, 0);
            (budget.aside, budget.granted, budget.charged, budget.used) = (0, 0, 0, 0);
        }
        rest
    }
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
