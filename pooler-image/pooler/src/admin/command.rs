//! What users type, parsed. Pure.
//!
//! As in PostgreSQL, one Query message may hold several commands, and none of them runs when one of them cannot
//! be understood.

use std::iter::Peekable;
use std::str::Chars;

use pgpooler_core::budget::{self, Stamp};

use super::budget::CHANNEL;
use super::error::AdminError;
use super::show_parameter::Parameter;
use super::show_stats::Part;
use crate::control::{Order, ShutdownMode};

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `SHOW ...`
    Show(Show),
    /// `SET ...` of a parameter that drivers set without being asked to; ignored.
    Set(String),
    /// `RELOAD`
    Reload,
    /// `PAUSE [db]`
    Pause(Option<String>),
    /// `RESUME [db]`
    Resume(Option<String>),
    /// `RECONNECT [db]`
    Reconnect(Option<String>),
    /// `SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]`
    Shutdown(ShutdownMode),
    /// `CLAIM EPOCH e`, `LIMIT n [OF b EPOCH e SEQUENCE s MAX_CONNECTIONS m]`
    Order(Order),
    /// `LISTEN budget`
    Listen,
    /// `UNLISTEN [budget|*]`
    Unlisten,
}

/// What to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// `SHOW BUDGET`
    Budget,
    /// `SHOW CLIENTS`
    Clients,
    /// `SHOW CONFIG`
    Config,
    /// `SHOW DATABASES`
    Databases,
    /// `SHOW HELP`
    Help,
    /// `SHOW LISTS`
    Lists,
    /// A parameter that drivers ask for.
    Parameter(Parameter),
    /// `SHOW POOLS`
    Pools,
    /// `SHOW SERVERS`
    Servers,
    /// `SHOW STATE`
    State,
    /// `SHOW STATS`, `SHOW STATS_TOTALS`, `SHOW STATS_AVERAGES`
    Stats(Part),
    /// `SHOW USERS`
    Users,
    /// `SHOW VERSION`
    Version,
}

/// Words that may follow `SHOW`.
pub const SHOWS: [(&str, Show); 14] = [
    ("budget", Show::Budget),
    ("clients", Show::Clients),
    ("config", Show::Config),
    ("databases", Show::Databases),
    ("help", Show::Help),
    ("lists", Show::Lists),
    ("pools", Show::Pools),
    ("servers", Show::Servers),
    ("state", Show::State),
    ("stats", Show::Stats(Part::All)),
    ("stats_totals", Show::Stats(Part::Totals)),
    ("stats_averages", Show::Stats(Part::Averages)),
    ("users", Show::Users),
    ("version", Show::Version),
];

/// Commands of PgBouncer's that this console does not have.
const NOT_SUPPORTED: [&str; 6] = ["disable", "enable", "kill", "kill_client", "suspend", "wait_close"];

/// The longest part of a faulty command that is quoted back.
const QUOTED: usize = 100;

impl Command {
    /// Its name if only `admin_users` may give it.
    pub fn admin_only(&self) -> Option<&'static str> {
        match self {
            Self::Show(_) | Self::Set(_) | Self::Listen | Self::Unlisten => None,
            Self::Reload => Some("RELOAD"),
            Self::Pause(_) => Some("PAUSE"),
            Self::Resume(_) => Some("RESUME"),
            Self::Reconnect(_) => Some("RECONNECT"),
            Self::Shutdown(_) => Some("SHUTDOWN"),
            Self::Order(Order::Command(budget::Command::Claim { .. })) => Some("CLAIM"),
            Self::Order(_) => Some("LIMIT"),
        }
    }
}

/// Parses the text of a Query message; no command at all is an empty list.
pub fn parse(text: &str) -> Result<Vec<Command>, AdminError> {
    let tokens = tokens(text).ok_or_else(|| syntax(text))?;
    tokens
        .split(|token| *token == Token::Semicolon)
        .filter(|statement| !statement.is_empty())
        .map(|statement| parse_statement(statement, text))
        .collect()
}

fn parse_statement(statement: &[Token], text: &str) -> Result<Command, AdminError> {
    let (first, arguments) = statement.split_first().ok_or_else(|| syntax(text))?;
    let verb = first.word().ok_or_else(|| syntax(text))?.to_ascii_lowercase();
    match verb.as_str() {
        "show" => parse_show(arguments, text),
        "set" => parse_set(arguments, text),
        "reload" if arguments.is_empty() => Ok(Command::Reload),
        "pause" => Ok(Command::Pause(database(arguments, text)?)),
        "resume" => Ok(Command::Resume(database(arguments, text)?)),
        "reconnect" => Ok(Command::Reconnect(database(arguments, text)?)),
        "shutdown" => shutdown_mode(arguments).map(Command::Shutdown).ok_or_else(|| syntax(text)),
        "claim" | "limit" => order(&verb, arguments).map(Command::Order).ok_or_else(|| syntax(text)),
        "listen" if is_channel(arguments) => Ok(Command::Listen),
        "unlisten" if arguments.is_empty() || arguments == [Token::Star] || is_channel(arguments) => {
            Ok(Command::Unlisten)
        }
        other if NOT_SUPPORTED.contains(&other) => Err(AdminError::NotSupported(other.to_ascii_uppercase())),
        _ => Err(syntax(text)),
    }
}

fn parse_show(arguments: &[Token], text: &str) -> Result<Command, AdminError> {
    let name = match arguments {
        [Token::Word(name) | Token::Quoted(name)] => name.to_ascii_lowercase(),
        _ => return Err(syntax(text)),
    };
    let show = SHOWS.iter().find(|(word, _)| *word == name).map(|(_, show)| *show);
    show.or_else(|| Parameter::named(&name).map(Show::Parameter))
        .map(Command::Show)
        .ok_or_else(|| syntax(text))
}

fn parse_set(arguments: &[Token], text: &str) -> Result<Command, AdminError> {
    let [Token::Word(name) | Token::Quoted(name), rest @ ..] = arguments else {
        return Err(syntax(text));
    };
    let assigns = match rest {
        [Token::Equals, value @ ..] => !value.is_empty(),
        [Token::Word(to), value @ ..] => to.eq_ignore_ascii_case("to") && !value.is_empty(),
        _ => false,
    };
    if !assigns {
        return Err(syntax(text));
    }
    if Parameter::drivers_set(&name.to_ascii_lowercase()) {
        Ok(Command::Set(name.clone()))
    } else {
        Err(AdminError::Set(name.chars().take(QUOTED).collect()))
    }
}

fn database(arguments: &[Token], text: &str) -> Result<Option<String>, AdminError> {
    match arguments {
        [] => Ok(None),
        [Token::Word(name) | Token::Quoted(name)] if !name.is_empty() => Ok(Some(name.clone())),
        _ => Err(syntax(text)),
    }
}

fn is_channel(arguments: &[Token]) -> bool {
    matches!(arguments, [Token::Word(name)] if name.eq_ignore_ascii_case(CHANNEL))
        || matches!(arguments, [Token::Quoted(name)] if name == CHANNEL)
}

/// `verb` with its numbers, each behind its word.
fn order(verb: &str, arguments: &[Token]) -> Option<Order> {
    let words: Option<Vec<&str>> = arguments.iter().map(Token::word).collect();
    let count = |word: &str| word.parse::<u32>().ok();
    Some(match (verb, words?.as_slice()) {
        ("claim", [of, epoch]) if are(&[of], &["epoch"]) => {
            Order::Command(budget::Command::Claim { epoch: epoch.parse().ok()? })
        }
        ("limit", [limit]) => Order::Lower(count(limit)?),
        ("limit", [limit, of, budget, by, epoch, at, sequence, on, server])
            if are(&[of, by, at, on], &["of", "epoch", "sequence", "max_connections"]) =>
        {
            let stamp = Stamp { epoch: epoch.parse().ok()?, sequence: sequence.parse().ok()? };
            let (limit, budget, max_connections) = (count(limit)?, count(budget)?, count(server)?);
            Order::Command(budget::Command::Limit { stamp, limit, budget, max_connections })
        }
        _ => return None,
    })
}

fn are(words: &[&str], expected: &[&str]) -> bool {
    words.iter().zip(expected).all(|(word, expected)| word.eq_ignore_ascii_case(expected))
}

fn shutdown_mode(arguments: &[Token]) -> Option<ShutdownMode> {
    match arguments {
        [] => Some(ShutdownMode::Immediate),
        [Token::Word(word)] if word.eq_ignore_ascii_case("wait_for_servers") => {
            Some(ShutdownMode::WaitForServers)
        }
        [Token::Word(word)] if word.eq_ignore_ascii_case("wait_for_clients") => {
            Some(ShutdownMode::WaitForClients)
        }
        _ => None,
    }
}

fn syntax(text: &str) -> AdminError {
    let shown: String = text.trim().chars().take(QUOTED).collect();
    AdminError::Syntax(shown)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Literal(String),
    Equals,
    Semicolon,
    Star,
}

impl Token {
    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// `None`: a character that starts no token, or a quote or comment without its end.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        skip_space_and_comments(&mut rest)?;
        let Some(first) = rest.next() else { return Some(tokens) };
        tokens.push(match first {
            ';' => Token::Semicolon,
            '=' => Token::Equals,
            '*' => Token::Star,
            '"' => Token::Quoted(quoted(&mut rest, '"')?),
            '\'' => Token::Literal(quoted(&mut rest, '\'')?),
            other if in_word(other) => Token::Word(word(other, &mut rest)),
            _ => return None,
        });
    }
}

/// Wider than PostgreSQL's identifiers: database names such as `my-app.v2` need no quotes here.
fn in_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '.' | '$')
}

fn word(first: char, rest: &mut Peekable<Chars<'_>>) -> String {
    let mut word = String::from(first);
    while let Some(next) = rest.next_if(|next| in_word(*next)) {
        word.push(next);
    }
    word
}

fn quoted(rest: &mut Peekable<Chars<'_>>, quote: char) -> Option<String> {
    let mut text = String::new();
    loop {
        match rest.next()? {
            next if next != quote => text.push(next),
            _ if rest.next_if_eq(&quote).is_some() => text.push(quote),
            _ => return Some(text),
        }
    }
}

fn skip_space_and_comments(rest: &mut Peekable<Chars<'_>>) -> Option<()> {
    loop {
        let mut ahead = rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some(space), _) if space.is_whitespace() => {
                rest.next();
            }
            (Some('-'), Some('-')) => while rest.next().is_some_and(|next| next != '\n') {},
            (Some('/'), Some('*')) => {
                *rest = ahead;
                skip_block_comment(rest)?;
            }
            _ => return Some(()),
        }
    }
}

/// As in PostgreSQL, block comments nest.
fn skip_block_comment(rest: &mut Peekable<Chars<'_>>) -> Option<()> {
    let mut depth = 1_usize;
    while depth > 0 {
        match rest.next()? {
            '*' if rest.next_if_eq(&'/').is_some() => depth -= 1,
            '/' if rest.next_if_eq(&'*').is_some() => depth += 1,
            _ => {}
        }
    }
    Some(())
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
