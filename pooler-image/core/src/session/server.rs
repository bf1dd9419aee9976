//! What a server connection keeps, whoever is linked to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::hygiene::Dirt;
use super::pipeline::{Owed, Pipeline, Undo};
use super::statements::{ServerStatements, Statement, StatementKey};
use super::{Rest, ServerFault, Settings};
use crate::wire::backend as tag;
use crate::wire::{ErrorFields, Header, TransactionStatus, backend, frontend};

/// A logged-in server connection.
#[derive(Debug, Default)]
pub struct Server {
    pub(super) pipeline: Pipeline,
    pub(super) status: TransactionStatus,
    pub(super) settings: Settings,
    pub(super) reported: BTreeMap<String, String>,
    pub(super) statements: ServerStatements,
    pub(super) unnamed: Option<StatementKey>,
    pub(super) batch: Batch,
    pub(super) copy_in: bool,
    pub(super) dirt: Dirt,
    /// What the client still has to send of a message whose beginning was passed on.
    pub(super) unsent: Rest,
    /// What the server still has to send of a message whose beginning was dealt with.
    pub(super) unread: Rest,
    pub(super) tally: Tally,
}

/// Where the extended-query batch stands that the client is sending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Batch {
    /// Between batches: the last message was a Query or a Sync.
    #[default]
    Closed,
    /// Messages were sent, their Sync was not; statements used after `since` are in use.
    Open { since: u64 },
    /// The server skips everything up to the Sync that was not sent yet.
    Skipping,
}

/// What passed, counted since the last [`Server::take_tally`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Transactions that ended.
    pub transactions: u64,
    /// Query and Execute messages.
    pub queries: u64,
    /// Parse messages of clients.
    pub client_parses: u64,
    /// Parse messages sent to the server.
    pub server_parses: u64,
    /// Bind messages.
    pub binds: u64,
    /// ErrorResponses.
    pub errors: u64,
}

impl Server {
    /// A connection whose login reported these parameters.
    pub fn new(reported: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { reported: reported.into_iter().collect(), ..Self::default() }
    }

    /// It could be given to another client as far as the protocol goes: outside a transaction, nothing
    /// owed, no batch or copy open, no message half sent or half read. What is left to do is in [`Self::dirt`].
    pub fn is_clean(&self) -> bool {
        self.is_settled() && self.status == TransactionStatus::Idle
    }

    /// The client left; ROLLBACK alone brings it back to clean.
    pub fn needs_only_rollback(&self) -> bool {
        self.is_settled() && self.status != TransactionStatus::Idle
    }

    fn is_settled(&self) -> bool {
        self.pipeline.is_empty()
            && self.batch == Batch::Closed
            && !self.copy_in
            && [self.unsent, self.unread] == [Rest::None; 2]
    }

    /// Replies are owed, or a statement is still being read.
    pub fn is_busy(&self) -> bool {
        !self.pipeline.is_empty()
    }

    /// Where it stands in transactions.
    pub fn status(&self) -> TransactionStatus {
        self.status
    }

    /// What clients left behind that the next one must not see.
    pub fn dirt(&self) -> Dirt {
        self.dirt
    }

    /// The values of reported parameters at present.
    pub fn reported(&self) -> impl Iterator<Item = (&str, &str)> {
        self.reported.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Prepared statements on it.
    pub fn statement_count(&self) -> usize {
        self.statements.len()
    }

    /// What passed since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Appends a ROLLBACK whose replies [`Self::settle`] reads.
    pub fn rollback(&mut self, out: &mut Vec<u8>) {
        self.replay("ROLLBACK", out);
    }

    /// Appends what wipes off [`Self::dirt`]; its replies are read by [`Self::settle`].
    pub fn reset(&mut self, out: &mut Vec<u8>) {
        if self.dirt.statements_are_suspect() {
            self.statements.clear();
        }
        self.unnamed = None;
        self.settings = Settings::default();
        self.replay(self.dirt.reset_sql(), out);
        self.dirt = Dirt::None;
    }

    fn replay(&mut self, sql: &str, out: &mut Vec<u8>) {
        frontend::query(out, sql);
        self.pipeline.push(Owed::Replay);
    }

    /// Reads what the server sends while no client is linked; returns how much was dealt with.
    pub fn settle(&mut self, input: &[u8]) -> Result<usize, ServerFault> {
        let mut at = 0;
        while let Some(rest) = input.get(at..) {
            let Some(header) = Header::parse(rest)? else { break };
            let Some(body) = rest.get(5..header.total()) else { break };
            self.settle_message(header.tag, body)?;
            at += header.total();
        }
        Ok(at)
    }

    fn settle_message(&mut self, message: u8, body: &[u8]) -> Result<(), ServerFault> {
        let replaying = matches!(self.pipeline.front(), Some(Owed::Replay));
        match message {
            tag::PARAMETER_STATUS => self.note_parameter(body),
            tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE => {}
            tag::ERROR_RESPONSE => return Err(self.fault(body)),
            tag::READY_FOR_QUERY if replaying => {
                self.pipeline.pop();
                self.status = backend::parse_ready_for_query(body)
                    .ok_or(ServerFault::Unexpected { tag: tag::READY_FOR_QUERY })?;
            }
            _ if replaying => {}
            _ => return Err(ServerFault::Unexpected { tag: message }),
        }
        Ok(())
    }

    pub(super) fn fault(&self, body: &[u8]) -> ServerFault {
        let mut response = vec![tag::ERROR_RESPONSE];
        response.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        response.extend_from_slice(body);
        let fatal = ErrorFields::parse(body).is_ok_and(|fields| fields.is_fatal());
        if matches!(self.pipeline.front(), Some(Owed::Replay)) && !fatal {
            ServerFault::Replay { response }
        } else {
            ServerFault::Terminated { response }
        }
    }

    /// Takes note of a ParameterStatus.
    pub(super) fn note_parameter(&mut self, body: &[u8]) {
        if let Some((name, value)) = parameter(body) {
            self.reported.insert(name.to_owned(), value.to_owned());
        }
    }

    pub(super) fn open_batch(&mut self) {
        if self.batch == Batch::Closed {
            self.batch = Batch::Open { since: self.statements.tick() };
        }
    }

    pub(super) fn owe_synthetic_is_safe(&self) -> bool {
        self.status != TransactionStatus::Failed && self.pipeline.ready() == 0
    }

    /// What brings the unnamed statements back, the client's having been `client`.
    pub(super) fn unnamed_undo(&self, client: Option<Arc<Statement>>) -> Undo {
        Undo::Unnamed { client, server: self.unnamed }
    }
}

/// Name and value of a ParameterStatus, when both are UTF-8.
pub(super) fn parameter(body: &[u8]) -> Option<(&str, &str)> {
    let (name, value) = backend::parse_parameter_status(body)?;
    Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
}
