//! Who may use which server connection, and who may open one: counts and queues, no sockets.
//!
//! [`Slots`] is the whole process's account with PostgreSQL: every connection counts from its startup
//! packet until its end was read. It is touched only when connections open, close or move between loops.
//! [`Homes`] says on which loop the clients of a pool are served.
//! Each event loop has a [`Ledger`] of its own for idle connections and waiting clients.

mod homes;
mod ledger;
mod slots;

pub use homes::{Homes, Size};
pub use ledger::{Checkout, ClientId, Ledger, Next, Place, PoolCounts, PoolLimits, Reach, Release, ServerId};
pub use slots::{
    Ahead, Cell, LoopId, PoolId, PoolSize, PoolTerms, Pressure, Slots, Stage, TURN, Taken, Terms, Verdict,
};
