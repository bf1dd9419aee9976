//! Facts: all that was seen of the world for one plan. Waiting and failing are facts too.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::api::{Certificate, Monitor, PgPooler, Reason};

use super::fence::Outcome;
use super::materials::References;

use super::backends::Backends;

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The Secret of the target.
    pub secret: SecretFact,
    /// Which kinds of other operators the API server has.
    pub kinds: Kinds,
    /// What else the spec names, as Secrets and `ConfigMaps`, by kind and name.
    pub references: References,
    /// The PostgreSQL server.
    pub server: ServerFact,
    /// Whether roles can be looked up there.
    pub lookup: LookupFact,
    /// Password of the admin console: the one in use, or a new one where there is none.
    pub admin_password: Hidden,
    /// What the pods share: the one in use, or a new one where there is none.
    pub peer_secret: Hidden,
    /// What pods and operator know each other by: what is in use, or new where there is none.
    pub internal_tls: InternalTls,
    /// The children that exist and are ours.
    pub children: Children,
    /// Children whose names are taken by objects of others.
    pub conflicts: Vec<String>,
    /// The pods that exist.
    pub pods: Vec<PodFact>,
    /// Pods whose object is gone although nobody has said that they ended: they may still run.
    pub vanished: Vec<PodFact>,
    /// All sessions on the server; `None`: it cannot be asked.
    pub backends: Option<Looked>,
    /// What the ledger knows; `None`: nothing is accounted for.
    pub account: Option<Account>,
    /// What is known of the server beyond what it says.
    pub sharing: Sharing,
    /// What else is known of the login role's CONNECTION LIMIT.
    pub fence: Fencing,
}

/// Which kinds of other operators the API server has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds {
    /// cert-manager's.
    pub certificate: Served,
    /// The Prometheus operator's.
    pub pod_monitor: Served,
}

impl Kinds {
    /// Whether a `PgPooler` asks for something of a kind that is not there.
    pub fn lack(&self, object: &PgPooler) -> bool {
        let spec = &object.spec;
        let orders = spec.clients.tls.as_ref().is_some_and(|tls| tls.issuer_ref.is_some())
            && self.certificate == Served::Absent;
        orders || spec.monitoring.pod_monitor.enabled && self.pod_monitor == Served::Absent
    }
}

/// Whether the API server has a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Served {
    /// It has not.
    #[default]
    Absent,
    /// It has.
    Present,
}

/// What is known of the login role's CONNECTION LIMIT beyond what the server says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fencing {
    /// Other `PgPoolers` that log in as the same role on the same server, by what their status says.
    pub others: Vec<Guard>,
    /// What became of it, if something was to be done.
    pub outcome: Option<Outcome>,
}

impl Fencing {
    /// The operator should set it and cannot: it binds as it is.
    pub fn is_stuck(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Failed { .. }))
    }
}

/// A `PgPooler` that has its part of a role's CONNECTION LIMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// What it needs of it.
    pub needs: u32,
    /// What was there before, if the operator has set it for this one; inside, `None`: no limit.
    pub original: Option<Option<u32>>,
    /// It is being deleted.
    pub leaving: bool,
}

/// All sessions on the server, and when they were asked for by our own clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Looked {
    /// Before the server answered.
    pub asked: Instant,
    /// The sessions.
    pub backends: Backends,
}

/// What is known of the server beyond what it says; the default: it is there for this `PgPooler` alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sharing {
    /// Other `PgPoolers` on the same server that keep to its budget.
    pub others: Vec<Neighbour>,
    /// Places that the server does not give although it should, learnt from its refusals (SQLSTATE 53300).
    pub hidden: u32,
    /// Sessions that are not of any pooler; `None`: not known.
    pub foreign: Option<u32>,
    /// The most of them at once.
    pub foreign_peak: u32,
}

/// Another `PgPooler` on the same server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// Namespace and name.
    pub name: String,
    /// Its `budget.weight`.
    pub weight: u32,
    /// Its `budget.keepFree`.
    pub keep_free: u32,
    /// Role that it logs in as.
    pub role: String,
    /// Database of its target.
    pub database: String,
}

/// What the ledger knows of one `PgPooler`: charges of its pods and what is set aside for pods to come never add up to
/// more than the budget.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// What its pods may hold together now.
    pub budget: u32,
    /// Floors of the pods that could still come.
    pub aside: u32,
    /// What pods that are gone may still hold on the server.
    pub departed: u32,
    /// Whether more pods may come.
    pub coverage: Coverage,
    /// The pods, by name.
    pub pods: Vec<PodAccount>,
    /// Most server connections that clients needed at once, as far as anybody has seen.
    pub peak: u32,
}

/// Whether all pods that may exist fit in the budget beside what those that exist hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Coverage {
    /// Not now: something is still to be given back, or was not heard of yet.
    #[default]
    Short,
    /// They do.
    Covered {
        /// So many pods.
        pods: u32,
        /// Each with such a floor.
        floor: u32,
    },
}

/// What the ledger knows of one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodAccount {
    /// Name.
    pub name: String,
    /// Where it is in its life.
    pub phase: PodPhase,
    /// Its connection to the operator.
    pub reach: Reach,
    /// What it may hold without hearing from anybody.
    pub floor: u32,
    /// What it may hold.
    pub limit: u32,
    /// What it says that it holds.
    pub held: u32,
    /// What of it clients are using.
    pub active: u32,
    /// Clients that wait there.
    pub waiting: u32,
    /// The most that it could be holding.
    pub charge: u32,
    /// The configuration that it runs.
    pub configured: Configured,
}

/// What is known of a pod's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configured {
    /// Hash of what it runs; `None`: it has not said.
    pub hash: Option<String>,
    /// Settings in it that wait for a restart.
    pub needs_restart: Vec<String>,
    /// Why it refuses what it should run.
    pub rejected: Option<String>,
    /// Why it could not be reached when that was last tried.
    pub fault: Option<String>,
}

/// Where a pod is in its life, as far as the ledger goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PodPhase {
    /// It has said nothing to this operator yet.
    #[default]
    Unheard,
    /// It has started and holds nothing yet.
    Awaiting,
    /// It serves from its floor.
    Floor,
    /// It has a limit.
    Serving,
    /// It was told to end.
    Draining,
    /// Nobody limits it.
    Standalone,
    /// Its object is gone, but nobody has seen it end.
    Vanished,
    /// It has ended; the server may not have noticed yet.
    Gone,
}

/// The connection to a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reach {
    /// There is none.
    #[default]
    Silent,
    /// It answers.
    Connected,
}

impl PodPhase {
    /// As written in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unheard => "Unheard",
            Self::Awaiting => "Awaiting",
            Self::Floor => "Floor",
            Self::Serving => "Serving",
            Self::Draining => "Draining",
            Self::Standalone => "Standalone",
            Self::Vanished => "Vanished",
            Self::Gone => "Gone",
        }
    }
}

impl Account {
    /// What pods that exist, or have existed, could hold together.
    pub fn charged(&self) -> u32 {
        self.total(|pod| pod.charge).saturating_add(self.departed)
    }

    /// Sum of one figure of all pods.
    pub fn total(&self, of: impl Fn(&PodAccount) -> u32) -> u32 {
        self.pods.iter().map(of).fold(0, u32::saturating_add)
    }
}

/// A value that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// An authority that has signed a single certificate, which all pods have; PEM. What is empty is not there yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InternalTls {
    /// The authority.
    pub ca: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: Hidden,
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

/// Whether roles can be looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LookupFact {
    /// Nobody has asked.
    #[default]
    NotAsked,
    /// They can.
    Works,
    /// They cannot.
    Failed {
        /// Why, in the closed vocabulary.
        reason: Reason,
        /// Why, for people.
        message: String,
    },
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
    /// Which other roles have the most, for people.
    pub whose: String,
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
    pub network_policy: Option<Arc<NetworkPolicy>>,
    /// As the spec names it, or as it did.
    pub connection: Option<Arc<Secret>>,
    /// `<name>-client-tls`
    pub certificate: Option<Arc<Certificate>>,
    /// `<name>`
    pub pod_monitor: Option<Arc<Monitor>>,
    /// `<name>`
    pub deployment: Option<Arc<Deployment>>,
}

/// One pod that has not ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodFact {
    /// Name.
    pub name: String,
    /// No other pod has or had it.
    pub uid: String,
    /// Address, when it has one.
    pub address: Option<String>,
    /// Node that it was bound to.
    pub node: Option<String>,
    /// Server connections that it may hold without hearing from anybody; 0: nobody limits it.
    pub floor: u32,
    /// Hash of its template.
    pub template_hash: String,
    /// Whether it stays and serves.
    pub life: Life,
}

/// Where a pod is in its life, as Kubernetes sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Life {
    /// It does not serve clients yet.
    #[default]
    Starting,
    /// It serves clients.
    Ready,
    /// It has been told to end.
    Terminating,
}

impl PodFact {
    /// It has been told to end.
    pub fn is_terminating(&self) -> bool {
        self.life == Life::Terminating
    }
}
