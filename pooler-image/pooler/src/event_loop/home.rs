//! From the loop that a client has logged in on to the one that its pool lives on.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use pgpooler_config::Document;
use pgpooler_core::startup::StartupParameters;
use tracing::debug;

use crate::auth::User;
use crate::event_loop::arrival::LoggingIn;
use crate::event_loop::client::ClientConn;
use crate::event_loop::pool::Rule;
use crate::event_loop::welcome::seat;
use crate::event_loop::worker::Worker;
use crate::handshake;
use crate::process::Mail;
use crate::tls::PeerCertificate;
use crate::transport::Parked;

/// Sends a client to the loop that its pool lives on, unless that is this one.
pub(super) fn at_home(
    worker: &Worker,
    client: handshake::Client,
    peer: SocketAddr,
    document: &Document,
) -> Option<handshake::Client> {
    let StartupParameters { database, user, .. } = &client.parameters;
    let pool = worker.process.pool_id(database, user);
    // what it may hold can change; a client that comes later may be served elsewhere then
    let most = worker.process.slots(|slots| slots.limit());
    let connections = Rule::of(document, database, user).size.most().map_or(most, |size| size.min(most));
    let home = worker.process.home(pool, worker.me, connections);
    if home == worker.me {
        return Some(client);
    }
    let handshake::Client { stream, parameters, user, peer: certificate, input, out } = client;
    match stream.park() {
        Ok(stream) => {
            let newcomer = Newcomer { stream, parameters, user, certificate, input, out, from: peer };
            // a loop that has just ended closes the connection, as it would have
            let _ = worker.process.send(home, Mail::Newcomer(Box::new(newcomer)));
        }
        Err(error) => debug!(%error, "client could not be moved to another loop"),
    }
    None
}

/// A client on its way to the loop that its pool lives on.
#[derive(Debug)]
pub(crate) struct Newcomer {
    stream: Parked,
    parameters: StartupParameters,
    user: Arc<User>,
    certificate: Option<PeerCertificate>,
    input: Vec<u8>,
    out: Vec<u8>,
    from: SocketAddr,
}

impl Newcomer {
    /// On the loop that it was sent to.
    pub(crate) async fn arrive(self, worker: &Rc<Worker>) -> Option<ClientConn> {
        let _login = LoggingIn::begin(worker);
        let current = Arc::clone(&worker.current.borrow());
        let Self { stream, parameters, user, certificate, input, out, from } = self;
        let stream = match stream.unpark() {
            Ok(stream) => stream,
            Err(error) => {
                debug!(%error, "client could not be taken from another loop");
                return None;
            }
        };
        let client = handshake::Client { stream, parameters, user, peer: certificate, input, out };
        seat(worker, client, from, &current.loaded.document).await
    }
}
