//! A PostgreSQL transaction pooler: exact, lean, one loop per core.
//!
//! ```text
//! accept -> handshake -> welcome -> checkout -> relay -> release
//! (run)                  (client)  (checkout)  (relay)  (checkout, tidy)
//! ```
//!
//! Each event loop ([`mod@run`] starts one per core) owns its clients and server connections; loops share the account of
//! slots in PostgreSQL's connection table and nothing else. What is decided is decided in `pgpooler-core`.

pub mod admin;
pub mod auth;
mod buffers;
mod cancel;
mod checkout;
pub mod cli;
mod client;
pub mod connect;
pub mod control;
mod gauge;
pub mod handshake;
pub mod http;
mod janitor;
pub mod metrics;
mod pool;
mod process;
mod refuse;
mod relay;
pub mod reload;
pub mod report;
mod run;
mod server;
pub mod service;
pub mod settings;
pub mod signals;
mod socket;
pub mod telemetry;
mod tidy;
mod welcome;
mod worker;

pub use run::{RunError, run};
