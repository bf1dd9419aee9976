//! Query and FunctionCall.

use std::collections::VecDeque;
use std::mem;

use super::statements::keep_off_ours;
use super::{HEADER, Message, Step, write_message};
use crate::session::doubt::Doubt;
use crate::session::edits::Edits;
use crate::session::exchange::Exchange;
use crate::session::holds::Holds;
use crate::session::pipeline::Owed;
use crate::session::script::{Act, Part, Script};
use crate::session::server::Batch;
use crate::session::settings::ROLE;
use crate::session::state::Sequences;
use crate::session::undo::{Forgotten, Undo};
use crate::session::{Naming, SessionState};
use crate::sql::{self, Effect, Marks, Name};
use crate::wire::frontend as tag;
use crate::wire::{ErrorResponse, SqlState, backend, frontend};

/// Longer texts are not read; the server is asked instead what they have changed.
const SCAN_LIMIT: usize = 256 * 1024;

/// A text that every PostgreSQL refuses, in any state.
pub(super) const REFUSED_TEXT: &str = "pgpooler refuses";

impl Exchange<'_> {
    pub(super) fn client_query(&mut self, message: Message<'_>) -> Step {
        if message.total > SCAN_LIMIT || self.server.state.is_unreadable() {
            self.doubt_all();
            return self.send_query(message, None);
        }
        if !message.is_whole() {
            return Step::More;
        }
        let Some(text) = message.bytes.get(HEADER..).and_then(|body| body.strip_suffix(b"\0")) else {
            // the server's own complaint
            return self.send_query(message, None);
        };
        let script = sql::scan(text, self.server.state.strings());
        if let Some(error) = self.refusal(script.marks) {
            self.to_server.own(|out| frontend::query(out, REFUSED_TEXT));
            self.owe_query(Some(Script::refused(error)));
            return Step::To(message.end());
        }
        if !script.statements.is_empty() && self.must_wait(text) {
            return Step::Wait;
        }
        self.note_sent(script.marks, text);
        match &*script.statements {
            [] => self.send_query(message, None),
            [only] if only.effect == Effect::DiscardAll => self.discard_all(message, text),
            statements => self.send_script(message, text, statements),
        }
    }

    pub(super) fn client_function_call(&mut self, message: Message<'_>) -> Step {
        // a function by its number: no text says what it does
        self.doubt_all();
        self.owe(message, Owed::FunctionCall)
    }

    fn doubt_all(&mut self) {
        if self.client.naming == Naming::Shared {
            self.server.state.follow.doubt_about(Doubt::Settings, b"");
        }
    }

    /// A statement that may change the session is on its way.
    pub(super) fn note_sent(&mut self, marks: Marks, text: &[u8]) {
        if self.client.naming == Naming::Own {
            return;
        }
        if marks.contains(Marks::SEQUENCE_READ) {
            self.guard_sequences();
        }
        if marks.contains(Marks::SEQUENCE_SET) {
            let asked = !marks.intersects(Marks::WRITES | Marks::PROBE);
            let serial = self.client.serial;
            self.server.state.sequences =
                if asked { Sequences::Asked(serial) } else { Sequences::Used(serial) };
        }
        if marks.contains(Marks::DEFINES) {
            let defining = self.interner.clock().define();
            self.server.state.defining = Some(defining);
        }
        let clock = self.interner.clock();
        let state = &mut self.server.state;
        let fires = marks.contains(Marks::WRITES);
        if fires && clock.definitions().is_some_and(|now| state.catalog.is_to_be_asked(now)) {
            state.follow.learn();
        }
        let doubtful = fires && !state.catalog.are_harmless_since(clock.defined_by_clients());
        state.follow.sent(marks, text, doubtful);
    }

    /// What `lastval()` tells must not be another client's.
    fn guard_sequences(&mut self) {
        let last = self.server.state.sequences.client();
        if last.is_none() || last == Some(self.client.serial) {
            return;
        }
        self.server.state.sequences = Sequences::Unused;
        match self.server.batch {
            Batch::Closed => self.slip_query("DISCARD SEQUENCES"),
            _ => self.slip_statement("DISCARD SEQUENCES"),
        }
    }

    /// Why a text with these marks is not allowed.
    pub(super) fn refusal(&self, marks: Marks) -> Option<ErrorResponse> {
        if self.client.policy != SessionState::Reject || self.client.naming == Naming::Own {
            return None;
        }
        let named = Holds::named_by(marks);
        let told = format!("session state is not allowed in this pool: {named}");
        (!named.is_empty()).then(|| {
            ErrorResponse::error(SqlState::FEATURE_NOT_SUPPORTED, told)
                .hint("The pool has session_state = \"reject\"; use a pool in session mode.")
        })
    }

    fn send_query(&mut self, message: Message<'_>, script: Option<Script>) -> Step {
        self.owe_query(script);
        self.forward(message)
    }

    fn owe_query(&mut self, script: Option<Script>) {
        let unnamed = self.drop_unnamed();
        self.server.pipeline.push(Owed::Query(unnamed, script.map(Box::new)));
    }

    /// A simple Query destroys the unnamed statement.
    fn drop_unnamed(&mut self) -> Undo {
        self.server.tally.queries += 1;
        let before = self.client.unnamed.take();
        let undo = self.server.unnamed_undo(before);
        self.server.unnamed = None;
        self.server.batch = Batch::Closed;
        undo
    }

    fn send_script(&mut self, message: Message<'_>, text: &[u8], statements: &[sql::Statement]) -> Step {
        let (mut parts, mut edits) = (VecDeque::with_capacity(statements.len()), Edits::default());
        for statement in statements {
            let effect = statement.effect.clone();
            let undo = self.perform(&effect, &mut edits);
            parts.push_back(Part::Shown(Act { effect, undo }));
            let back = self.startup_sql(&statement.effect);
            if !back.is_empty() {
                edits.insert(statement.span.end, format!(";{back}").into_bytes());
                parts.push_back(Part::Hidden);
            }
        }
        if edits.is_empty() {
            return self.send_query(message, Some(Script::new(parts, edits)));
        }
        let mut changed = Vec::with_capacity(text.len() + 64);
        edits.apply(text, &mut changed);
        self.to_server.own(|out| write_message(out, tag::QUERY, &[&changed, b"\0"]));
        self.owe_query(Some(Script::new(parts, edits)));
        Step::To(message.end())
    }

    /// Enters into the books what a statement of the client will do to its statements; changes its text where it
    /// names one that the server knows by another name.
    pub(super) fn perform(&mut self, effect: &Effect, edits: &mut Edits) -> Undo {
        if self.client.naming == Naming::Own {
            return Undo::Nothing;
        }
        match effect {
            Effect::DeallocateAll | Effect::DiscardAll => {
                let client = mem::take(&mut self.client.statements);
                let server = self.server.statements.take();
                Undo::ForgetAll(Box::new(Forgotten { client, server }))
            }
            Effect::Deallocate { name } => self.deallocate(name, edits),
            Effect::Execute { name } | Effect::Prepare { name } => {
                self.use_by_sql(name, edits);
                Undo::Nothing
            }
            _ => Undo::Nothing,
        }
    }

    fn deallocate(&mut self, name: &Name, edits: &mut Edits) -> Undo {
        let Some(known) = self.client.statements.remove(&name.text) else {
            keep_off_ours(name, edits);
            return Undo::Nothing;
        };
        let key = known.statement.key;
        let prepared = self.server.statements.touch(key);
        let number = match prepared {
            Some(prepared) => {
                self.server.statements.remove(key, prepared.number);
                prepared.number
            }
            // something of that name must be there to be deallocated
            None => self.stand_in(),
        };
        edits.replace(name.span.clone(), number.name(), &name.text);
        Undo::Forget { known, prepared }
    }

    /// EXECUTE, or PREPARE under a name that is taken.
    fn use_by_sql(&mut self, name: &Name, edits: &mut Edits) {
        match self.client.statements.get(&name.text).cloned() {
            Some(known) => {
                let number = self.prepare_for_sql(&known);
                edits.replace(name.span.clone(), number.name(), &name.text);
            }
            None => keep_off_ours(name, edits),
        }
    }

    /// SQL that gives the client's own startup settings back behind what resets them.
    pub(super) fn startup_sql(&self, effect: &Effect) -> String {
        let startup = &self.client.startup;
        match effect {
            Effect::Reset { name } => startup.sql_of(|known| known == name),
            Effect::ResetAll => startup.sql_of(|known| known != ROLE),
            Effect::DiscardAll => startup.sql_of(|_| true),
            _ => String::new(),
        }
    }

    /// DISCARD ALL must be alone in its Query, and what follows it must not be seen: it goes as a batch.
    fn discard_all(&mut self, message: Message<'_>, text: &[u8]) -> Step {
        let unnamed = self.drop_unnamed();
        self.to_server.own(|out| {
            frontend::parse(out, "", text, &[]);
            frontend::bind(out, "", "");
            frontend::execute(out, "");
        });
        self.server.pipeline.push(Owed::Prepare(unnamed));
        self.server.pipeline.push(Owed::Slipped(backend::BIND_COMPLETE));
        let undo = self.perform(&Effect::DiscardAll, &mut Edits::default());
        self.server.pipeline.push(Owed::Execute(Some(Box::new(Act { effect: Effect::DiscardAll, undo }))));
        self.slip_startup(&Effect::DiscardAll);
        self.to_server.own(frontend::sync);
        self.server.pipeline.push(Owed::Sync);
        Step::To(message.end())
    }

    /// Inside a batch: gives the startup settings back.
    pub(super) fn slip_startup(&mut self, effect: &Effect) {
        let sql = self.startup_sql(effect);
        if !sql.is_empty() {
            self.slip_statement(&sql);
        }
    }
}
