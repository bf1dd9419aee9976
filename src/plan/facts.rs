//! Facts: all that was seen of the world for one plan. Waiting and failing are facts too.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::api::Reason;

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The Secret of the target.
    pub secret: SecretFact,
    /// The PostgreSQL server.
    pub server: ServerFact,
    /// Password of the admin console: the one in use, or a new one where there is none.
    pub admin_password: Hidden,
    /// What the pods share: the one in use, or a new one where there is none.
    pub peer_secret: Hidden,
    /// The children that exist and are ours.
    pub children: Children,
    /// Children whose names are taken by objects of others.
    pub conflicts: Vec<String>,
    /// The pods that exist.
    pub pods: Vec<PodFact>,
    /// What the pods say of themselves.
    pub load: Load,
}

/// What the pods say of themselves, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Clients that wait; `None`: no pod answered.
    pub waiting: Option<u32>,
    /// Server connections held, those being opened and closed included; `None`: not every pod answered.
    pub held: Option<u32>,
}

/// A value that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The Secret of the target.
#[derive(Clone, Default)]
pub enum SecretFact {
    /// There is none of that name.
    #[default]
    Missing,
    /// What it holds.
    Found(BTreeMap<String, Vec<u8>>),
}

impl fmt::Debug for SecretFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("Missing"),
            Self::Found(data) => f.debug_tuple("Found").field(&data.keys()).finish(),
        }
    }
}

/// The PostgreSQL server.
#[derive(Debug, Clone, Default)]
pub enum ServerFact {
    /// Nobody could ask, since it is not known whom.
    #[default]
    NotAsked,
    /// It could not be asked.
    Failed {
        /// Why, in the closed vocabulary.
        reason: Reason,
        /// Why, for people.
        message: String,
    },
    /// What it answered.
    Seen(Server),
}

/// What the server answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// `max_connections`.
    pub max_connections: u32,
    /// `superuser_reserved_connections`.
    pub superuser_reserved: u32,
    /// `reserved_connections` (PostgreSQL 16 and later).
    pub reserved: u32,
    /// CONNECTION LIMIT of the login role, where it binds.
    pub role_limit: Option<u32>,
    /// CONNECTION LIMIT of the database, where it binds.
    pub database_limit: Option<u32>,
    /// `server_version`.
    pub version: String,
    /// System identifier, where the role may read it.
    pub system_identifier: Option<String>,
    /// A standby.
    pub in_recovery: bool,
    /// Sessions of the login role but the operator's own: the pooler's, and those of whoever else has that role.
    pub of_role: u32,
    /// Sessions of other roles.
    pub of_others: u32,
}

/// The children that exist and are ours.
#[derive(Debug, Clone, Default)]
pub struct Children {
    /// `<name>-pooler`
    pub service_account: Option<Arc<ServiceAccount>>,
    /// `<name>-auth`
    pub auth: Option<Arc<Secret>>,
    /// `<name>-config`
    pub config: Option<Arc<ConfigMap>>,
    /// `<name>-peers`
    pub peers: Option<Arc<Service>>,
    /// `<name>`
    pub service: Option<Arc<Service>>,
    /// `<name>`
    pub disruption_budget: Option<Arc<PodDisruptionBudget>>,
    /// `<name>`
    pub deployment: Option<Arc<Deployment>>,
}

/// One pod that has not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodFact {
    /// Name.
    pub name: String,
    /// Address, when it has one.
    pub address: Option<String>,
    /// Most server connections that it may hold.
    pub share: u32,
    /// Hash of its template.
    pub template_hash: String,
    /// Hash of its configuration.
    pub config_hash: String,
    /// It has been told to end.
    pub terminating: bool,
    /// It serves clients.
    pub ready: bool,
}
