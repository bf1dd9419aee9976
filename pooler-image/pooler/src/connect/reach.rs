//! One login attempt over several servers and their addresses: which is tried when, and what all of it comes to.

use std::io;
use std::net::SocketAddr;

use pgpooler_config::{Place, Target};
use pgpooler_core::route::Route;
use pgpooler_core::wire::SqlState;

use super::ConnectErrorKind;

/// How one address is tried.
pub(super) trait Reach {
    /// What a login that succeeds gives.
    type Login;
    /// A connection that may still take a place on a server.
    type Stream;

    /// The addresses of a host.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectErrorKind>;

    /// Logs in there. Not cancel-safe.
    async fn log_in(&self, spot: Spot, host: &str) -> Result<Self::Login, Refused<Self::Stream>>;

    /// Whether the server has let go of a connection within the time that an attempt may take.
    async fn let_go(&self, stream: &mut Self::Stream) -> bool;
}

/// Why there is no session on one server.
pub(super) struct Refused<S> {
    pub(super) kind: ConnectErrorKind,
    /// Set once the server may have given it a place.
    pub(super) stream: Option<S>,
}

/// Where a login has succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// Its number among the places of the target.
    pub place: usize,
    /// Its address.
    pub address: SocketAddr,
}

/// Why there is no session on any server.
pub(super) struct Failed<S> {
    /// What says most.
    pub(super) kind: ConnectErrorKind,
    /// Every server that was tried, and why it will not do.
    pub(super) told: Told,
    /// Of the last one; the others have let go.
    pub(super) stream: Option<S>,
    /// The last one did not let go, and no other was tried for that.
    pub(super) stuck: Option<Spot>,
}

/// Every server that was tried, and why it will not do.
#[derive(Debug, Default)]
pub struct Told {
    /// For the log: with their addresses.
    pub log: String,
    /// For clients: as the document calls them.
    pub clients: String,
}

/// The attempts so far.
struct Attempts<S> {
    worst: Option<ConnectErrorKind>,
    told: Told,
    last: Option<(Spot, S)>,
}

/// Logs in to the first server that will do, one at a time: the next is tried when the one before has let go.
///
/// Not cancel-safe, as [`Reach::log_in`].
pub(super) async fn first_good<R: Reach>(
    target: &Target,
    route: Route,
    reach: &R,
) -> Result<(Spot, R::Login), Failed<R::Stream>> {
    let places: Vec<_> = target.places().collect();
    let mut attempts = Attempts { worst: None, told: Told::default(), last: None };
    for place in route.order(places.len()) {
        let Some((host, port)) = places.get(place).copied() else { continue };
        let mut addresses = match reach.addresses(host, port).await {
            Ok(addresses) => addresses,
            Err(kind) => {
                attempts.note(host, port, None, kind);
                continue;
            }
        };
        route.sort(&mut addresses);
        for address in addresses {
            if let Some((spot, stream)) = &mut attempts.last
                && !reach.let_go(stream).await
            {
                let stuck = Some(*spot);
                return Err(attempts.failed(stuck));
            }
            let spot = Spot { place, address };
            attempts.last = None;
            match reach.log_in(spot, host).await {
                Ok(login) => return Ok((spot, login)),
                Err(Refused { kind, stream }) => {
                    attempts.last = stream.map(|stream| (spot, stream));
                    let is_final = is_final(&kind);
                    attempts.note(host, port, Some(address), kind);
                    if is_final {
                        return Err(attempts.failed(None));
                    }
                }
            }
        }
    }
    Err(attempts.failed(None))
}

impl<S> Attempts<S> {
    fn note(&mut self, host: &str, port: u16, address: Option<SocketAddr>, kind: ConnectErrorKind) {
        let server = Place { host: host.to_owned(), port: Some(port) };
        let ip = address.map(|address| address.ip().to_string()).filter(|ip| ip != host);
        let ip = ip.map_or_else(String::new, |ip| format!(" ({ip})"));
        add(&mut self.told.log, format!("{server}{ip}: {kind}"));
        add(&mut self.told.clients, format!("{server}: {kind}"));
        // the first of those that say as much
        if self.worst.as_ref().is_none_or(|worst| is_final(&kind) || weight(&kind) > weight(worst)) {
            self.worst = Some(kind);
        }
    }

    fn failed(self, stuck: Option<Spot>) -> Failed<S> {
        let nobody = || ConnectErrorKind::Resolve(io::ErrorKind::AddrNotAvailable.into());
        Failed {
            kind: self.worst.unwrap_or_else(nobody),
            told: self.told,
            stream: self.last.map(|(_, stream)| stream),
            stuck,
        }
    }
}

/// What has been said already is not said again.
fn add(told: &mut String, more: String) {
    if told.is_empty() {
        *told = more;
    } else if !told.contains(&more) {
        told.push_str("; ");
        told.push_str(&more);
    }
}

/// Another server would say the same.
fn is_final(kind: &ConnectErrorKind) -> bool {
    matches!(kind, ConnectErrorKind::Login(_) | ConnectErrorKind::Random(_))
}

/// How much an error says of whether waiting helps: one of a server that is there, or will be soon, more than one of a
/// server that is not.
fn weight(kind: &ConnectErrorKind) -> u8 {
    match kind {
        _ if kind.sqlstate() == Some(SqlState::TOO_MANY_CONNECTIONS) => 4,
        ConnectErrorKind::WrongRole { .. } => 0,
        ConnectErrorKind::Connect(_) | ConnectErrorKind::Resolve(_) => 1,
        kind if !kind.is_temporary() => 2,
        _ => 3,
    }
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
