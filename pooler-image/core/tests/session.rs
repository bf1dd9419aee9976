//! What an exchange writes to whom, message by message, without a socket.

#![allow(clippy::redundant_closure_for_method_calls)] // the method has one lifetime where any is asked for

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

#[test]
fn a_parse_is_the_servers_to_answer_and_clients_share_what_it_left() {
    let mut pair = Pair::new();
    let batch = [parse("a", "select 1"), bind("a"), execute(), sync()].concat();
    pair.client_sends(&batch).unwrap();
    assert_eq!(pair.server_got(), "PDBES");
    pair.server_sends(&[parsed(), executed()[5..].to_vec()].concat()).unwrap();
    assert_eq!(pair.client_got(), "12CZ");

    let first = pair.next_client();
    let batch = [parse("other name", "select 1"), bind("other name"), execute(), sync()].concat();
    pair.client_sends(&batch).unwrap();
    assert_eq!(pair.server_got(), "CPDBES", "parsed anew: its tables may have changed");
    pair.server_sends(&[message(b'3', b""), parsed(), executed()[5..].to_vec()].concat()).unwrap();
    assert_eq!(pair.client_got(), "12CZ");
    assert_eq!(pair.server.statement_count(), 1);

    pair.client = first;
    pair.client_sends(&[bind("a"), execute(), sync()].concat()).unwrap();
    assert_eq!(pair.server_got(), "BES", "what is newer than the client's own is good for it");
    pair.server_sends(&executed()[5..]).unwrap();
    assert_eq!(pair.client_got(), "2CZ");
    assert!(pair.server.is_clean());
}

#[test]
fn a_server_that_prepared_a_statement_before_a_client_did_prepares_it_anew() {
    let mut pair = Pair::new();
    let batch = [parse("a", "select 1"), sync()].concat();
    pair.client_sends(&batch).unwrap();
    pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.next_client();
    let old = std::mem::replace(&mut pair.server, Server::new([]));
    pair.client_sends(&batch).unwrap();
    pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.server = old;
    pair.server_got();
    pair.client_got();
    let batch = [bind("a"), execute(), sync()].concat();
    assert_eq!(pair.client_sends(&batch), Ok(0), "its rows may look different by now");
    assert_eq!(pair.server_got(), "CPDH");
    pair.server_sends(&[message(b'3', b""), parsed()].concat()).unwrap();
    assert!(pair.server.may_resume());
    assert_eq!(pair.client_sends(&batch), Ok(batch.len()));
    assert_eq!(pair.server_got(), "BES");
    pair.server_sends(&executed()[5..]).unwrap();
    assert_eq!(pair.client_got(), "2CZ");
}

#[test]
fn a_client_never_reads_rows_by_a_description_that_no_longer_fits() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("a", "select * from t"), sync()].concat()).unwrap();
    pair.server_sends(&[described(23), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.server = Server::new([]);
    pair.server_got();
    pair.client_got();
    for round in 0..2 {
        let batch = [bind("a"), execute(), sync()].concat();
        let mut read = pair.client_sends(&batch).unwrap();
        if round == 0 {
            assert_eq!((read, pair.server_got().as_str()), (0, "PDH"));
            pair.server_sends(&described(25)).unwrap();
            read = pair.client_sends(&batch).unwrap();
        }
        assert_eq!((read, pair.server_got().as_str()), (batch.len(), "BES"));
        let unknown = error(SqlState::INVALID_SQL_STATEMENT_NAME, "no such statement");
        pair.server_sends(&[unknown, ready(TransactionStatus::Idle)].concat()).unwrap();
        let told = String::from_utf8_lossy(&pair.to_client).into_owned();
        assert!(
            told.contains("0A000") && told.contains("cached plan must not change result type"),
            "{told:?}"
        );
        assert_eq!(pair.client_got(), "EZ");
    }
}

#[test]
fn a_statement_that_a_server_lacks_is_prepared_there_and_nobody_sees_it() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("a", "select 1"), sync()].concat()).unwrap();
    pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.server = Server::new([]);
    pair.server_got();
    pair.client_got();

    let batch = [bind("a"), execute(), sync()].concat();
    assert_eq!(pair.client_sends(&batch), Ok(0));
    assert_eq!(pair.server_got(), "PDH");
    pair.server_sends(&parsed()).unwrap();
    pair.client_sends(&batch).unwrap();
    assert_eq!(pair.server_got(), "BES");
    pair.server_sends(&executed()[5..]).unwrap();
    assert_eq!(pair.client_got(), "2CZ");
}

#[test]
fn one_client_cannot_reach_the_statement_of_another_by_the_name_that_we_gave_it() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("a", "select secret"), sync()].concat()).unwrap();
    pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.to_server.clear();
    pair.next_client();
    pair.client_sends(&[bind("_p0"), execute(), sync()].concat()).unwrap();
    let sent = String::from_utf8_lossy(&pair.to_server).into_owned();
    assert!(sent.contains("_p0 \0"), "{sent:?}");
}

#[test]
fn the_unnamed_statement_of_a_client_comes_back_to_it_after_another_client() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("", "select 'mine'"), sync()].concat()).unwrap();
    pair.server_sends(&[message(b'1', b""), ready(TransactionStatus::Idle)].concat()).unwrap();
    let first = pair.next_client();
    pair.client_sends(&[parse("", "select 'yours'"), sync()].concat()).unwrap();
    pair.server_sends(&[message(b'1', b""), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.client = first;
    pair.to_server.clear();
    pair.to_client.clear();

    pair.client_sends(&[bind(""), execute(), sync()].concat()).unwrap();
    assert!(String::from_utf8_lossy(&pair.to_server).contains("select 'mine'"));
    assert_eq!(pair.server_got(), "PBES");
    pair.server_sends(&executed()).unwrap();
    assert_eq!(pair.client_got(), "2CZ");
}

#[test]
fn a_client_without_an_unnamed_statement_does_not_get_somebody_elses() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("", "select 'yours'"), sync()].concat()).unwrap();
    pair.server_sends(&[message(b'1', b""), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.next_client();
    pair.server_got();
    pair.client_got();
    pair.client_sends(&[bind(""), sync()].concat()).unwrap();
    assert_eq!(pair.server_got(), "CBS", "it is closed first");
    let replies = [
        message(b'3', b""),
        error(SqlState::INVALID_SQL_STATEMENT_NAME, "unnamed"),
        ready(TransactionStatus::Idle),
    ];
    pair.server_sends(&replies.concat()).unwrap();
    assert_eq!(pair.client_got(), "EZ");
}

#[test]
fn a_failed_parse_leaves_the_name_free() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("a", "select 1 from nosuch"), bind("a"), sync()].concat()).unwrap();
    let replies =
        [error(SqlState::parse(b"42601").unwrap(), "syntax"), ready(TransactionStatus::Idle)].concat();
    pair.server_sends(&replies).unwrap();
    assert_eq!(pair.client_got(), "EZ");
    pair.server_got();
    pair.client_sends(&[parse("a", "select 1"), sync()].concat()).unwrap();
    assert_eq!(pair.server_got(), "PDS");
    pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert_eq!(pair.client_got(), "1Z");
}

#[test]
fn a_parse_that_the_server_skipped_never_happened() {
    let mut pair = Pair::new();
    pair.client_sends(&[bind("nosuch"), parse("a", "select 1"), sync()].concat()).unwrap();
    let replies =
        [error(SqlState::INVALID_SQL_STATEMENT_NAME, "no"), ready(TransactionStatus::Idle)].concat();
    pair.server_sends(&replies).unwrap();
    assert_eq!(pair.client_got(), "EZ");
    assert_eq!(pair.client.statement_count(), 0);
    assert_eq!(pair.server.statement_count(), 0);
}

#[test]
fn the_error_for_a_name_that_is_taken_names_it_as_the_client_does() {
    let mut pair = Pair::new();
    pair.client_sends(&[parse("mine", "select 1"), sync()].concat()).unwrap();
    pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    pair.client_got();
    pair.client_sends(&[parse("mine", "select 2"), sync()].concat()).unwrap();
    let duplicate =
        ErrorResponse::error(SqlState::parse(b"42P05").unwrap(), "prepared statement \"_p0\" already exists");
    pair.server_sends(&[duplicate.to_bytes(), ready(TransactionStatus::Idle)].concat()).unwrap();
    let told = String::from_utf8_lossy(&pair.to_client).into_owned();
    assert!(told.contains("prepared statement \"mine\" already exists"), "{told:?}");
    assert_eq!(pair.client_got(), "EZ");
    assert_eq!(pair.client.statement_count(), 1);
}

#[test]
fn a_server_connection_is_kept_while_anything_is_open() {
    let mut pair = Pair::new();
    pair.client_sends(&query("begin")).unwrap();
    assert!(!pair.server.is_clean(), "a reply is owed");
    pair.server_sends(&[complete("BEGIN"), ready(TransactionStatus::InTransaction)].concat()).unwrap();
    assert!(!pair.server.is_clean(), "a transaction is open");
    assert!(pair.server.can_be_tidied());
    pair.client_sends(&query("commit")).unwrap();
    pair.server_sends(&[complete("COMMIT"), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert!(pair.server.is_clean());
    pair.client_sends(&parse("", "select 1")).unwrap();
    pair.server_sends(&message(b'1', b"")).unwrap();
    assert!(!pair.server.is_clean(), "a batch is open");
    pair.client_sends(&sync()).unwrap();
    pair.server_sends(&ready(TransactionStatus::Idle)).unwrap();
    assert!(pair.server.is_clean());
}

#[test]
fn after_an_error_without_a_sync_what_the_client_sends_goes_nowhere() {
    let mut pair = Pair::new();
    pair.client_sends(&[bind("nosuch"), message(b'H', b"")].concat()).unwrap();
    pair.server_sends(&error(SqlState::INVALID_SQL_STATEMENT_NAME, "no")).unwrap();
    assert_eq!(pair.client_got(), "E", "at once, not at the Sync");
    pair.server_got();
    pair.client_sends(&[execute(), query("select 1"), sync()].concat()).unwrap();
    assert_eq!(pair.server_got(), "S");
    pair.server_sends(&ready(TransactionStatus::Idle)).unwrap();
    assert!(pair.server.is_clean());
}

#[test]
fn a_sync_inside_a_copy_in_owes_nothing() {
    let mut pair = Pair::new();
    let begin = [parse("", "copy t from stdin"), bind(""), execute(), sync()].concat();
    pair.client_sends(&begin).unwrap();
    pair.server_sends(&[message(b'1', b""), message(b'2', b""), message(b'G', &[0, 0, 0])].concat()).unwrap();
    pair.client_sends(&[message(b'd', b"1\n"), message(b'c', b""), sync()].concat()).unwrap();
    pair.server_sends(&[complete("COPY 1"), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert_eq!(pair.client_got(), "12GCZ");
    assert!(pair.server.is_clean());
}

#[test]
fn what_a_client_still_sends_after_a_failed_copy_disturbs_nobody() {
    let mut pair = Pair::new();
    pair.client_sends(&query("copy t from stdin")).unwrap();
    pair.server_sends(&message(b'G', &[0, 0, 0])).unwrap();
    pair.client_sends(&message(b'd', b"not a number\n")).unwrap();
    let failed = [error(SqlState::parse(b"22P02").unwrap(), "no number"), ready(TransactionStatus::Idle)];
    pair.server_sends(&failed.concat()).unwrap();
    assert_eq!(pair.client_got(), "GEZ");
    assert!(pair.server.is_clean());
    pair.client_sends(&[message(b'd', b"2\n"), message(b'c', b"")].concat()).unwrap();
    assert!(pair.server.is_clean());
    pair.client_sends(&query("select 1")).unwrap();
    pair.server_sends(&[complete("SELECT 1"), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert_eq!(pair.client_got(), "CZ");
}

#[test]
fn settings_are_brought_over_in_front_of_the_clients_first_bytes_and_nobody_sees_the_replies() {
    let mut pair = Pair::new();
    pair.client = Client::new(
        Naming::Shared,
        Settings::new([("TimeZone".to_owned(), "utc".to_owned())]),
        SessionState::Pin,
    );
    pair.begin();
    pair.client_sends(&query("show timezone")).unwrap();
    assert_eq!(pair.server_got(), "QQ");
    let replayed = [
        message(b'T', &[0, 0]),
        message(b'D', &[0, 0]),
        complete("SELECT 1"),
        message(b'S', b"TimeZone\0UTC\0"),
        ready(TransactionStatus::Idle),
    ];
    pair.server_sends(&replayed.concat()).unwrap();
    assert_eq!(pair.client_got(), "");
    assert_eq!(pair.client.settings().get("timezone"), Some("UTC"), "as the server spells it");
    pair.server_sends(&[complete("SHOW"), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert_eq!(pair.client_got(), "CZ");

    pair.begin();
    assert_eq!(pair.server_got(), "", "the server is there already");
    pair.next_client();
    pair.begin();
    assert!(String::from_utf8_lossy(&pair.to_server).contains("RESET"), "the next client has none of it");
}

#[test]
fn a_refused_setting_ends_the_link_with_the_servers_own_error() {
    let mut pair = Pair::new();
    pair.client = Client::new(
        Naming::Shared,
        Settings::new([("nosuch".to_owned(), "1".to_owned())]),
        SessionState::Pin,
    );
    pair.begin();
    let response = error(SqlState::parse(b"42704").unwrap(), "unrecognized configuration parameter");
    assert_eq!(pair.server_sends(&response), Err(ServerFault::Replay { response: response.clone() }));
}

#[test]
fn a_server_connection_with_half_a_message_on_it_is_not_clean() {
    for tag in [b'd', b'f', b'H'] {
        let mut pair = Pair::new();
        let whole = message(tag, &[0; 100]);
        pair.client_sends(&whole[..50]).unwrap();
        assert!(!pair.server.is_clean(), "{}", char::from(tag));
        pair.client_sends(&whole[50..]).unwrap();
        assert!(pair.server.is_clean(), "such a message owes nothing");
    }
}

#[test]
fn a_connection_that_a_client_had_to_itself_is_wiped_whatever_it_did() {
    let mut pair = Pair::new();
    pair.client = Client::new(Naming::Own, Settings::default(), SessionState::Pin);
    pair.begin();
    assert_eq!(pair.server.dirt(), Dirt::Statements);
}

#[test]
fn a_reply_that_nothing_asked_for_ends_the_server_connection() {
    let mut pair = Pair::new();
    assert_eq!(pair.server_sends(&complete("SELECT 1")), Err(ServerFault::Unexpected { tag: b'C' }));
}

#[test]
fn statements_beyond_the_limit_are_closed_the_least_recently_used_first() {
    let mut pair = Pair::new();
    pair.max_prepared_statements = 2;
    for name in ["a", "b"] {
        pair.client_sends(&[parse(name, &format!("select '{name}'")), sync()].concat()).unwrap();
        pair.server_sends(&[parsed(), ready(TransactionStatus::Idle)].concat()).unwrap();
    }
    pair.server_got();
    pair.client_sends(&[parse("c", "select 'c'"), sync()].concat()).unwrap();
    assert_eq!(pair.server_got(), "CPDS");
    pair.client_got();
    let replies = [message(b'3', b""), parsed(), ready(TransactionStatus::Idle)].concat();
    pair.server_sends(&replies).unwrap();
    assert_eq!(pair.client_got(), "1Z");
    assert_eq!(pair.server.statement_count(), 2);
}

#[test]
fn terminate_in_the_same_packet_as_a_query_leaves_the_reply_owed() {
    let mut pair = Pair::new();
    pair.client_sends(&[query("select 1"), message(b'X', b"")].concat()).unwrap();
    assert!(pair.client.is_leaving());
    assert_eq!(pair.server_got(), "Q", "the server is not told");
    pair.server_sends(&[complete("SELECT 1"), ready(TransactionStatus::Idle)].concat()).unwrap();
    assert_eq!(pair.client_got(), "CZ");
    assert!(pair.server.is_clean());
}

/// A conversation that uses every kind of bookkeeping.
fn conversation() -> Vec<(Vec<u8>, Vec<u8>)> {
    vec![
        (query("begin"), [complete("BEGIN"), ready(TransactionStatus::InTransaction)].concat()),
        ([parse("s", "select 1"), bind("s"), execute(), sync()].concat(), {
            let rows = message(b'D', &vec![7; 3000]);
            [parsed(), message(b'2', b""), rows, complete("SELECT 1")].concat()
        }),
        (vec![], ready(TransactionStatus::InTransaction)),
        (query("commit"), [complete("COMMIT"), ready(TransactionStatus::Idle)].concat()),
        ([bind("s"), execute(), message(b'C', b"Ss\0"), sync()].concat(), {
            [message(b'2', b""), complete("SELECT 1"), ready(TransactionStatus::Idle)].concat()
        }),
        ([bind("nosuch"), execute(), sync()].concat(), {
            [error(SqlState::INVALID_SQL_STATEMENT_NAME, "no"), ready(TransactionStatus::Idle)].concat()
        }),
        (
            query("set x = 1"),
            [message(b'S', b"TimeZone\0UTC\0"), complete("SET"), ready(TransactionStatus::Idle)].concat(),
        ),
    ]
}

/// Feeds `bytes` in chunks of `size`, as sockets may.
fn feed(pair: &mut Pair, bytes: &[u8], size: usize, act: impl Fn(&mut Pair, &[u8]) -> usize) {
    let mut carry = Vec::new();
    for chunk in bytes.chunks(size) {
        carry.extend_from_slice(chunk);
        let dealt_with = act(pair, &carry);
        carry.drain(..dealt_with);
    }
    assert!(carry.is_empty());
}

#[test]
fn messages_cut_anywhere_come_out_the_same() {
    let run = |size: usize| {
        let mut pair = Pair::new();
        for (sent, replied) in conversation() {
            feed(&mut pair, &sent, size, |pair, bytes| pair.client_sends(bytes).unwrap());
            feed(&mut pair, &replied, size, |pair, bytes| pair.server_sends(bytes).unwrap());
        }
        assert!(pair.server.is_clean());
        (pair.to_client, pair.to_server)
    };
    let whole = run(usize::MAX);
    for size in (1..64).chain([100, 1000, 2999, 3001]) {
        assert_eq!(run(size), whole, "cut every {size} bytes");
    }
}
