//! The spec, parsed: the only thing that the renderers read. A spec that cannot be parsed never reaches them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};
use pgpooler_config::{
    AuthType, Document, Place, PoolMode, PoolRule, Seconds, SessionState, TargetRole, TlsMode,
};

use crate::api::{self, BudgetMode, PgPooler};
use crate::names;

use super::budget::Sum;
use super::materials::Materials;
use super::target::{Host, Target};
use super::{Settings, Upgrade};

/// Where the pods find the document.
pub const CONFIG_DIR: &str = "/etc/pgpooler/config";
/// Where the pods find users and passwords.
pub const AUTH_DIR: &str = "/etc/pgpooler/auth";

/// Time beyond the drain in which a pod may end by itself before it is killed.
const GRACE: i64 = 15;

/// The spec, parsed.
#[derive(Debug, Clone)]
pub struct Pooler {
    /// Name of the object and of its children.
    pub name: String,
    /// Namespace of all of them.
    pub namespace: String,
    /// Owner of the children.
    pub owner: OwnerReference,
    /// Pods wanted.
    pub replicas: u32,
    /// Most pods.
    pub max_replicas: u32,
    /// Whether the budget binds.
    pub mode: BudgetMode,
    /// Image of the pods.
    pub image: String,
    /// The one that the spec names.
    pub own_image: Option<String>,
    /// Version and default image of this operator.
    pub maker: String,
    /// When pods of a former operator are replaced.
    pub upgrade: Upgrade,
    /// How long a pod may take to end.
    pub termination_grace_seconds: i64,
    /// The Service.
    pub service: api::Service,
    /// More for the pods.
    pub pod_template: api::PodTemplate,
    /// What keeps pods from going all at once.
    pub availability: api::Availability,
    /// Who may reach the pods.
    pub network_policy: api::NetworkPolicy,
    /// Namespace of the operator, where it is known.
    pub operator_namespace: Option<String>,
    /// For the Prometheus operator.
    pub pod_monitor: api::PodMonitor,
    /// Name of the Secret for applications.
    pub connection_secret: Option<String>,
    /// Whether clients use TLS.
    pub client_tls: api::TlsMode,
    /// What is ordered of cert-manager.
    pub certificate: Option<Order>,
    /// Whether roles are looked up in PostgreSQL.
    looks_up: bool,
    /// The document, but for the target and what the budget says.
    document: Document,
    /// The rules for pools, with the limits over all pods.
    pools: Vec<api::Pool>,
}

/// A certificate that is ordered of cert-manager.
#[derive(Debug, Clone)]
pub struct Order {
    /// Who signs it.
    pub issuer: api::IssuerRef,
    /// More names for it.
    pub dns_names: Vec<String>,
}

/// The spec has a value that the schema did not refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A duration.
    #[error("spec.{field}: {source}")]
    Duration {
        /// Its path below `spec`.
        field: String,
        /// What is wrong.
        source: api::BadDuration,
    },
    /// A duration of more than ten years.
    #[error("spec.{0} is too long")]
    TooLong(String),
    /// A number.
    #[error("spec.{0} is out of range")]
    OutOfRange(&'static str),
    /// The object has no namespace, uid or name, as no object from an API server.
    #[error("the object has no {0}")]
    Incomplete(&'static str),
    /// What is added to the pods makes no pod.
    #[error("spec.podTemplate: {0}")]
    PodTemplate(String),
    /// The pooler would refuse its configuration.
    #[error("the pooler would refuse this: {0}")]
    Document(#[from] pgpooler_config::ValidationError),
}

impl Pooler {
    /// Parses the spec.
    pub fn parse(object: &PgPooler, settings: &Settings) -> Result<Self, SpecError> {
        let spec = &object.spec;
        let document = document(spec)?;
        let tls = spec.clients.tls.as_ref();
        let drain = document.drain_timeout.as_duration().as_secs_f64().ceil() as i64;
        Ok(Self {
            name: object.name_any(),
            namespace: object.namespace().ok_or(SpecError::Incomplete("namespace"))?,
            owner: object.controller_owner_ref(&()).ok_or(SpecError::Incomplete("uid"))?,
            replicas: unsigned(spec.replicas, "replicas")?.min(unsigned(spec.max_replicas, "maxReplicas")?),
            max_replicas: unsigned(spec.max_replicas, "maxReplicas")?,
            mode: spec.budget.mode,
            own_image: spec.image.clone(),
            maker: format!("{} {}", env!("CARGO_PKG_VERSION"), settings.pooler_image),
            upgrade: settings.upgrade,
            image: spec.image.clone().unwrap_or_else(|| settings.pooler_image.clone()),
            termination_grace_seconds: drain + GRACE,
            service: spec.service.clone(),
            pod_template: spec.pod_template.clone(),
            availability: spec.availability.clone(),
            network_policy: spec.network_policy.clone(),
            operator_namespace: settings.namespace.clone(),
            pod_monitor: spec.monitoring.pod_monitor.clone(),
            connection_secret: spec.connection_secret.as_ref().map(|secret| secret.name.clone()),
            client_tls: tls.map_or(api::TlsMode::Disable, |tls| tls.mode),
            certificate: tls.and_then(order),
            looks_up: spec.auth.query.is_some(),
            document,
            pools: spec.pools.clone(),
        })
    }

    /// What each pod may hold without hearing from anybody; 0: nobody limits it.
    pub fn floor(&self, sum: &Sum) -> u32 {
        match self.mode {
            BudgetMode::Enforce => sum.floor,
            BudgetMode::Observe => 0,
        }
    }

    /// The document of the pods. Nothing in it may change with the budget, since every pod would be replaced for it;
    /// pods are told what they may hold. A process that nobody tells, with the same document, keeps to the floor.
    pub fn document(&self, target: &Target, sum: &Sum, materials: &Materials) -> Result<Document, SpecError> {
        let pools = self.pools.iter().map(rule);
        let file =
            |key: &str| materials.files.contains_key(key).then(|| PathBuf::from(format!("{AUTH_DIR}/{key}")));
        let lookup = || materials.lookup.as_ref().map_or_else(|| target.user.clone(), |one| one.user.clone());
        let document = Document {
            auth_user: if self.looks_up { lookup() } else { String::new() },
            client_tls_cert_file: file(names::CLIENT_CERT_KEY),
            client_tls_key_file: file(names::CLIENT_KEY_KEY),
            client_tls_ca_file: file(names::CLIENT_CA_KEY),
            server_tls_ca_file: file(names::SERVER_CA_KEY),
            server_tls_cert_file: file(names::SERVER_CERT_KEY),
            server_tls_key_file: file(names::SERVER_KEY_KEY),
            max_server_connections: match self.mode {
                BudgetMode::Enforce => sum.floor,
                BudgetMode::Observe => sum.places.usable,
            },
            peers_dns: names::peers(&self.name),
            target: place(target),
            pools: pools.collect::<Result<_, _>>()?,
            ..self.document.clone()
        };
        document.validate()?;
        Ok(document)
    }

    /// Host name of the Service, for the whole cluster.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", names::workload(&self.name), self.namespace)
    }

    /// Labels of the pods: the user's, and over them the operator's.
    pub fn pod_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.pod_template.labels.clone();
        labels.extend(names::labels(&self.name));
        labels
    }
}

/// Where the target may be, and what it must be.
fn place(target: &Target) -> pgpooler_config::Target {
    let role = match target.role {
        api::Role::Primary => TargetRole::Primary,
        api::Role::Standby => TargetRole::Standby,
        api::Role::Any => TargetRole::Any,
    };
    match target.hosts.as_slice() {
        [Host { name, port }] => {
            pgpooler_config::Target { host: name.clone(), port: *port, role, ..Default::default() }
        }
        several => {
            let place = |Host { name, port }: &Host| Place { host: name.clone(), port: Some(*port) };
            let hosts = several.iter().map(place).collect();
            pgpooler_config::Target { hosts, role, ..Default::default() }
        }
    }
}

fn order(tls: &api::ClientTls) -> Option<Order> {
    let issuer = tls.issuer_ref.clone()?;
    Some(Order { issuer, dns_names: tls.dns_names.clone() })
}

fn document(spec: &api::PgPoolerSpec) -> Result<Document, SpecError> {
    let mut admin_users = vec![names::ADMIN_USER.to_owned()];
    admin_users.extend(spec.auth.admin_users.iter().filter(|user| *user != names::ADMIN_USER).cloned());
    let query = spec.auth.query.as_ref();
    let client_tls = spec.clients.tls.as_ref();
    Ok(Document {
        auth_type: auth_type(spec.auth.type_),
        auth_query: query
            .map_or_else(|| pgpooler_config::AUTH_QUERY.to_owned(), |query| query.statement.clone()),
        auth_dbname: query.and_then(|query| query.database.clone()).unwrap_or_default(),
        auth_query_cache: match query {
            Some(query) => seconds("auth.query.cacheTimeout", &query.cache_timeout)?,
            None => Document::default().auth_query_cache,
        },
        client_tls_sslmode: client_tls.map_or(TlsMode::Disable, |tls| tls_mode(tls.mode)),
        server_tls_sslmode: tls_mode(spec.target.tls.mode),
        stats_users: spec.auth.stats_users.clone(),
        auth_file: format!("{AUTH_DIR}/{}", names::USERLIST_KEY).into(),
        peer_secret_file: format!("{AUTH_DIR}/{}", names::PEER_SECRET_KEY).into(),
        internal_tls_ca_file: Some(format!("{AUTH_DIR}/{}", names::INTERNAL_CA_KEY).into()),
        internal_tls_cert_file: Some(format!("{AUTH_DIR}/{}", names::INTERNAL_CERT_KEY).into()),
        internal_tls_key_file: Some(format!("{AUTH_DIR}/{}", names::INTERNAL_KEY_KEY).into()),
        admin_users,
        pool_mode: mode(spec.mode),
        session_state: session_state(spec.session_state),
        query_wait_timeout: seconds("queueTimeout", &spec.queue_timeout)?,
        max_client_conn: unsigned(spec.clients.max, "clients.max")?,
        client_idle_timeout: seconds("clients.idleTimeout", &spec.clients.idle_timeout)?,
        client_login_timeout: seconds("clients.loginTimeout", &spec.clients.login_timeout)?,
        server_idle_timeout: seconds("servers.idleTimeout", &spec.servers.idle_timeout)?,
        server_lifetime: seconds("servers.lifetime", &spec.servers.lifetime)?,
        server_connect_timeout: seconds("servers.connectTimeout", &spec.servers.connect_timeout)?,
        server_hold_timeout: seconds("target.holdTimeout", &spec.target.hold_timeout)?,
        max_prepared_statements: unsigned(
            spec.servers.max_prepared_statements,
            "servers.maxPreparedStatements",
        )?,
        drain_timeout: seconds("drain.timeout", &spec.drain.timeout)?,
        paused: spec.paused,
        ..Document::default()
    })
}

/// A limit over all pods goes in as it is: each pod takes its part of it as of the budget.
fn rule(pool: &api::Pool) -> Result<PoolRule, SpecError> {
    let limit = pool.max_connections.map(|limit| unsigned(limit, "pools[].maxConnections")).transpose()?;
    let timeout = pool.queue_timeout.as_ref();
    let field = || format!("pools[{}].queueTimeout", pool.name);
    Ok(PoolRule {
        name: pool.name.clone(),
        database: pool.database.clone(),
        users: pool.users.clone(),
        pool_mode: pool.mode.map(mode),
        pool_size: None,
        pool_size_total: limit,
        min_pool_size: None,
        min_pool_size_total: Some(unsigned(pool.min_connections, "pools[].minConnections")?),
        weight: unsigned(pool.weight, "pools[].weight")?,
        session_state: pool.session_state.map(session_state),
        query_wait_timeout: timeout.map(|timeout| seconds(&field(), timeout)).transpose()?,
    })
}

fn mode(mode: api::PoolMode) -> PoolMode {
    match mode {
        api::PoolMode::Transaction => PoolMode::Transaction,
        api::PoolMode::Session => PoolMode::Session,
        api::PoolMode::Statement => PoolMode::Statement,
    }
}

fn session_state(state: api::SessionState) -> SessionState {
    match state {
        api::SessionState::Reset => SessionState::Reset,
        api::SessionState::Pin => SessionState::Pin,
        api::SessionState::Reject => SessionState::Reject,
    }
}

fn auth_type(type_: api::AuthType) -> AuthType {
    match type_ {
        api::AuthType::Auto => AuthType::Auto,
        api::AuthType::ScramSha256 => AuthType::Scram,
        api::AuthType::Md5 => AuthType::Md5,
        api::AuthType::Plain => AuthType::Plain,
        api::AuthType::Cert => AuthType::Cert,
    }
}

fn tls_mode(mode: api::TlsMode) -> TlsMode {
    match mode {
        api::TlsMode::Disable => TlsMode::Disable,
        api::TlsMode::Prefer => TlsMode::Prefer,
        api::TlsMode::Require => TlsMode::Require,
        api::TlsMode::VerifyCA => TlsMode::VerifyCa,
        api::TlsMode::VerifyFull => TlsMode::VerifyFull,
    }
}

fn seconds(field: &str, duration: &api::Duration) -> Result<Seconds, SpecError> {
    let duration =
        duration.parse().map_err(|source| SpecError::Duration { field: field.to_owned(), source })?;
    Seconds::try_from(duration).map_err(|_| SpecError::TooLong(field.to_owned()))
}

fn unsigned(number: i32, field: &'static str) -> Result<u32, SpecError> {
    u32::try_from(number).map_err(|_| SpecError::OutOfRange(field))
}
