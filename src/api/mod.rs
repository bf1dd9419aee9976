//! The `PgPooler` kind, as users write it and as the operator answers.
//!
//! Every field here works. Every default is in the schema, so that `kubectl get -o yaml` shows what counts.

mod condition;
mod connections;
mod duration;
mod resources;
mod spec;
mod status;

pub use condition::{ConditionType, Reason};
pub use connections::Connections;
pub use duration::{BadDuration, Duration};
pub use resources::{Amount, Resources};
pub use spec::{
    Budget, BudgetMode, Clients, Drain, Fence, LocalRef, PgPooler, PgPoolerSpec, PodTemplate, Pool, PoolMode,
    Servers, Service, ServiceType, Target,
};
pub use status::{
    BudgetStatus, ClientsStatus, FenceStatus, LedgerStatus, PgPoolerStatus, PodStatus, Recommendation,
    TargetStatus,
};
