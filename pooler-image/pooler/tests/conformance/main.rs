//! Conformance: the same bytes to PostgreSQL and through the pooler give the same messages back.
//!
//! A [`Script`](script::Script) is played against a direct connection and through poolers of one and of many server
//! connections, of one and of two loops, while other clients do what disturbs it most between any two of its
//! steps. What comes back must be equal, message by message and byte by byte, process ids and the like aside
//! (`transcript.rs`). `docs/reference/conformance.md` is made from the tables in `traps/`.

#![allow(clippy::too_many_lines)] // tables of scripts
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, which clippy does not recognise as such

mod compare;
mod describe;
mod ground;
mod page;
mod player;
mod rivals;
mod script;
mod transcript;
mod traps;

mod cancel;
mod copy;
mod extended;
mod flow;
mod pool;
mod simple;
mod startup;
mod state;

pub(crate) use compare::{same, same_each};
pub(crate) use script::Script;
