//! The session state machine between clients and a model server: what each client sees must be what the model gives
//! to a client that has it alone, whatever the order in which bytes move, whoever leaves, and whenever a server dies.

mod message;
mod model;
mod play;
mod sql;
mod world;

pub use play::session;
