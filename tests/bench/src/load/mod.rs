//! The load: many clients in one thread, with nothing on their way but a socket.

mod client;
mod drive;
mod engine;
mod histogram;
mod login;
mod requests;
mod scan;

pub(crate) use drive::{Load, Tally};
pub(crate) use engine::{Errors, Target};
pub(crate) use histogram::Histogram;
pub(crate) use login::{Credentials, Login, Step};
pub(crate) use requests::{Protocol, Request};
