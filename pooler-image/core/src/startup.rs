//! What a client asks for at its start: user, database, settings, protocol version.
//!
//! Follows `ProcessStartupPacket` and `process_postgres_switches` of PostgreSQL, down to their messages.

mod options;

use crate::wire::{ErrorResponse, ProtocolVersion, ReadError, Severity, SqlState, StartupMessage};

/// The newest minor version of protocol 3 that we speak.
pub const NEWEST_MINOR: u16 = 2;

/// The parameters of a StartupMessage, read and checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartupParameters {
    /// The user, never empty.
    pub user: String,
    /// The database; the user's name when the client gave none.
    pub database: String,
    /// `application_name`; empty when the client gave none.
    pub application_name: String,
    /// All other settings, those of `options` among them, as they were spelled; each name once, whatever its case.
    pub settings: Vec<(String, String)>,
    /// What PostgreSQL has to say about a login that succeeds.
    pub notice: Option<ErrorResponse>,
    /// What becomes of the connection behind its login.
    pub replication: Replication,
    /// What is wrong with `options`. PostgreSQL reads them when it knows user and database, and so says it then.
    pub fault: Option<ErrorResponse>,
    /// The minor version of protocol 3 in force: what was asked for, at most [`NEWEST_MINOR`].
    pub protocol_minor: u16,
}

/// The parameter `replication`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Replication {
    /// An ordinary session.
    #[default]
    Off,
    /// A walsender of the whole cluster; `database` means nothing to it.
    Physical,
    /// A walsender of a database, which takes SQL too.
    Logical,
}

/// A StartupMessage that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// What the client asks for.
    pub parameters: StartupParameters,
    /// Set when the client must be told, once and first, that it does not get all it asked for.
    pub negotiation: Option<Negotiation>,
}

/// The content of NegotiateProtocolVersion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiation {
    /// The minor version in force.
    pub minor: u16,
    /// Protocol options that we do not know.
    pub unknown_options: Vec<String>,
}

impl Startup {
    /// Reads a StartupMessage; the error is what the client gets before the connection closes.
    pub fn read(message: &StartupMessage) -> Result<Self, ErrorResponse> {
        let minor = supported_minor(message.version)?;
        let raw = message.parameters().map_err(layout_error)?;
        let mut parameters = StartupParameters { protocol_minor: minor, ..StartupParameters::default() };
        let mut unknown_options = Vec::new();
        match options::settings(&raw) {
            Ok(settings) => settings.into_iter().for_each(|(name, value)| parameters.set(&name, value)),
            Err(error) => parameters.fault = Some(error),
        }
        for (name, value) in raw {
            match name {
                "user" => value.clone_into(&mut parameters.user),
                "database" => value.clone_into(&mut parameters.database),
                "options" => {}
                "replication" => parameters.replication = Replication::parse(value)?,
                _ if name.starts_with("_pq_.") => unknown_options.push(name.to_owned()),
                _ => parameters.set(name, value.to_owned()),
            }
        }
        parameters.complete()?;
        let negotiated = message.version.minor > NEWEST_MINOR || !unknown_options.is_empty();
        Ok(Self { parameters, negotiation: negotiated.then_some(Negotiation { minor, unknown_options }) })
    }
}

impl StartupParameters {
    /// Notes a setting; the last of a name wins. Names are case-insensitive in PostgreSQL.
    fn set(&mut self, name: &str, value: String) {
        if name.eq_ignore_ascii_case("application_name") {
            self.application_name = value;
            return;
        }
        self.settings.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.settings.push((name.to_owned(), value));
    }

    fn complete(&mut self) -> Result<(), ErrorResponse> {
        if self.user.is_empty() {
            let told = "no PostgreSQL user name specified in startup packet";
            return Err(ErrorResponse::fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, told));
        }
        if self.database.is_empty() {
            self.database.clone_from(&self.user);
        }
        let given = self.application_name.clone();
        truncate(&mut self.application_name);
        if given != self.application_name {
            let told = format!("identifier \"{given}\" will be truncated to \"{}\"", self.application_name);
            self.notice = Some(ErrorResponse::new(Severity::Notice, SqlState::NAME_TOO_LONG, told));
        }
        truncate(&mut self.user);
        truncate(&mut self.database);
        Ok(())
    }
}

impl Replication {
    /// A boolean, or `database` in small letters.
    fn parse(value: &str) -> Result<Self, ErrorResponse> {
        let lower = value.to_ascii_lowercase();
        let starts = |word: &str| !lower.is_empty() && word.starts_with(&lower);
        if value == "database" {
            return Ok(Self::Logical);
        }
        if starts("false") || starts("no") || lower == "off" || lower == "of" || lower == "0" {
            return Ok(Self::Off);
        }
        if starts("true") || starts("yes") || lower == "on" || lower == "1" {
            return Ok(Self::Physical);
        }
        let told = format!("invalid value for parameter \"replication\": \"{value}\"");
        Err(ErrorResponse::fatal(SqlState::INVALID_PARAMETER_VALUE, told)
            .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\"."))
    }
}

/// Names of roles and databases end at 63 bytes, as `NAMEDATALEN` says.
fn truncate(name: &mut String) {
    const LONGEST: usize = 63;
    let end = (0..=LONGEST.min(name.len())).rev().find(|&at| name.is_char_boundary(at));
    name.truncate(end.unwrap_or_default());
}

fn supported_minor(version: ProtocolVersion) -> Result<u16, ErrorResponse> {
    let ProtocolVersion { major, minor } = version;
    if major == 3 {
        return Ok(minor.min(NEWEST_MINOR));
    }
    let told =
        format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{NEWEST_MINOR}");
    Err(ErrorResponse::fatal(SqlState::FEATURE_NOT_SUPPORTED, told))
}

fn layout_error(error: ReadError) -> ErrorResponse {
    if error == ReadError::NotUtf8 {
        let told = "invalid byte sequence for encoding \"UTF8\" in startup packet";
        return ErrorResponse::fatal(SqlState::CHARACTER_NOT_IN_REPERTOIRE, told);
    }
    let told = "invalid startup packet layout: expected terminator as last byte";
    ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_is_a_boolean_or_a_database() {
        for (value, expected) in [
            ("off", Replication::Off),
            ("F", Replication::Off),
            ("0", Replication::Off),
            ("ON", Replication::Physical),
            ("t", Replication::Physical),
            ("1", Replication::Physical),
            ("database", Replication::Logical),
        ] {
            assert_eq!(Replication::parse(value), Ok(expected), "{value}");
        }
        for value in ["", "o", "2", "maybe", "DATABASE"] {
            assert!(Replication::parse(value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_name_ends_at_63_bytes_and_not_inside_a_character() {
        for (given, length) in [
            ("a".repeat(63), 63),
            ("a".repeat(64), 63),
            ("a".to_owned() + &"\u{e4}".repeat(40), 63),
            ("\u{e4}".repeat(40), 62),
        ] {
            let mut name = given;
            truncate(&mut name);
            assert_eq!(name.len(), length);
        }
    }
}
