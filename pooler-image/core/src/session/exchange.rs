//! The two sides together.

use thiserror::Error;

use super::doubt::Doubt;
use super::doubt::Triggers;
use super::pipeline::Owed;
use super::probe::{self, Findings};
use super::server::Batch;
use super::state::Pace;
use super::undo::{Forgotten, Undo};
use super::{Client, Dirt, Interner, Naming, Outbox, Server};
use crate::wire::{FrameError, backend, frontend};

/// A client linked to a server connection, with where to write.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The client.
    pub client: &'a mut Client,
    /// The server connection that it has for now.
    pub server: &'a mut Server,
    /// Statement texts of the loop.
    pub interner: &'a mut Interner,
    /// What to write to the client.
    pub to_client: &'a mut Outbox,
    /// What to write to the server.
    pub to_server: &'a mut Outbox,
    /// Most prepared statements to keep on a server connection.
    pub max_prepared_statements: usize,
}

/// The client broke the protocol: it gets a FATAL and is closed, as by PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ClientFault {
    /// A length that no message has.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A type byte that the protocol does not know.
    #[error("invalid frontend message type {0}")]
    UnknownMessage(u8),
    /// A name of more than 64 KB.
    #[error("name of a statement or portal too long")]
    LongName,
    /// A message whose names do not end.
    #[error("invalid message format")]
    Malformed,
}

/// The server connection cannot be used any more.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ServerFault {
    /// A length that no message has.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message that nothing sent asked for: the books are wrong, so nobody else may get this connection.
    #[error("unexpected message {:?} from the server", char::from(*tag))]
    Unexpected {
        /// Its type byte.
        tag: u8,
    },
    /// A client's settings, a rollback or a reset were refused.
    #[error("the server refused what was sent between two clients")]
    Replay {
        /// The server's ErrorResponse, whole.
        response: Vec<u8>,
    },
    /// The server ended the session.
    #[error("the server closed the session")]
    Terminated {
        /// The server's ErrorResponse, whole.
        response: Vec<u8>,
    },
}

impl Exchange<'_> {
    /// Begins a link: brings the server's settings to the client's, in the same write as the client's first bytes.
    pub fn begin(&mut self) {
        if self.client.naming == Naming::Own {
            // no tag tells all that a client can leave on a connection that it has to itself
            self.server.state.dirt = Dirt::Statements;
            self.take_statements_away();
        }
        if self.client.serial == 0 {
            self.client.serial = self.interner.clock().now();
        }
        self.bring_settings();
    }

    /// A pool that was in transaction mode before: names of ours are the client's to use now.
    fn take_statements_away(&mut self) {
        if self.server.statements.were_used() || self.server.unnamed.is_some() {
            self.server.statements.clear();
            self.server.unnamed = None;
            self.slip_query("DEALLOCATE ALL");
        }
    }

    pub(super) fn bring_settings(&mut self) {
        self.client.share(self.interner);
        let state = &mut self.server.state;
        state.pace = Pace::Together;
        if state.settings.is(&self.client.settings) {
            return;
        }
        let sql = state.settings.sql_towards(&self.client.settings);
        state.settings = self.client.settings.clone();
        if let Some(sql) = sql {
            self.slip_query(&sql);
        }
    }

    /// Sends a Query of ours. Only between batches.
    pub(super) fn slip_query(&mut self, sql: &str) {
        self.to_server.own(|out| frontend::query(out, sql));
        // as any simple Query does
        self.server.unnamed = None;
        self.server.pipeline.push(Owed::Replay);
    }

    /// Sends a statement of ours into the client's batch, under names that no client's statement or portal has.
    pub(super) fn slip_statement(&mut self, sql: &str) {
        self.to_server.own(|out| {
            frontend::parse(out, SLIPPED_NAME, sql, &[]);
            frontend::bind(out, SLIPPED_NAME, SLIPPED_NAME);
            frontend::execute(out, SLIPPED_NAME);
            frontend::close_portal(out, SLIPPED_NAME);
            frontend::close_statement(out, SLIPPED_NAME);
        });
        for last in [
            backend::PARSE_COMPLETE,
            backend::BIND_COMPLETE,
            backend::COMMAND_COMPLETE,
            backend::CLOSE_COMPLETE,
            backend::CLOSE_COMPLETE,
        ] {
            self.server.pipeline.push(Owed::Slipped(last));
        }
    }

    /// Asks the server what its session holds, when that is in doubt and the transaction is over.
    pub(super) fn ask(&mut self) {
        let about = self.server.state.follow.doubt();
        if about == Doubt::None || !self.server.is_clean() || self.client.naming == Naming::Own {
            return;
        }
        let state = &mut self.server.state;
        let text = state.follow.take_text(&self.client.settings);
        let learns = state.follow.asked();
        let sql = probe::sql(about, state.user(), &text, learns);
        let triggers = self.interner.clock().definitions().filter(|_| learns).map(Triggers::Harmless);
        self.to_server.own(|out| frontend::query(out, &sql));
        self.server.unnamed = None;
        self.server.tally.probes += 1;
        self.server.pipeline.push(Owed::Probe(Box::new(Findings::new(about, triggers))));
    }

    /// Gives the answers of our own whose turn has come.
    pub(super) fn answer(&mut self) {
        while let Some(front) = self.server.pipeline.front() {
            match front {
                Owed::CloseComplete(_) => self.to_client.own(backend::close_complete),
                Owed::Told(message) => {
                    let message = message.clone();
                    self.to_client.own(|out| out.extend_from_slice(&message));
                }
                Owed::CopyEnd => {}
                _ => return,
            }
            self.server.pipeline.pop();
        }
    }

    /// An error came: the server skips up to the next Sync, and so do the books.
    pub(super) fn skip(&mut self) {
        let mut skipped = Vec::new();
        if !self.server.pipeline.skip(&mut skipped) {
            self.server.batch = Batch::Skipping;
        }
        self.server.copy_in = false;
        for owed in skipped.into_iter().rev() {
            self.undo_all(owed.into_undo());
        }
    }

    pub(super) fn undo_all(&mut self, undo: Vec<Undo>) {
        for undo in undo {
            self.undo(undo);
        }
    }

    /// The unnamed statements as the server's replies tell them; what was sent since comes on top.
    pub(super) fn unnamed_are(&mut self, undo: Undo) {
        if self.server.pipeline.unnamed_were(&undo) {
            return;
        }
        if let Undo::Unnamed { client, server } = undo {
            self.client.unnamed = client;
            self.server.unnamed = server;
        }
    }

    fn undo(&mut self, undo: Undo) {
        let (client, statements) = (&mut *self.client, &mut self.server.statements);
        match undo {
            Undo::Nothing => {}
            Undo::Unnamed { .. } => self.unnamed_are(undo),
            Undo::Define { name, key, number } => {
                client.statements.remove(&name);
                statements.remove(key, number);
            }
            Undo::Forget { known, prepared } => {
                if let Some(prepared) = prepared {
                    statements.restore(known.statement.key, prepared);
                }
                client.statements.insert(known);
            }
            Undo::ForgetAll(forgotten) => {
                let Forgotten { client: names, server } = *forgotten;
                client.statements.put_back(names);
                statements.put_back(server);
            }
            Undo::Prepared(key, number) => {
                statements.remove(key, number);
            }
            Undo::Evicted(key, prepared) => statements.restore(key, prepared),
        }
    }
}

/// The name of what [`Exchange::slip_statement`] sends.
const SLIPPED_NAME: &str = "_pgpooler";
