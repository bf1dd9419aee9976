//! TLS records in memory: rustls without buffers of its own, and what stays with a connection between two calls.
//!
//! rustls remembers places in the bytes that it was given and has not let go of. So it is always given those that are
//! kept, from their beginning, also when there is only something to write; and after a fault it is not called again.

use std::io;

use rustls::CommonState;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use tokio::io::ReadBuf;

/// Which side of the handshake we are on.
pub(super) enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// The records of one connection.
pub(super) struct Records {
    pub(super) side: Side,
    /// Read, and not whole yet.
    pub(super) sealed: Vec<u8>,
    /// Opened, and not asked for yet.
    pub(super) opened: Vec<u8>,
    /// Sealed, and not taken by the socket yet.
    pub(super) unsent: Vec<u8>,
    pub(super) ending: Ending,
}

/// How far the connection has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Open,
    /// The peer will send nothing more.
    PeerClosed,
    /// The peer has broken the rules.
    Broken,
}

/// What rustls is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// Bytes from the peer; the handshake is not over.
    Handshake,
    /// Nothing: the handshake is over.
    Traffic,
    /// Nothing any more.
    End,
}

/// What one step came to.
enum Step {
    /// There is more to do.
    Again,
    PeerClosed,
    Wants(Wants),
    /// So many bytes were sealed.
    Sealed(usize),
}

/// What is done when the handshake is over.
enum Task<'a> {
    Nothing,
    Seal(&'a [u8], &'a mut Vec<u8>),
    SayGoodbye,
}

impl Records {
    /// `sealed`: what was read of the peer's first message.
    pub(super) fn new(side: Side, sealed: Vec<u8>) -> Self {
        Self { side, sealed, opened: Vec::new(), unsent: Vec::new(), ending: Ending::Open }
    }

    pub(super) fn state(&self) -> &CommonState {
        match &self.side {
            Side::Client(connection) => connection,
            Side::Server(connection) => connection,
        }
    }

    /// Opens what is kept.
    pub(super) fn open_kept(&mut self) -> io::Result<Wants> {
        let mut sealed = std::mem::take(&mut self.sealed);
        self.open(&mut sealed, &mut ReadBuf::new(&mut []))
    }

    /// Opens all whole records of the kept bytes and those behind them, which are `sealed`, and keeps what is left over.
    /// What is opened goes to `buffer`, and what does not fit there stays.
    pub(super) fn open(&mut self, sealed: &mut [u8], buffer: &mut ReadBuf<'_>) -> io::Result<Wants> {
        self.check()?;
        let mut rest = &mut *sealed;
        loop {
            let (discard, step) = self.step(rest, buffer, Task::Nothing);
            rest = rest.get_mut(discard..).unwrap_or_default();
            match step {
                Ok(Step::Wants(wants)) => {
                    self.sealed.clear();
                    self.sealed.extend_from_slice(rest);
                    self.sealed.shrink_to_fit();
                    return Ok(wants);
                }
                Ok(_) => {}
                Err(error) => {
                    self.queue_alert(rest);
                    return Err(self.break_off(error));
                }
            }
        }
    }

    /// Seals bytes into `out`; how many there are then.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            match self.step_kept(Task::Seal(plain, out))? {
                Step::Sealed(length) => return Ok(length),
                Step::Again | Step::PeerClosed => {}
                Step::Wants(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }

    /// Queues `close_notify`, the first time.
    pub(super) fn say_goodbye(&mut self) {
        while let Ok(Step::Again | Step::PeerClosed) = self.step_kept(Task::SayGoodbye) {}
    }

    /// An error if the peer has broken the rules: rustls panics when it is called again then.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.ending == Ending::Broken { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
    }

    fn step_kept(&mut self, task: Task<'_>) -> io::Result<Step> {
        self.check()?;
        let mut sealed = std::mem::take(&mut self.sealed);
        let (discard, step) = self.step(&mut sealed, &mut ReadBuf::new(&mut []), task);
        sealed.drain(..discard.min(sealed.len()));
        self.sealed = sealed;
        step.map_err(|error| self.break_off(error))
    }

    /// One step of rustls, and how many bytes it has let go of.
    fn step(
        &mut self,
        sealed: &mut [u8],
        buffer: &mut ReadBuf<'_>,
        task: Task<'_>,
    ) -> (usize, Result<Step, rustls::Error>) {
        let Self { side, opened, unsent, ending, .. } = self;
        let mut sink = |bytes: &[u8]| {
            // what is kept comes before what comes now
            let room = if opened.is_empty() { buffer.remaining() } else { 0 };
            let (now, later) = bytes.split_at(bytes.len().min(room));
            buffer.put_slice(now);
            opened.extend_from_slice(later);
        };
        let (discard, step) = match side {
            Side::Client(connection) => {
                carry_out(connection.process_tls_records(sealed), task, unsent, &mut sink)
            }
            Side::Server(connection) => {
                carry_out(connection.process_tls_records(sealed), task, unsent, &mut sink)
            }
        };
        if let Ok(Step::PeerClosed) = step {
            *ending = Ending::PeerClosed;
        }
        (discard, step)
    }

    /// What rustls has to say to a fault, and not a step more: it would find the fault again, and panic.
    fn queue_alert(&mut self, rest: &mut [u8]) {
        while self.state().wants_write() {
            let _ = self.step(rest, &mut ReadBuf::new(&mut []), Task::Nothing);
        }
    }

    fn break_off(&mut self, error: rustls::Error) -> io::Error {
        self.ending = Ending::Broken;
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Does what rustls asks for, or the task if it asks for nothing.
fn carry_out<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    task: Task<'_>,
    unsent: &mut Vec<u8>,
    sink: &mut impl FnMut(&[u8]),
) -> (usize, Result<Step, rustls::Error>) {
    let mut discard = status.discard;
    let step = match status.state {
        Err(error) => return (discard, Err(error)),
        Ok(ConnectionState::ReadTraffic(mut records)) => {
            while let Some(record) = records.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        sink(record.payload);
                    }
                    Err(error) => return (discard, Err(error)),
                }
            }
            Step::Again
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            append(unsent, |out| match data.encode(out) {
                Err(EncodeError::InsufficientSize(size)) => Err(size.required_size),
                encoded => Ok(encoded.unwrap_or(0)),
            });
            Step::Again
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Step::Again
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => match task {
            Task::Nothing => Step::Wants(Wants::Traffic),
            Task::SayGoodbye => {
                append(unsent, |out| sized(traffic.queue_close_notify(out)));
                Step::Wants(Wants::Traffic)
            }
            Task::Seal(plain, out) => loop {
                match traffic.encrypt(plain, out) {
                    Ok(length) => break Step::Sealed(length),
                    Err(EncryptError::InsufficientSize(size)) => out.resize(size.required_size, 0),
                    Err(EncryptError::EncryptExhausted) => break Step::Wants(Wants::End),
                }
            },
        },
        Ok(ConnectionState::BlockedHandshake) => Step::Wants(Wants::Handshake),
        Ok(ConnectionState::PeerClosed) => Step::PeerClosed,
        // early data is never accepted, and there are no other states today
        Ok(_) => Step::Wants(Wants::End),
    };
    (discard, Ok(step))
}

fn sized(written: Result<usize, EncryptError>) -> Result<usize, usize> {
    match written {
        Err(EncryptError::InsufficientSize(size)) => Err(size.required_size),
        written => Ok(written.unwrap_or(0)),
    }
}

/// Appends what `write` writes, once it has said how much room it needs.
fn append(bytes: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, usize>) {
    let filled = bytes.len();
    let Err(needed) = write(&mut []) else { return };
    bytes.resize(filled + needed, 0);
    let written = write(bytes.get_mut(filled..).unwrap_or_default()).unwrap_or(0);
    bytes.truncate(filled + written);
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
