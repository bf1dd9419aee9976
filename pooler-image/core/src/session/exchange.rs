//! The two sides together.

use thiserror::Error;

use super::pipeline::{Owed, Undo};
use super::server::Batch;
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
            self.server.dirt = Dirt::Statements;
        }
        let Some(sql) = self.server.settings.sql_towards(&self.client.settings) else { return };
        self.to_server.own(|out| frontend::query(out, &sql));
        self.server.settings = self.client.settings.clone();
        self.server.pipeline.push(Owed::Replay);
    }

    /// Gives the answers of our own whose turn has come.
    pub(super) fn answer(&mut self) {
        while let Some(front) = self.server.pipeline.front() {
            match front {
                Owed::ParseComplete(_) => self.to_client.own(backend::parse_complete),
                Owed::CloseComplete(_) => self.to_client.own(backend::close_complete),
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
            self.undo(owed.into_undo());
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        let statements = &mut self.server.statements;
        match undo {
            Undo::Nothing => {}
            Undo::Unnamed { client, server } => {
                self.client.unnamed = client;
                self.server.unnamed = server;
            }
            Undo::Define { name, prepared } => {
                self.client.statements.remove(&name);
                if let Some((key, number)) = prepared {
                    statements.remove(key, number);
                }
            }
            Undo::Forget { name, statement } => self.client.statements.insert(name, statement),
            Undo::Prepared(key, number) => statements.remove(key, number),
            Undo::Evicted(key, number) => statements.restore(key, number),
        }
    }
}
