//! From an accepted connection to somebody who has proven who they are.
//!
//! This is where those are who never do: what they cost is bounded by [`Pass`], and what waits here is kept small.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pgpooler_core::admission::{Origin, Turn};
use pgpooler_core::startup::Replication;
use pgpooler_core::wire::SqlState;
use tracing::{debug, info};

use crate::admin;
use crate::event_loop::auth_query::Porter;
use crate::event_loop::client::ClientConn;
use crate::event_loop::welcome::{console, seat};
use crate::event_loop::worker::Worker;
use crate::event_loop::{home, replication};
use crate::handshake::{self, Accepted, HandshakeError};
use crate::process::{Current, Pass, Subject};
use crate::reactor::{Socket, sleep_until};
use crate::report::{Failure, Refused};

/// Counts a connection as logging in, however that ends.
pub(super) struct LoggingIn<'a>(&'a Worker);

impl<'a> LoggingIn<'a> {
    pub(super) fn begin(worker: &'a Worker) -> Self {
        worker.logging_in.set(worker.logging_in.get() + 1);
        Self(worker)
    }
}

impl Drop for LoggingIn<'_> {
    fn drop(&mut self) {
        self.0.logging_in.set(self.0.logging_in.get() - 1);
    }
}

/// What a connection became.
pub(crate) enum Admitted {
    /// A client of a pool.
    Client(ClientConn),
    /// A client with a server connection of its own.
    Walsender(Box<replication::Session>),
}

/// Logs a client in; `None`: the connection was for something else, or has ended.
pub(crate) async fn admit(worker: &Rc<Worker>, stream: Socket, mut pass: Pass) -> Option<Admitted> {
    let _login = LoggingIn::begin(worker);
    let current = Arc::clone(&worker.current.borrow());
    let peer = pass.peer();
    let accepted = match shake_hands(worker, &current, stream, &mut pass).await {
        Ok(accepted) => accepted,
        Err(error) => {
            note_failure(worker, &mut pass, &error);
            return None;
        }
    };
    // what comes now is large, and those who never log in do not come so far
    Box::pin(go_on(worker, &current, accepted, pass, peer)).await
}

/// How long those may take who come while the process leaves: to cancel something, or to be told so.
const LAST_LOGINS: Duration = Duration::from_secs(2);

async fn shake_hands(
    worker: &Rc<Worker>,
    current: &Current,
    stream: Socket,
    pass: &mut Pass,
) -> Result<Accepted, HandshakeError> {
    let turn = pass.turn();
    if let Turn::GoAt(turn) = turn {
        tokio::select! {
            () = sleep_until(turn) => {}
            why = pass.eviction() => return Err(why.into()),
        }
    }
    let limit = current.loaded.document.client_login_timeout.as_duration();
    let limit = if worker.is_leaving() { limit.min(LAST_LOGINS) } else { limit };
    let porter = Porter { worker, current };
    handshake::accept_unless(stream, &porter, &current.loaded.tls, limit, pass.eviction()).await
}

async fn go_on(
    worker: &Rc<Worker>,
    current: &Current,
    accepted: Accepted,
    mut pass: Pass,
    peer: SocketAddr,
) -> Option<Admitted> {
    let document = &current.loaded.document;
    let client = match accepted {
        Accepted::Cancel(key, mut connection) => {
            tokio::select! {
                () = worker.process.cancel(&key) => {}
                () = pass.is_crowded_out() => {}
            }
            // its end is the answer
            connection.say_goodbye();
            return None;
        }
        Accepted::Client(client) => *client,
    };
    // what it waits for from now on has limits of its own
    drop(pass);
    if admin::is_console(&client.parameters.database) {
        console(worker, client, document).await;
        return None;
    }
    if client.parameters.replication != Replication::Off {
        let session = replication::begin(worker, client, peer, document).await?;
        return Some(Admitted::Walsender(Box::new(session)));
    }
    let client = home::at_home(worker, client, peer, document)?;
    seat(worker, client, peer, document).await.map(Admitted::Client)
}

fn note_failure(worker: &Worker, pass: &mut Pass, error: &HandshakeError) {
    let peer = pass.peer();
    let failure = match error {
        HandshakeError::Disconnected => return debug!(%peer, "connection closed before login"),
        // it has left without reading what we had to say
        HandshakeError::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            return debug!(%peer, "connection closed before login");
        }
        // the log has said so already
        HandshakeError::Crowded => {
            worker.count_error(SqlState::TOO_MANY_CONNECTIONS.as_str());
            return worker.logins.borrow_mut().record_refusal(Refused::Logins);
        }
        HandshakeError::Leaving => {
            worker.count_error(SqlState::CANNOT_CONNECT_NOW.as_str());
            return worker.logins.borrow_mut().record_refusal(Refused::Leaving);
        }
        HandshakeError::Refused(response) => {
            worker.count_error(response.sqlstate.as_str());
            refusal(response.sqlstate)
        }
        HandshakeError::Protocol(_) => Failure::Protocol,
        HandshakeError::Tls(_) | HandshakeError::NoAlpn => Failure::Tls,
        HandshakeError::Timeout(_) => Failure::Timeout,
        HandshakeError::Io(_) | HandshakeError::Random(_) => Failure::Other,
    };
    worker.logins.borrow_mut().record_failure(failure);
    // a fleet must not pay for it that we or PostgreSQL were slow
    if !matches!(failure, Failure::Timeout | Failure::Other) {
        pass.fail();
    }
    if let Some(aside) = worker.process.note(Subject::Failed, Origin::from(peer.ip())) {
        info!(%peer, error = %told(error), aside = aside.text(), "login failed");
    }
}

/// With its cause, which says what was wrong with the packet or with TLS.
fn told(error: &HandshakeError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Whose fault it was that a login was refused.
fn refusal(sqlstate: SqlState) -> Failure {
    match sqlstate.as_str().get(..2) {
        Some("28") => Failure::Credentials,
        // of PostgreSQL, which could not be asked for the user
        Some("58") => Failure::Other,
        _ => Failure::Protocol,
    }
}
