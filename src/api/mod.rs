//! The `PgPooler` kind, as users write it and as the operator answers.
//!
//! Every field here works. Every default is in the schema, so that `kubectl get -o yaml` shows what counts.

mod condition;
mod connections;
mod duration;
mod foreign;
mod resources;
mod spec;
mod status;

pub use condition::{ConditionType, Reason};
pub use connections::Connections;
pub use duration::{BadDuration, Duration};
pub use foreign::{
    Certificate, CertificateSpec, Matching, MetricsEndpoint, Monitor, MonitorSpec, Relabeling,
};
pub use resources::{Amount, Resources};
pub use spec::{
    Auth, AuthQuery, AuthType, Availability, Budget, BudgetMode, CaKind, CaRef, ClientTls, Clients,
    DisruptionBudget, Drain, Fence, IssuerRef, LocalRef, Monitoring, NetworkPolicy, PgPooler, PgPoolerSpec,
    PodMonitor, PodTemplate, Pool, PoolMode, Role, Servers, Service, ServiceType, SessionState, Spread,
    Target, TargetTls, TlsMode, WhenUnsatisfiable,
};
pub use status::{
    BudgetStatus, ClientsStatus, EndpointStatus, FenceStatus, LedgerStatus, PgPoolerStatus, PodStatus,
    Recommendation, TargetStatus,
};
