//! Clients' statements under their names on the server.

use std::sync::Arc;

use super::{HEADER, Message, Step, write_message};
use crate::session::StatementKey;
use crate::session::edits::Edits;
use crate::session::exchange::Exchange;
use crate::session::interner::Statement;
use crate::session::pipeline::Owed;
use crate::session::server::Batch;
use crate::session::shape::Shape;
use crate::session::statements::{Known, Number, Prepared, looks_like_ours};
use crate::session::undo::Undo;
use crate::sql::{Effect, Name};
use crate::wire::frontend as tag;
use crate::wire::{TransactionStatus, backend, frontend};

/// What an unknown name of a client gets behind it when it could be one of ours: with it, it is none.
const NOT_OURS: u8 = b' ';

/// The definition of a statement that is only there to have a name.
const EMPTY: &[u8] = b"\0\0\0";

/// Whether a statement can be bound.
pub(super) enum Bindable {
    By(Number),
    /// When it is known what its rows look like.
    Later,
    /// Its rows look different by now.
    Stale,
}

impl Exchange<'_> {
    /// The client gives a name to a statement, which the server is about to parse under a number of its own.
    pub(super) fn define(&mut self, name: &[u8], statement: &Arc<Statement>) -> Number {
        let key = statement.key;
        let since = self.interner.clock().now();
        let name: Arc<[u8]> = name.into();
        let statement = Arc::clone(statement);
        self.client.statements.insert(Known {
            name: Arc::clone(&name),
            statement,
            since,
            shape: None,
            parameters: None,
        });
        if let Some(older) = self.server.statements.touch(key) {
            self.close_on_server(key, older);
        } else {
            self.make_room();
        }
        let number = self.server.statements.add(key, since);
        self.server.tally.server_parses += 1;
        self.server.pipeline.push(Owed::Parse(Undo::Define { name, key, number }));
        number
    }

    /// The number to bind or describe a client's statement by, if its rows still look as they did when the client had it
    /// parsed. `parameters`: see [`Self::prepare`].
    pub(super) fn bindable(&mut self, known: &Known, parameters: Option<Arc<[u8]>>) -> Bindable {
        let key = known.statement.key;
        let (Some(mine), TransactionStatus::Idle | TransactionStatus::InTransaction) =
            (known.shape, self.server.status)
        else {
            return Bindable::By(self.prepare(known, parameters));
        };
        match self.server.statements.touch(key).filter(|prepared| prepared.since >= known.since) {
            Some(Prepared { shape: Some(its), .. }) if its != mine => return Bindable::Stale,
            Some(Prepared { shape: Some(_), number, .. }) => return Bindable::By(number),
            Some(_) if self.server.pipeline.is_learning() => {}
            _ => {
                let number = self.prepare(known, parameters);
                self.learn(None, key, number);
            }
        }
        self.to_server.own(frontend::flush);
        Bindable::Later
    }

    /// What Describe says of a statement without rows in a failed transaction, where it cannot be prepared.
    pub(super) fn description_without_rows(&mut self, known: &Known) -> Option<Vec<u8>> {
        let parameters = known.parameters.as_deref()?;
        let failed = self.server.status == TransactionStatus::Failed;
        (failed && known.shape == Some(Shape::NONE) && !self.is_here(known)).then(|| {
            let mut told = Vec::with_capacity(parameters.len() + 2 * HEADER);
            backend::parameter_description(&mut told, parameters);
            backend::no_data(&mut told);
            told
        })
    }

    /// Whether a statement can be prepared depends on the transaction, which earlier batches may yet change.
    pub(super) fn must_settle(&mut self, known: &Known) -> bool {
        self.server.pipeline.ready() > 0 && !self.is_here(known)
    }

    fn is_here(&mut self, known: &Known) -> bool {
        let here = self.server.statements.touch(known.statement.key);
        here.is_some_and(|prepared| prepared.since >= known.since)
    }

    /// Asks what the rows of a statement look like, in the client's batch.
    pub(super) fn learn(&mut self, name: Option<Arc<[u8]>>, key: StatementKey, number: Number) {
        let head = [tag::DESCRIBE, 0, 0, 0, 0, tag::STATEMENT];
        self.to_server.own(|out| write_renamed(out, &head, number, 0));
        self.server.pipeline.push(Owed::Learn(name, key, number));
    }

    pub(super) fn ensure_prepared(&mut self, known: &Known) -> Number {
        self.prepare(known, None)
    }

    /// `parameters`: for a Describe, whose ParameterDescription comes even where its rows cannot be told.
    fn prepare(&mut self, known: &Known, parameters: Option<Arc<[u8]>>) -> Number {
        let key = known.statement.key;
        match self.server.statements.touch(key) {
            Some(prepared) if prepared.since >= known.since => return prepared.number,
            // its tables may have changed before the client had it parsed
            Some(stale) => self.close_on_server(key, stale),
            None => self.make_room(),
        }
        let number = self.server.statements.add(key, self.interner.clock().now());
        self.server.tally.server_parses += 1;
        let undo = Undo::Prepared(key, number);
        self.server.pipeline.push(match parameters {
            Some(parameters) => Owed::PrepareToDescribe(undo, parameters),
            None => Owed::Prepare(undo),
        });
        let definition = &known.statement.definition;
        self.to_server.own(|out| write_message(out, tag::PARSE, &[&number.name(), b"\0", definition]));
        number
    }

    /// A number that the server knows: what it stands for is not asked.
    pub(super) fn taken_number(&mut self, known: &Known) -> Number {
        match self.server.statements.touch(known.statement.key) {
            Some(prepared) => prepared.number,
            None => self.slip_stand_in(),
        }
    }

    fn slip_stand_in(&mut self) -> Number {
        let number = self.server.statements.next_number();
        self.to_server.own(|out| write_message(out, tag::PARSE, &[&number.name(), b"\0", EMPTY]));
        self.server.pipeline.push(Owed::Prepare(Undo::Nothing));
        number
    }

    /// For EXECUTE in a Query: an error of the Parse must not make the server skip the Query.
    pub(super) fn prepare_for_sql(&mut self, known: &Known) -> Number {
        let key = known.statement.key;
        if let Some(prepared) = self.server.statements.touch(key)
            && prepared.since >= known.since
        {
            return prepared.number;
        }
        let number = self.server.statements.add(key, self.interner.clock().now());
        self.try_parse(number, &known.statement.definition, Undo::Prepared(key, number));
        number
    }

    /// An empty statement under a new number.
    pub(super) fn stand_in(&mut self) -> Number {
        let number = self.server.statements.next_number();
        self.try_parse(number, EMPTY, Undo::Nothing);
        number
    }

    fn try_parse(&mut self, number: Number, definition: &[u8], undo: Undo) {
        self.server.tally.server_parses += 1;
        self.to_server.own(|out| write_message(out, tag::PARSE, &[&number.name(), b"\0", definition]));
        self.server.pipeline.push(Owed::Try(undo));
        if self.server.batch == Batch::Closed {
            self.to_server.own(frontend::sync);
            self.server.pipeline.push(Owed::Seal);
        }
    }

    /// The statement with another one's name on the server in its text, when it is about one.
    pub(super) fn renamed(&mut self, statement: &Arc<Statement>) -> Option<Arc<Statement>> {
        let effect = statement.effect.as_deref()?;
        let mut edits = Edits::default();
        match effect {
            Effect::Execute { name } | Effect::Prepare { name } => {
                match self.client.statements.get(&name.text).cloned() {
                    Some(known) => {
                        let number = self.ensure_prepared(&known);
                        edits.replace(name.span.clone(), number.name(), &name.text);
                    }
                    None => keep_off_ours(name, &mut edits),
                }
            }
            Effect::Deallocate { name } => match self.client.statements.get(&name.text).cloned() {
                Some(known) => {
                    let number = self.give_up(&known);
                    edits.replace(name.span.clone(), number.name(), &name.text);
                }
                None => keep_off_ours(name, &mut edits),
            },
            _ => {}
        }
        (!edits.is_empty()).then(|| Arc::new(statement.changed(&mut edits)))
    }

    /// The number of a statement that is about to be deallocated.
    fn give_up(&mut self, known: &Known) -> Number {
        let key = known.statement.key;
        match self.server.statements.touch(key) {
            Some(prepared) => {
                self.server.statements.remove(key, prepared.number);
                prepared.number
            }
            None => self.slip_stand_in(),
        }
    }

    pub(super) fn forward_parse(&mut self, message: Message<'_>, name: &[u8], number: Number) -> Step {
        self.forward_named(message, HEADER, name, number)
    }

    /// Passes the message on with the statement's number in the place of its name.
    pub(super) fn forward_named(
        &mut self,
        message: Message<'_>,
        name_at: usize,
        name: &[u8],
        number: Number,
    ) -> Step {
        let behind = name_at + name.len() + 1;
        let head = message.bytes.get(..name_at).unwrap_or_default();
        self.to_server.own(|out| write_renamed(out, head, number, message.total - behind));
        self.forward_from(message, behind)
    }

    /// A name that the client never gave: the server says so itself, in its own words.
    pub(super) fn forward_unknown(
        &mut self,
        message: Message<'_>,
        name_at: usize,
        name: &[u8],
        owed: Owed,
    ) -> Step {
        if !looks_like_ours(name) {
            return self.owe(message, owed);
        }
        self.server.pipeline.push(match owed {
            Owed::Bind(_) => Owed::Bind(Some(name.into())),
            Owed::Describe(_) => Owed::Describe(Some(name.into())),
            owed => owed,
        });
        let behind = name_at + name.len();
        let prefix = message.bytes.get(HEADER..behind).unwrap_or_default();
        self.to_server.own(|out| {
            out.extend(message.bytes.first());
            out.extend_from_slice(&(message.total as u32).to_be_bytes());
            out.extend_from_slice(prefix);
            out.push(NOT_OURS);
        });
        self.forward_from(message, behind)
    }

    /// Makes sure that the server's unnamed statement is this client's.
    pub(super) fn bring_unnamed(&mut self) {
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

    fn make_room(&mut self) {
        let Batch::Open { since } = self.server.batch else { return };
        if let Some((key, prepared)) = self.server.statements.evict(self.max_prepared_statements, since) {
            self.close_on_server(key, prepared);
        }
    }

    fn close_on_server(&mut self, key: StatementKey, prepared: Prepared) {
        self.server.statements.remove(key, prepared.number);
        self.server.pipeline.push(Owed::Evict(Undo::Evicted(key, prepared)));
        let head = [tag::CLOSE, 0, 0, 0, 0, tag::STATEMENT];
        self.to_server.own(|out| write_renamed(out, &head, prepared.number, 0));
    }
}

/// A name in SQL that is not the client's must not be one of ours either.
pub(super) fn keep_off_ours(name: &Name, edits: &mut Edits) {
    if looks_like_ours(&name.text) {
        let mut other = vec![b'"'];
        other.extend_from_slice(&name.text);
        other.extend_from_slice(&[NOT_OURS, b'"']);
        edits.replace(name.span.clone(), other, &name.text);
    }
}

/// Appends the beginning of a message: `head`, the statement's name on the server, and room for `behind` bytes that
/// follow.
fn write_renamed(out: &mut Vec<u8>, head: &[u8], number: Number, behind: usize) {
    let start = out.len();
    out.extend_from_slice(head);
    number.write_name(out);
    out.push(0);
    let len = (out.len() - start - 1 + behind) as u32;
    if let Some(place) = out.get_mut(start + 1..start + HEADER) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}
