//! As much SQL as the model needs: what its players say, and what a pooler slips in.

use std::collections::BTreeMap;

use pgpooler_core::wire::{ErrorResponse, SqlState};

/// An ERROR.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    state: [u8; 5],
    text: String,
}

impl Fault {
    pub(crate) fn new(state: [u8; 5], text: impl Into<String>) -> Self {
        Self { state, text: text.into() }
    }

    pub(crate) fn malformed() -> Self {
        Self::new(*b"08P01", "invalid message format")
    }

    pub(crate) fn aborted() -> Self {
        let text = "current transaction is aborted, commands ignored until end of transaction block";
        Self::new(*b"25P02", text)
    }

    pub(crate) fn unknown_statement(name: &[u8]) -> Self {
        if name.is_empty() {
            return Self::new(*b"26000", "unnamed prepared statement does not exist");
        }
        let name = String::from_utf8_lossy(name);
        Self::new(*b"26000", format!("prepared statement \"{name}\" does not exist"))
    }

    pub(crate) fn unknown_portal(name: &[u8]) -> Self {
        Self::new(*b"34000", format!("portal \"{}\" does not exist", String::from_utf8_lossy(name)))
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let state = SqlState::parse(&self.state).unwrap_or(SqlState::PROTOCOL_VIOLATION);
        ErrorResponse::error(state, self.text.clone()).encode(out);
    }
}

/// What the model can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    Begin,
    Commit,
    Rollback,
    Fail,
    Rows(u32),
    Value(String),
    Show(String),
    Notice,
    CopyIn,
    CopyOut,
    DropStatements,
    DiscardAll,
    Set(Vec<Change>),
    /// The pooler's own.
    Probe {
        settings: bool,
    },
    /// Done, without anything to see; its tag.
    Nothing(&'static str),
}

/// A setting's new value; none: its default.
pub(crate) type Change = (String, Option<String>);

impl Statement {
    pub(crate) fn has_rows(&self) -> bool {
        matches!(self, Self::Probe { .. } | Self::Rows(_) | Self::Value(_) | Self::Show(_))
    }

    pub(crate) fn tag(&self) -> String {
        match self {
            Self::Begin => "BEGIN",
            Self::Rows(rows) => return format!("SELECT {rows}"),
            Self::Value(_) | Self::Probe { .. } => "SELECT 1",
            Self::Show(_) => "SHOW",
            Self::Notice => "DO",
            Self::CopyOut => "COPY 2",
            Self::DropStatements => "DEALLOCATE ALL",
            Self::DiscardAll => "DISCARD ALL",
            Self::Set(changes) if changes.iter().all(|(_, value)| value.is_none()) => "RESET",
            Self::Set(_) => "SET",
            Self::Nothing(tag) => tag,
            Self::Commit | Self::Rollback | Self::Fail | Self::CopyIn => "",
        }
        .to_owned()
    }
}

/// The statements of a text.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Statement>, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::new(*b"22021", "invalid byte sequence"))?;
    if text.starts_with("SELECT 'hold'") {
        return Ok(probe(text));
    }
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(statement).collect()
}

/// The pooler's question what a session holds, and which settings it has; it goes back to the defaults then.
fn probe(text: &str) -> Vec<Statement> {
    let settings = text.contains("pg_catalog.pg_settings");
    let mut statements = vec![Statement::Probe { settings }];
    if settings {
        statements.extend(["RESET ALL", "RESET ROLE"].iter().filter_map(|text| statement(text).ok()));
    }
    statements
}

fn statement(text: &str) -> Result<Statement, Fault> {
    let lower = text.to_ascii_lowercase();
    Ok(match lower.as_str() {
        "begin" => Statement::Begin,
        "commit" => Statement::Commit,
        "rollback" => Statement::Rollback,
        "select 1/0" => Statement::Fail,
        "do notice" => Statement::Notice,
        "copy t from stdin" => Statement::CopyIn,
        "copy t to stdout" => Statement::CopyOut,
        "deallocate all" => Statement::DropStatements,
        "discard all" => Statement::DiscardAll,
        "set session authorization default" => Statement::Nothing("SET"),
        "reset all" => Statement::Set(NAMES.iter().map(|name| ((*name).to_owned(), None)).collect()),
        "close all" => Statement::Nothing("CLOSE CURSOR ALL"),
        "unlisten *" => Statement::Nothing("UNLISTEN"),
        "select pg_catalog.pg_advisory_unlock_all()" => Statement::Value(String::new()),
        "discard temp" => Statement::Nothing("DISCARD TEMP"),
        "discard sequences" => Statement::Nothing("DISCARD SEQUENCES"),
        _ => return with_words(text, &lower),
    })
}

fn with_words(text: &str, lower: &str) -> Result<Statement, Fault> {
    let unknown = || Fault::new(*b"42601", format!("syntax error at or near \"{text}\""));
    if let Some(rest) = lower.strip_prefix("select pg_catalog.set_config(") {
        return set_config(rest).ok_or_else(unknown);
    }
    let words: Vec<&str> = lower.split_whitespace().collect();
    match words.as_slice() {
        ["select", "rows", rows] => rows.parse().map(Statement::Rows).map_err(|_| unknown()),
        ["select", value] => Ok(Statement::Value((*value).to_owned())),
        ["show", name] => Ok(Statement::Show((*name).to_owned())),
        ["set", name, "to", value] => {
            Ok(Statement::Set(vec![(unquoted(name), Some(value.trim_matches('\'').to_owned()))]))
        }
        ["reset", name] => Ok(Statement::Set(vec![(unquoted(name), None)])),
        _ => Err(unknown()),
    }
}

fn unquoted(name: &str) -> String {
    name.replace('"', "")
}

/// `E'a',E'b',false),pg_catalog.set_config(...)`: values have no quotes in them here.
fn set_config(text: &str) -> Option<Statement> {
    let literals: Vec<&str> = text.split('\'').skip(1).step_by(2).collect();
    let pairs = literals.chunks_exact(2);
    let changes = pairs.map(|pair| Some(((*pair.first()?).to_owned(), Some((*pair.get(1)?).to_owned()))));
    changes.collect::<Option<Vec<_>>>().map(Statement::Set)
}

/// Settings that the model reports, in its spelling.
pub(crate) const NAMES: [&str; 3] = ["TimeZone", "application_name", "search_path"];

/// What a transaction can take back.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    defaults: BTreeMap<String, String>,
    committed: BTreeMap<String, String>,
    now: BTreeMap<String, String>,
}

impl Settings {
    pub(crate) fn new(own: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut defaults: BTreeMap<String, String> =
            NAMES.iter().map(|name| (name.to_ascii_lowercase(), "default".to_owned())).collect();
        defaults.extend(own);
        Self { committed: defaults.clone(), now: defaults.clone(), defaults }
    }

    pub(crate) fn apply(&mut self, (name, value): &Change) {
        let name = name.to_ascii_lowercase();
        let default = self.defaults.get(&name).cloned().unwrap_or_default();
        self.now.insert(name, value.clone().unwrap_or(default));
    }

    /// Those that are not the defaults.
    pub(crate) fn own(&self) -> Vec<(&str, &str)> {
        let differs = |(name, value): &(&String, &String)| self.defaults.get(*name) != Some(*value);
        self.now.iter().filter(differs).map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    pub(crate) fn reset_all(&mut self) {
        self.now.clone_from(&self.defaults);
    }

    pub(crate) fn commit(&mut self) {
        self.committed.clone_from(&self.now);
    }

    pub(crate) fn rollback(&mut self) {
        self.now.clone_from(&self.committed);
    }

    pub(crate) fn value(&self, name: &str) -> String {
        self.now.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn reported(&self) -> BTreeMap<String, String> {
        NAMES.iter().map(|name| ((*name).to_owned(), self.value(&name.to_ascii_lowercase()))).collect()
    }
}
