//! From the server to the client.

use super::Rest;
use super::exchange::{Exchange, ServerFault};
use super::hygiene::Dirt;
use super::pipeline::{Owed, Undo};
use super::server::parameter;
use crate::wire::backend as tag;
use crate::wire::error_response::field;
use crate::wire::{ErrorFields, Header, TransactionStatus, backend};

const HEADER: usize = 5;

/// What a message does to the queue of owed replies.
enum Fate {
    /// The client gets it; the reply goes on.
    Pass,
    /// The client gets it; the reply is complete.
    PassLast,
    /// Nobody gets it; the reply goes on.
    Hide,
    /// Nobody gets it; the reply is complete.
    HideLast,
}

impl Exchange<'_> {
    /// Reads what the server sent. Returns how much was dealt with: the rest must be given again with what
    /// follows it.
    pub fn server_bytes(&mut self, input: &[u8]) -> Result<usize, ServerFault> {
        let mut at = 0;
        loop {
            at = self.server.unread.pass(at, input.len(), self.to_client);
            let rest = input.get(at..).unwrap_or_default();
            let Some(header) = Header::parse(rest)? else { break };
            let total = header.total();
            let whole = rest.get(HEADER..total);
            if whole.is_none() && must_be_whole(header.tag) {
                break;
            }
            let here = total.min(rest.len());
            if self.server_message(header.tag, whole.unwrap_or_default())? {
                self.to_client.forward(at, at + here);
                self.server.unread = Rest::forward(total - here);
            } else {
                self.server.unread = Rest::drop(total - here);
            }
            at += here;
            self.answer();
        }
        Ok(at)
    }

    /// True: the message goes to the client as it is.
    fn server_message(&mut self, message: u8, body: &[u8]) -> Result<bool, ServerFault> {
        match message {
            tag::DATA_ROW | tag::COPY_DATA => self.reply(message),
            tag::READY_FOR_QUERY => self.server_ready(body),
            tag::COMMAND_COMPLETE => {
                self.server_command_complete(body);
                self.reply(message)
            }
            tag::ERROR_RESPONSE => self.server_error(body),
            tag::PARAMETER_STATUS => Ok(self.server_parameter(body)),
            tag::NOTICE_RESPONSE => Ok(!self.is_replaying()),
            tag::NOTIFICATION_RESPONSE => Ok(true),
            tag::COPY_IN_RESPONSE => {
                self.server.copy_in = self.server.pipeline.begin_copy_in();
                self.reply(message)
            }
            _ => self.reply(message),
        }
    }

    fn reply(&mut self, message: u8) -> Result<bool, ServerFault> {
        let fate = self.server.pipeline.front().and_then(|front| fate(front, message));
        let (passes, last) = match fate {
            Some(Fate::Pass) => (true, false),
            Some(Fate::PassLast) => (true, true),
            Some(Fate::Hide) => (false, false),
            Some(Fate::HideLast) => (false, true),
            None => return Err(ServerFault::Unexpected { tag: message }),
        };
        if last {
            self.server.pipeline.pop();
        }
        Ok(passes)
    }

    fn is_replaying(&self) -> bool {
        matches!(self.server.pipeline.front(), Some(Owed::Replay))
    }

    fn server_ready(&mut self, body: &[u8]) -> Result<bool, ServerFault> {
        let unexpected = ServerFault::Unexpected { tag: tag::READY_FOR_QUERY };
        let status = backend::parse_ready_for_query(body).ok_or_else(|| unexpected.clone())?;
        let owed = self.server.pipeline.pop().filter(Owed::ends_with_ready).ok_or(unexpected)?;
        self.server.status = status;
        self.server.copy_in = false;
        let ours = matches!(owed, Owed::Replay);
        if !ours && status == TransactionStatus::Idle {
            self.server.tally.transactions += 1;
        }
        Ok(!ours)
    }

    fn server_command_complete(&mut self, body: &[u8]) {
        if self.is_replaying() {
            return;
        }
        let command = body.strip_suffix(b"\0").unwrap_or(body);
        self.server.dirt = self.server.dirt.max(Dirt::of(command));
        if Dirt::drops_all_statements(command) {
            self.client.statements.clear();
            self.server.statements.clear();
        }
    }

    fn server_parameter(&mut self, body: &[u8]) -> bool {
        self.server.note_parameter(body);
        let replaying = self.is_replaying();
        if let Some((name, value)) = parameter(body) {
            // while replaying, only the spelling of what the client asked for is news
            let known = self.client.settings.get(&name.to_ascii_lowercase()).is_some();
            if !replaying || known {
                self.client.settings.note(name, value);
                self.server.settings.note(name, value);
            }
        }
        !replaying
    }

    fn server_error(&mut self, body: &[u8]) -> Result<bool, ServerFault> {
        self.server.tally.errors += 1;
        let fields =
            ErrorFields::parse(body).map_err(|_| ServerFault::Unexpected { tag: tag::ERROR_RESPONSE })?;
        if fields.is_fatal() || self.is_replaying() {
            return Err(self.server.fault(body));
        }
        match self.server.pipeline.front() {
            None => Err(ServerFault::Unexpected { tag: tag::ERROR_RESPONSE }),
            // ReadyForQuery follows
            Some(Owed::Query(_) | Owed::FunctionCall | Owed::Sync) => Ok(true),
            Some(_) => Ok(self.batch_failed(&fields)),
        }
    }

    fn batch_failed(&mut self, fields: &ErrorFields<'_>) -> bool {
        let mut passes = true;
        match self.server.pipeline.pop() {
            Some(Owed::Duplicate(name) | Owed::Bind(Some(name)) | Owed::Describe(Some(name))) => {
                passes = false;
                self.to_client.own(|out| put_name_back(fields, &name, out));
            }
            Some(Owed::Parse(Undo::Unnamed { .. })) => {
                // a failed Parse leaves no unnamed statement
                self.client.unnamed = None;
                self.server.unnamed = None;
            }
            Some(Owed::Prepare(Undo::Unnamed { .. })) => self.server.unnamed = None,
            Some(owed) => self.undo(owed.into_undo()),
            None => {}
        }
        self.skip();
        passes
    }
}

/// The books need all of it.
fn must_be_whole(message: u8) -> bool {
    matches!(
        message,
        tag::READY_FOR_QUERY | tag::COMMAND_COMPLETE | tag::ERROR_RESPONSE | tag::PARAMETER_STATUS
    )
}

/// What `message` means as (part of) the reply that is owed next; `None`: it cannot be.
fn fate(front: &Owed, message: u8) -> Option<Fate> {
    match (front, message) {
        (Owed::Replay, _) => Some(Fate::Hide),
        (
            Owed::Query(_),
            tag::ROW_DESCRIPTION
            | tag::DATA_ROW
            | tag::COMMAND_COMPLETE
            | tag::EMPTY_QUERY_RESPONSE
            | tag::COPY_IN_RESPONSE
            | tag::COPY_OUT_RESPONSE
            | tag::COPY_DATA
            | tag::COPY_DONE,
        ) => Some(Fate::Pass),
        (Owed::FunctionCall, tag::FUNCTION_CALL_RESPONSE) => Some(Fate::Pass),
        (
            Owed::Execute,
            tag::DATA_ROW | tag::COPY_IN_RESPONSE | tag::COPY_OUT_RESPONSE | tag::COPY_DATA | tag::COPY_DONE,
        ) => Some(Fate::Pass),
        (Owed::Execute, tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED) => {
            Some(Fate::PassLast)
        }
        (Owed::Parse(_), tag::PARSE_COMPLETE) => Some(Fate::PassLast),
        (Owed::Bind(_), tag::BIND_COMPLETE) => Some(Fate::PassLast),
        (Owed::Describe(_), tag::PARAMETER_DESCRIPTION) => Some(Fate::Pass),
        (Owed::Describe(_), tag::ROW_DESCRIPTION | tag::NO_DATA) => Some(Fate::PassLast),
        (Owed::Close(_), tag::CLOSE_COMPLETE) => Some(Fate::PassLast),
        (Owed::Prepare(_), tag::PARSE_COMPLETE) => Some(Fate::HideLast),
        (Owed::Evict(_), tag::CLOSE_COMPLETE) => Some(Fate::HideLast),
        _ => None,
    }
}

/// The server names the statement as we called it; the client knows it by its own name.
fn put_name_back(fields: &ErrorFields<'_>, name: &[u8], out: &mut Vec<u8>) {
    let message = fields.field(field::MESSAGE).unwrap_or_default();
    let quoted = match (message.iter().position(|b| *b == b'"'), message.iter().rposition(|b| *b == b'"')) {
        (Some(first), Some(last)) if first < last && is_about_a_name(fields) => {
            [message.get(..=first), Some(name), message.get(last..)]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .concat()
        }
        _ => message.to_vec(),
    };
    fields.rewrite(field::MESSAGE, &quoted, out);
}

/// `duplicate_prepared_statement`, `invalid_sql_statement_name`.
fn is_about_a_name(fields: &ErrorFields<'_>) -> bool {
    matches!(fields.field(field::CODE), Some(b"42P05" | b"26000"))
}
