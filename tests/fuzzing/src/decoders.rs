//! Everything that reads a peer's bytes, or a file's.

use std::sync::Arc;

use pgpooler::admin::command;
use pgpooler_config::{Document, UserSecret, Userlist};
use pgpooler_core::handshake::{ExpectStartup, StartupStep};
use pgpooler_core::login::{Credential, Login};
use pgpooler_core::scram::{ClientKeys, ExpectClientFirst, ExpectServerFirst, ScramVerifier};
use pgpooler_core::session::{Reject, Rejected, Server};
use pgpooler_core::sql::{Effect, Strings, scan};
use pgpooler_core::wire::{
    CancelKey, ErrorFields, ErrorResponse, Header, SqlState, StartupPacket, backend, frontend, split_message,
};

const GIGABYTE: u32 = 1 << 30;

/// The console's commands: no panic, and none that does anything is open to everybody.
pub(crate) fn admin(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match command::parse(text) {
        Ok(commands) => {
            for command in commands {
                use command::Command::{Listen, SetIgnored, Show, Unlisten};
                let harmless = matches!(command, Show(_) | SetIgnored(_) | Listen(_) | Unlisten(_));
                assert_eq!(command.admin_only().is_none(), harmless);
            }
        }
        // what is quoted back is short
        Err(error) => assert!(error.to_string().len() < 1000),
    }
}

/// What an idle server connection sends, in one piece and byte by byte: the same end, nothing read twice.
pub(crate) fn backend(data: &[u8]) {
    let mut whole = Server::new([]);
    let outcome = whole.settle(data);
    let mut pieces = Server::new([]);
    let mut carry = Vec::new();
    for byte in data {
        carry.push(*byte);
        match pieces.settle(&carry) {
            Ok(dealt_with) => drop(carry.drain(..dealt_with)),
            Err(fault) => {
                assert_eq!(outcome, Err(fault));
                return;
            }
        }
    }
    assert_eq!(outcome.map(|dealt_with| data.len() - dealt_with), Ok(carry.len()));
    assert!(whole.reported().eq(pieces.reported()));
}

/// Cancel keys and cancel requests: what is written is read as the same.
pub(crate) fn cancel(data: &[u8]) {
    let Ok(key) = CancelKey::parse(data) else { return };
    assert!(CancelKey::SECRET_LENGTH.contains(&key.secret().len()));
    let mut request = Vec::new();
    frontend::cancel_request(&mut request, &key);
    let Ok(Some((StartupPacket::CancelRequest(read), length))) = StartupPacket::parse(&request) else {
        panic!("a cancel request of ours is not one: {}", request.escape_ascii());
    };
    assert_eq!((length, &read), (request.len(), &key));
    let mut message = Vec::new();
    backend::backend_key_data(&mut message, &key);
    let Ok(Some((_, body, _))) = split_message(&message, GIGABYTE) else { panic!("no message") };
    assert_eq!(CancelKey::parse(body).as_ref(), Ok(&key));
}

/// The document: what is read is written so that it is read the same.
pub(crate) fn document(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(document) = Document::parse(text) {
        assert_eq!(Document::parse(&document.to_toml()), Ok(document));
    }
}

/// Received errors: a copy is the original, and a rewritten field is the only change.
pub(crate) fn error_response(data: &[u8]) {
    let Ok(fields) = ErrorFields::parse(data) else { return };
    let mut copy = Vec::new();
    fields.copy(&mut copy);
    let Ok(Some((_, body, _))) = split_message(&copy, GIGABYTE) else { panic!("no message") };
    assert_eq!(body, data);
    let mut rewritten = Vec::new();
    fields.rewrite(b'M', b"new", &mut rewritten);
    let Ok(Some((_, body, _))) = split_message(&rewritten, GIGABYTE) else { panic!("no message") };
    let Ok(changed) = ErrorFields::parse(body) else { panic!("malformed") };
    for ((code, before), (same, after)) in fields.iter().zip(changed.iter()) {
        assert_eq!(code, same);
        assert_eq!(after, if code == b'M' { &b"new"[..] } else { before });
    }
    let _ = (fields.sqlstate(), fields.is_fatal(), fields.message().len());
}

/// Message frames: every message is as long as its header says, and nothing is lost.
pub(crate) fn frames(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((header, body, after))) = split_message(rest, 1 << 20) {
        assert_eq!(Header::parse(rest), Ok(Some(header)));
        assert_eq!(header.body_len(), body.len());
        assert_eq!(header.total() + after.len(), rest.len());
        let _ = backend::parse_ready_for_query(body);
        let _ = backend::parse_parameter_status(body);
        rest = after;
    }
}

/// A server's messages during login: no panic.
pub(crate) fn login(data: &[u8]) {
    let mut out = Vec::new();
    let login = Login::start(0, [("user", "ann")], "client".to_owned(), &mut out);
    // md5 only: no PBKDF2 with the iterations that the fuzzer likes
    let mut credential = Credential::md5("md5");
    let _ = login.receive(&mut data.to_vec(), &mut credential, &mut out);
}

/// A refused request: the same answer however the bytes are split.
pub(crate) fn reject(data: &[u8]) {
    let refuse = || Reject::new(ErrorResponse::error(SqlState::QUERY_CANCELED, "no"));
    let mut out = Vec::new();
    let whole = refuse().client_bytes(data, &mut out);
    let (mut reject, mut carry, mut pieces, mut before) = (refuse(), Vec::new(), Vec::new(), 0);
    for byte in data {
        carry.push(*byte);
        match reject.client_bytes(&carry, &mut pieces) {
            Ok(Rejected::More(dealt_with)) => {
                carry.drain(..dealt_with);
                before += dealt_with;
            }
            Ok(Rejected::Done(dealt_with)) => {
                assert_eq!(whole, Ok(Rejected::Done(before + dealt_with)));
                assert_eq!(out, pieces);
                return;
            }
            end => {
                assert_eq!(whole, end);
                return;
            }
        }
    }
    assert_eq!(out, pieces);
}

/// SCRAM messages, each in each state: no panic, and no proof without the password.
pub(crate) fn scram(data: &[u8]) {
    let verifier = Arc::new(ScramVerifier::derive("secret", b"salt", 1));
    let server = || ExpectClientFirst::new(Arc::clone(&verifier), "server".to_owned());
    if let Ok(first) = server().receive(data) {
        assert!(first.next.receive(data).is_err());
    }
    if let Ok(first) = server().receive(b"n,,n=,r=client") {
        assert!(first.next.receive(data).is_err());
    }
    let (_, client) = ExpectServerFirst::start("client".to_owned());
    let _ = client.receive(data);
    let (_, client) = ExpectServerFirst::start("client".to_owned());
    if let Ok(challenge) = client.receive(b"r=clientserver,s=YQ==,i=1") {
        let (_, client) = challenge.respond(&ClientKeys::derive("secret", b"a", 1));
        assert!(client.receive(data).is_err());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = text.parse::<ScramVerifier>();
    }
}

/// Startup packets: no panic, and the same end however the bytes are split.
pub(crate) fn startup(data: &[u8]) {
    // bytes behind an encryption request are refused when they come with it, so only one request is split
    let whole = handshake(&[data]);
    if whole.1.first() != Some(&b'N') {
        for at in 0..data.len().min(64) {
            let (left, right) = data.split_at(at);
            assert_eq!(handshake(&[left, right]), whole);
        }
    }
}

fn handshake(pieces: &[&[u8]]) -> (String, Vec<u8>) {
    let (mut input, mut out) = (Vec::new(), Vec::new());
    let mut state = ExpectStartup::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        match state.receive(&mut input, &mut out) {
            StartupStep::More(next) => state = next,
            end => return (format!("{end:?}"), out),
        }
    }
    ("more".to_owned(), out)
}

/// What a SQL text may do: statements stand in order inside of the text, with their names inside of them, and the text
/// as a whole is marked with all that they are. A text inside of a comment does nothing.
pub(crate) fn sql(data: &[u8]) {
    for strings in [Strings::Standard, Strings::Backslash] {
        let script = scan(data, strings);
        let mut end = 0;
        for statement in &script.statements {
            assert!(end <= statement.span.start && statement.span.start < statement.span.end);
            end = statement.span.end;
            assert!(script.marks.contains(statement.marks));
            if let Effect::Prepare { name } | Effect::Execute { name } | Effect::Deallocate { name } =
                &statement.effect
            {
                assert!(statement.span.start < name.span.start && name.span.end <= end);
                assert!(name.text.len() < 64);
            }
        }
        assert!(end <= data.len());
        if !data.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            let comment = scan(&[b"-- ", data].concat(), strings);
            assert!(comment.marks.is_empty() && comment.statements.is_empty());
        }
    }
}

/// User lists: no panic, and what is read is written so that it is read the same.
pub(crate) fn userlist(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(list) = Userlist::parse(text) else { return };
    assert_eq!(Userlist::parse(list.render().expose()), Ok(list.clone()));
    for (_, secret) in list.iter() {
        if let UserSecret::Scram(verifier) = secret {
            // the list's check of the form and the core's must agree
            assert!(verifier.expose().parse::<ScramVerifier>().is_ok());
        }
    }
}
