//! What an exchange writes to whom, message by message, without a socket.

#![allow(clippy::redundant_closure_for_method_calls)] // the method has one lifetime where any is asked for

mod clean;
mod pieces;
mod settings;
mod statement_mode;
mod statements;

use pgpooler_core::session::{
    Client, ClientFault, Dirt, Exchange, Interner, Naming, Outbox, Server, ServerFault, SessionState,
    Settings,
};
use pgpooler_core::wire::{ErrorResponse, Header, SqlState, TransactionStatus, backend, frontend};

/// A client and a server connection, with what has been written to them.
struct Pair {
    client: Client,
    server: Server,
    interner: Interner,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    max_prepared_statements: usize,
    linked: bool,
}

impl Pair {
    fn new() -> Self {
        Self {
            client: Client::new(Naming::Shared, Settings::default(), SessionState::Pin),
            server: Server::new([]),
            interner: Interner::new([1; 16], std::sync::Arc::default()),
            to_client: Vec::new(),
            to_server: Vec::new(),
            max_prepared_statements: 100,
            linked: false,
        }
    }

    /// The same server connection for another client.
    fn next_client(&mut self) -> Client {
        assert!(self.server.may_part(), "a server connection that is not clean goes to nobody");
        self.server.part(&self.client);
        self.linked = false;
        assert_eq!(self.server.dirt(), Dirt::None);
        std::mem::replace(
            &mut self.client,
            Client::new(Naming::Shared, Settings::default(), SessionState::Pin),
        )
    }

    fn exchange<T>(&mut self, input: &[u8], act: impl FnOnce(&mut Exchange<'_>, &[u8]) -> T) -> T {
        let (mut to_client, mut to_server) = (Outbox::default(), Outbox::default());
        let mut exchange = Exchange {
            client: &mut self.client,
            server: &mut self.server,
            interner: &mut self.interner,
            to_client: &mut to_client,
            to_server: &mut to_server,
            max_prepared_statements: self.max_prepared_statements,
        };
        let outcome = act(&mut exchange, input);
        to_client.copy_remaining(input, 0, &mut self.to_client);
        to_server.copy_remaining(input, 0, &mut self.to_server);
        outcome
    }

    fn begin(&mut self) {
        self.exchange(&[], |exchange, _| exchange.begin());
    }

    fn client_sends(&mut self, bytes: &[u8]) -> Result<usize, ClientFault> {
        if !std::mem::replace(&mut self.linked, true) {
            self.begin();
        }
        self.exchange(bytes, |exchange, bytes| exchange.client_bytes(bytes))
    }

    /// A question of ours is answered at once: nothing is held.
    fn server_sends(&mut self, bytes: &[u8]) -> Result<usize, ServerFault> {
        let read = self.exchange(bytes, |exchange, bytes| exchange.server_bytes(bytes))?;
        if self.server.is_asking() {
            let answer = [complete("SELECT 0"), ready(TransactionStatus::Idle)].concat();
            self.exchange(&answer, |exchange, bytes| exchange.server_bytes(bytes))?;
        }
        Ok(read)
    }

    /// The type bytes of what was written to the server since the last call.
    fn server_got(&mut self) -> String {
        tags(&std::mem::take(&mut self.to_server))
    }

    fn client_got(&mut self) -> String {
        tags(&std::mem::take(&mut self.to_client))
    }
}

fn tags(mut bytes: &[u8]) -> String {
    let mut tags = String::new();
    while let Ok(Some(header)) = Header::parse(bytes) {
        tags.push(char::from(header.tag));
        bytes = &bytes[header.total()..];
    }
    assert!(bytes.is_empty(), "a message without an end");
    tags
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![tag];
    message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    message.extend_from_slice(body);
    message
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::parse(&mut out, name, sql, &[]);
    out
}

fn bind(statement: &str) -> Vec<u8> {
    message(b'B', &[b"\0", statement.as_bytes(), &[0, 0, 0, 0, 0, 0, 0]].concat())
}

fn execute() -> Vec<u8> {
    message(b'E', b"\0\0\0\0\0")
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

fn query(sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::query(&mut out, sql);
    out
}

fn ready(status: TransactionStatus) -> Vec<u8> {
    let mut out = Vec::new();
    backend::ready_for_query(&mut out, status);
    out
}

fn complete(tag: &str) -> Vec<u8> {
    let mut out = Vec::new();
    backend::command_complete(&mut out, tag);
    out
}

fn error(state: SqlState, text: &'static str) -> Vec<u8> {
    ErrorResponse::error(state, text).to_bytes()
}

/// Replies to the Parse of a name, and to our Describe behind it.
fn parsed() -> Vec<u8> {
    described(23)
}

/// The same, of a statement with a column of this type.
fn described(column_type: u32) -> Vec<u8> {
    [message(b'1', b""), description(column_type)].concat()
}

fn description(column_type: u32) -> Vec<u8> {
    let column = [&[0, 1][..], b"a\0", &[0; 6], &column_type.to_be_bytes(), &[0; 8]].concat();
    [message(b't', &[0, 0]), message(b'T', &column)].concat()
}

/// Replies to P B E S.
fn executed() -> Vec<u8> {
    [message(b'1', b""), message(b'2', b""), complete("SELECT 1"), ready(TransactionStatus::Idle)].concat()
}
