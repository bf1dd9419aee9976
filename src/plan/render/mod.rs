//! One kind a file: from the parsed spec to the object as it should be.

pub mod auth;
pub mod certificate;
pub mod config_map;
pub mod connection;
pub mod deployment;
pub mod disruption_budget;
pub mod meta;
pub mod network_policy;
pub mod overlay;
pub mod pod_monitor;
pub mod service;
pub mod service_account;
