//! One kind a file: from the parsed spec to the object as it should be.

pub mod auth;
pub mod config_map;
pub mod deployment;
pub mod disruption_budget;
pub mod meta;
pub mod service;
pub mod service_account;
