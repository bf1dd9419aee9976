//! A client that shows every message as it came.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    scram::{ClientFinal, ClientFirst},
    tls::{self, Stream, TlsOptions},
    wire::{self, Message},
};

const PROTOCOL_3_0: u32 = 196_608;
/// Far above what a healthy answer needs, so that a slow machine does not fail a test.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who logs in where.
#[derive(Debug, Clone)]
pub struct Login {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Its password; unused where the server asks for none.
    pub password: String,
    /// Database.
    pub database: String,
    /// Further startup parameters.
    pub parameters: Vec<(String, String)>,
    /// Protocol version, 196608 (3.0) unless set.
    pub version: u32,
    /// Logs in over TLS.
    pub tls: Option<TlsOptions>,
}

impl Login {
    /// With protocol 3.0 and no further parameters.
    pub fn new(port: u16, user: &str, password: &str, database: &str) -> Self {
        Self {
            port,
            user: user.to_owned(),
            password: password.to_owned(),
            database: database.to_owned(),
            parameters: Vec::new(),
            version: PROTOCOL_3_0,
            tls: None,
        }
    }

    /// Adds a startup parameter.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Logs in over TLS.
    #[must_use]
    pub fn secure(mut self, options: TlsOptions) -> Self {
        self.tls = Some(options);
        self
    }
}

/// One connection, blocking, with a time limit on every read.
#[derive(Debug)]
pub struct RawClient {
    stream: Stream,
    /// Reported by the server at login and since.
    pub parameters: BTreeMap<String, String>,
    /// Process id and key for [`wire::cancel_request`].
    pub backend_key: Option<(u32, Vec<u8>)>,
    scram: Scram,
}

/// What came next from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A whole message.
    Message(Message),
    /// The end of the connection.
    Closed,
    /// Nothing within the time given.
    Nothing,
}

#[derive(Debug)]
enum Scram {
    Idle,
    First(ClientFirst),
    Final(ClientFinal),
}

impl RawClient {
    /// Opens the TCP connection and sends nothing.
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("connect to port {port}"))?;
        Self::over(stream)
    }

    /// A connection that somebody else has opened, from whatever address.
    pub fn over(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let stream = Stream::Plain(stream);
        Ok(Self { stream, parameters: BTreeMap::new(), backend_key: None, scram: Scram::Idle })
    }

    /// Opens a connection with TLS and sends nothing inside of it.
    pub fn connect_tls(port: u16, options: &TlsOptions) -> Result<Self> {
        let mut client = Self::connect(port)?;
        if !options.direct {
            client.send(&wire::ssl_request())?;
            ensure!(client.read_bytes(1)? == *b"S", "the server has no TLS");
        }
        client.secure(options)
    }

    /// Begins TLS on the connection as it is.
    pub fn secure(self, options: &TlsOptions) -> Result<Self> {
        let Stream::Plain(tcp) = self.stream else { bail!("TLS inside of TLS") };
        Ok(Self { stream: tls::secure(tcp, options)?, ..self })
    }

    /// The certificate that the server has shown, DER.
    pub fn server_certificate(&self) -> Option<Vec<u8>> {
        self.stream.peer_certificate()
    }

    /// So many bytes as they come.
    pub fn read_bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Connects and logs in, up to the first `ReadyForQuery`.
    pub fn login(login: &Login) -> Result<Self> {
        let (client, messages) = Self::login_messages(login)?;
        match messages.iter().find(|message| message.tag == b'E') {
            Some(error) => bail!("login refused: {error:?}"),
            None => Ok(client),
        }
    }

    /// Connects and logs in; every message up to `ReadyForQuery` or `ErrorResponse`.
    pub fn login_messages(login: &Login) -> Result<(Self, Vec<Message>)> {
        let client = match &login.tls {
            Some(options) => Self::connect_tls(login.port, options)?,
            None => Self::connect(login.port)?,
        };
        client.log_in(login)
    }

    /// Logs in over this connection; every message up to `ReadyForQuery` or `ErrorResponse`.
    pub fn log_in(self, login: &Login) -> Result<(Self, Vec<Message>)> {
        let mut client = self;
        let mut parameters = vec![("user", login.user.as_str()), ("database", login.database.as_str())];
        parameters.extend(login.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        client.send(&wire::startup(login.version, &parameters))?;
        let mut messages = Vec::new();
        loop {
            let message = client.read()?;
            let last = matches!(message.tag, b'Z' | b'E');
            client.follow_login(&login.password, &message)?;
            messages.push(message);
            if last {
                return Ok((client, messages));
            }
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).context("send")
    }

    /// The next message.
    pub fn read(&mut self) -> Result<Message> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).context("read a message's head")?;
        let [tag, length @ ..] = head;
        let length = u32::from_be_bytes(length);
        ensure!((4..1 << 30).contains(&length), "the message {tag:#x} has the length {length}");
        let mut body = vec![0; length as usize - 4];
        self.stream.read_exact(&mut body).context("read a message's body")?;
        let message = Message { tag, body };
        self.note(&message);
        Ok(message)
    }

    /// The next message if it begins within `limit`.
    pub fn read_within(&mut self, limit: Duration) -> Result<Option<Message>> {
        self.stream.tcp().set_read_timeout(Some(limit))?;
        let peeked = self.stream.wait();
        self.stream.tcp().set_read_timeout(Some(PATIENCE))?;
        match peeked {
            Ok(_) => self.read().map(Some),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error).context("wait for a message"),
        }
    }

    /// The next message, the end of the connection, or neither within `limit`.
    pub fn arrival(&mut self, limit: Duration) -> Result<Arrival> {
        // a time limit of zero would be none at all
        self.stream.tcp().set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
        let peeked = self.stream.wait();
        self.stream.tcp().set_read_timeout(Some(PATIENCE))?;
        match peeked {
            Ok(false) => Ok(Arrival::Closed),
            Ok(true) => self.read().map(Arrival::Message),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(Arrival::Nothing),
                io::ErrorKind::ConnectionReset => Ok(Arrival::Closed),
                _ => Err(error).context("wait for a message"),
            },
        }
    }

    /// Sends nothing any more, and goes on reading.
    pub fn half_close(&self) -> Result<()> {
        self.stream.tcp().shutdown(Shutdown::Write).context("half-close")
    }

    /// Every message up to and including the first with this tag.
    pub fn read_through(&mut self, tag: u8) -> Result<Vec<Message>> {
        let mut messages: Vec<Message> = Vec::new();
        while messages.last().is_none_or(|message| message.tag != tag) {
            messages.push(self.read().with_context(|| format!("after {messages:?}"))?);
        }
        Ok(messages)
    }

    /// Sends bytes and gives every message up to `ReadyForQuery`.
    pub fn exchange(&mut self, bytes: &[u8]) -> Result<Vec<Message>> {
        self.send(bytes)?;
        self.read_through(b'Z')
    }

    /// Sends a simple query and gives every message up to `ReadyForQuery`.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Message>> {
        self.exchange(&wire::query(sql))
    }

    /// The rows of a simple query, NULL as an empty string; an `ErrorResponse` is an error.
    pub fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>> {
        let messages = self.query(sql)?;
        if let Some(error) = messages.iter().find(|message| message.tag == b'E') {
            bail!("{sql}: {error:?}");
        }
        Ok(messages.iter().filter(|message| message.tag == b'D').map(Message::columns).collect())
    }

    /// Reads to the end of the connection, whatever it is; what came before it.
    pub fn read_to_end(&mut self) -> Result<Vec<u8>> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error)
                if !matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) =>
            {
                Err(error).context("read to the end")
            }
            _ => Ok(rest),
        }
    }

    /// Whether the next thing is an end as it should be: with TLS it is announced.
    pub fn ends_properly(&mut self) -> bool {
        self.stream.read(&mut [0]).is_ok_and(|length| length == 0)
    }

    /// The socket, for what the methods here do not offer.
    pub fn stream(&self) -> &TcpStream {
        self.stream.tcp()
    }

    fn note(&mut self, message: &Message) {
        match message.tag {
            b'S' => {
                let mut parts = message.body.split(|byte| *byte == 0).map(String::from_utf8_lossy);
                if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                    self.parameters.insert(name.into_owned(), value.into_owned());
                }
            }
            b'K' => {
                let key = message.body.split_first_chunk::<4>();
                self.backend_key = key.map(|(pid, key)| (u32::from_be_bytes(*pid), key.to_vec()));
            }
            _ => {}
        }
    }

    /// Answers a request for authentication; other messages need none.
    pub fn follow_login(&mut self, password: &str, message: &Message) -> Result<()> {
        let (b'R', Some((kind, data))) = (message.tag, message.body.split_first_chunk::<4>()) else {
            return Ok(());
        };
        let text = String::from_utf8_lossy(data);
        match u32::from_be_bytes(*kind) {
            0 => Ok(()),
            3 => self.send(&wire::message(b'p', &wire::cstr(password))),
            10 => self.begin_scram(),
            11 => self.answer_scram(password, &text),
            12 => match std::mem::replace(&mut self.scram, Scram::Idle) {
                Scram::Final(exchange) => exchange.finish(&text),
                _ => bail!("SASLFinal out of turn"),
            },
            kind => bail!("this client does not speak authentication {kind}"),
        }
    }

    fn begin_scram(&mut self) -> Result<()> {
        let (exchange, first) = ClientFirst::begin();
        self.scram = Scram::First(exchange);
        let length = (first.len() as u32).to_be_bytes();
        self.send(&wire::message(
            b'p',
            &[wire::cstr("SCRAM-SHA-256").as_slice(), &length, first.as_bytes()].concat(),
        ))
    }

    fn answer_scram(&mut self, password: &str, server_first: &str) -> Result<()> {
        let Scram::First(exchange) = std::mem::replace(&mut self.scram, Scram::Idle) else {
            bail!("SASLContinue out of turn")
        };
        let (exchange, last) = exchange.answer(password, server_first)?;
        self.scram = Scram::Final(exchange);
        self.send(&wire::message(b'p', last.as_bytes()))
    }
}
