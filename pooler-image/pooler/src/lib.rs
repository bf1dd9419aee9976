//! A PostgreSQL transaction pooler: exact, lean, one loop per core.
//!
//! ```text
//! accept -> handshake -> welcome -> checkout -> relay -> release
//! (run)                  (event_loop: one per core, clients and server connections of its own)
//! ```
//!
//! Loops share the account of slots in PostgreSQL's connection table (`process`) and nothing else. What is decided is
//! decided in `pgpooler-core`. What is for people (console, metrics, signals) has a thread of its own (`service`).

pub mod admin;
pub mod auth;
pub mod cli;
pub mod connect;
pub mod control;
mod event_loop;
pub mod handshake;
pub mod http;
pub mod metrics;
mod process;
pub mod reactor;
pub mod reload;
pub mod report;
mod run;
pub mod service;
pub mod settings;
pub mod signals;
mod socket;
pub mod telemetry;
pub mod tls;
pub mod transport;
mod wall;

pub use run::{Allowance, RunError, run};
