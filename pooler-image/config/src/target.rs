//! Which server is behind the pooler, or which ones, and what it must be.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The PostgreSQL server behind the pooler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Target {
    /// Host name or address of the only server.
    pub host: String,
    /// Its port, and that of [`hosts`](Self::hosts) without one.
    pub port: u16,
    /// Instead of [`host`](Self::host): several servers, of which the first that will do is used.
    pub hosts: Vec<Place>,
    /// What a server must be to be used.
    pub role: TargetRole,
}

/// What a server must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetRole {
    /// Whatever it is.
    #[default]
    Any,
    /// Not in recovery.
    Primary,
    /// In recovery.
    Standby,
}

/// A host name or address, with a port or without: `db`, `db:5432`, `10.0.0.1`, `[::1]:5432`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port; none: [`Target::port`].
    pub port: Option<u16>,
}

/// Why a text is no [`Place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No host.
    #[error("a host must not be empty")]
    Empty,
    /// A character that no name has.
    #[error("a host must have no `{0}`; each is an entry of its own: [\"one\", \"two:5432\"]")]
    Character(char),
    /// Not a number from 1 to 65535 behind the colon.
    #[error("a port must be 1 to 65535")]
    Port,
    /// More than one colon, or brackets around something else.
    #[error("an IPv6 address must be in brackets, with the port behind them: \"[fd00::1]:5432\"")]
    Brackets,
}

impl Default for Target {
    fn default() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: 5432, hosts: Vec::new(), role: TargetRole::default() }
    }
}

impl Target {
    /// The servers in order, host and port.
    pub fn places(&self) -> impl Iterator<Item = (&str, u16)> {
        let only = self.hosts.is_empty().then_some((self.host.as_str(), self.port));
        let several = self.hosts.iter().map(|place| (place.host.as_str(), place.port.unwrap_or(self.port)));
        only.into_iter().chain(several)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (host, port)) in self.places().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(formatter, "{comma}{}", Place { host: host.to_owned(), port: Some(port) })?;
        }
        Ok(())
    }
}

impl TargetRole {
    /// Whether a server that is in recovery, or is not, will do.
    pub fn admits(self, in_recovery: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Primary => !in_recovery,
            Self::Standby => in_recovery,
        }
    }
}

impl fmt::Display for TargetRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Any => "any",
            Self::Primary => "primary",
            Self::Standby => "standby",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(formatter, "{open}{host}{close}")?;
        port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, behind) = rest.split_once(']').ok_or(PlaceError::Brackets)?;
                if host.parse::<Ipv6Addr>().is_err() {
                    return Err(PlaceError::Brackets);
                }
                let port = behind.strip_prefix(':');
                if port.is_none() && !behind.is_empty() {
                    return Err(PlaceError::Brackets);
                }
                (host, port)
            }
            None => match text.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(PlaceError::Brackets),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() {
            return Err(PlaceError::Empty);
        }
        let strange = |found: &char| found.is_whitespace() || found.is_control() || ",/@[]".contains(*found);
        if let Some(found) = host.chars().find(strange) {
            return Err(PlaceError::Character(found));
        }
        let port = port.map(|port| port.parse().ok().filter(|port| *port != 0).ok_or(PlaceError::Port));
        Ok(Self { host: host.to_owned(), port: port.transpose()? })
    }
}

impl TryFrom<String> for Place {
    type Error = PlaceError;

    fn try_from(text: String) -> Result<Self, PlaceError> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}
