//! The operator.
//!
//! ```text
//! watch (events -> key)
//!   -> observe  async   the cluster and PostgreSQL -> Facts
//!   -> plan     PURE    (PgPooler, Facts) -> Plan
//!   -> fence    async   the login role's CONNECTION LIMIT, where it is managed
//!   -> apply    async   Objects<Rendered> -> Objects<Applied>
//!   -> status   async   conditions, then one patch; events for transitions
//! ```
//!
//! Beside them [`budget`] keeps the ledgers: what each pod may hold, by a conversation with each.
//!
//! [`controller`] drives the steps; [`run`] starts it, behind a [`leader`] election.

pub mod api;
pub mod apply;
pub mod budget;
pub mod check;
pub mod cli;
pub mod controller;
pub mod crd;
pub mod error;
pub mod explain;
pub mod fence;
pub mod http;
pub mod leader;
pub mod link;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod plan;
pub mod rbac;
pub mod reference;
pub mod run;
pub mod status;
pub mod telemetry;
