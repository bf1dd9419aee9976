//! What a client asks for at its start: user, database, settings, protocol version.
//!
//! Follows `ProcessStartupPacket` and `process_postgres_switches` of PostgreSQL, down to their messages.

use crate::wire::{ErrorResponse, ProtocolVersion, ReadError, SqlState, StartupMessage};

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
    /// All other settings by lower-case name, those of `options` among them; each name once.
    pub settings: Vec<(String, String)>,
    /// The minor version of protocol 3 in force: what was asked for, at most [`NEWEST_MINOR`].
    pub protocol_minor: u16,
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
        for (name, value) in command_line(&raw)? {
            parameters.set(&name, value);
        }
        for (name, value) in raw {
            match name {
                "user" => value.clone_into(&mut parameters.user),
                "database" => value.clone_into(&mut parameters.database),
                "options" => {}
                "replication" => check_replication(value)?,
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
        let name = name.to_ascii_lowercase();
        if name == "application_name" {
            self.application_name = value;
            return;
        }
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value));
    }

    fn complete(&mut self) -> Result<(), ErrorResponse> {
        if self.user.is_empty() {
            let told = "no PostgreSQL user name specified in startup packet";
            return Err(ErrorResponse::fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, told));
        }
        if self.database.is_empty() {
            self.database.clone_from(&self.user);
        }
        Ok(())
    }
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

/// `replication` is a boolean or `database`; the connection types behind it are not pooled.
fn check_replication(value: &str) -> Result<(), ErrorResponse> {
    let lower = value.to_ascii_lowercase();
    let starts = |word: &str| !lower.is_empty() && word.starts_with(&lower);
    if starts("false") || starts("no") || lower == "off" || lower == "of" || lower == "0" {
        return Ok(());
    }
    if lower == "database" || starts("true") || starts("yes") || lower == "on" || lower == "1" {
        let told = "replication connections are not supported";
        return Err(ErrorResponse::fatal(SqlState::FEATURE_NOT_SUPPORTED, told)
            .hint("Connect to the PostgreSQL server itself."));
    }
    let told = format!("invalid value for parameter \"replication\": \"{value}\"");
    Err(ErrorResponse::fatal(SqlState::INVALID_PARAMETER_VALUE, told)
        .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\"."))
}

/// The settings in `options`, the last one when it was given more than once.
fn command_line(raw: &[(&str, &str)]) -> Result<Vec<(String, String)>, ErrorResponse> {
    let options = raw.iter().rev().find(|(name, _)| *name == "options");
    options.map_or_else(|| Ok(Vec::new()), |(_, options)| parse_switches(split_words(options)))
}

/// Splits at whitespace; a backslash takes the next character as it is (`pg_split_opts`).
fn split_words(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            _ if character.is_ascii_whitespace() || character == '\u{b}' => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// Understands `-c name=value`, `-cname=value` and `--name=value`; no other switch makes sense behind a pooler.
fn parse_switches(words: Vec<String>) -> Result<Vec<(String, String)>, ErrorResponse> {
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            // ends the switches
            return words.next().map_or(Ok(settings), |word| Err(switch_error(&word)));
        }
        let setting = if let Some(long) = word.strip_prefix("--") {
            parse_setting(long, "--")?
        } else if word == "-c" {
            parse_setting(&words.next().ok_or_else(|| switch_error(&word))?, "-c ")?
        } else if let Some(attached) = word.strip_prefix("-c") {
            parse_setting(attached, "-c ")?
        } else {
            return Err(switch_error(&word));
        };
        settings.push(setting);
    }
    Ok(settings)
}

/// `name=value` with dashes in the name for underscores.
fn parse_setting(argument: &str, switch: &str) -> Result<(String, String), ErrorResponse> {
    match argument.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.replace('-', "_"), value.to_owned())),
        _ => {
            let told = format!("{switch}{argument} requires a value");
            Err(ErrorResponse::fatal(SqlState::SYNTAX_ERROR, told))
        }
    }
}

fn switch_error(word: &str) -> ErrorResponse {
    let told = format!("invalid command-line argument for server process: {word}");
    ErrorResponse::fatal(SqlState::SYNTAX_ERROR, told).hint("Try \"postgres --help\" for more information.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &str) -> Result<Vec<(String, String)>, String> {
        parse_switches(split_words(options)).map_err(|error| error.message.into_owned())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn every_form_of_a_switch_gives_a_setting() {
        let read = settings("-c geqo=off --work-mem=64MB\t-cstatement_timeout=5min  --a.b=x=y").unwrap();
        let expected = [("geqo", "off"), ("work_mem", "64MB"), ("statement_timeout", "5min"), ("a.b", "x=y")];
        assert_eq!(read, pairs(&expected));
    }

    #[test]
    fn a_backslash_takes_the_next_character_as_it_is() {
        assert_eq!(settings(r"-c a=x\ y\\z --b=\-").unwrap(), pairs(&[("a", r"x y\z"), ("b", "-")]));
        assert_eq!(settings("  ").unwrap(), []);
        assert_eq!(settings("-c a=b\\").unwrap(), pairs(&[("a", "b")]));
    }

    #[test]
    fn dashes_in_a_value_stay() {
        assert_eq!(settings("-c time-zone=Etc/GMT-1").unwrap(), pairs(&[("time_zone", "Etc/GMT-1")]));
    }

    #[test]
    fn other_switches_are_refused_as_postgresql_does() {
        let told = "invalid command-line argument for server process: ";
        assert_eq!(settings("-Z"), Err(format!("{told}-Z")));
        assert_eq!(settings("-c"), Err(format!("{told}-c")));
        assert_eq!(settings("geqo=off"), Err(format!("{told}geqo=off")));
        assert_eq!(settings("--geqo"), Err("--geqo requires a value".to_owned()));
        assert_eq!(settings("-c a=b --"), Ok(pairs(&[("a", "b")])));
        assert_eq!(settings("-- -ca=b"), Err(format!("{told}-ca=b")));
        assert_eq!(settings("-c geqo"), Err("-c geqo requires a value".to_owned()));
    }
}
