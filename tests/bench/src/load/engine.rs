//! Many clients in one thread on one epoll.

use std::{
    collections::BTreeMap,
    fmt,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use mio::{Events, Interest, Poll, Token, event::Event};
use pgpooler_test_support::wire;
use rustls::ClientConfig;

use super::{
    client::{Client, Phase},
    login::{Credentials, Login, Step},
    scan::Reply,
};

/// Few enough that a reply does not wait long for the requests that others send.
const EVENTS: usize = 64;
const BUFFER: usize = 256 << 10;
/// Clients that share a source address; the kernel has 28,000 ports for each.
const PER_ADDRESS: usize = 8_000;

/// Where the clients connect to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Port on 127.0.0.1.
    pub(crate) port: u16,
    /// With TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// What has happened to a client.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is logged in.
    Ready,
    /// It has its reply, asked for at the first time and there at the second.
    Replied(Reply, Instant, Instant),
    /// It is gone, before its time.
    Failed(anyhow::Error),
}

/// What went wrong, by text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Errors(BTreeMap<String, u64>);

/// The clients.
#[derive(Debug)]
pub(crate) struct Engine {
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    target: Target,
    credentials: Credentials,
    clients: Vec<Client>,
    opened: usize,
}

impl Engine {
    /// Without clients.
    pub(crate) fn new(target: Target, credentials: Credentials) -> Result<Self> {
        Ok(Self {
            poll: Poll::new().context("epoll")?,
            events: Events::with_capacity(EVENTS),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            target,
            credentials,
            clients: Vec::new(),
            opened: 0,
        })
    }

    /// How many clients there are, gone ones included.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// A client, by number.
    pub(crate) fn client(&mut self, index: usize) -> Option<&mut Client> {
        self.clients.get_mut(index)
    }

    /// Begins to connect one more client; its number.
    pub(crate) fn open(&mut self) -> Result<usize> {
        let index = self.clients.len();
        let client = self.dial(index)?;
        self.clients.push(client);
        Ok(index)
    }

    /// Lets a client go and begins to connect another in its place.
    pub(crate) fn reopen(&mut self, index: usize) -> Result<()> {
        let client = self.dial(index)?;
        if let Some(old) = self.clients.get_mut(index) {
            old.leave();
            *old = client;
        }
        Ok(())
    }

    /// Says goodbye to all.
    pub(crate) fn leave(&mut self) {
        self.clients.iter_mut().for_each(Client::leave);
        self.clients.clear();
    }

    /// Waits for something to happen and tells of it, once for each client that it happened to.
    ///
    /// `tell` may send; `wait` is the longest that nothing may happen.
    pub(crate) fn turn(
        &mut self,
        wait: Duration,
        mut tell: impl FnMut(usize, &mut Client, Outcome),
    ) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            other => other.context("epoll")?,
        }
        for event in &self.events {
            let index = event.token().0;
            let Some(client) = self.clients.get_mut(index) else { continue };
            let mut hand =
                Hand { buffer: &mut self.buffer, credentials: &mut self.credentials, tls: &self.target.tls };
            let told = hand.take(client, event, |client, outcome| tell(index, client, outcome));
            if let Err(error) = told {
                client.phase = Phase::Closed;
                let _ = self.poll.registry().deregister(client.stream());
                tell(index, client, Outcome::Failed(error));
            }
        }
        Ok(())
    }

    fn dial(&mut self, index: usize) -> Result<Client> {
        let mut client = Client::connect(self.target.port, source(self.opened))?;
        self.opened += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(client.stream(), Token(index), interest).context("epoll")?;
        Ok(client)
    }
}

/// What one event needs.
struct Hand<'a> {
    buffer: &'a mut [u8],
    credentials: &'a mut Credentials,
    tls: &'a Option<Arc<ClientConfig>>,
}

impl Hand<'_> {
    fn take(
        &mut self,
        client: &mut Client,
        event: &Event,
        mut tell: impl FnMut(&mut Client, Outcome),
    ) -> Result<()> {
        if matches!(client.phase, Phase::Closed) {
            return Ok(());
        }
        if event.is_writable() && !self.write(client)? {
            return Ok(());
        }
        while event.is_readable() {
            let Some(length) = client.receive(self.buffer)? else { return Ok(()) };
            anyhow::ensure!(length > 0, "closed by the other side");
            let bytes = self.buffer.get(..length).unwrap_or_default();
            let full = length == self.buffer.len();
            read(client, bytes, self.credentials, &mut tell)?;
            // epoll tells again of whatever comes from now on; TLS may hold more than one buffer
            if !full && self.tls.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Whether there is a connection to read from.
    fn write(&mut self, client: &mut Client) -> Result<bool> {
        if !matches!(client.phase, Phase::Connecting) {
            client.flush()?;
            return Ok(true);
        }
        client.connected()?;
        match self.tls {
            None => log_in(client, self.credentials)?,
            Some(config) => {
                client.phase = Phase::AskingForTls(Arc::clone(config));
                client.send_now(&wire::ssl_request())?;
            }
        }
        Ok(true)
    }
}

fn read(
    client: &mut Client,
    bytes: &[u8],
    credentials: &mut Credentials,
    tell: &mut impl FnMut(&mut Client, Outcome),
) -> Result<()> {
    match &mut client.phase {
        Phase::Waiting(since) => {
            let since = *since;
            let mut ended = None;
            client.scan.feed(bytes, |reply| ended = Some(reply));
            if let Some(reply) = ended {
                client.phase = Phase::Idle;
                tell(client, Outcome::Replied(reply, since, Instant::now()));
            }
            Ok(())
        }
        Phase::LoggingIn(login) => {
            let (login, step) = login.take().context("two logins at once")?.receive(bytes, credentials)?;
            client.phase = Phase::LoggingIn(Some(login));
            match step {
                Step::Wait => Ok(()),
                Step::Send(bytes) => client.send_now(&bytes),
                Step::Ready => {
                    client.phase = Phase::Idle;
                    tell(client, Outcome::Ready);
                    Ok(())
                }
            }
        }
        Phase::AskingForTls(config) => {
            anyhow::ensure!(bytes == b"S", "the server has no TLS");
            let config = Arc::clone(config);
            client.secure(&config)?;
            // rustls keeps it until the handshake is over
            log_in(client, credentials)
        }
        // such as a notice
        Phase::Idle | Phase::Connecting | Phase::Closed => Ok(()),
    }
}

fn log_in(client: &mut Client, credentials: &Credentials) -> Result<()> {
    let (login, bytes) = Login::begin(credentials);
    client.phase = Phase::LoggingIn(Some(login));
    client.send_now(&bytes)
}

/// The first clients come from 127.0.0.1, later ones from the next addresses.
fn source(opened: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 1 + (opened / PER_ADDRESS % 100) as u8)
}

impl Errors {
    /// Counts one.
    pub(crate) fn add(&mut self, error: &str) {
        *self.0.entry(error.to_owned()).or_default() += 1;
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.0.iter().map(|(text, count)| format!("{count} x {text}")).collect();
        formatter.write_str(&texts.join("; "))
    }
}
