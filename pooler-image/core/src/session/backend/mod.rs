//! From the server to the client.

mod errors;

use crate::session::doubt::Doubt;
use crate::session::exchange::{Exchange, ServerFault};
use crate::session::pipeline::Owed;
use crate::session::probe::{Findings, Outcome};
use crate::session::script::{Act, Part};
use crate::session::server::parameter;
use crate::session::shape::Shape;
use crate::session::state::Pace;
use crate::session::{Dirt, Naming, Rest, SessionState};
use crate::sql::Effect;
use crate::wire::backend as tag;
use crate::wire::{Header, TransactionStatus, backend, run_of};

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
    /// follows it. May have something to say to the server, too.
    pub fn server_bytes(&mut self, input: &[u8]) -> Result<usize, ServerFault> {
        let mut at = 0;
        loop {
            at = self.server.unread.pass(at, input.len(), self.to_client);
            let rest = input.get(at..).unwrap_or_default();
            let Some(header) = Header::parse(rest)? else { break };
            let total = header.total();
            let whole = rest.get(HEADER..total);
            if whole.is_none() && self.must_be_whole(header.tag) {
                break;
            }
            let mut here = total.min(rest.len());
            if self.server_message(header.tag, whole.unwrap_or_default())? {
                if matches!(header.tag, tag::DATA_ROW | tag::COPY_DATA) {
                    // those that follow are of the same reply, and change as little
                    here += run_of(header.tag, rest.get(here..).unwrap_or_default());
                }
                self.to_client.forward(at, at + here);
                self.server.unread = Rest::forward(total.saturating_sub(here));
            } else {
                self.server.unread = Rest::drop(total - here);
            }
            at += here;
            self.answer();
        }
        self.ask();
        Ok(at)
    }

    /// The books need all of it.
    fn must_be_whole(&self, message: u8) -> bool {
        match message {
            tag::READY_FOR_QUERY | tag::COMMAND_COMPLETE | tag::ERROR_RESPONSE | tag::PARAMETER_STATUS => {
                true
            }
            tag::DATA_ROW => self.server.is_asking(),
            tag::PARAMETER_DESCRIPTION => matches!(self.server.pipeline.front(), Some(Owed::Learn(..))),
            tag::ROW_DESCRIPTION => {
                matches!(self.server.pipeline.front(), Some(Owed::Describe(Some(_)) | Owed::Learn(..)))
            }
            _ => false,
        }
    }

    /// True: the message goes to the client as it is.
    fn server_message(&mut self, message: u8, body: &[u8]) -> Result<bool, ServerFault> {
        match message {
            tag::DATA_ROW | tag::COPY_DATA => {
                if let Some(Owed::Probe(findings)) = self.server.pipeline.front_mut() {
                    findings.row(body);
                }
                self.reply(message)
            }
            tag::READY_FOR_QUERY => self.server_ready(body),
            tag::COMMAND_COMPLETE => self.server_command_complete(body),
            tag::ERROR_RESPONSE => self.server_error(body),
            tag::PARAMETER_STATUS => Ok(self.server_parameter(body)),
            tag::NOTICE_RESPONSE => Ok(!self.is_ours()),
            tag::NOTIFICATION_RESPONSE => Ok(true),
            tag::COPY_IN_RESPONSE => {
                self.server.copy_in = self.server.pipeline.begin_copy_in();
                if self.server.pipeline.ready() == 0 {
                    // the Sync of its batch was read as part of the copy
                    self.server.open_batch();
                }
                self.reply(message)
            }
            tag::PARAMETER_DESCRIPTION => {
                if let Some(Owed::Learn(Some(name), ..)) = self.server.pipeline.front() {
                    self.client.statements.note_parameters(name, body);
                }
                self.reply(message)
            }
            tag::ROW_DESCRIPTION => {
                self.note_shape(Shape::of(body));
                self.reply(message)
            }
            tag::NO_DATA => {
                self.note_shape(Some(Shape::NONE));
                self.reply(message)
            }
            tag::PORTAL_SUSPENDED | tag::FUNCTION_CALL_RESPONSE => {
                self.server.tally.outcomes += 1;
                self.reply(message)
            }
            _ => self.reply(message),
        }
    }

    /// Of the statement whose description this is.
    fn note_shape(&mut self, shape: Option<Shape>) {
        let Some(shape) = shape else { return };
        match self.server.pipeline.front() {
            Some(Owed::Learn(name, key, number)) => {
                if let Some(name) = name {
                    self.client.statements.note_shape(name, shape);
                }
                self.server.statements.note_shape(*key, *number, shape);
            }
            // what the client was told last is what it goes by
            Some(Owed::Describe(Some(name))) => self.client.statements.note_shape(name, shape),
            _ => {}
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

    /// A Query of ours runs.
    fn is_replaying(&self) -> bool {
        matches!(self.server.pipeline.front(), Some(Owed::Replay | Owed::Probe(_)))
    }

    /// Something of ours runs.
    fn is_ours(&self) -> bool {
        match self.server.pipeline.front() {
            Some(Owed::Query(_, Some(script))) => script.is_hidden(),
            Some(
                Owed::Prepare(_)
                | Owed::PrepareToDescribe(..)
                | Owed::Try(_)
                | Owed::Seal
                | Owed::Evict(_)
                | Owed::Learn(..)
                | Owed::Slipped(_),
            ) => true,
            _ => self.is_replaying(),
        }
    }

    fn server_ready(&mut self, body: &[u8]) -> Result<bool, ServerFault> {
        let unexpected = ServerFault::Unexpected { tag: tag::READY_FOR_QUERY };
        let status = backend::parse_ready_for_query(body).ok_or_else(|| unexpected.clone())?;
        let owed = self.server.pipeline.pop().filter(Owed::ends_with_ready).ok_or(unexpected)?;
        self.server.status = status;
        self.server.copy_in = false;
        self.close_definition();
        match owed {
            Owed::Replay | Owed::Seal => return Ok(false),
            Owed::Probe(findings) => {
                self.conclude(*findings);
                return Ok(false);
            }
            _ => {}
        }
        if status == TransactionStatus::Idle {
            self.server.tally.transactions += 1;
            self.server.state.follow.idle(self.client);
            self.server.portals.clear();
        } else {
            self.server.state.follow.in_transaction();
        }
        Ok(!self.server.is_in_block_of(self.client))
    }

    /// Whatever it has defined is there for everybody.
    fn close_definition(&mut self) {
        let is_over = self.server.status == TransactionStatus::Idle && self.server.pipeline.is_empty();
        if is_over && let Some(defining) = self.server.state.defining.take() {
            self.interner.clock().defined(defining);
        }
    }

    /// The server has told what its session holds.
    fn conclude(&mut self, findings: Findings) {
        let state = &mut self.server.state;
        if findings.outcome == Outcome::Failed {
            state.follow.let_go();
            state.dirt = state.dirt.max(Dirt::Statements);
            return;
        }
        if let Some(triggers) = findings.triggers {
            state.catalog.learnt(triggers);
        }
        state.follow.found(&findings);
        if self.client.policy != SessionState::Pin {
            state.dirt = state.dirt.max(Dirt::of(state.follow.holds()));
            state.follow.let_go();
        }
        if findings.about == Doubt::Settings {
            self.client.settings = findings.into_settings();
            state.settings = crate::session::Settings::default();
            state.pace = Pace::Behind;
        }
    }

    fn server_command_complete(&mut self, body: &[u8]) -> Result<bool, ServerFault> {
        let command = body.strip_suffix(b"\0").unwrap_or(body);
        match self.server.pipeline.front_mut() {
            Some(Owed::Query(_, Some(script))) => match script.next() {
                Some(Part::Hidden) => return Ok(false),
                Some(Part::Shown(act)) => self.completed(Some(act), command),
                None => self.completed(None, command),
            },
            Some(Owed::Query(_, None)) => self.completed(None, command),
            Some(Owed::Execute(act)) => {
                let act = act.take().map(|act| *act);
                self.completed(act, command);
            }
            _ => {}
        }
        self.reply(tag::COMMAND_COMPLETE)
    }

    fn completed(&mut self, act: Option<Act>, command: &[u8]) {
        self.server.tally.outcomes += 1;
        let effect = act.map(|act| act.effect);
        let names = &mut self.client.prepared_by_sql;
        match &effect {
            Some(Effect::Prepare { name }) => {
                names.get_or_insert_default().insert(name.text.clone().into());
            }
            Some(Effect::Deallocate { name }) => {
                names.as_mut().map(|names| names.remove(&*name.text));
            }
            Some(Effect::DeallocateAll | Effect::DiscardAll) => *names = None,
            None if matches!(command, b"DEALLOCATE ALL" | b"DISCARD ALL") => self.all_deallocated(),
            _ => {}
        }
        let state = &mut self.server.state;
        let reported = &state.reported;
        let is_reported = |name: &str| reported.keys().any(|known| known.eq_ignore_ascii_case(name));
        state.follow.completed(effect.as_ref(), command, self.client, is_reported);
    }

    /// By a text that nobody has read.
    fn all_deallocated(&mut self) {
        self.client.prepared_by_sql = None;
        if self.client.naming == Naming::Shared {
            self.client.statements = crate::session::ClientStatements::default();
            self.server.statements.clear();
        }
    }

    fn server_parameter(&mut self, body: &[u8]) -> bool {
        self.server.note_parameter(body);
        let probing = self.server.is_asking();
        let replaying = self.is_replaying();
        if let Some((name, value)) = parameter(body) {
            // while replaying, only the spelling of what the client asked for is news
            let known = self.client.settings.get(&name.to_ascii_lowercase()).is_some();
            if !probing && (!replaying || known) {
                self.client.settings.note(name, value);
                self.server.state.settings.note(name, value);
            }
        }
        !replaying
    }
}

/// What `message` means as (part of) the reply that is owed next; `None`: it cannot be.
fn fate(front: &Owed, message: u8) -> Option<Fate> {
    match (front, message) {
        (Owed::Replay | Owed::Probe(_), _) => Some(Fate::Hide),
        (Owed::Query(_, Some(script)), tag::ROW_DESCRIPTION | tag::DATA_ROW) if script.is_hidden() => {
            Some(Fate::Hide)
        }
        (
            Owed::Query(..),
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
            Owed::Execute(_),
            tag::DATA_ROW | tag::COPY_IN_RESPONSE | tag::COPY_OUT_RESPONSE | tag::COPY_DATA | tag::COPY_DONE,
        ) => Some(Fate::Pass),
        (Owed::Execute(_), tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED) => {
            Some(Fate::PassLast)
        }
        (Owed::Parse(_), tag::PARSE_COMPLETE) => Some(Fate::PassLast),
        (Owed::Bind(_), tag::BIND_COMPLETE) => Some(Fate::PassLast),
        (Owed::Describe(_), tag::PARAMETER_DESCRIPTION) => Some(Fate::Pass),
        (Owed::Describe(_), tag::ROW_DESCRIPTION | tag::NO_DATA) => Some(Fate::PassLast),
        (Owed::Close(_), tag::CLOSE_COMPLETE) => Some(Fate::PassLast),
        (Owed::Prepare(_) | Owed::PrepareToDescribe(..) | Owed::Try(_), tag::PARSE_COMPLETE) => {
            Some(Fate::HideLast)
        }
        (Owed::Evict(_), tag::CLOSE_COMPLETE) => Some(Fate::HideLast),
        (Owed::Parameters, tag::PARAMETER_DESCRIPTION) => Some(Fate::Pass),
        (Owed::Learn(..), tag::PARAMETER_DESCRIPTION) => Some(Fate::Hide),
        (Owed::Parameters | Owed::Learn(..), tag::ROW_DESCRIPTION | tag::NO_DATA) => Some(Fate::HideLast),
        (Owed::Slipped(last), message) if *last == message => Some(Fate::HideLast),
        (Owed::Slipped(_), tag::DATA_ROW) => Some(Fate::Hide),
        _ => None,
    }
}
