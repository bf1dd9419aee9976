//! Messages as a person reads them.

use std::fmt::Write as _;

use pgpooler_test_support::Message;

use super::transcript::{Event, Transcript};

/// Longer bodies are cut.
const WIDTH: usize = 200;
/// Equal events shown before the first difference.
const BEFORE: usize = 4;
/// Events shown from the first difference on.
const AFTER: usize = 10;

/// Where two transcripts begin to differ; nothing when they are equal.
pub(crate) fn difference(expected: &Transcript, found: &Transcript) -> Option<String> {
    let equal = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
    if equal == expected.len() && equal == found.len() {
        return None;
    }
    let mut text = String::new();
    lines(&mut text, ' ', &expected[equal.saturating_sub(BEFORE)..equal]);
    text.push_str("  PostgreSQL:\n");
    lines(&mut text, '-', &expected[equal..expected.len().min(equal + AFTER)]);
    text.push_str("  the pooler:\n");
    lines(&mut text, '+', &found[equal..found.len().min(equal + AFTER)]);
    Some(text)
}

/// All of it, one event a line.
pub(crate) fn whole(transcript: &Transcript) -> String {
    let mut text = String::new();
    lines(&mut text, ' ', transcript);
    text
}

fn lines(text: &mut String, sign: char, events: &[(usize, Event)]) {
    for (client, event) in events {
        let _ = writeln!(text, "  {sign} client {client}: {}", cut(&describe(event)));
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{}... ({} bytes)", &text[..at], text.len()),
        None => text.to_owned(),
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Message(message) => describe_message(message),
        Event::Byte(byte) => format!("the byte {}", [*byte].escape_ascii()),
        Event::Closed => "the connection ends".to_owned(),
        Event::Silence => "nothing more comes".to_owned(),
        Event::Failed(why) => format!("FAILED: {why}"),
    }
}

fn describe_message(message: &Message) -> String {
    let name = name(message.tag);
    let tag = char::from(message.tag);
    match message.tag {
        b'E' | b'N' => {
            let fields = message.body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
            let fields: Vec<_> = fields.map(|field| field.escape_ascii().to_string()).collect();
            format!("{tag} {name} {}", fields.join(" | "))
        }
        b'D' => format!("{tag} {name} {:?}", message.columns()),
        _ => format!("{tag} {name} {}", message.body.escape_ascii()),
    }
}

fn name(tag: u8) -> &'static str {
    match tag {
        b'1' => "ParseComplete",
        b'2' => "BindComplete",
        b'3' => "CloseComplete",
        b'A' => "NotificationResponse",
        b'C' => "CommandComplete",
        b'D' => "DataRow",
        b'd' => "CopyData",
        b'c' => "CopyDone",
        b'E' => "ErrorResponse",
        b'G' => "CopyInResponse",
        b'H' => "CopyOutResponse",
        b'I' => "EmptyQueryResponse",
        b'K' => "BackendKeyData",
        b'N' => "NoticeResponse",
        b'n' => "NoData",
        b'R' => "Authentication",
        b'S' => "ParameterStatus",
        b's' => "PortalSuspended",
        b'T' => "RowDescription",
        b't' => "ParameterDescription",
        b'V' => "FunctionCallResponse",
        b'v' => "NegotiateProtocolVersion",
        b'Z' => "ReadyForQuery",
        _ => "?",
    }
}
