//! From the client to the server.

use std::sync::Arc;

use super::exchange::{ClientFault, Exchange};
use super::pipeline::{Owed, Undo};
use super::server::Batch;
use super::statements::{Number, Statement, looks_like_ours};
use super::{Naming, Rest};
use crate::wire::Header;
use crate::wire::frontend as tag;

const HEADER: usize = 5;

/// What became of one message.
enum Step {
    /// Dealt with up to here; what is left of it is in the server's books.
    To(usize),
    /// More of it must be there first.
    More,
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

    /// The zero-terminated string at `from`, without the zero.
    fn string(&self, from: usize) -> Result<Option<&'i [u8]>, ClientFault> {
        let rest = self.bytes.get(from..).unwrap_or_default();
        match rest.iter().position(|byte| *byte == 0) {
            Some(end) => Ok(rest.get(..end)),
            None if self.is_whole() => Err(ClientFault::Malformed),
            None => Ok(None),
        }
    }
}

impl Exchange<'_> {
    /// Reads what the client sent. Returns how much was dealt with: the rest must be given again with what
    /// follows it. After Terminate nothing more is read ([`super::Client::is_leaving`]).
    pub fn client_bytes(&mut self, input: &[u8]) -> Result<usize, ClientFault> {
        let mut at = 0;
        while !self.client.leaving {
            at = self.server.unsent.pass(at, input.len(), self.to_server);
            let rest = input.get(at..).unwrap_or_default();
            let Some(header) = Header::parse(rest)? else { break };
            let total = header.total();
            let bytes = rest.get(..total.min(rest.len())).unwrap_or_default();
            match self.client_message(header.tag, Message { at, total, bytes })? {
                Step::To(next) => at = next,
                Step::More => break,
            }
        }
        self.answer();
        Ok(at)
    }

    fn client_message(&mut self, message_tag: u8, message: Message<'_>) -> Result<Step, ClientFault> {
        match message_tag {
            tag::TERMINATE => {
                self.client.leaving = true;
                Ok(Step::To(message.at))
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
        match message_tag {
            tag::COPY_DONE | tag::COPY_FAIL => Ok(self.client_copy_end(message)),
            // the server reads it as part of the copy, and fails the copy for it
            _ if self.server.copy_in => Ok(self.forward(message)),
            tag::QUERY => Ok(self.client_query(message)),
            tag::FUNCTION_CALL => Ok(self.owe(message, Owed::FunctionCall)),
            tag::PARSE => self.client_parse(message),
            tag::BIND => self.client_bind(message),
            tag::EXECUTE => {
                self.server.tally.queries += 1;
                self.server.open_batch();
                Ok(self.owe(message, Owed::Execute))
            }
            _ => self.client_describe_or_close(message_tag, message),
        }
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

    fn client_sync(&mut self, message: Message<'_>) -> Step {
        if self.server.copy_in {
            // the server ignores it inside a copy-in
            return self.forward(message);
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

    fn client_query(&mut self, message: Message<'_>) -> Step {
        self.server.tally.queries += 1;
        // a simple Query destroys the unnamed statement
        let before = self.client.unnamed.take();
        let undo = self.server.unnamed_undo(before);
        self.server.unnamed = None;
        self.server.batch = Batch::Closed;
        self.owe(message, Owed::Query(undo))
    }

    fn client_parse(&mut self, message: Message<'_>) -> Result<Step, ClientFault> {
        let Some(name) = message.string(HEADER)? else { return Ok(Step::More) };
        if !message.is_whole() {
            return Ok(Step::More);
        }
        self.server.tally.client_parses += 1;
        self.server.open_batch();
        if self.client.naming == Naming::Own {
            self.server.tally.server_parses += 1;
            return Ok(self.owe(message, Owed::Parse(Undo::Nothing)));
        }
        let definition = message.bytes.get(HEADER + name.len() + 1..).unwrap_or_default();
        let statement = self.interner.intern(definition);
        Ok(if name.is_empty() {
            self.parse_unnamed(message, statement)
        } else {
            self.parse_named(message, name, statement)
        })
    }

    fn parse_unnamed(&mut self, message: Message<'_>, statement: Arc<Statement>) -> Step {
        self.server.tally.server_parses += 1;
        let key = statement.key;
        let before = self.client.unnamed.replace(statement);
        let undo = self.server.unnamed_undo(before);
        self.server.unnamed = Some(key);
        self.owe(message, Owed::Parse(undo))
    }

    fn parse_named(&mut self, message: Message<'_>, name: &[u8], statement: Arc<Statement>) -> Step {
        if let Some(existing) = self.client.statements.get(name).map(Arc::clone) {
            // the new text under the name of the old statement: errors come in PostgreSQL's own order
            let number = self.ensure_prepared(&existing);
            self.server.pipeline.push(Owed::Duplicate(name.into()));
            return self.forward_parse(message, name, number);
        }
        let key = statement.key;
        self.client.statements.insert(name.into(), statement);
        match self.server.statements.touch(key) {
            Some(_) if self.server.owe_synthetic_is_safe() => {
                let undo = Undo::Define { name: name.into(), prepared: None };
                self.server.pipeline.push(Owed::ParseComplete(undo));
                Step::To(message.at + message.total)
            }
            // in a failed transaction, or behind a boundary whose outcome is open, the server must judge
            Some(number) => {
                self.server.statements.remove(key, number);
                self.close_on_server(Undo::Evicted(key, number), number);
                self.prepare_for_client(message, name, key)
            }
            None => self.prepare_for_client(message, name, key),
        }
    }

    fn prepare_for_client(&mut self, message: Message<'_>, name: &[u8], key: super::StatementKey) -> Step {
        self.make_room();
        let number = self.server.statements.add(key);
        self.server.tally.server_parses += 1;
        let undo = Undo::Define { name: name.into(), prepared: Some((key, number)) };
        self.server.pipeline.push(Owed::Parse(undo));
        self.forward_parse(message, name, number)
    }

    fn forward_parse(&mut self, message: Message<'_>, name: &[u8], number: Number) -> Step {
        let body = message.total - HEADER - name.len() - 1;
        self.to_server.own(|out| write_named(out, tag::PARSE, &[], number, body));
        self.forward_from(message, HEADER + name.len() + 1)
    }

    fn client_bind(&mut self, message: Message<'_>) -> Result<Step, ClientFault> {
        let Some(portal) = message.string(HEADER)? else { return Ok(Step::More) };
        let name_at = HEADER + portal.len() + 1;
        let Some(name) = message.string(name_at)? else { return Ok(Step::More) };
        self.server.tally.binds += 1;
        self.server.open_batch();
        if self.client.naming == Naming::Own {
            return Ok(self.owe(message, Owed::Bind(None)));
        }
        if name.is_empty() {
            self.bring_unnamed();
            return Ok(self.owe(message, Owed::Bind(None)));
        }
        let Some(statement) = self.client.statements.get(name).map(Arc::clone) else {
            return Ok(self.forward_unknown(message, name_at, name, Owed::Bind(None)));
        };
        let owed = Owed::Bind(self.doubtful(name));
        let number = self.ensure_prepared(&statement);
        self.server.pipeline.push(owed);
        let behind = name_at + name.len() + 1;
        let prefix = message.bytes.get(HEADER..name_at).unwrap_or_default();
        self.to_server.own(|out| write_named(out, tag::BIND, prefix, number, message.total - behind));
        Ok(self.forward_from(message, behind))
    }

    fn client_describe_or_close(
        &mut self,
        message_tag: u8,
        message: Message<'_>,
    ) -> Result<Step, ClientFault> {
        if !message.is_whole() {
            return Ok(Step::More);
        }
        self.server.open_batch();
        let closes = message_tag == tag::CLOSE;
        let owed = if closes { Owed::Close(Undo::Nothing) } else { Owed::Describe(None) };
        let is_statement = message.bytes.get(HEADER) == Some(&tag::STATEMENT);
        if !is_statement || self.client.naming == Naming::Own {
            return Ok(self.owe(message, owed));
        }
        let Some(name) = message.string(HEADER + 1)? else { return Ok(Step::More) };
        Ok(match (name.is_empty(), closes) {
            (true, true) => self.close_unnamed(message),
            (true, false) => {
                self.bring_unnamed();
                self.owe(message, owed)
            }
            (false, true) => self.close_named(message, name),
            (false, false) => self.describe_named(message, name),
        })
    }

    fn close_unnamed(&mut self, message: Message<'_>) -> Step {
        let before = self.client.unnamed.take();
        let undo = self.server.unnamed_undo(before);
        self.server.unnamed = None;
        self.owe(message, Owed::Close(undo))
    }

    fn close_named(&mut self, message: Message<'_>, name: &[u8]) -> Step {
        let Some(statement) = self.client.statements.remove(name) else {
            return self.forward_unknown(message, HEADER + 1, name, Owed::Close(Undo::Nothing));
        };
        let undo = Undo::Forget { name: name.into(), statement };
        self.server.pipeline.push(Owed::CloseComplete(undo));
        Step::To(message.at + message.total)
    }

    fn describe_named(&mut self, message: Message<'_>, name: &[u8]) -> Step {
        let Some(statement) = self.client.statements.get(name).map(Arc::clone) else {
            return self.forward_unknown(message, HEADER + 1, name, Owed::Describe(None));
        };
        let owed = Owed::Describe(self.doubtful(name));
        let number = self.ensure_prepared(&statement);
        self.server.pipeline.push(owed);
        self.to_server.own(|out| write_named(out, tag::DESCRIBE, &[tag::STATEMENT], number, 0));
        Step::To(message.at + message.total)
    }

    /// A name that the client never gave: the server says so itself, in its own words.
    fn forward_unknown(&mut self, message: Message<'_>, name_at: usize, name: &[u8], owed: Owed) -> Step {
        self.server.pipeline.push(owed);
        if !looks_like_ours(name) {
            return self.forward(message);
        }
        // with a space behind it, it is no name of ours and the client cannot reach another's statement
        let behind = name_at + name.len();
        let prefix = message.bytes.get(HEADER..behind).unwrap_or_default();
        self.to_server.own(|out| {
            out.extend(message.bytes.first());
            out.extend_from_slice(&(message.total as u32).to_be_bytes());
            out.extend_from_slice(prefix);
            out.push(b' ');
        });
        self.forward_from(message, behind)
    }

    /// Makes sure that the server's unnamed statement is this client's.
    fn bring_unnamed(&mut self) {
        let wanted = self.client.unnamed.clone();
        if self.server.unnamed == wanted.as_ref().map(|statement| statement.key) {
            return;
        }
        let undo = self.server.unnamed_undo(wanted.clone());
        self.server.unnamed = wanted.as_ref().map(|statement| statement.key);
        if let Some(statement) = wanted {
            self.server.tally.server_parses += 1;
            self.server.pipeline.push(Owed::Prepare(undo));
            self.to_server.own(|out| write_message(out, tag::PARSE, &[b"\0", &statement.definition]));
        } else {
            // whoever's it is, this client has none
            self.server.pipeline.push(Owed::Evict(undo));
            self.to_server.own(|out| write_message(out, tag::CLOSE, &[&[tag::STATEMENT], b"\0"]));
        }
    }

    fn ensure_prepared(&mut self, statement: &Statement) -> Number {
        if let Some(number) = self.server.statements.touch(statement.key) {
            return number;
        }
        self.make_room();
        let number = self.server.statements.add(statement.key);
        self.server.tally.server_parses += 1;
        self.server.pipeline.push(Owed::Prepare(Undo::Prepared(statement.key, number)));
        let mut name = Vec::with_capacity(12);
        number.write_name(&mut name);
        self.to_server.own(|out| write_message(out, tag::PARSE, &[&name, b"\0", &statement.definition]));
        number
    }

    /// The name, if an error that has not come yet could undo the statement's Parse: the server's complaint
    /// would be about a name of ours.
    fn doubtful(&self, name: &[u8]) -> Option<Box<[u8]>> {
        (self.server.pipeline.ready() > 0).then(|| name.into())
    }

    fn make_room(&mut self) {
        let Batch::Open { since } = self.server.batch else { return };
        if let Some((key, number)) = self.server.statements.evict(self.max_prepared_statements, since) {
            self.close_on_server(Undo::Evicted(key, number), number);
        }
    }

    fn close_on_server(&mut self, undo: Undo, number: Number) {
        self.server.pipeline.push(Owed::Evict(undo));
        self.to_server.own(|out| write_named(out, tag::CLOSE, &[tag::STATEMENT], number, 0));
    }
}

/// Appends the head of a message: `prefix`, the statement's name, and room for `behind` bytes that follow.
fn write_named(out: &mut Vec<u8>, message_tag: u8, prefix: &[u8], number: Number, behind: usize) {
    let start = out.len();
    out.extend_from_slice(&[message_tag, 0, 0, 0, 0]);
    out.extend_from_slice(prefix);
    number.write_name(out);
    out.push(0);
    let len = (out.len() - start - 1 + behind) as u32;
    if let Some(place) = out.get_mut(start + 1..start + HEADER) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

fn write_message(out: &mut Vec<u8>, message_tag: u8, parts: &[&[u8]]) {
    let len = parts.iter().map(|part| part.len()).sum::<usize>() as u32 + 4;
    out.push(message_tag);
    out.extend_from_slice(&len.to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}
