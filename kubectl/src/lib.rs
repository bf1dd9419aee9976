//! `kubectl pgpooler`: a thin shell over the operator's own library, so that what it says is what the operator does.
//!
//! [`status`] and [`top`] show what is, [`plan`] and [`explain`] what would be, [`pause`] acts, [`migrate`] writes
//! manifests. What is reckoned is reckoned in pure functions; [`cluster`] and [`console`] read.

pub mod advice;
pub mod cli;
pub mod cluster;
pub mod console;
pub mod explain;
pub mod live;
pub mod manifests;
pub mod migrate;
pub mod pause;
pub mod plan;
pub mod run;
pub mod status;
pub mod table;
pub mod top;
