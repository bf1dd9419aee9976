//! Opens a connection to PostgreSQL and logs in, and closes one.
//!
//! A connection takes a place in PostgreSQL's connection table from its StartupMessage until the server has closed
//! it. So an error after that point brings the connection along: the caller keeps its slot until
//! [`close_and_wait_eof`] has seen the end.

mod measure;
mod reach;
mod secure;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pgpooler_config::{Target, TargetRole};
use pgpooler_core::login::{LoggedIn, Login, LoginError, LoginStep};
use pgpooler_core::measure::MeasureError;
use pgpooler_core::route::Route;
use pgpooler_core::wire::{CancelKey, SqlState, frontend};
use tokio::io::AsyncWriteExt;

use self::reach::{Failed, Reach, Refused};
pub use self::reach::{Spot, Told};
use self::secure::{Answer, Attempt};
use crate::auth::{self, RandomError, User};
use crate::reactor::{Socket, lookup_host, timeout, timeout_at};
use crate::socket;
use crate::tls::{ServerTls, Session, TlsPeer};
use crate::transport::Transport;

/// The protocol that we speak with servers: its four-byte cancel keys suffice, and every version knows it.
const MINOR: u16 = 0;

/// Where to log in, and as what.
#[derive(Debug, Clone, Copy)]
pub struct ConnectRequest<'a> {
    /// The servers, and what one must be.
    pub target: &'a Target,
    /// Which of them is tried first.
    pub route: Route,
    /// Whether it is asked how large it is.
    pub measures: bool,
    /// Whether with TLS, and with which.
    pub tls: &'a ServerTls,
    /// The database.
    pub database: &'a str,
    /// The user.
    pub user: &'a User,
    /// `application_name`.
    pub application_name: &'a str,
    /// Further settings of the StartupMessage.
    pub settings: &'a [(String, String)],
    /// How long one server may take for all of it.
    pub limit: Duration,
}

/// A session on a server, idle.
#[derive(Debug)]
pub struct ServerLogin {
    /// The connection.
    pub stream: Transport,
    /// The parameters that the server reported, in its order and spelling.
    pub parameters: Vec<(String, String)>,
    /// What cancels the session's queries.
    pub backend_key: Option<CancelKey>,
    /// How its TLS was had, if it has any.
    pub tls: Option<TlsPeer>,
    /// What the server has sent behind its last ReadyForQuery; hardly ever anything.
    pub input: Vec<u8>,
    /// Where it is.
    pub spot: Spot,
    /// The server's `max_connections`, if it was asked.
    pub max_connections: Option<u32>,
    /// Whether the server is in recovery, if that is known.
    pub in_recovery: Option<bool>,
}

/// No session, and perhaps a connection that still takes a place on the server.
#[derive(Debug, thiserror::Error)]
#[error("{}", told.log)]
pub struct ConnectError {
    /// What failed; of several servers, what says most.
    #[source]
    pub kind: ConnectErrorKind,
    /// Every server that was tried, and why it will not do.
    pub told: Told,
    /// Set once the StartupMessage may have reached the server: for [`close_and_wait_eof`].
    pub stream: Option<Transport>,
    /// Where the login got stuck, when other servers were not tried for that.
    pub stuck: Option<Spot>,
}

/// Why there is no session on a server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectErrorKind {
    /// The name has no address.
    #[error("cannot resolve the name of the server: {0}")]
    Resolve(#[source] io::Error),
    /// Nobody listens, or no way there.
    #[error("cannot connect to the server: {0}")]
    Connect(#[source] io::Error),
    /// The TLS handshake failed: no common ground, a certificate that will not do, or the connection ended.
    #[error("TLS with the server failed: {0}")]
    Tls(#[source] io::Error),
    /// The server declines what we insist on.
    #[error("the server has no TLS, which server_tls_sslmode requires")]
    NoTls,
    /// Bytes behind the answer to SSLRequest: of a man in the middle, or of a broken server.
    #[error("received unencrypted data after the answer to SSLRequest")]
    EarlyData,
    /// The answer to SSLRequest is none.
    #[error("the server does not speak PostgreSQL's protocol")]
    NotPostgres,
    /// Not done in time.
    #[error("no login to the server within {0:?}")]
    Timeout(Duration),
    /// The connection ended during the login, without an ErrorResponse.
    #[error("the server closed the connection during login: {0}")]
    Lost(#[source] io::Error),
    /// The server is full (53300), starting or stopping (57P03 and its kin): the same login can succeed later.
    #[error("the server takes no more connections now: {0}")]
    Busy(#[source] LoginError),
    /// The login failed: wrong password, no such database, an exchange out of form.
    #[error("{0}")]
    Login(#[source] LoginError),
    /// It did not say how large it is, or what.
    #[error("the server does not tell its max_connections and whether it is in recovery: {0}")]
    Measure(#[from] MeasureError),
    /// It is not what `target.role` wants.
    #[error("the server is a {found}, and target.role is {wanted}")]
    WrongRole {
        /// What it is.
        found: TargetRole,
        /// What it must be.
        wanted: TargetRole,
    },
    /// No random bytes for the exchange.
    #[error("{0}")]
    Random(#[from] RandomError),
}

impl ConnectErrorKind {
    /// The server's SQLSTATE, if it sent one.
    pub fn sqlstate(&self) -> Option<SqlState> {
        self.refusal().map(|(sqlstate, _)| sqlstate)
    }

    /// The server's ErrorResponse as it came, if it sent one.
    pub fn error_response(&self) -> Option<&[u8]> {
        self.refusal().map(|(_, raw)| raw)
    }

    /// Whether the same attempt can succeed later without anybody changing anything: clients go on waiting.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Login(_) | Self::NoTls | Self::EarlyData | Self::NotPostgres => false,
            // a connection that ended is no verdict, a certificate that will not do is one
            Self::Tls(error) => error.kind() != io::ErrorKind::InvalidData,
            _ => true,
        }
    }

    /// Whether the server is not there, or another than it was a moment ago.
    pub(crate) fn is_loss(&self) -> bool {
        let full = self.sqlstate() == Some(SqlState::TOO_MANY_CONNECTIONS);
        self.is_temporary() && !full && !matches!(self, Self::Random(_))
    }

    fn refusal(&self) -> Option<(SqlState, &[u8])> {
        match self {
            Self::Busy(LoginError::Refused { sqlstate, raw, .. })
            | Self::Login(LoginError::Refused { sqlstate, raw, .. }) => Some((*sqlstate, raw)),
            _ => None,
        }
    }

    fn of(error: LoginError) -> Self {
        match &error {
            LoginError::Refused { sqlstate, .. } if is_busy(*sqlstate) => Self::Busy(error),
            _ => Self::Login(error),
        }
    }
}

/// Connects and logs in: to the first server that answers and is what it must be, one at a time, the last good one first.
/// Where the mode of TLS allows for another attempt, the first connection is closed before.
///
/// Not cancel-safe: dropping it closes the connection without waiting for the server to have closed it too.
pub async fn connect(request: ConnectRequest<'_>) -> Result<ServerLogin, ConnectError> {
    match reach::first_good(request.target, request.route, &request).await {
        Ok((_, login)) => Ok(login),
        Err(Failed { kind, told, stream, stuck }) => Err(ConnectError { kind, told, stream, stuck }),
    }
}

impl Reach for ConnectRequest<'_> {
    type Login = ServerLogin;
    type Stream = Transport;

    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectErrorKind> {
        let found = timeout(self.limit, lookup_host((host, port))).await;
        let addresses = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match addresses.map_err(ConnectErrorKind::Resolve)? {
            none if none.is_empty() => Err(ConnectErrorKind::Resolve(io::ErrorKind::AddrNotAvailable.into())),
            some => Ok(some),
        }
    }

    async fn log_in(&self, spot: Spot, host: &str) -> Result<ServerLogin, Refused<Transport>> {
        let deadline = Instant::now() + self.limit;
        let mode = self.tls.mode;
        let server = Server { request: self, host, spot, deadline };
        let mut refused = match server.attempt(secure::first(mode)).await {
            Ok(login) => return Ok(login),
            Err(refused) => refused,
        };
        let Some(second) = secure::second(mode, &refused) else { return Err(refused) };
        // it may have had a StartupMessage, and two must never count at once
        if let Some(stream) = &mut refused.stream
            && !timeout_at(deadline, until_eof(stream)).await.unwrap_or(false)
        {
            return Err(refused);
        }
        server.attempt(second).await
    }

    async fn let_go(&self, stream: &mut Transport) -> bool {
        timeout(self.limit, until_eof(stream)).await.unwrap_or(false)
    }
}

/// One server, for one login.
struct Server<'a> {
    request: &'a ConnectRequest<'a>,
    /// As the document calls it.
    host: &'a str,
    spot: Spot,
    deadline: Instant,
}

impl Server<'_> {
    async fn attempt(&self, begin: Attempt) -> Result<ServerLogin, Refused<Transport>> {
        let Self { request, spot, deadline, .. } = *self;
        let without_stream = |kind| Refused { kind, stream: None };
        let nonce = auth::nonce().map_err(|error| without_stream(error.into()))?;
        let stream = match timeout_at(deadline, open(spot.address)).await {
            Ok(opened) => opened.map_err(without_stream)?,
            Err(_) => return Err(without_stream(ConnectErrorKind::Timeout(request.limit))),
        };
        let mut shell = Shell { stream: stream.into(), tls: None, input: Vec::new(), out: Vec::new() };
        let outcome = timeout_at(deadline, async {
            shell.secure(request, self.host, begin).await?;
            let LoggedIn { mut parameters, backend_key } = shell.login(request, nonce).await?;
            let measured = measure::measure(&mut shell, request, &mut parameters).await?;
            Ok((parameters, backend_key, measured))
        })
        .await;
        let kind = match outcome {
            Ok(Ok((parameters, backend_key, (max_connections, in_recovery)))) => {
                let Shell { stream, tls, input, .. } = shell;
                let login = ServerLogin {
                    stream,
                    parameters,
                    backend_key,
                    tls,
                    input,
                    spot,
                    max_connections,
                    in_recovery,
                };
                return Ok(login);
            }
            Ok(Err(kind)) => kind,
            Err(_) => ConnectErrorKind::Timeout(request.limit),
        };
        Err(Refused { kind, stream: Some(shell.stream) })
    }
}

/// Connects and sends a request to cancel, with TLS if the connection that it is about has it. PostgreSQL closes when
/// the signal is sent.
///
/// To the same address as that connection: a name may mean another server by now. Cancel-safe: nothing is left behind.
pub(crate) async fn cancel(
    address: SocketAddr,
    tls: Option<&TlsPeer>,
    key: &CancelKey,
) -> Result<(), ConnectErrorKind> {
    let stream = Socket::connect(address).await.map_err(ConnectErrorKind::Connect)?;
    cancel_over(stream, tls, key).await
}

/// The same over a connection from which nothing has been read; also for a pooler, which closes as PostgreSQL does.
pub(crate) async fn cancel_over(
    stream: Socket,
    tls: Option<&TlsPeer>,
    key: &CancelKey,
) -> Result<(), ConnectErrorKind> {
    let mut stream = Transport::from(stream);
    if let Some(peer) = tls
        && !matches!(secure::ask(&mut stream, peer).await?, Answer::Secured)
    {
        return Err(ConnectErrorKind::NoTls);
    }
    request_cancel(stream, key).await
}

/// The same to a pooler that is known to have this TLS: nobody asks.
pub(crate) async fn cancel_inside(
    stream: Socket,
    tls: &TlsPeer,
    key: &CancelKey,
) -> Result<(), ConnectErrorKind> {
    let mut stream = Transport::from(stream);
    secure::begin(&mut stream, tls).await?;
    request_cancel(stream, key).await
}

async fn request_cancel(mut stream: Transport, key: &CancelKey) -> Result<(), ConnectErrorKind> {
    let mut bytes = Vec::new();
    frontend::cancel_request(&mut bytes, key);
    stream.write_all(&bytes).await.map_err(ConnectErrorKind::Lost)?;
    let mut answer = Vec::new();
    while socket::read_more(&mut stream, &mut answer).await.map_err(ConnectErrorKind::Lost)? > 0 {}
    Ok(())
}

/// Says goodbye and waits until the server has closed the connection: only then is its slot free.
///
/// False when that was not seen within `limit`; the server may then still hold the slot. Not cancel-safe: dropping
/// it closes the connection without waiting.
pub async fn close_and_wait_eof(mut stream: Transport, limit: Duration) -> bool {
    timeout(limit, until_eof(&mut stream)).await.unwrap_or(false)
}

struct Shell {
    stream: Transport,
    tls: Option<TlsPeer>,
    input: Vec<u8>,
    out: Vec<u8>,
}

impl Shell {
    /// Begins TLS, as this attempt wants it.
    async fn secure(
        &mut self,
        request: &ConnectRequest<'_>,
        host: &str,
        begin: Attempt,
    ) -> Result<(), ConnectErrorKind> {
        if begin == Attempt::Plain {
            return Ok(());
        }
        let address = self.stream.peer_addr().map_err(ConnectErrorKind::Connect)?;
        let peer = request.tls.peer(host, address.ip()).map_err(ConnectErrorKind::Tls)?;
        let Some(peer) = peer else { return Ok(()) };
        match secure::ask(&mut self.stream, &peer).await? {
            Answer::Secured => {
                self.tls = Some(peer.agreed(self.stream.tls()));
            }
            Answer::Declined if begin == Attempt::Tls => return Err(ConnectErrorKind::NoTls),
            Answer::Declined => {}
            Answer::Error(response) => self.input = response,
        }
        Ok(())
    }

    async fn login(
        &mut self,
        request: &ConnectRequest<'_>,
        nonce: String,
    ) -> Result<LoggedIn, ConnectErrorKind> {
        let own = [
            ("user", request.user.name()),
            ("database", request.database),
            ("application_name", request.application_name),
        ];
        let settings = request.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut state = Login::start(MINOR, own.into_iter().chain(settings), nonce, &mut self.out)
            .bound_to(self.stream.tls().and_then(Session::end_point));
        let mut refused = !self.input.is_empty();
        if refused {
            // an ErrorResponse instead of an answer about TLS: nothing is said to it
            self.out.clear();
        }
        loop {
            if !std::mem::take(&mut refused) {
                self.exchange().await.map_err(ConnectErrorKind::Lost)?;
            }
            let credential = &mut *request.user.credential();
            match state.receive(&mut self.input, credential, &mut self.out) {
                LoginStep::More(next) => state = next,
                LoginStep::Done(session) => return Ok(session),
                LoginStep::Failed(error) => return Err(ConnectErrorKind::of(error)),
            }
        }
    }

    async fn exchange(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.out.clear();
        }
        match socket::read_more(&mut self.stream, &mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

async fn open(address: SocketAddr) -> Result<Socket, ConnectErrorKind> {
    let stream = Socket::connect(address).await.map_err(ConnectErrorKind::Connect)?;
    socket::prepare(&stream.options()).map_err(ConnectErrorKind::Connect)?;
    Ok(stream)
}

async fn until_eof(stream: &mut Transport) -> bool {
    let mut out = Vec::new();
    frontend::terminate(&mut out);
    // a connection that the server has closed already cannot be written to; its end is read below
    let _ = stream.write_all(&out).await;
    let _ = stream.shutdown().await;
    // only its end matters now, and a broken TLS must not hide that
    stream.forget_tls();
    let mut input = Vec::new();
    loop {
        input.clear();
        match socket::read_more(stream, &mut input).await {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return is_gone(&error),
        }
    }
}

/// A reset comes from a socket that is no more; other errors say nothing about the server.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

fn is_busy(sqlstate: SqlState) -> bool {
    [
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
    ]
    .contains(&sqlstate)
}
