//! The pure core of pgpooler: what the pooler decides, without sockets, clock or random source.
//!
//! Bytes come in, bytes and decisions go out; time and nonces are arguments. [`wire`] is the codec, the other
//! modules are state machines over it.

pub mod admission;
pub mod budget;
pub mod cancel;
pub mod certificate;
pub mod drain;
pub mod handshake;
pub mod hold;
pub mod login;
pub mod lookup;
pub mod md5;
pub mod measure;
pub mod pool;
pub mod route;
pub mod scram;
pub mod session;
pub mod sql;
pub mod startup;
pub mod wire;
