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
    /// How texts are to be read, as the reported parameters say.
    strings: Strings,
    encoding: Encoding,
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

/// How characters are made of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Encoding {
    /// A quote or a backslash is never a part of another character.
    #[default]
    Plain,
    /// It may be: texts cannot be read byte by byte.
    Shifted,
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
        let mut state = Self { user, catalog, ..Self::default() };
        for (name, value) in &reported {
            state.read_by(name, value);
        }
        Self { reported, ..state }
    }

    /// As whom it logged in.
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// How the server reads string literals.
    pub(super) fn strings(&self) -> Strings {
        self.strings
    }

    /// A quote or a backslash may be a part of a character: texts cannot be read byte by byte.
    pub(super) fn is_unreadable(&self) -> bool {
        self.encoding == Encoding::Shifted
    }

    /// The server has told the value of a parameter.
    pub(super) fn note_reported(&mut self, name: &str, value: &str) {
        self.read_by(name, value);
        self.reported.insert(name.to_owned(), value.to_owned());
    }

    fn read_by(&mut self, name: &str, value: &str) {
        match (name, value) {
            ("standard_conforming_strings", "off") => self.strings = Strings::Backslash,
            ("standard_conforming_strings", _) => self.strings = Strings::Standard,
            ("client_encoding", "BIG5" | "GB18030" | "GBK" | "JOHAB" | "SHIFT_JIS_2004" | "SJIS" | "UHC") => {
                self.encoding = Encoding::Shifted;
            }
            ("client_encoding", _) => self.encoding = Encoding::Plain,
            _ => {}
        }
    }
}
