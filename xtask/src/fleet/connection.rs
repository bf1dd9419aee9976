//! One client of the fleet: a few hundred bytes, and no more of the protocol than it needs.

use std::{net::SocketAddr, time::Duration};

use pgpooler_test_support::{
    Message,
    scram::{ClientFinal, ClientFirst},
    wire,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::{sleep, timeout},
};

const PROTOCOL_3_0: u32 = 196_608;
const READ_BUFFER: usize = 512;
const LONGEST_MESSAGE: usize = 1 << 20;

/// How long a statement runs before its end is asked for: it must have reached PostgreSQL.
const HEAD_START: Duration = Duration::from_millis(500);

/// A packet to an address that has vanished gets no answer at all.
const LONGEST_CONNECT: Duration = Duration::from_secs(1);

/// Who logs in where.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Of PostgreSQL or of a pooler.
    pub(crate) address: SocketAddr,
    /// Role.
    pub(crate) user: String,
    /// Its password.
    pub(crate) password: String,
    /// Database.
    pub(crate) database: String,
    /// How long a login or a transaction may take.
    pub(crate) patience: Duration,
}

/// A logged-in client.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    patience: Duration,
    key: Option<(u32, Vec<u8>)>,
}

/// Why a client failed, in words that are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum Failure {
    /// The server said no.
    #[error("{severity} {code}: {message}")]
    Refused {
        /// `FATAL` or `ERROR`.
        severity: String,
        /// SQLSTATE.
        code: String,
        /// The primary message.
        message: String,
    },
    /// No TCP connection.
    #[error("connect: {0}")]
    Connect(String),
    /// The connection broke.
    #[error("connection: {0}")]
    Broken(String),
    /// Nothing happened for too long.
    #[error("no answer in time")]
    TimedOut,
    /// The server said something that this client does not understand.
    #[error("protocol: {0}")]
    Protocol(String),
}

impl Connection {
    /// Connects and logs in.
    pub(crate) async fn open(target: &Target) -> Result<Self, Failure> {
        timeout(target.patience, Self::log_in(target)).await.unwrap_or(Err(Failure::TimedOut))
    }

    /// Runs one statement by the simple protocol; its rows.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
        timeout(self.patience, self.run(sql)).await.unwrap_or(Err(Failure::TimedOut))
    }

    /// Runs one statement and, while it runs, asks once for its end at this address, over a connection of its own.
    pub(crate) async fn query_and_cancel(
        &mut self,
        sql: &str,
        address: SocketAddr,
    ) -> Result<Vec<Vec<String>>, Failure> {
        let (id, secret) = self.key.clone().ok_or_else(|| protocol("no cancel key"))?;
        let request = async {
            sleep(HEAD_START).await;
            let mut stream =
                TcpStream::connect(address).await.map_err(|error| Failure::Connect(error.to_string()))?;
            stream.write_all(&wire::cancel_request(id, &secret)).await.map_err(broken)?;
            stream.read_to_end(&mut Vec::new()).await.map_err(broken)
        };
        let (answer, requested) = tokio::join!(self.query(sql), request);
        requested?;
        answer
    }

    /// Leaves as a driver does.
    pub(crate) async fn close(mut self) {
        // the server may be gone, and then there is nobody to take leave of
        let _ = self.stream.get_mut().write_all(&wire::terminate()).await;
        let _ = self.stream.get_mut().shutdown().await;
    }

    async fn log_in(target: &Target) -> Result<Self, Failure> {
        let stream =
            TcpStream::connect(target.address).await.map_err(|error| Failure::Connect(error.to_string()))?;
        stream.set_nodelay(true).map_err(broken)?;
        let mut connection = Self {
            stream: BufReader::with_capacity(READ_BUFFER, stream),
            patience: target.patience,
            key: None,
        };
        let parameters =
            [("user", target.user.as_str()), ("database", &target.database), ("application_name", "fleet")];
        connection.send(&wire::startup(PROTOCOL_3_0, &parameters)).await?;
        let mut exchange = None;
        loop {
            let message = connection.receive().await?;
            match message.tag {
                b'R' => exchange = connection.authenticate(&target.password, exchange, &message.body).await?,
                b'E' => return Err(refused(&message)),
                b'K' => {
                    let key = message.body.split_first_chunk();
                    connection.key = key.map(|(id, secret)| (u32::from_be_bytes(*id), secret.to_vec()));
                }
                b'Z' => return Ok(connection),
                _ => {}
            }
        }
    }

    async fn authenticate(
        &mut self,
        password: &str,
        exchange: Option<Exchange>,
        body: &[u8],
    ) -> Result<Option<Exchange>, Failure> {
        let (kind, data) = body.split_first_chunk::<4>().ok_or_else(|| protocol("short authentication"))?;
        let text = String::from_utf8_lossy(data);
        match (u32::from_be_bytes(*kind), exchange) {
            (0, _) => Ok(None),
            (10, _) => {
                let (first, message) = ClientFirst::begin();
                let length = (message.len() as u32).to_be_bytes();
                let body = [wire::cstr("SCRAM-SHA-256").as_slice(), &length, message.as_bytes()].concat();
                self.send(&wire::message(b'p', &body)).await?;
                Ok(Some(Exchange::First(first)))
            }
            (11, Some(Exchange::First(first))) => {
                let (last, message) = first.answer(password, &text).map_err(protocol)?;
                self.send(&wire::message(b'p', message.as_bytes())).await?;
                Ok(Some(Exchange::Final(last)))
            }
            (12, Some(Exchange::Final(last))) => last.finish(&text).map(|()| None).map_err(protocol),
            (kind, _) => Err(protocol(format!("authentication {kind} is not understood here"))),
        }
    }

    async fn run(&mut self, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
        self.send(&wire::query(sql)).await?;
        let (mut rows, mut failure) = (Vec::new(), None);
        loop {
            let message = self.receive().await.map_err(|error| failure.clone().unwrap_or(error))?;
            match message.tag {
                b'D' => rows.push(message.columns()),
                b'E' => failure = Some(refused(&message)),
                b'Z' => return failure.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.get_mut().write_all(bytes).await.map_err(broken)
    }

    async fn receive(&mut self) -> Result<Message, Failure> {
        let tag = self.stream.read_u8().await.map_err(broken)?;
        let length = self.stream.read_u32().await.map_err(broken)? as usize;
        if !(4..LONGEST_MESSAGE).contains(&length) {
            return Err(protocol(format!("a message of {length} bytes")));
        }
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body).await.map_err(broken)?;
        Ok(Message { tag, body })
    }
}

/// Connects and says nothing.
pub(crate) async fn knock(address: SocketAddr) -> Result<(), Failure> {
    match timeout(LONGEST_CONNECT, TcpStream::connect(address)).await {
        Ok(connected) => connected.map(drop).map_err(|error| Failure::Connect(error.to_string())),
        Err(_) => Err(Failure::TimedOut),
    }
}

#[derive(Debug)]
enum Exchange {
    First(ClientFirst),
    Final(ClientFinal),
}

fn refused(error: &Message) -> Failure {
    let field = |code| error.field(code).unwrap_or_default();
    Failure::Refused { severity: field(b'S'), code: field(b'C'), message: field(b'M') }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn broken(error: std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Failure::Broken("closed by the other side".to_owned()),
        kind => Failure::Broken(kind.to_string()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn protocol(error: impl ToString) -> Failure {
    Failure::Protocol(error.to_string())
}
