//! The least that a pool can cost on epoll: it shares server connections among clients and understands nothing.
//!
//! A server connection is free again when its bytes end in a `ReadyForQuery` outside a transaction. Logins are
//! not checked, the one prepared statement of the bench is on every server connection from the start, and what
//! a socket does not take at once ends the connection: good for `SELECT 1` and for nothing else.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream as Blocking},
};

use anyhow::{Context as _, Result, ensure};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

use crate::{
    fake,
    load::{Credentials, Login, Protocol, Step},
    peers::config::NAME,
};

const LISTENER: Token = Token(usize::MAX);
const BUFFER: usize = 64 << 10;
/// `ReadyForQuery`, outside a transaction.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// A pool; tokens below the number of servers are servers.
struct Floor {
    servers: Vec<Server>,
    clients: Vec<Option<Client>>,
    idle: Vec<usize>,
    waiting: VecDeque<usize>,
    preparation: Vec<u8>,
}

struct Server {
    stream: TcpStream,
    client: Option<usize>,
}

struct Client {
    stream: TcpStream,
    state: State,
}

/// What a client is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Arrived,
    Idle,
    Waits,
    Has(usize),
}

/// Serves until it is killed.
pub(crate) fn run(port: u16, server_port: u16, servers: usize) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let preparation = Protocol::Prepared.preparation().context("nothing to prepare")?.bytes.to_vec();
    let mut floor = Floor {
        servers: Vec::new(),
        clients: Vec::new(),
        idle: (0..servers).collect(),
        waiting: VecDeque::new(),
        preparation,
    };
    for token in 0..servers {
        let mut stream = TcpStream::from_std(log_in(server_port, &floor.preparation)?);
        poll.registry().register(&mut stream, Token(token), Interest::READABLE)?;
        floor.servers.push(Server { stream, client: None });
    }
    let (mut events, mut buffer) = (Events::with_capacity(256), vec![0; BUFFER]);
    loop {
        match poll.poll(&mut events, None) {
            // as strace does when it attaches
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            match event.token() {
                LISTENER => floor.accept(&listener, &poll)?,
                Token(server) if server < servers => floor.server(server, &mut buffer)?,
                Token(client) => floor.client(client - servers, &mut buffer),
            }
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> Result<()> {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_nodelay(true)?;
            let token = Token(self.servers.len() + self.clients.len());
            poll.registry().register(&mut stream, token, Interest::READABLE)?;
            self.clients.push(Some(Client { stream, state: State::Arrived }));
        }
        Ok(())
    }

    fn client(&mut self, index: usize, buffer: &mut [u8]) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        let done = match client.state {
            State::Arrived => client.enter(buffer),
            State::Idle => {
                let Some(server) = self.idle.pop() else {
                    // what it says stays in its socket until a server is free
                    client.state = State::Waits;
                    self.waiting.push_back(index);
                    return;
                };
                self.link(index, server, buffer)
            }
            State::Waits => Ok(()),
            State::Has(server) => self.link(index, server, buffer),
        };
        if done.is_err() {
            self.part(index);
        }
    }

    /// Passes on what a client says.
    fn link(&mut self, index: usize, server: usize, buffer: &mut [u8]) -> io::Result<()> {
        let (Some(Some(client)), Some(pair)) = (self.clients.get_mut(index), self.servers.get_mut(server))
        else {
            return Ok(());
        };
        client.state = State::Has(server);
        pair.client = Some(index);
        let bytes = received(&mut client.stream, buffer)?;
        if bytes == self.preparation {
            client.stream.write_all(&[b"1\0\0\0\x04", READY].concat())?;
            self.release(server, buffer);
            return Ok(());
        }
        pair.stream.write_all(bytes)
    }

    /// Passes on what a server says.
    fn server(&mut self, server: usize, buffer: &mut [u8]) -> Result<()> {
        let Some(pair) = self.servers.get_mut(server) else { return Ok(()) };
        let bytes = received(&mut pair.stream, buffer).context("a server connection ended")?;
        let (index, ended) = (pair.client, bytes.ends_with(READY));
        let client = index.and_then(|index| self.clients.get_mut(index)).and_then(Option::as_mut);
        // a client that is gone needs no reply
        let _ = client.map_or(Ok(()), |client| client.stream.write_all(bytes));
        if ended {
            self.release(server, buffer);
        }
        Ok(())
    }

    fn release(&mut self, server: usize, buffer: &mut [u8]) {
        let client = self.servers.get_mut(server).and_then(|pair| pair.client.take());
        if let Some(Some(client)) = client.and_then(|index| self.clients.get_mut(index)) {
            client.state = State::Idle;
        }
        match self.waiting.pop_front() {
            None => self.idle.push(server),
            Some(next) => {
                if self.link(next, server, buffer).is_err() {
                    self.part(next);
                }
            }
        }
    }

    /// Forgets a client; the server that it had comes back when its reply ends.
    fn part(&mut self, index: usize) {
        if let Some(slot) = self.clients.get_mut(index)
            && let Some(Client { state: State::Has(server), .. }) = slot.take()
            && let Some(pair) = self.servers.get_mut(server)
        {
            pair.client = None;
            // it left without having asked for anything
            self.idle.push(server);
        }
        self.waiting.retain(|waiting| *waiting != index);
    }
}

impl Client {
    fn enter(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        received(&mut self.stream, buffer)?;
        self.state = State::Idle;
        self.stream.write_all(&fake::login())
    }
}

/// What has come; an error at the end, and when it is Terminate.
fn received<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let length = match stream.read(buffer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(&[]),
        other => other?,
    };
    match buffer.get(..length).unwrap_or_default() {
        [] | [b'X', ..] => Err(io::ErrorKind::UnexpectedEof.into()),
        bytes => Ok(bytes),
    }
}

/// A server connection that has the bench's statement.
fn log_in(port: u16, preparation: &[u8]) -> Result<Blocking> {
    let mut stream = Blocking::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    let mut credentials = Credentials::new(NAME, NAME, NAME);
    let (mut login, first) = Login::begin(&credentials);
    stream.write_all(&first)?;
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer)?;
        ensure!(length > 0, "closed in a login");
        let (next, step) = login.receive(buffer.get(..length).unwrap_or_default(), &mut credentials)?;
        login = next;
        match step {
            Step::Send(bytes) => stream.write_all(&bytes)?,
            Step::Wait => {}
            Step::Ready => break,
        }
    }
    stream.write_all(preparation)?;
    let length = stream.read(&mut buffer)?;
    ensure!(buffer.get(..length).is_some_and(|bytes| bytes.ends_with(READY)), "the statement was refused");
    stream.set_nonblocking(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgpooler_test_support::{Login, RawClient, free_port, wait_until, wire};
    use std::time::Duration;

    #[test]
    fn clients_share_one_server_connection_and_its_prepared_statement() {
        let (server, port) = (fake::Fake::start().unwrap(), free_port().unwrap());
        let server_port = server.port();
        std::thread::spawn(move || run(port, server_port, 1));
        let login = Login::new(port, "u", "", "d");
        let listens = || RawClient::login(&login).is_ok();
        wait_until("the floor", Duration::from_secs(10), listens, || Ok(())).unwrap();
        let mut clients = [RawClient::login(&login).unwrap(), RawClient::login(&login).unwrap()];
        let prepared = Protocol::Prepared;
        for client in &mut clients {
            let prepared = client.exchange(&prepared.preparation().unwrap().bytes).unwrap();
            assert_eq!(prepared.first().map(|message| message.tag), Some(b'1'));
        }
        for round in 0..3 {
            for client in &mut clients {
                client.send(&wire::query("SELECT 1")).unwrap();
            }
            for client in &mut clients {
                assert_eq!(client.read_through(b'Z').unwrap().len(), 4, "round {round}");
                assert_eq!(client.exchange(&prepared.select_1().bytes).unwrap().len(), 4);
            }
        }
    }
}
