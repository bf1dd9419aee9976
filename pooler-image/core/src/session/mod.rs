//! One client linked to one server connection: what each byte means, and when the two may part.
//!
//! Bytes of either side go through an [`Exchange`], which says what to write to whom, in order, and keeps
//! the books: owed replies, prepared statements, settings. Only headers are looked at, and the names in
//! Parse, Bind, Describe and Close; bodies pass by length.
//!
//! ```text
//!            client_bytes                        server_bytes
//!  client ------------------> [pipeline of owed replies] <------------------ server
//!         <- answered by us                       -> undo what an error skips
//! ```
//!
//! A server connection may be given to another client only while [`Server::is_clean`] says so.

mod backend;
mod catalog;
mod changes;
mod client;
mod clock;
mod dirt;
mod doubt;
mod edits;
mod exchange;
mod follow;
mod frontend;
mod holds;
mod interner;
mod liveness;
mod outbox;
mod pipeline;
mod probe;
mod reject;
mod script;
mod server;
mod settings;
mod shape;
mod state;
mod statements;
mod undo;

pub use catalog::Catalog;
pub use client::{Client, Naming, SessionState, Unit};
pub use clock::Clock;
pub use dirt::Dirt;
pub use exchange::{ClientFault, Exchange, ServerFault};
pub use holds::Holds;
pub use interner::{Interner, KeyHasher, Statement, StatementKey};
pub use liveness::Liveness;
pub use outbox::Outbox;
pub use reject::{Reject, Rejected};
pub use server::{IN_HOT_STANDBY, Server, Tally};
pub use settings::Settings;
pub use statements::ClientStatements;

/// What is left of a message whose beginning has been dealt with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Rest {
    /// The next byte is the first of a message.
    #[default]
    None,
    /// So many bytes go to the other side.
    Forward(usize),
    /// So many bytes go nowhere.
    Drop(usize),
}

impl Rest {
    fn forward(bytes: usize) -> Self {
        if bytes == 0 { Self::None } else { Self::Forward(bytes) }
    }

    fn drop(bytes: usize) -> Self {
        if bytes == 0 { Self::None } else { Self::Drop(bytes) }
    }

    /// Deals with what is there of the rest at `at`; returns where the next message or the input's end is.
    fn pass(&mut self, at: usize, end: usize, out: &mut Outbox) -> usize {
        match *self {
            Self::None => at,
            Self::Forward(rest) => {
                let here = rest.min(end - at);
                out.forward(at, at + here);
                *self = Self::forward(rest - here);
                at + here
            }
            Self::Drop(rest) => {
                let here = rest.min(end - at);
                *self = Self::drop(rest - here);
                at + here
            }
        }
    }
}
