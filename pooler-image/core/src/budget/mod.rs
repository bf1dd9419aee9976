//! The budget of server connections, held by pods and shared out by the operator: both sides of the protocol.
//!
//! | Word | Meaning |
//! |---|---|
//! | slot | a place in PostgreSQL's connection table, held from the startup packet until the server's end was read |
//! | budget | the slots that all pods of all `PgPoolers` on one server may hold together |
//! | limit | the slots that one pod may hold: its floor and its grant |
//! | floor | what a pod may use without hearing from anybody; set aside for every pod that could come |
//! | charge | the most that a pod could be holding, now or by any command that may still reach it |
//!
//! [`Ledger`] is the operator's side: at every moment the charges of all pods and the floors of those to come add up to
//! no more than the budget. [`Holder`] is the pod's side. What they say to each other is [`Command`] and [`Report`];
//! messages may be lost, doubled and reordered, and two operators may be at work. Neither side knows of time or sockets.
//! `docs/adr/0008-floors-and-grants.md` has the argument, `tests/model` checks it.

mod demand;
mod fill;
mod holder;
mod ledger;
mod protocol;
mod server;
mod telling;

pub use demand::Demand;
pub use fill::{Claim, fill, raise};
pub use holder::{Holder, Refused};
pub use ledger::{
    Answer, Charge, Departed, Effect, Ledger, Link, Mark, Member, MemberId, Mood, Part, PodId, Said, Totals,
};
pub use protocol::{BadReport, Command, Phase, Report, Stamp, Use};
pub use server::Belief;
pub use telling::{Rhythm, is_worth_telling};
