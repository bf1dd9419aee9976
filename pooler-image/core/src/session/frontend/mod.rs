//! From the client to the server.

mod extended;
mod query;
mod statements;

use super::exchange::{ClientFault, Exchange};
use super::pipeline::Owed;
use super::server::{Batch, ServerEnd, Waits};
use super::state::Pace;
use super::undo::Undo;
use super::{Naming, Rest};
use crate::wire::frontend as tag;
use crate::wire::{FrameError, Header, run_of};

const HEADER: usize = 5;

/// Longer names of statements and portals are a fault: they would have to be kept until they end, and a message whose
/// names nobody has read may name another client's statement.
const NAME_LIMIT: usize = 64 * 1024;

/// The longest message of a kind that carries data, as in PostgreSQL (`PQ_LARGE_MESSAGE_LIMIT`).
const LARGE_MESSAGE: u32 = 0x3fff_fffe;

/// The longest of any other kind (`PQ_SMALL_MESSAGE_LIMIT`).
const SMALL_MESSAGE: u32 = 10_000;

/// The length that a message of this kind may have.
fn longest(message_tag: u8) -> u32 {
    match message_tag {
        tag::QUERY | tag::FUNCTION_CALL | tag::BIND | tag::PARSE | tag::COPY_DATA => LARGE_MESSAGE,
        _ => SMALL_MESSAGE,
    }
}

/// What became of one message.
enum Step {
    /// Dealt with up to here; what is left of it is in the server's books.
    To(usize),
    /// More of it must be there first.
    More,
    /// Earlier messages must be answered first.
    Wait,
}

/// One message, as far as it has arrived.
#[derive(Clone, Copy)]
struct Message<'i> {
    /// Where it begins in the input.
    at: usize,
    /// Its length with the header.
    total: usize,
    /// Its bytes from the header on, as far as they are there.
    bytes: &'i [u8],
}

impl<'i> Message<'i> {
    fn is_whole(&self) -> bool {
        self.bytes.len() == self.total
    }

    fn end(&self) -> usize {
        self.at + self.total
    }

    /// The zero-terminated string at `from`, without the zero.
    fn string(&self, from: usize) -> Result<Option<&'i [u8]>, ClientFault> {
        let rest = self.bytes.get(from..).unwrap_or_default();
        match rest.iter().position(|byte| *byte == 0) {
            Some(end) => Ok(rest.get(..end)),
            None if self.is_whole() => Err(ClientFault::Malformed),
            None if rest.len() > NAME_LIMIT => Err(ClientFault::LongName),
            None => Ok(None),
        }
    }
}

impl Exchange<'_> {
    /// Reads what the client sent. Returns how much was dealt with: the rest must be given again with what
    /// follows it. After Terminate nothing more is read ([`super::Client::is_leaving`]); not to be called while
    /// [`super::Server::is_asking`] or [`super::Server::is_waiting`].
    pub fn client_bytes(&mut self, input: &[u8]) -> Result<usize, ClientFault> {
        if self.server.state.pace == Pace::Behind && self.server.is_clean() && !input.is_empty() {
            self.bring_settings();
        }
        self.server.waits = Waits::Nothing;
        let mut at = 0;
        while !self.client.leaving {
            at = self.server.unsent.pass(at, input.len(), self.to_server);
            let rest = input.get(at..).unwrap_or_default();
            let Some(header) = Header::parse(rest)? else { break };
            if header.len > longest(header.tag) && is_known(header.tag) {
                return Err(FrameError { tag: header.tag, len: header.len }.into());
            }
            if header.tag != tag::TERMINATE && self.server.is_at_statement_of(self.client) {
                self.server.waits = Waits::Statement;
                break;
            }
            let total = header.total();
            let bytes = rest.get(..total.min(rest.len())).unwrap_or_default();
            match self.client_message(header.tag, Message { at, total, bytes })? {
                Step::To(next) if header.tag == tag::COPY_DATA && self.server.copy_in => {
                    // those that follow are of the same copy
                    at = next + run_of(header.tag, input.get(next..).unwrap_or_default());
                    self.to_server.forward(next, at);
                }
                Step::To(next) => at = next,
                Step::More => break,
                Step::Wait => {
                    self.server.waits = Waits::Books;
                    break;
                }
            }
        }
        self.answer();
        self.ask();
        Ok(at)
    }

    fn client_message(&mut self, message_tag: u8, message: Message<'_>) -> Result<Step, ClientFault> {
        match message_tag {
            tag::TERMINATE => {
                self.client.leaving = true;
                if self.server.needs_no_more() {
                    return Ok(Step::To(message.at));
                }
                self.server.end = ServerEnd::Told;
                Ok(self.forward(message))
            }
            tag::SYNC => Ok(self.client_sync(message)),
            tag::COPY_DATA | tag::FLUSH if self.server.batch != Batch::Skipping => Ok(self.forward(message)),
            tag::QUERY
            | tag::FUNCTION_CALL
            | tag::PARSE
            | tag::BIND
            | tag::DESCRIBE
            | tag::EXECUTE
            | tag::CLOSE
            | tag::COPY_DATA
            | tag::COPY_DONE
            | tag::COPY_FAIL
            | tag::FLUSH => self.client_request(message_tag, message),
            unknown => Err(ClientFault::UnknownMessage(unknown)),
        }
    }

    fn client_request(&mut self, message_tag: u8, message: Message<'_>) -> Result<Step, ClientFault> {
        if self.server.batch == Batch::Skipping {
            return Ok(self.drop_message(message));
        }
        if matches!(message_tag, tag::PARSE | tag::BIND | tag::DESCRIBE) {
            self.server.tally.steps += 1;
        }
        let step = match message_tag {
            tag::COPY_DONE | tag::COPY_FAIL => Ok(self.client_copy_end(message)),
            // the server reads it as part of the copy, and fails the copy for it
            _ if self.server.copy_in => Ok(self.forward(message)),
            tag::QUERY => Ok(self.client_query(message)),
            tag::FUNCTION_CALL => Ok(self.client_function_call(message)),
            tag::PARSE => self.client_parse(message),
            tag::BIND => self.client_bind(message),
            tag::EXECUTE => self.client_execute(message),
            _ => self.client_describe_or_close(message_tag, message),
        };
        match step {
            Err(ClientFault::Malformed) => Ok(self.forward_malformed(message_tag, message)),
            step => step,
        }
    }

    /// A whole message with a name that does not end: the server says in its own words what it lacks.
    fn forward_malformed(&mut self, message_tag: u8, message: Message<'_>) -> Step {
        self.server.open_batch();
        let owed = match message_tag {
            tag::PARSE => Owed::Parse(Undo::Nothing),
            tag::BIND => Owed::Bind(None),
            tag::DESCRIBE => Owed::Describe(None),
            tag::EXECUTE => Owed::Execute(None),
            _ => Owed::Close(Undo::Nothing),
        };
        self.owe(message, owed)
    }

    /// Passes the message on as it is.
    fn forward(&mut self, message: Message<'_>) -> Step {
        self.forward_from(message, 0)
    }

    /// Passes the message on from `skip` bytes behind its first.
    fn forward_from(&mut self, message: Message<'_>, skip: usize) -> Step {
        let end = message.at + message.bytes.len();
        self.to_server.forward(message.at + skip, end);
        self.server.unsent = Rest::forward(message.total - message.bytes.len());
        Step::To(end)
    }

    fn drop_message(&mut self, message: Message<'_>) -> Step {
        self.server.unsent = Rest::drop(message.total - message.bytes.len());
        Step::To(message.at + message.bytes.len())
    }

    fn owe(&mut self, message: Message<'_>, owed: Owed) -> Step {
        self.server.pipeline.push(owed);
        self.forward(message)
    }

    /// A message about the statement of this name cannot be read yet.
    fn must_wait(&self, name: &[u8]) -> bool {
        let changes = self.server.pipeline.changes();
        let open = if name.is_empty() { changes.unnamed_is_open() } else { changes.named_is_open() };
        open && self.client.naming == Naming::Shared
    }

    fn client_sync(&mut self, message: Message<'_>) -> Step {
        if self.server.copy_in {
            // the server ignores it inside a copy-in
            return self.forward(message);
        }
        if self.server.batch == Batch::Closed {
            self.server.tally.steps += 1;
        }
        self.server.batch = Batch::Closed;
        self.owe(message, Owed::Sync)
    }

    fn client_copy_end(&mut self, message: Message<'_>) -> Step {
        if self.server.copy_in {
            self.server.copy_in = false;
        } else if !self.server.pipeline.is_empty() {
            self.server.pipeline.push(Owed::CopyEnd);
        }
        self.forward(message)
    }
}

/// Of an unknown kind, the kind is the fault.
fn is_known(message_tag: u8) -> bool {
    b"QFBPdDECSHXcf".contains(&message_tag)
}

fn write_message(out: &mut Vec<u8>, message_tag: u8, parts: &[&[u8]]) {
    let len = parts.iter().map(|part| part.len()).sum::<usize>() as u32 + 4;
    out.push(message_tag);
    out.extend_from_slice(&len.to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}
