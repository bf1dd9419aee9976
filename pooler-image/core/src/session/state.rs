//! The session on a server connection: what a client can change in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::clock::Defining;
use super::follow::Follow;
use super::{Catalog, Dirt, Settings};
use crate::sql::Strings;

/// The session on the server: what a client can change in it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) reported: BTreeMap<String, String>,
    /// As whom it logged in.
    user: String,
    pub(super) follow: Follow,
    pub(super) dirt: Dirt,
    pub(super) sequences: Sequences,
    pub(super) pace: Pace,
    pub(super) catalog: Arc<Catalog>,
    /// Its transaction may have defined a function or a trigger.
    pub(super) defining: Option<Defining>,
}

/// How its settings stand to those of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// No link has begun.
    #[default]
    Apart,
    /// They are the client's.
    Together,
    /// They are not the client's any more: a question has reset them.
    Behind,
}

/// The client that last used a sequence, by its serial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sequences {
    /// None since they were forgotten.
    #[default]
    Unused,
    /// By a default or a function, perhaps.
    Used(u64),
    /// By `nextval`.
    Asked(u64),
}

impl Sequences {
    pub(super) fn client(self) -> Option<u64> {
        match self {
            Self::Unused => None,
            Self::Used(serial) | Self::Asked(serial) => Some(serial),
        }
    }
}

impl State {
    /// Of a connection whose login reported these parameters.
    pub(super) fn new(reported: BTreeMap<String, String>, catalog: Arc<Catalog>) -> Self {
        let user = reported.get("session_authorization").cloned().unwrap_or_default();
        Self { reported, user, catalog, ..Self::default() }
    }

    /// As whom it logged in.
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// How the server reads string literals.
    pub(super) fn strings(&self) -> Strings {
        match self.reported.get("standard_conforming_strings").map(String::as_str) {
            Some("off") => Strings::Backslash,
            _ => Strings::Standard,
        }
    }

    /// A quote or a backslash may be a part of a character: texts cannot be read byte by byte.
    pub(super) fn is_unreadable(&self) -> bool {
        let encoding = self.reported.get("client_encoding").map(String::as_str);
        matches!(encoding, Some("BIG5" | "GB18030" | "GBK" | "JOHAB" | "SHIFT_JIS_2004" | "SJIS" | "UHC"))
    }
}
