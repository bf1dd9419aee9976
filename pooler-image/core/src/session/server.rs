//! What a server connection keeps, whoever is linked to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::doubt::Doubt;
use super::interner::{Statement, StatementKey};
use super::pipeline::{Owed, Pipeline};
use super::state::{Pace, Sequences, State};
use super::statements::ServerStatements;
use super::undo::Undo;
use super::{Catalog, Client, Dirt, Holds, Naming, Rest, ServerFault, Settings, Unit};
use crate::wire::backend as tag;
use crate::wire::{ErrorFields, Header, TransactionStatus, backend, frontend};

/// A logged-in server connection.
#[derive(Debug, Default)]
pub struct Server {
    pub(super) pipeline: Pipeline,
    pub(super) status: TransactionStatus,
    pub(super) statements: ServerStatements,
    pub(super) unnamed: Option<StatementKey>,
    /// Portals of statements that do more than run.
    pub(super) portals: Vec<(Box<[u8]>, Arc<Statement>)>,
    pub(super) batch: Batch,
    pub(super) copy_in: bool,
    pub(super) waits: Waits,
    pub(super) state: State,
    /// What the client still has to send of a message whose beginning was passed on.
    pub(super) unsent: Rest,
    /// What the server still has to send of a message whose beginning was dealt with.
    pub(super) unread: Rest,
    pub(super) tally: Tally,
    pub(super) end: ServerEnd,
}

/// Whether PostgreSQL knows that its client leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ServerEnd {
    #[default]
    Untold,
    Told,
}

/// What a message of the client's waits for that is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Waits {
    /// None does.
    #[default]
    Nothing,
    /// Until the books are certain.
    Books,
    /// Until the statement before it has been answered.
    Statement,
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
    /// Questions what a session holds.
    pub probes: u64,
    /// Statements and function calls that ran to an end, or as far as the client wanted.
    pub outcomes: u64,
    /// Parse, Bind and Describe of clients, and Syncs without a batch.
    pub steps: u64,
}

impl Tally {
    /// Whether a client with these behind it may have ended what it was about: `false` is a test whether the connection
    /// is there, or a batch that only prepares, so that more is about to come. `None`: they do not say.
    pub fn ends_unit(&self) -> Option<bool> {
        let did = self.outcomes > 0 || self.errors > 0;
        (did || self.queries > 0 || self.steps > 0).then_some(did)
    }
}

/// The parameter by which PostgreSQL 14 and later say that they are in recovery.
pub const IN_HOT_STANDBY: &str = "in_hot_standby";

/// More than PostgreSQL answers without sending anything: it sends 8 KB at the latest, and a reply has 5 bytes.
const MUCH_OWED: usize = 10_000;

impl Server {
    /// A connection whose login reported these parameters.
    pub fn new(reported: impl IntoIterator<Item = (String, String)>) -> Self {
        Self::of(reported, Arc::default())
    }

    /// The same, to a database of which the others of its pool know this.
    pub fn of(reported: impl IntoIterator<Item = (String, String)>, catalog: Arc<Catalog>) -> Self {
        let reported: BTreeMap<_, _> = reported.into_iter().collect();
        Self { state: State::new(reported, catalog), ..Self::default() }
    }

    /// It could be given to another client as far as the protocol goes: outside a transaction, nothing
    /// owed, no batch or copy open, no message half sent or half read. What is left to do is in [`Self::dirt`].
    pub fn is_clean(&self) -> bool {
        self.is_settled() && self.status == TransactionStatus::Idle
    }

    /// Its client may go on with another connection: nothing is held or in doubt.
    pub fn may_part(&self) -> bool {
        self.is_clean() && self.state.follow.is_settled() && self.waits != Waits::Books
    }

    /// The client left; what it left open can be ended, and what it left behind wiped off.
    pub fn can_be_tidied(&self) -> bool {
        self.is_settled() || self.is_asking() && self.is_between_messages()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.pipeline.is_empty() && self.is_between_messages()
    }

    fn is_between_messages(&self) -> bool {
        self.end == ServerEnd::Untold
            && self.batch == Batch::Closed
            && !self.copy_in
            && [self.unsent, self.unread] == [Rest::None; 2]
    }

    /// The beginning of a message has been passed on, and its client has not sent the rest.
    pub fn awaits_rest(&self) -> bool {
        matches!(self.unsent, Rest::Forward(_))
    }

    /// Replies are owed, or a statement is still being read.
    pub fn is_busy(&self) -> bool {
        !self.pipeline.is_empty()
    }

    /// It is being asked what its session holds: the client's next message has to wait for the answer.
    pub fn is_asking(&self) -> bool {
        matches!(self.pipeline.front(), Some(Owed::Probe(_)))
    }

    /// What it is at is ours: settings on their way, or the question what the session holds.
    pub fn is_at_own_question(&self) -> bool {
        matches!(self.pipeline.front(), Some(Owed::Replay | Owed::Probe(_)))
    }

    /// The client's next message cannot be read before the server has answered earlier ones.
    pub fn is_waiting(&self) -> bool {
        self.waits != Waits::Nothing && !self.may_resume()
    }

    /// What waited can be read now.
    pub fn may_resume(&self) -> bool {
        match self.waits {
            Waits::Nothing => false,
            Waits::Books => self.may_read_on(),
            // as data, or as the next statement of a client that keeps the connection
            Waits::Statement => self.copy_in || self.pipeline.statements() == 0,
        }
    }

    fn may_read_on(&self) -> bool {
        let changes = self.pipeline.changes();
        // what is not read by the books need not wait for them
        let unread = self.copy_in || self.batch == Batch::Skipping;
        let books = changes.named_is_open() || changes.unnamed_is_open();
        let open = books || self.pipeline.ready() > 0 || self.pipeline.is_learning();
        unread || !open
    }

    /// The client has sent a whole statement that is not answered yet, and has statements one by one.
    pub(super) fn is_at_statement_of(&self, client: &Client) -> bool {
        client.unit == Unit::Statement && self.pipeline.statements() > 0 && !self.copy_in
    }

    /// The client's next statement is there already, and has not been looked at.
    pub fn holds_statement_back(&self) -> bool {
        self.waits == Waits::Statement
    }

    /// A client that has statements one by one has begun a transaction block: it is to be closed, and has not got the
    /// ReadyForQuery that would tell it to go on.
    pub fn is_in_block_of(&self, client: &Client) -> bool {
        client.unit == Unit::Statement && self.is_settled() && self.status != TransactionStatus::Idle
    }

    /// All that is owed will come without another byte of the client's.
    pub fn needs_no_more(&self) -> bool {
        self.batch == Batch::Closed
            && !self.copy_in
            && self.unsent == Rest::None
            && self.waits == Waits::Nothing
    }

    /// In the middle of a batch, PostgreSQL is told that its client has closed its side: what it has to say comes, and
    /// then the end. `false`: nothing can be said here.
    pub fn terminate(&mut self, out: &mut Vec<u8>) -> bool {
        let can = self.batch != Batch::Closed
            && !self.copy_in
            && self.unsent == Rest::None
            && self.waits == Waits::Nothing;
        if can {
            frontend::terminate(out);
            self.end = ServerEnd::Told;
        }
        can
    }

    /// PostgreSQL was told that its client leaves, and closes the connection when it has said what it has to say.
    pub fn is_ending(&self) -> bool {
        self.end == ServerEnd::Told
    }

    /// The client has got a part of a message: nothing can be told to it before the rest.
    pub fn is_mid_reply(&self) -> bool {
        matches!(self.unread, Rest::Forward(_))
    }

    /// The client has sent much that has not been answered; it may as well wait, as it would for PostgreSQL.
    pub fn owes_much(&self) -> bool {
        self.pipeline.len() > MUCH_OWED
    }

    /// Where it stands in transactions.
    pub fn status(&self) -> TransactionStatus {
        self.status
    }

    /// What ties it to its client.
    pub fn holds(&self) -> Holds {
        self.state.follow.holds()
    }

    /// This client was the last to use a sequence here: `currval` and `lastval` would tell what it expects.
    pub fn has_sequences_of(&self, client: &Client) -> bool {
        self.state.sequences.client() == Some(client.serial)
    }

    /// Some client asked for a sequence's value here, and may ask for it again.
    pub fn has_sequences(&self) -> bool {
        matches!(self.state.sequences, Sequences::Asked(_))
    }

    /// What clients left behind that the next one must not see.
    pub fn dirt(&self) -> Dirt {
        self.state.dirt
    }

    /// The values of reported parameters at present.
    pub fn reported(&self) -> impl Iterator<Item = (&str, &str)> {
        self.state.reported.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether the server is in recovery, as it said last; none: it is of a version that does not (before 14).
    pub fn in_recovery(&self) -> Option<bool> {
        self.state.reported.get(IN_HOT_STANDBY).map(|value| value == "on")
    }

    /// Prepared statements on it.
    pub fn statement_count(&self) -> usize {
        self.statements.len()
    }

    /// What passed since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// The link to this client ends, however it does. What is not known to be clean becomes [`Self::dirt`].
    pub fn part(&mut self, client: &Client) {
        self.waits = Waits::Nothing;
        let asking = self.is_asking();
        let state = &mut self.state;
        state.settings = match std::mem::take(&mut state.pace) {
            // the client has sent nothing
            Pace::Apart => return,
            Pace::Together => client.settings.clone(),
            Pace::Behind => Settings::default(),
        };
        let follow = std::mem::take(&mut state.follow);
        let held = Dirt::of(follow.holds());
        // nobody has been told what there is
        let doubtful = asking || follow.doubt() != Doubt::None;
        let left = if doubtful { held.max(Dirt::Statements) } else { held };
        let open = if self.status == TransactionStatus::Idle { Dirt::None } else { Dirt::Session };
        let own = if client.naming == Naming::Own { Dirt::Statements } else { Dirt::None };
        state.dirt = [left, open, own].into_iter().fold(state.dirt, Dirt::max);
        self.portals.clear();
    }

    /// Appends the question whether the server is still there, to a clean connection; [`Self::settle`] reads the answer.
    pub fn ping(&mut self, out: &mut Vec<u8>) {
        frontend::sync(out);
        self.pipeline.push(Owed::Replay);
    }

    /// Appends a ROLLBACK whose replies [`Self::settle`] reads.
    pub fn rollback(&mut self, out: &mut Vec<u8>) {
        self.replay("ROLLBACK", out);
    }

    /// Appends what wipes off [`Self::dirt`]; its replies are read by [`Self::settle`].
    pub fn reset(&mut self, out: &mut Vec<u8>) {
        let dirt = std::mem::take(&mut self.state.dirt);
        if dirt >= Dirt::Statements {
            self.statements.clear();
        }
        self.state.settings = Settings::default();
        self.state.sequences = Sequences::Unused;
        self.replay(dirt.reset_sql(), out);
    }

    fn replay(&mut self, sql: &str, out: &mut Vec<u8>) {
        frontend::query(out, sql);
        self.unnamed = None;
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
        let replaying = matches!(self.pipeline.front(), Some(Owed::Replay | Owed::Probe(_)));
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
            self.state.note_reported(name, value);
        }
    }

    pub(super) fn open_batch(&mut self) {
        if self.batch == Batch::Closed {
            self.batch = Batch::Open { since: self.statements.tick() };
        }
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
