//! What pgpooler's tests run against: real PostgreSQL servers that live as long as a test, pooler
//! processes, and a client that shows every byte.
//!
//! Nothing here outlives the test process, however that ends: each server hangs on a leash
//! that kills it when the process that started it is gone.

mod leash;
mod pooler;
mod ports;
mod postgres;
mod programs;
mod raw_client;
pub mod scram;
mod tls;
pub mod wire;

pub use leash::Leash;
pub use pooler::{Pooler, PoolerOptions};
pub use ports::{free_port, wait_until};
pub use postgres::{Auth, Postgres, PostgresOptions};
pub use programs::{Account, Programs};
pub use raw_client::{Arrival, Login, RawClient};
pub use tls::{Authority, Certified, TlsOptions, client_config};
pub use wire::Message;
