//! Drives a client's handshake over its socket.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pgpooler_config::INTERNAL_SERVER_NAME;
use pgpooler_core::handshake::{
    self, Authentication, AuthenticationStep, ExpectStartup, SecuredBy, StartupStep,
};
use pgpooler_core::scram::EndPoint;
use pgpooler_core::startup::StartupParameters;
use pgpooler_core::wire::{CancelKey, ErrorResponse, SqlState, StartupPacketError};
use tokio::io::AsyncWriteExt;

use crate::admin;
use crate::auth::{Applicant, Challenge, Gate, RandomError, Unchallenged, User};
use crate::reactor::{Socket, timeout};
use crate::socket;
use crate::tls::{ClientTls, Demand, Greeting, PeerCertificate, Session, Tls};
use crate::transport::Transport;

/// What a new connection turned out to be.
#[derive(Debug)]
pub enum Accepted {
    /// A request to cancel, and its connection: nothing is answered but its end, once the request is dealt with.
    Cancel(CancelKey, Transport),
    /// A client whose password was right.
    Client(Box<Client>),
}

/// A client that has proven who it is and waits for ParameterStatus, BackendKeyData and ReadyForQuery.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub stream: Transport,
    /// What the client asked for.
    pub parameters: StartupParameters,
    /// Its user.
    pub user: Arc<User>,
    /// The certificate that it has shown; always checked, and not yet compared with the user.
    pub peer: Option<PeerCertificate>,
    /// What it has sent behind its proof: the beginning of its first messages.
    pub input: Vec<u8>,
    /// What has not been sent to it yet, up to AuthenticationOk; the rest of the greeting belongs behind it, so that
    /// all goes in one write.
    pub out: Vec<u8>,
}

/// Why a connection did not become a client.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client was told why.
    #[error("client refused: {0}")]
    Refused(ErrorResponse),
    /// Not PostgreSQL's protocol; closed without a word.
    #[error("not a PostgreSQL client")]
    Protocol(#[source] StartupPacketError),
    /// The client left; health checks and port scanners do.
    #[error("client closed the connection during login")]
    Disconnected,
    /// The client's TLS cannot be had with, or it does not trust ours.
    #[error("TLS handshake with the client failed: {0}")]
    Tls(#[source] io::Error),
    /// TLS from the first byte must be meant for PostgreSQL.
    #[error("direct TLS connection without ALPN")]
    NoAlpn,
    /// The connection broke.
    #[error("cannot read from or write to the client")]
    Io(#[from] io::Error),
    /// Not done in time.
    #[error("client did not log in within {0:?}")]
    Timeout(Duration),
    /// There are too many that have not logged in.
    #[error("too many connections have not logged in")]
    Crowded,
    /// The process leaves.
    #[error("shutting down")]
    Leaving,
    /// No random bytes for the exchange.
    #[error("cannot start the authentication")]
    Random(#[from] RandomError),
}

/// Why a connection has to go that has not logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// There are too many.
    Crowded,
    /// The process leaves.
    Leaving,
}

impl From<Eviction> for HandshakeError {
    fn from(why: Eviction) -> Self {
        match why {
            Eviction::Crowded => Self::Crowded,
            Eviction::Leaving => Self::Leaving,
        }
    }
}

/// Takes a new connection to the point where its user is known, within `limit`. `tls`: what it is offered.
///
/// One that asks for the server of the fleet by name gets that one's certificate, and no further than the admin console.
///
/// Not cancel-safe, and need not be: dropping it closes the connection.
pub async fn accept(
    stream: impl Into<Socket>,
    auth: &impl Gate,
    tls: &Tls,
    limit: Duration,
) -> Result<Accepted, HandshakeError> {
    accept_unless(stream, auth, tls, limit, pending()).await
}

/// The same, until `eviction` says that it has to go.
pub(crate) async fn accept_unless(
    stream: impl Into<Socket>,
    auth: &impl Gate,
    tls: &Tls,
    limit: Duration,
    eviction: impl Future<Output = Eviction>,
) -> Result<Accepted, HandshakeError> {
    let mut stream = Transport::from(stream.into());
    let mut shell = Shell {
        stream: &mut stream,
        offer: tls,
        tls: tls.clients.as_ref(),
        origin: Origin::Outside,
        input: Vec::new(),
        out: Vec::new(),
    };
    // boxed, since it would be in this future several times over: ten thousand may wait here
    let work = Box::pin(shell.run(auth));
    let ended = tokio::select! {
        outcome = timeout(limit, work) => outcome.map_err(|_| HandshakeError::Timeout(limit)),
        why = eviction => Err(why.into()),
    };
    let outcome = match ended {
        Ok(outcome) => outcome,
        Err(error) => {
            say_why(&mut stream, &error);
            return Err(error);
        }
    };
    let (input, out) = (unless_empty(shell.input), shell.out);
    match outcome? {
        Outcome::Cancel(key) => Ok(Accepted::Cancel(key, stream)),
        Outcome::Client(parameters, user) => {
            let peer = certificate(&stream);
            Ok(Accepted::Client(Box::new(Client { stream, parameters, user, peer, input, out })))
        }
    }
}

struct Shell<'a> {
    stream: &'a mut Transport,
    offer: &'a Tls,
    /// What this connection may have of it, or has.
    tls: Option<&'a ClientTls>,
    origin: Origin,
    input: Vec<u8>,
    out: Vec<u8>,
}

/// Who a connection is from, by the TLS that it has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Outside,
    /// The operator, or a peer: what they may do is decided later.
    Fleet,
}

#[expect(clippy::large_enum_variant, reason = "moved once and taken apart")]
enum Outcome {
    Cancel(CancelKey),
    Client(StartupParameters, Arc<User>),
}

impl Shell<'_> {
    async fn run(&mut self, auth: &impl Gate) -> Result<Outcome, HandshakeError> {
        let parameters = match self.startup().await? {
            Started::Cancel(key) => return Ok(Outcome::Cancel(key)),
            Started::Client(parameters) => parameters,
        };
        // what comes now is large, and most who never log in do not come so far
        Box::pin(self.prove(parameters, auth)).await
    }

    async fn prove(
        &mut self,
        parameters: StartupParameters,
        auth: &impl Gate,
    ) -> Result<Outcome, HandshakeError> {
        let certificate = certificate(self.stream);
        let common_name = certificate.as_ref().and_then(|shown| shown.common_name.as_deref());
        let challenge = match auth.challenge(Applicant { parameters: &parameters, common_name }).await {
            Ok(challenge) => challenge,
            Err(Unchallenged::Refused(error)) => return Err(self.refuse_with(error).await),
            Err(Unchallenged::Random(error)) => return Err(error.into()),
        };
        let user = self.authenticate(&parameters.user, challenge).await?;
        Ok(Outcome::Client(parameters, user))
    }

    async fn startup(&mut self) -> Result<Started, HandshakeError> {
        self.greet_fleet().await?;
        let offers = self.origin == Origin::Outside && self.tls.is_some();
        let mut state = if offers { ExpectStartup::offering_tls() } else { ExpectStartup::new() };
        loop {
            match state.receive(&mut self.input, &mut self.out) {
                StartupStep::More(next) => state = next,
                StartupStep::Secure(next, by) => {
                    Box::pin(self.secure(by)).await?;
                    state = next;
                    continue;
                }
                StartupStep::Cancel(key) => return Ok(Started::Cancel(key)),
                StartupStep::Startup(parameters) => {
                    return match self.lacks(&parameters) {
                        Some(error) => Err(self.refuse_with(error).await),
                        None => Ok(Started::Client(parameters)),
                    };
                }
                StartupStep::Refused(error) => return Err(self.refuse(error).await),
                StartupStep::Close(error) => return Err(HandshakeError::Protocol(error)),
            }
            self.exchange().await?;
        }
    }

    /// The TLS handshake with those who ask for the server of the fleet; nothing happens to others.
    async fn greet_fleet(&mut self) -> Result<(), HandshakeError> {
        let Some(internal) = &self.offer.internal else { return Ok(()) };
        loop {
            self.exchange().await?;
            match Greeting::of(&self.input) {
                Greeting::Unfinished => {}
                Greeting::Other => return Ok(()),
                Greeting::Internal => {
                    self.tls = Some(&internal.server);
                    self.origin = Origin::Fleet;
                    return Box::pin(self.secure(SecuredBy::Direct)).await;
                }
            }
        }
    }

    /// The TLS handshake. What was read before belongs to it, if anything was.
    async fn secure(&mut self, by: SecuredBy) -> Result<(), HandshakeError> {
        // only offered where there is TLS
        let Some(tls) = self.tls else { return Err(HandshakeError::Disconnected) };
        self.flush().await?;
        let session = tls.session(std::mem::take(&mut self.input))?;
        self.stream.secure(session).await.map_err(HandshakeError::Tls)?;
        let alpn = self.stream.tls().and_then(Session::alpn);
        if by == SecuredBy::Direct && alpn.is_none() { Err(HandshakeError::NoAlpn) } else { Ok(()) }
    }

    /// What the client would have to have beyond what it has.
    fn lacks(&self, parameters: &StartupParameters) -> Option<ErrorResponse> {
        if self.origin == Origin::Fleet && !admin::is_console(&parameters.database) {
            return Some(only_console());
        }
        let demand = self.tls.map_or(Demand::Nothing, |tls| tls.demand);
        match self.stream.tls() {
            None if demand >= Demand::Encryption => {
                let host = self.stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
                Some(handshake::no_encryption(&host, parameters))
            }
            Some(session) if demand == Demand::Certificate && session.peer_certificate().is_none() => {
                Some(handshake::no_certificate())
            }
            _ => None,
        }
    }

    async fn authenticate(&mut self, name: &str, challenge: Challenge) -> Result<Arc<User>, HandshakeError> {
        let method = challenge.method.clone();
        let mut state = Authentication::start_bound(name, method, self.end_point(), &mut self.out);
        loop {
            let step = match state.receive(&mut self.input, &mut self.out) {
                AuthenticationStep::Password(waiting, password) => {
                    waiting.decide(challenge.check(&password), &mut self.out)
                }
                step => step,
            };
            match step {
                AuthenticationStep::More(next) => state = next,
                AuthenticationStep::Refused(error) => {
                    challenge.failed();
                    return Err(self.refuse(error).await);
                }
                // decided above
                AuthenticationStep::Password(..) => return Err(HandshakeError::Disconnected),
                AuthenticationStep::Authenticated(keys) => {
                    // a mock verifier fits no proof; should one fit all the same, there is no user to let in
                    let user = challenge.user.ok_or(HandshakeError::Disconnected)?;
                    if let Some(keys) = keys {
                        user.learn(keys);
                    }
                    return Ok(user);
                }
            }
            self.exchange().await?;
        }
    }

    /// What a login can be bound to.
    fn end_point(&self) -> Option<EndPoint> {
        self.tls.filter(|_| self.stream.tls().is_some()).and_then(|tls| tls.end_point.clone())
    }

    /// Sends what is to be sent, then waits for bytes.
    async fn exchange(&mut self) -> Result<(), HandshakeError> {
        self.flush().await?;
        match socket::read_more(self.stream, &mut self.input).await? {
            0 => Err(HandshakeError::Disconnected),
            _ => Ok(()),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.out.clear();
        }
        Ok(())
    }

    async fn refuse_with(&mut self, error: ErrorResponse) -> HandshakeError {
        error.encode(&mut self.out);
        self.refuse(error).await
    }

    /// Sends the refusal, which `out` ends with. Whether it arrives is not our concern.
    async fn refuse(&mut self, error: ErrorResponse) -> HandshakeError {
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
        HandshakeError::Refused(error)
    }
}

/// The fleet's certificate is no way past `client_tls_sslmode` into a database.
fn only_console() -> ErrorResponse {
    let told = format!("\"{INTERNAL_SERVER_NAME}\" leads to the admin console only");
    ErrorResponse::fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, told)
        .hint("Ask for the database \"pgpooler\", or for another server name.")
}

/// The certificate that the client has shown.
fn certificate(stream: &Transport) -> Option<PeerCertificate> {
    stream.tls().and_then(Session::peer_certificate).map(PeerCertificate::of)
}

#[expect(clippy::large_enum_variant, reason = "moved once and taken apart")]
enum Started {
    Cancel(CancelKey),
    Client(StartupParameters),
}

/// A client without early messages keeps no buffer.
fn unless_empty(input: Vec<u8>) -> Vec<u8> {
    if input.is_empty() { Vec::new() } else { input }
}

/// To those who have to go before they have logged in. Best effort: the client may be gone or stuck.
fn say_why(stream: &mut Transport, error: &HandshakeError) {
    let (state, told) = match error {
        HandshakeError::Crowded => (
            SqlState::TOO_MANY_CONNECTIONS,
            "too many connections have not logged in yet (max_client_logins)",
        ),
        HandshakeError::Leaving => (SqlState::CANNOT_CONNECT_NOW, "the database system is shutting down"),
        _ => (SqlState::QUERY_CANCELED, "canceling authentication due to timeout"),
    };
    stream.try_send(&ErrorResponse::fatal(state, told).to_bytes());
}
