//! The configuration document of pgpooler: written by the operator, read by the pooler.
//!
//! One TOML document; PgBouncer's names wherever a setting means the same. Unknown keys are refused
//! with their place. Secrets are never in the document: it names an [`auth_file`](Document::auth_file)
//! in PgBouncer's `userlist.txt` format ([`Userlist`]). A document with its files is a [`Bundle`].

mod auth_query_sql;
mod bundle;
mod document;
mod duration;
mod secret;
mod target;
mod userlist;
mod validation;

pub use auth_query_sql::auth_query_sql;
pub use bundle::{Bundle, BundleError};
pub use document::{
    ANY, AUTH_QUERY, AuthType, DEFAULT_WEIGHT, Document, INTERNAL_SERVER_NAME, LogFormat, Peer, PoolMode,
    PoolRule, RESTART_ONLY, SYSTEM, SessionState, TlsMode,
};
pub use duration::{Seconds, SecondsError};
pub use secret::Secret;
pub use target::{Place, PlaceError, Target, TargetRole};
pub use userlist::{UserSecret, Userlist, UserlistError, UserlistFault};
pub use validation::{DocumentError, ValidationError};
