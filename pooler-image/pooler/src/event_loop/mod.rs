//! One event loop: its clients, its server connections, and what happens between them.
//!
//! ```text
//! client:  arrival -> welcome -> idle -> checkout -> relay -> release -> idle ...
//!          arrival -> replication, for those who have a server connection to themselves
//! server:  tidy: open -> checkout: idle, lent -> relay -> tidy: rolled back, reset, closed
//! ```
//!
//! [`worker::Worker`] is the loop. Its methods stand where their subject is: checkout and release in `checkout`, opening,
//! cleaning and closing in `tidy`, cancel requests in `cancel`, look-ups of users in `auth_query`, timeouts in `janitor`, the port in `door`,
//! what is done while the server is away in `absence`, reports in `gauge`, what is held for slow peers in `memory`, who is there in `places`, who leaves while the process drains in `parting`, which loop a client goes to in `home`. A client between login and leave is in
//! [`seat`]. Nothing here
//! is shared with another thread but [`Process`](crate::process::Process).

mod absence;
mod arrival;
mod auth_query;
mod buffers;
pub(crate) mod cancel;
mod checkout;
mod client;
mod compact;
mod door;
mod gauge;
pub(crate) mod home;
mod janitor;
pub(crate) mod kill;
pub(crate) mod memory;
mod parting;
mod places;
mod pool;
mod refuse;
mod relay;
mod replication;
mod seat;
pub(crate) mod server;
mod tidy;
mod welcome;
pub(crate) mod worker;
