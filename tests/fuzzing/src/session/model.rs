//! A small honest server: PostgreSQL's protocol states, without the database.
//!
//! What it answers depends on nothing but the bytes that it is sent, so one for a client alone says what the client
//! must see through a pooler. Sources: the manual's chapter on message flow, and `postgres.c` for the order in which
//! errors are found.

use std::collections::BTreeMap;

use pgpooler_core::wire::{ErrorResponse, Header, SqlState, TransactionStatus, backend, frontend};

use super::message::{self, Fields};
use super::sql::{self, Fault, Statement};

/// A backend.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    input: Vec<u8>,
    /// What it has sent.
    pub(crate) output: Vec<u8>,
    mode: Mode,
    status: TransactionStatus,
    /// An extended batch is open: its statements are one implicit transaction.
    batch: bool,
    statements: BTreeMap<Vec<u8>, Vec<u8>>,
    portals: BTreeMap<Vec<u8>, Portal>,
    settings: sql::Settings,
    reported: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    Commands,
    SkipToSync,
    CopyIn {
        lines: usize,
        rest: Vec<Statement>,
        extended: bool,
    },
    Closed,
    /// Closed because of what it was sent.
    Broken,
}

#[derive(Debug, Clone)]
struct Portal {
    statement: Option<Statement>,
    sent: u32,
}

/// How a statement came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By Execute: who wants a RowDescription has asked for it.
    Extended,
    /// Alone in a Query.
    Alone,
    /// With others in a Query.
    Many,
}

/// How far a statement has come.
enum Progress {
    Done,
    /// It reads from the client now.
    Reading,
}

/// What transaction mode takes.
const LONGEST_STATEMENT: usize = 64 << 20;

impl Model {
    /// A session with these settings of its own.
    pub(crate) fn new(settings: impl IntoIterator<Item = (String, String)>) -> Self {
        let settings = sql::Settings::new(settings);
        let reported = settings.reported();
        Self {
            input: Vec::new(),
            output: Vec::new(),
            mode: Mode::Commands,
            status: TransactionStatus::Idle,
            batch: false,
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            settings,
            reported,
        }
    }

    /// The values that it has reported.
    pub(crate) fn reported(&self) -> Vec<(String, String)> {
        self.reported.clone().into_iter().collect()
    }

    /// Reads what it is sent, and does it.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while !self.is_closed() {
            let Ok(header) = Header::parse(&self.input) else { return self.die("invalid message length") };
            let Some(header) = header else { return };
            if header.tag == frontend::PARSE && header.total() > LONGEST_STATEMENT {
                // PostgreSQL would wait for the rest of it; the pooler refuses it
                self.mode = Mode::Broken;
                return;
            }
            let Some(body) = self.input.get(5..header.total()) else { return };
            let body = body.to_vec();
            self.input.drain(..header.total());
            self.message(header.tag, &body);
        }
    }

    /// What `pg_terminate_backend` does.
    pub(crate) fn terminate(&mut self) {
        if !self.is_closed() {
            let text = "terminating connection due to administrator command";
            ErrorResponse::fatal(SqlState::ADMIN_SHUTDOWN, text).encode(&mut self.output);
            self.mode = Mode::Closed;
        }
    }

    /// It has ended.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.mode, Mode::Closed | Mode::Broken)
    }

    /// It has ended because of what it was sent.
    pub(crate) fn is_broken(&self) -> bool {
        self.mode == Mode::Broken
    }

    /// Nothing of a client is left in the protocol's state.
    pub(crate) fn is_at_rest(&self) -> bool {
        let quiet = self.input.is_empty() && self.output.is_empty() && !self.batch;
        quiet
            && self.mode == Mode::Commands
            && self.status == TransactionStatus::Idle
            && self.portals.is_empty()
    }

    fn die(&mut self, text: &'static str) {
        ErrorResponse::fatal(SqlState::PROTOCOL_VIOLATION, text).encode(&mut self.output);
        self.mode = Mode::Broken;
    }

    fn message(&mut self, tag: u8, body: &[u8]) {
        match (&self.mode, tag) {
            (Mode::CopyIn { .. }, _) => self.copy_message(tag),
            (_, frontend::TERMINATE) => self.mode = Mode::Closed,
            (_, frontend::SYNC) => self.sync(),
            (_, frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL | frontend::FLUSH) => {}
            (Mode::SkipToSync, _) if message::is_known(tag) => {}
            (_, frontend::QUERY) => self.query(body),
            (_, frontend::FUNCTION_CALL) => self.function_call(),
            (
                _,
                frontend::PARSE | frontend::BIND | frontend::DESCRIBE | frontend::EXECUTE | frontend::CLOSE,
            ) => {
                self.batch = true;
                if let Err(fault) = self.extended(tag, body) {
                    self.fail(&fault);
                    self.mode = Mode::SkipToSync;
                }
            }
            _ => self.die("invalid frontend message type"),
        }
    }

    fn extended(&mut self, tag: u8, body: &[u8]) -> Result<(), Fault> {
        let mut fields = Fields::new(body);
        match tag {
            frontend::PARSE => self.parse(&fields.string()?, fields.string()?),
            frontend::BIND => self.bind(fields.string()?, &fields.string()?),
            frontend::DESCRIBE => self.describe(fields.byte()?, &fields.string()?),
            frontend::EXECUTE => {
                let name = fields.string()?;
                self.execute(&name, fields.number()?)
            }
            _ => {
                let (kind, name) = (fields.byte()?, fields.string()?);
                if kind == frontend::STATEMENT {
                    self.statements.remove(&name);
                } else {
                    self.portals.remove(&name);
                }
                backend::close_complete(&mut self.output);
                Ok(())
            }
        }
    }

    fn parse(&mut self, name: &[u8], text: Vec<u8>) -> Result<(), Fault> {
        if name.is_empty() {
            self.statements.remove(name);
        }
        let statements = sql::parse(&text)?;
        if statements.len() > 1 {
            return Err(Fault::new(*b"42601", "cannot insert multiple commands into a prepared statement"));
        }
        self.check(statements.first())?;
        if self.statements.contains_key(name) {
            let name = String::from_utf8_lossy(name);
            return Err(Fault::new(*b"42P05", format!("prepared statement \"{name}\" already exists")));
        }
        self.statements.insert(name.to_vec(), text);
        backend::parse_complete(&mut self.output);
        Ok(())
    }

    /// In a failed transaction only its end is taken.
    fn check(&self, statement: Option<&Statement>) -> Result<(), Fault> {
        let ends = matches!(statement, None | Some(Statement::Commit | Statement::Rollback));
        if self.status == TransactionStatus::Failed && !ends { Err(Fault::aborted()) } else { Ok(()) }
    }

    fn prepared(&self, name: &[u8]) -> Result<Option<Statement>, Fault> {
        let text = self.statements.get(name).ok_or_else(|| Fault::unknown_statement(name))?;
        Ok(sql::parse(text)?.into_iter().next())
    }

    fn bind(&mut self, portal: Vec<u8>, name: &[u8]) -> Result<(), Fault> {
        let statement = self.prepared(name)?;
        self.check(statement.as_ref())?;
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            let portal = String::from_utf8_lossy(&portal);
            return Err(Fault::new(*b"42P03", format!("cursor \"{portal}\" already exists")));
        }
        self.portals.insert(portal, Portal { statement, sent: 0 });
        backend::bind_complete(&mut self.output);
        Ok(())
    }

    fn describe(&mut self, kind: u8, name: &[u8]) -> Result<(), Fault> {
        let statement = if kind == frontend::STATEMENT {
            let statement = self.prepared(name)?;
            self.check_rows(statement.as_ref())?;
            message::parameter_description(&mut self.output);
            statement
        } else {
            let portal = self.portals.get(name).ok_or_else(|| Fault::unknown_portal(name))?;
            let statement = portal.statement.clone();
            self.check_rows(statement.as_ref())?;
            statement
        };
        match statement {
            Some(statement) if statement.has_rows() => message::row_description(&mut self.output),
            _ => backend::no_data(&mut self.output),
        }
        Ok(())
    }

    fn check_rows(&self, statement: Option<&Statement>) -> Result<(), Fault> {
        let rows = statement.is_some_and(Statement::has_rows);
        if self.status == TransactionStatus::Failed && rows { Err(Fault::aborted()) } else { Ok(()) }
    }

    fn execute(&mut self, name: &[u8], most: u32) -> Result<(), Fault> {
        let portal = self.portals.get(name).ok_or_else(|| Fault::unknown_portal(name))?.clone();
        let Some(statement) = portal.statement else {
            backend::empty_query_response(&mut self.output);
            return Ok(());
        };
        self.check(Some(&statement))?;
        if let Statement::Rows(rows) = statement {
            let left = rows - portal.sent;
            let here = if most == 0 { left } else { left.min(most) };
            for n in 0..here {
                message::data_row(&mut self.output, portal.sent + n);
            }
            self.portals
                .insert(name.to_vec(), Portal { statement: Some(statement), sent: portal.sent + here });
            if here < left || (most > 0 && here == most) {
                message::portal_suspended(&mut self.output);
            } else {
                backend::command_complete(&mut self.output, format!("SELECT {here}"));
            }
            return Ok(());
        }
        if portal.sent > 0 {
            let name = String::from_utf8_lossy(name);
            return Err(Fault::new(*b"55000", format!("portal \"{name}\" cannot be run")));
        }
        if let Some(portal) = self.portals.get_mut(name) {
            portal.sent = 1;
        }
        match self.run(&statement, Way::Extended)? {
            Progress::Done => {}
            Progress::Reading => self.mode = Mode::CopyIn { lines: 0, rest: Vec::new(), extended: true },
        }
        Ok(())
    }

    fn query(&mut self, body: &[u8]) {
        self.batch = false;
        self.statements.remove(&b""[..]);
        let text = body.strip_suffix(b"\0").unwrap_or(body);
        match sql::parse(text) {
            Ok(statements) if statements.is_empty() => {
                backend::empty_query_response(&mut self.output);
                self.ready();
            }
            Ok(statements) => self.run_all(statements),
            Err(fault) => {
                self.fail(&fault);
                self.ready();
            }
        }
    }

    /// The statements of a simple query, or those behind a copy; then ReadyForQuery.
    fn run_all(&mut self, statements: Vec<Statement>) {
        let way = if statements.len() > 1 { Way::Many } else { Way::Alone };
        let mut statements = statements.into_iter();
        while let Some(statement) = statements.next() {
            match self.check(Some(&statement)).and_then(|()| self.run(&statement, way)) {
                Ok(Progress::Done) => {}
                Ok(Progress::Reading) => {
                    self.mode = Mode::CopyIn { lines: 0, rest: statements.collect(), extended: false };
                    return;
                }
                Err(fault) => {
                    self.fail(&fault);
                    break;
                }
            }
        }
        self.ready();
    }

    fn run(&mut self, statement: &Statement, way: Way) -> Result<Progress, Fault> {
        let out = &mut self.output;
        if statement.has_rows() && way != Way::Extended {
            message::row_description(out);
        }
        match statement {
            Statement::Fail => return Err(Fault::new(*b"22012", "division by zero")),
            Statement::Begin => self.status = TransactionStatus::InTransaction,
            Statement::Commit | Statement::Rollback => {
                let keep = *statement == Statement::Commit && self.status != TransactionStatus::Failed;
                let tag = if keep { "COMMIT" } else { "ROLLBACK" };
                self.end_transaction(keep);
                backend::command_complete(&mut self.output, tag);
                return Ok(Progress::Done);
            }
            Statement::Rows(rows) => (0..*rows).for_each(|n| message::data_row(out, n)),
            Statement::Value(value) => backend::data_row(out, &[Some(value)]),
            Statement::Show(name) => {
                let value = self.settings.value(name);
                backend::data_row(out, &[Some(value)]);
            }
            Statement::Probe { settings } => {
                for (name, value) in self.settings.own().into_iter().filter(|_| *settings) {
                    backend::data_row(out, &[Some("set"), Some(name), Some(value)]);
                }
            }
            Statement::Notice => message::notice(out),
            Statement::CopyIn => {
                message::copy_in_response(out);
                return Ok(Progress::Reading);
            }
            Statement::CopyOut => message::copy_out(out),
            Statement::DropStatements => self.statements.clear(),
            Statement::DiscardAll if way == Way::Many || self.status != TransactionStatus::Idle => {
                return Err(Fault::new(*b"25001", "DISCARD ALL cannot run inside a transaction block"));
            }
            Statement::DiscardAll => {
                self.statements.clear();
                self.settings.reset_all();
            }
            Statement::Set(changes) => changes.iter().for_each(|change| self.settings.apply(change)),
            Statement::Nothing(_) => {}
        }
        backend::command_complete(&mut self.output, statement.tag());
        Ok(Progress::Done)
    }

    fn end_transaction(&mut self, keep: bool) {
        self.status = TransactionStatus::Idle;
        self.portals.clear();
        if keep { self.settings.commit() } else { self.settings.rollback() }
    }

    fn function_call(&mut self) {
        self.batch = false;
        match self.check(Some(&Statement::Fail)) {
            Ok(()) => message::function_call_response(&mut self.output),
            Err(fault) => self.fail(&fault),
        }
        self.ready();
    }

    fn copy_message(&mut self, tag: u8) {
        let Mode::CopyIn { lines, rest, extended } = &mut self.mode else { return };
        let extended = *extended;
        match tag {
            frontend::COPY_DATA => *lines += 1,
            frontend::FLUSH | frontend::SYNC => {}
            frontend::COPY_DONE => {
                let (lines, rest) = (*lines, std::mem::take(rest));
                self.mode = Mode::Commands;
                backend::command_complete(&mut self.output, format!("COPY {lines}"));
                if !extended {
                    self.run_all(rest);
                }
            }
            frontend::COPY_FAIL => {
                self.mode = if extended { Mode::SkipToSync } else { Mode::Commands };
                self.fail(&Fault::new(*b"57014", "COPY from stdin failed"));
                if !extended {
                    self.ready();
                }
            }
            _ => {
                self.fail(&Fault::new(*b"08P01", "unexpected message type during COPY from stdin"));
                self.die("terminating connection because protocol synchronization was lost");
            }
        }
    }

    fn fail(&mut self, fault: &Fault) {
        fault.encode(&mut self.output);
        self.portals.clear();
        if self.status == TransactionStatus::Idle {
            self.settings.rollback();
        } else {
            self.status = TransactionStatus::Failed;
        }
    }

    fn sync(&mut self) {
        self.batch = false;
        self.mode = Mode::Commands;
        self.ready();
    }

    fn ready(&mut self) {
        if self.status == TransactionStatus::Idle {
            self.portals.clear();
            self.settings.commit();
        }
        let now = self.settings.reported();
        for (name, value) in &now {
            if self.reported.get(name) != Some(value) {
                backend::parameter_status(&mut self.output, name, value);
            }
        }
        self.reported = now;
        backend::ready_for_query(&mut self.output, self.status);
    }
}
