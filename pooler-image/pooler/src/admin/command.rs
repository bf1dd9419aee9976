//! What users type, parsed. Pure.
//!
//! As in PostgreSQL, one Query message may hold several commands, and none of them runs when one of them cannot
//! be understood.

use pgpooler_config::Bundle;
use pgpooler_core::budget::{self, Stamp};

use super::error::{AdminError, NotSupported};
use super::show_parameter::Parameter;
use super::show_sockets::Which;
use super::show_stats::Part;
use super::token::{Token, tokens};
use crate::control::{Order, ShutdownMode};

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `SHOW ...`
    Show(Show),
    /// `SET ...` of a parameter that drivers set without being asked to.
    SetIgnored(String),
    /// `SET key = value`
    Set {
        /// As `SHOW CONFIG` has it.
        key: String,
        /// As it was written.
        value: String,
    },
    /// `RELOAD`
    Reload,
    /// `PAUSE [db]`
    Pause(Option<String>),
    /// `RESUME [db]`
    Resume(Option<String>),
    /// `RECONNECT [db]`
    Reconnect(Option<String>),
    /// `DISABLE db`
    Disable(String),
    /// `ENABLE db`
    Enable(String),
    /// `KILL [db]`
    Kill(Option<String>),
    /// `KILL_CLIENT id`
    KillClient(u64),
    /// `WAIT_CLOSE [db]`
    WaitClose(Option<String>),
    /// `SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]`
    Shutdown(ShutdownMode),
    /// `CLAIM EPOCH e`, `LIMIT n [OF b EPOCH e SEQUENCE s MAX_CONNECTIONS m]`, `SHED n [EPOCH e]`
    Order(Order),
    /// `CONFIGURE 'bundle' [EPOCH e]`
    Configure {
        /// What is to be in force.
        bundle: Box<Bundle>,
        /// That of the operator which says so.
        epoch: Option<u64>,
    },
    /// `LISTEN budget`, `LISTEN configuration`
    Listen(Channel),
    /// `UNLISTEN [budget|configuration|*]`; none: all of them.
    Unlisten(Option<Channel>),
}

/// What sessions may listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// What the process may hold, has and needs.
    Budget,
    /// What configuration is in force.
    Configuration,
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
    /// `SHOW CONFIGURATION`
    Configuration,
    /// `SHOW DATABASES`
    Databases,
    /// `SHOW DNS_HOSTS`
    DnsHosts,
    /// `SHOW DNS_ZONES`
    DnsZones,
    /// `SHOW DRAIN`
    Drain,
    /// `SHOW HELP`
    Help,
    /// `SHOW LISTS`
    Lists,
    /// `SHOW MEM`
    Mem,
    /// A parameter that drivers ask for.
    Parameter(Parameter),
    /// `SHOW PEERS`
    Peers,
    /// `SHOW PEER_POOLS`
    PeerPools,
    /// `SHOW POOLS`
    Pools,
    /// `SHOW SERVERS`
    Servers,
    /// `SHOW SOCKETS`, `SHOW ACTIVE_SOCKETS`
    Sockets(Which),
    /// `SHOW STATE`
    State,
    /// `SHOW STATS`, `SHOW STATS_TOTALS`, `SHOW STATS_AVERAGES`
    Stats(Part),
    /// `SHOW TOTALS`
    Totals,
    /// `SHOW USERS`
    Users,
    /// `SHOW VERSION`
    Version,
}

/// Words that may follow `SHOW`.
pub const SHOWS: [(&str, Show); 24] = [
    ("active_sockets", Show::Sockets(Which::Active)),
    ("budget", Show::Budget),
    ("clients", Show::Clients),
    ("config", Show::Config),
    ("configuration", Show::Configuration),
    ("databases", Show::Databases),
    ("dns_hosts", Show::DnsHosts),
    ("dns_zones", Show::DnsZones),
    ("drain", Show::Drain),
    ("help", Show::Help),
    ("lists", Show::Lists),
    ("mem", Show::Mem),
    ("peers", Show::Peers),
    ("peer_pools", Show::PeerPools),
    ("pools", Show::Pools),
    ("servers", Show::Servers),
    ("sockets", Show::Sockets(Which::All)),
    ("state", Show::State),
    ("stats", Show::Stats(Part::All)),
    ("stats_totals", Show::Stats(Part::Totals)),
    ("stats_averages", Show::Stats(Part::Averages)),
    ("totals", Show::Totals),
    ("users", Show::Users),
    ("version", Show::Version),
];

/// What earlier versions of PgBouncer's had, and 1.26 has no more.
const SUSPEND: NotSupported = NotSupported {
    name: "SUSPEND",
    why: "It made ready for a restart that takes open sockets over (PgBouncer's -R), which there is not. A pooler that ends \
          drains; PAUSE holds clients back.",
};

/// As [`SUSPEND`].
const FDS: NotSupported = NotSupported {
    name: "SHOW FDS",
    why: "It handed open sockets to another process over a Unix socket, which there is not. SHOW SOCKETS lists them.",
};

/// Behind this word nothing is quoted back.
const CONFIGURE: &str = "configure";

/// The longest part of a faulty command that is quoted back.
const QUOTED: usize = 100;

impl Command {
    /// Its name if only `admin_users` may give it.
    pub fn admin_only(&self) -> Option<&'static str> {
        match self {
            Self::Show(_) | Self::SetIgnored(_) | Self::Listen(_) | Self::Unlisten(_) => None,
            Self::Configure { .. } => Some("CONFIGURE"),
            Self::Reload => Some("RELOAD"),
            Self::Pause(_) => Some("PAUSE"),
            Self::Resume(_) => Some("RESUME"),
            Self::Reconnect(_) => Some("RECONNECT"),
            Self::Set { .. } => Some("SET"),
            Self::Disable(_) => Some("DISABLE"),
            Self::Enable(_) => Some("ENABLE"),
            Self::Kill(_) => Some("KILL"),
            Self::KillClient(_) => Some("KILL_CLIENT"),
            Self::WaitClose(_) => Some("WAIT_CLOSE"),
            Self::Shutdown(_) => Some("SHUTDOWN"),
            Self::Order(Order::Command(budget::Command::Claim { .. })) => Some("CLAIM"),
            Self::Order(Order::Shed { .. }) => Some("SHED"),
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
        "disable" => Ok(Command::Disable(one_database(arguments, text)?)),
        "enable" => Ok(Command::Enable(one_database(arguments, text)?)),
        "kill" => Ok(Command::Kill(database(arguments, text)?)),
        "kill_client" => Ok(Command::KillClient(client_id(arguments, text)?)),
        "wait_close" => Ok(Command::WaitClose(database(arguments, text)?)),
        "suspend" => Err(AdminError::NotSupported(&SUSPEND)),
        "shutdown" => shutdown_mode(arguments).map(Command::Shutdown).ok_or_else(|| syntax(text)),
        "claim" | "limit" | "shed" => order(&verb, arguments).map(Command::Order).ok_or_else(|| syntax(text)),
        "configure" => parse_configure(arguments, text),
        "listen" => channel(arguments).map(Command::Listen).ok_or_else(|| syntax(text)),
        "unlisten" if arguments.is_empty() || arguments == [Token::Star] => Ok(Command::Unlisten(None)),
        "unlisten" => {
            channel(arguments).map(|channel| Command::Unlisten(Some(channel))).ok_or_else(|| syntax(text))
        }
        _ => Err(syntax(text)),
    }
}

fn parse_show(arguments: &[Token], text: &str) -> Result<Command, AdminError> {
    let name = match arguments {
        [Token::Word(name) | Token::Quoted(name)] => name.to_ascii_lowercase(),
        _ => return Err(syntax(text)),
    };
    if name == "fds" {
        return Err(AdminError::NotSupported(&FDS));
    }
    let show = SHOWS.iter().find(|(word, _)| *word == name).map(|(_, show)| *show);
    show.or_else(|| Parameter::named(&name).map(Show::Parameter))
        .map(Command::Show)
        .ok_or_else(|| syntax(text))
}

fn parse_set(arguments: &[Token], text: &str) -> Result<Command, AdminError> {
    let [Token::Word(name) | Token::Quoted(name), rest @ ..] = arguments else {
        return Err(syntax(text));
    };
    let value = match rest {
        [Token::Equals, value @ ..] => value,
        [Token::Word(to), value @ ..] if to.eq_ignore_ascii_case("to") => value,
        _ => return Err(syntax(text)),
    };
    let key = name.to_ascii_lowercase();
    match value {
        [] => Err(syntax(text)),
        _ if Parameter::drivers_set(&key) => Ok(Command::SetIgnored(name.clone())),
        [Token::Word(value) | Token::Quoted(value) | Token::Literal(value)] => {
            Ok(Command::Set { key: spelt(name, key), value: value.clone() })
        }
        _ => Err(syntax(text)),
    }
}

fn database(arguments: &[Token], text: &str) -> Result<Option<String>, AdminError> {
    match arguments {
        [] => Ok(None),
        [Token::Word(name) | Token::Quoted(name)] if !name.is_empty() => Ok(Some(name.clone())),
        _ => Err(syntax(text)),
    }
}

/// Names of rules keep their case.
fn spelt(name: &str, lower: String) -> String {
    if name.contains('.') { name.to_owned() } else { lower }
}

fn one_database(arguments: &[Token], text: &str) -> Result<String, AdminError> {
    database(arguments, text)?.ok_or(AdminError::DatabaseRequired)
}

/// `id` of `SHOW CLIENTS`; its `ptr`, which PgBouncer went by once, will do.
fn client_id(arguments: &[Token], text: &str) -> Result<u64, AdminError> {
    match arguments {
        [] => Err(AdminError::NoClientId),
        [Token::Word(id) | Token::Quoted(id) | Token::Literal(id)] => {
            id.strip_prefix('C').unwrap_or(id).parse().map_err(|_| AdminError::NoClientId)
        }
        _ => Err(syntax(text)),
    }
}

fn parse_configure(arguments: &[Token], text: &str) -> Result<Command, AdminError> {
    let (bundle, epoch) = match arguments {
        [Token::Literal(bundle)] => (bundle, None),
        [Token::Literal(bundle), Token::Word(of), Token::Word(epoch)] if of.eq_ignore_ascii_case("epoch") => {
            (bundle, Some(epoch.parse().map_err(|_| syntax(text))?))
        }
        _ => return Err(syntax(text)),
    };
    Ok(Command::Configure { bundle: Box::new(Bundle::parse(bundle)?), epoch })
}

fn channel(arguments: &[Token]) -> Option<Channel> {
    [(super::budget::CHANNEL, Channel::Budget), (super::configure::CHANNEL, Channel::Configuration)]
        .into_iter()
        .find(|(channel, _)| match arguments {
            [Token::Word(name)] => name.eq_ignore_ascii_case(channel),
            [Token::Quoted(name)] => name == channel,
            _ => false,
        })
        .map(|(_, channel)| channel)
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
        ("shed", [clients]) => Order::Shed { clients: count(clients)?, epoch: None },
        ("shed", [clients, of, epoch]) if are(&[of], &["epoch"]) => {
            Order::Shed { clients: count(clients)?, epoch: Some(epoch.parse().ok()?) }
        }
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
    // what would follow are passwords and keys
    let end = text.to_ascii_lowercase().find(CONFIGURE).map_or(text.len(), |at| at + CONFIGURE.len());
    let text = text.get(..end).unwrap_or_default();
    let shown: String = text.trim().chars().take(QUOTED).collect();
    AdminError::Syntax(shown)
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
