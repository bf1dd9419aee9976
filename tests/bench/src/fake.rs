//! A PostgreSQL that answers everything with one row at once: a thread that costs next to nothing.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use pgpooler_test_support::{free_port, wire};

const LISTENER: Token = Token(usize::MAX);
const BUFFER: usize = 64 << 10;
/// `RowDescription` of one column of type int4 without a name of note.
const COLUMN: &[u8] = b"\0\x01?column?\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
/// What poolers want to know at the start.
const PARAMETERS: [(&str, &str); 10] = [
    ("server_version", "18.0"),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "off"),
    ("session_authorization", "bench"),
];

/// The server; it ends with its value.
#[derive(Debug)]
pub(crate) struct Fake {
    port: u16,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Ready-made parts of answers.
struct Answers {
    login: Vec<u8>,
    query: Vec<u8>,
    parsed: Vec<u8>,
    bound: Vec<u8>,
    described: Vec<u8>,
    described_statement: Vec<u8>,
    executed: Vec<u8>,
    closed: Vec<u8>,
    ready: Vec<u8>,
}

/// A pooler's connection.
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    begun: bool,
}

impl Fake {
    /// Listens on a free port of 127.0.0.1.
    pub(crate) fn start() -> Result<Self> {
        let port = free_port()?;
        let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        let thread = std::thread::Builder::new()
            .name("fake".to_owned())
            .spawn(move || {
                if let Err(error) = serve(&listener, poll, &until) {
                    eprintln!("the server that costs nothing has ended: {error:#}");
                }
            })
            .context("thread")?;
        Ok(Self { port, ends, thread: Some(thread) })
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // a panic has been told on standard error
            let _ = thread.join();
        }
    }
}

/// What a server says to a StartupMessage when it trusts everybody.
pub(crate) fn login() -> Vec<u8> {
    Answers::new().login
}

fn serve(listener: &TcpListener, mut poll: Poll, ends: &AtomicBool) -> Result<()> {
    let answers = Answers::new();
    let (mut events, mut buffer) = (Events::with_capacity(64), vec![0; BUFFER]);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        match poll.poll(&mut events, Some(Duration::from_millis(20))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let token = Token(connections.len());
                    poll.registry().register(&mut stream, token, Interest::READABLE)?;
                    connections.push(Some(Connection { stream, input: Vec::new(), begun: false }));
                }
            } else if let Some(slot) = connections.get_mut(event.token().0)
                && slot.as_mut().is_some_and(|connection| connection.serve(&mut buffer, &answers).is_err())
            {
                *slot = None;
            }
        }
    }
    Ok(())
}

impl Connection {
    /// Reads and answers what has come; an error when it is over.
    fn serve(&mut self, buffer: &mut [u8], answers: &Answers) -> io::Result<()> {
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.input.extend_from_slice(buffer.get(..length).unwrap_or_default());
            let output = self.answer(answers);
            // far less than a socket holds
            self.stream.write_all(&output)?;
            if length < buffer.len() {
                return Ok(());
            }
        }
    }

    fn answer(&mut self, answers: &Answers) -> Vec<u8> {
        let mut output = Vec::new();
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Some((tag, body, tail)) = split(rest, self.begun) {
            rest = tail;
            match tag {
                None if body == [4, 0xd2, 0x16, 0x2f] => output.push(b'N'),
                None => {
                    self.begun = true;
                    output.extend(&answers.login);
                }
                Some(tag) => output.extend(answers.to(tag, body)),
            }
        }
        self.input = rest.to_vec();
        output
    }
}

/// The first whole message: its tag if it has one, its body, and what follows.
fn split(bytes: &[u8], tagged: bool) -> Option<(Option<u8>, &[u8], &[u8])> {
    let (tag, bytes) =
        if tagged { bytes.split_first().map(|(tag, rest)| (Some(*tag), rest))? } else { (None, bytes) };
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (body, rest) = rest.split_at_checked((u32::from_be_bytes(*length) as usize).checked_sub(4)?)?;
    Some((tag, body, rest))
}

impl Answers {
    fn new() -> Self {
        let ready = wire::message(b'Z', b"I");
        let described = wire::message(b'T', COLUMN);
        let row = wire::message(b'D', b"\0\x01\0\0\0\x011");
        let executed = [row, wire::message(b'C', b"SELECT 1\0")].concat();
        let parameters = PARAMETERS
            .map(|(name, value)| wire::message(b'S', &[wire::cstr(name), wire::cstr(value)].concat()));
        let key = wire::message(b'K', &[0; 8]);
        Self {
            login: [wire::message(b'R', &[0; 4]), parameters.concat(), key, ready.clone()].concat(),
            query: [described.clone(), executed.clone(), ready.clone()].concat(),
            parsed: wire::message(b'1', b""),
            bound: wire::message(b'2', b""),
            described_statement: [wire::message(b't', &[0, 0]), described.clone()].concat(),
            described,
            executed,
            closed: wire::message(b'3', b""),
            ready,
        }
    }

    fn to(&self, tag: u8, body: &[u8]) -> &[u8] {
        match (tag, body.first()) {
            (b'Q', _) => &self.query,
            (b'P', _) => &self.parsed,
            (b'B', _) => &self.bound,
            (b'D', Some(b'S')) => &self.described_statement,
            (b'D', _) => &self.described,
            (b'E', _) => &self.executed,
            (b'C', _) => &self.closed,
            (b'S', _) => &self.ready,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgpooler_test_support::{Login, RawClient};

    #[test]
    fn it_lets_anybody_in_and_answers_in_both_protocols() {
        let fake = Fake::start().unwrap();
        let mut client = RawClient::login(&Login::new(fake.port(), "u", "", "d")).unwrap();
        assert_eq!(client.rows("SELECT 1").unwrap(), [["1"]]);
        let extended =
            [wire::parse("", "SELECT 1"), wire::bind("", "", &[]), wire::execute("", 0), wire::sync()];
        let tags: Vec<u8> =
            client.exchange(&extended.concat()).unwrap().iter().map(|message| message.tag).collect();
        assert_eq!(tags, b"12DCZ");
    }
}
