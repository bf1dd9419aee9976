//! The extended query protocol: Parse, Bind, Describe, Execute, Close.

use std::sync::Arc;

use super::query::REFUSED_TEXT;
use super::statements::Bindable;
use super::{HEADER, Message, Step, write_message};
use crate::session::Naming;
use crate::session::edits::Edits;
use crate::session::exchange::{ClientFault, Exchange};
use crate::session::interner::Statement;
use crate::session::pipeline::Owed;
use crate::session::script::Act;
use crate::session::statements::Known;
use crate::session::undo::Undo;
use crate::sql::Effect;
use crate::wire::frontend as tag;
use crate::wire::{ErrorResponse, SqlState, frontend};

/// Longer statements cannot be prepared in transaction mode: each is kept for as long as its client may need it.
const LONGEST_STATEMENT: usize = 64 << 20;

/// No statement has it.
const REFUSED_NAME: &str = "_pgpooler";

/// A name that no statement has on a server.
const UNKNOWN_NAME: &str = "_pgpooler gone";

impl Exchange<'_> {
    pub(super) fn client_parse(&mut self, message: Message<'_>) -> Result<Step, ClientFault> {
        let Some(name) = message.string(HEADER)? else { return Ok(Step::More) };
        if !name.is_empty() && self.must_wait(name) {
            return Ok(Step::Wait);
        }
        if message.total > LONGEST_STATEMENT && self.client.naming == Naming::Shared {
            return Ok(self.refuse_long(message));
        }
        if !message.is_whole() {
            return Ok(Step::More);
        }
        self.server.tally.client_parses += 1;
        self.server.open_batch();
        let definition = message.bytes.get(HEADER + name.len() + 1..).unwrap_or_default();
        let strings = self.server.state.strings();
        let statement = self.interner.intern(definition, &self.client.settings, strings);
        if self.client.naming == Naming::Own {
            return Ok(self.parse_own(message, name, statement));
        }
        if let Some(error) = self.refusal(statement.marks) {
            self.to_server.own(|out| frontend::parse(out, "", REFUSED_TEXT, &[]));
            self.server.pipeline.push(Owed::Refused(Box::new(error)));
            return Ok(Step::To(message.end()));
        }
        Ok(match (self.renamed(&statement), name.is_empty()) {
            (Some(renamed), _) => self.parse_renamed(message, name, renamed),
            (None, true) => self.parse_unnamed(message, statement),
            (None, false) => self.parse_named(message, name, &statement),
        })
    }

    /// It would have to be kept for the client's other server connections. The server refuses something in its place,
    /// under a name that no statement has.
    fn refuse_long(&mut self, message: Message<'_>) -> Step {
        self.server.tally.client_parses += 1;
        self.server.open_batch();
        let told = format!("a statement of {} bytes is too long to be prepared", message.total);
        let error = ErrorResponse::error(SqlState::PROGRAM_LIMIT_EXCEEDED, told)
            .hint("Send it as a simple query, or its values as parameters; session mode has no such limit.");
        self.to_server.own(|out| frontend::parse(out, REFUSED_NAME, REFUSED_TEXT, &[]));
        self.server.pipeline.push(Owed::Refused(Box::new(error)));
        self.drop_message(message)
    }

    /// In session mode the server knows the client's names; ours are only kept to see RESET in time, and
    /// what tests whether the connection is there.
    fn parse_own(&mut self, message: Message<'_>, name: &[u8], statement: Arc<Statement>) -> Step {
        self.server.tally.server_parses += 1;
        let since = 0;
        if name.is_empty() {
            self.client.unnamed = Some(statement);
        } else if statement.acts() || statement.is_empty() {
            self.client.statements.insert(Known {
                name: name.into(),
                statement,
                since,
                shape: None,
                parameters: None,
            });
        }
        self.owe(message, Owed::Parse(Undo::Nothing))
    }

    fn parse_unnamed(&mut self, message: Message<'_>, statement: Arc<Statement>) -> Step {
        self.become_unnamed(statement);
        self.forward(message)
    }

    fn become_unnamed(&mut self, statement: Arc<Statement>) {
        self.server.tally.server_parses += 1;
        let key = statement.key;
        let before = self.client.unnamed.replace(statement);
        let undo = self.server.unnamed_undo(before);
        self.server.unnamed = Some(key);
        self.server.pipeline.push(Owed::Parse(undo));
    }

    /// A statement that names another one by its name on the server.
    fn parse_renamed(&mut self, message: Message<'_>, name: &[u8], statement: Arc<Statement>) -> Step {
        if name.is_empty() {
            let definition = statement.definition.clone();
            self.become_unnamed(statement);
            self.to_server.own(|out| write_message(out, tag::PARSE, &[b"\0", &definition]));
            return Step::To(message.end());
        }
        let number = self.define(name, &statement);
        let definition = &statement.definition;
        self.to_server.own(|out| write_message(out, tag::PARSE, &[&number.name(), b"\0", definition]));
        Step::To(message.end())
    }

    fn parse_named(&mut self, message: Message<'_>, name: &[u8], statement: &Arc<Statement>) -> Step {
        if self.client.prepared_by_sql.as_ref().is_some_and(|names| names.contains(name)) {
            // the server knows the name, and says so
            return self.owe(message, Owed::Parse(Undo::Nothing));
        }
        let number = match self.client.statements.get(name).cloned() {
            Some(existing) => {
                // the new text under the name of the old statement: errors come in PostgreSQL's own order
                let number = self.taken_number(&existing);
                self.server.pipeline.push(Owed::Duplicate(name.into()));
                number
            }
            None => return self.parse_new(message, name, statement),
        };
        self.forward_parse(message, name, number)
    }

    fn parse_new(&mut self, message: Message<'_>, name: &[u8], statement: &Arc<Statement>) -> Step {
        let number = self.define(name, statement);
        let step = self.forward_parse(message, name, number);
        self.learn(Some(name.into()), statement.key, number);
        step
    }

    pub(super) fn client_bind(&mut self, message: Message<'_>) -> Result<Step, ClientFault> {
        let Some(portal) = message.string(HEADER)? else { return Ok(Step::More) };
        let name_at = HEADER + portal.len() + 1;
        let Some(name) = message.string(name_at)? else { return Ok(Step::More) };
        if self.must_wait(name) {
            return Ok(Step::Wait);
        }
        self.server.open_batch();
        let known = match self.client.naming {
            Naming::Shared => self.client.statements.get(name).cloned(),
            Naming::Own => None,
        };
        let Some(known) = known else {
            self.note_bind(portal, name);
            return Ok(self.bind_unshared(message, name_at, name));
        };
        if self.must_settle(&known) {
            return Ok(Step::Wait);
        }
        match self.bindable(&known, None) {
            Bindable::Later => Ok(Step::Wait),
            Bindable::Stale => Ok(self.refuse_bind(message)),
            Bindable::By(number) => {
                self.note_bind(portal, name);
                self.server.pipeline.push(Owed::Bind(Some(known.name)));
                Ok(self.forward_named(message, name_at, name, number))
            }
        }
    }

    /// The unnamed statement, one that the client never gave, or one that the server knows by the client's name.
    fn bind_unshared(&mut self, message: Message<'_>, name_at: usize, name: &[u8]) -> Step {
        if self.client.naming == Naming::Own {
            return self.owe(message, Owed::Bind(None));
        }
        if name.is_empty() {
            self.bring_unnamed();
            return self.owe(message, Owed::Bind(None));
        }
        self.forward_unknown(message, name_at, name, Owed::Bind(None))
    }

    fn refuse_bind(&mut self, message: Message<'_>) -> Step {
        self.refuse_stale();
        self.drop_message(message)
    }

    /// As PostgreSQL does on the server connection where the statement was prepared.
    fn refuse_stale(&mut self) {
        let told = "cached plan must not change result type";
        // asyncpg and postgres.js try once more when it is this function's
        let error =
            ErrorResponse::error(SqlState::FEATURE_NOT_SUPPORTED, told).routine("RevalidateCachedQuery");
        self.to_server.own(|out| frontend::bind(out, "", UNKNOWN_NAME));
        self.server.pipeline.push(Owed::Refused(Box::new(error)));
    }

    fn note_bind(&mut self, portal: &[u8], name: &[u8]) {
        self.server.tally.binds += 1;
        self.note_portal(portal, name);
    }

    /// What the portal's statement may do counts from here on; what it does for certain is seen at Execute.
    fn note_portal(&mut self, portal: &[u8], name: &[u8]) {
        let statement = if name.is_empty() {
            self.client.unnamed.clone()
        } else {
            self.client.statements.get(name).map(|known| Arc::clone(&known.statement))
        };
        let portals = &mut self.server.portals;
        if !portals.is_empty() {
            portals.retain(|(known, _)| **known != *portal);
        }
        let Some(statement) = statement else { return };
        if statement.acts() {
            portals.push((portal.into(), Arc::clone(&statement)));
        }
        if !statement.marks.is_empty() {
            self.note_sent(statement.marks, statement.text());
        }
    }

    pub(super) fn client_execute(&mut self, message: Message<'_>) -> Result<Step, ClientFault> {
        if !self.server.portals.is_empty() && !message.is_whole() {
            return Ok(Step::More);
        }
        self.server.tally.queries += 1;
        self.server.open_batch();
        if self.server.portals.is_empty() {
            return Ok(self.owe(message, Owed::Execute(None)));
        }
        let portal = message.string(HEADER)?.unwrap_or_default();
        let acting = self.server.portals.iter().find(|(name, _)| **name == *portal);
        let effect = acting.and_then(|(_, statement)| statement.effect.clone());
        let Some(effect) = effect else { return Ok(self.owe(message, Owed::Execute(None))) };
        let undo = self.perform_bound(&effect);
        let step = self.owe(message, Owed::Execute(Some(Box::new(Act { effect: (*effect).clone(), undo }))));
        self.slip_startup(&effect);
        Ok(step)
    }

    /// Like [`Self::perform`], for a statement whose text was changed when it was parsed.
    fn perform_bound(&mut self, effect: &Effect) -> Undo {
        match effect {
            Effect::Deallocate { name } if self.client.naming == Naming::Shared => {
                match self.client.statements.remove(&name.text) {
                    Some(known) => Undo::Forget { known, prepared: None },
                    None => Undo::Nothing,
                }
            }
            Effect::DeallocateAll | Effect::DiscardAll => self.perform(effect, &mut Edits::default()),
            _ => Undo::Nothing,
        }
    }

    pub(super) fn client_describe_or_close(
        &mut self,
        message_tag: u8,
        message: Message<'_>,
    ) -> Result<Step, ClientFault> {
        if !message.is_whole() {
            return Ok(Step::More);
        }
        let closes = message_tag == tag::CLOSE;
        let owed = if closes { Owed::Close(Undo::Nothing) } else { Owed::Describe(None) };
        let is_statement = message.bytes.get(HEADER) == Some(&tag::STATEMENT);
        let Some(name) = message.string(HEADER + 1)? else { return Ok(Step::More) };
        if is_statement && self.must_wait(name) {
            return Ok(Step::Wait);
        }
        self.server.open_batch();
        if self.client.naming == Naming::Own && is_statement && closes {
            self.client.statements.remove(name);
        }
        if !is_statement || self.client.naming == Naming::Own {
            return Ok(self.owe(message, owed));
        }
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
        let Some(known) = self.client.statements.remove(name) else {
            self.client.prepared_by_sql.as_mut().map(|names| names.remove(name));
            return self.forward_unknown(message, HEADER + 1, name, Owed::Close(Undo::Nothing));
        };
        let undo = Undo::Forget { known, prepared: None };
        self.server.pipeline.push(Owed::CloseComplete(undo));
        Step::To(message.end())
    }

    fn describe_named(&mut self, message: Message<'_>, name: &[u8]) -> Step {
        let Some(known) = self.client.statements.get(name).cloned() else {
            return self.forward_unknown(message, HEADER + 1, name, Owed::Describe(None));
        };
        if self.must_settle(&known) {
            return Step::Wait;
        }
        if let Some(told) = self.description_without_rows(&known) {
            self.server.pipeline.push(Owed::Told(told.into()));
            return Step::To(message.end());
        }
        match self.bindable(&known, known.parameters.clone()) {
            Bindable::Later => Step::Wait,
            Bindable::By(number) => {
                self.server.pipeline.push(Owed::Describe(Some(known.name)));
                self.forward_named(message, HEADER + 1, name, number)
            }
            Bindable::Stale => {
                let number = self.ensure_prepared(&known);
                self.server.pipeline.push(Owed::Parameters);
                self.forward_named(message, HEADER + 1, name, number);
                self.refuse_stale();
                Step::To(message.end())
            }
        }
    }
}
