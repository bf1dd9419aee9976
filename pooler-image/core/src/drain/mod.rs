//! How a process parts from its clients so that their applications do not notice: who may leave when, and who has.
//!
//! A pool of connections that meets several dead ones at once backs off, some of them for seconds; so each pool loses one
//! at a time ([`Pacer`]). What is counted ([`Departures`]) tells whose driver never tests its connections.

mod departures;
mod pacer;

pub use departures::{Application, Departures, OTHERS, Way, by_name};
pub use pacer::{LONGEST_INTERVAL, Pacer, interval};
