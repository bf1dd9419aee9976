//! What came back, with that made equal which must differ between two connections.

use pgpooler_test_support::Message;

/// Fields of errors and notices that name lines of PostgreSQL's source.
const SOURCE_FIELDS: &[u8] = b"FLR";
/// Smaller ones belong to PostgreSQL itself and are the same everywhere.
const FIRST_USER_OID: u32 = 16_384;

/// What a client saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A message, made comparable.
    Message(Message),
    /// A byte that is no message.
    Byte(u8),
    /// The connection ended.
    Closed,
    /// Nothing came, as it should be.
    Silence,
    /// A step did not come to its end.
    Failed(String),
}

/// The events of a script with the client that saw each.
pub(crate) type Transcript = Vec<(usize, Event)>;

/// The message without what no two connections have in common.
pub(crate) fn comparable(message: Message) -> Message {
    let Message { tag, mut body } = message;
    match tag {
        b'E' | b'N' => body = newest_protocol(without_source(&body)),
        // a process id and a secret; how long they are must not differ
        b'K' => body.fill(0),
        b'A' => zero(&mut body, 0..4),
        // nonces, salts, proofs
        b'R' => {
            let kind = body.get(..4).map(|kind| u32::from_be_bytes(kind.try_into().unwrap()));
            if matches!(kind, Some(11 | 12)) {
                body.truncate(4);
            }
        }
        b'T' => table_oids(&mut body),
        b't' => parameter_oids(&mut body),
        _ => {}
    }
    Message { tag, body }
}

fn without_source(body: &[u8]) -> Vec<u8> {
    let fields = body.split_inclusive(|byte| *byte == 0);
    fields
        .filter(|field| !field.first().is_some_and(|code| SOURCE_FIELDS.contains(code)))
        .flatten()
        .copied()
        .collect()
}

/// What the newest protocol is depends on PostgreSQL's version: the pooler speaks 3.2, as 18 and later do.
fn newest_protocol(body: Vec<u8>) -> Vec<u8> {
    match std::str::from_utf8(&body) {
        Ok(text) => text.replace("server supports 3.0 to 3.0", "server supports 3.0 to 3.2").into_bytes(),
        Err(_) => body,
    }
}

/// Tables that a script makes anew have other numbers each time.
fn table_oids(body: &mut [u8]) {
    let mut at = 2;
    while let Some(end) = body.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0)) {
        let fixed = at + end + 1;
        user_oid(body, fixed);
        user_oid(body, fixed + 6);
        at = fixed + 18;
    }
}

fn parameter_oids(body: &mut [u8]) {
    for at in (2..body.len()).step_by(4) {
        user_oid(body, at);
    }
}

fn user_oid(body: &mut [u8], at: usize) {
    if let Some(oid) = body.get_mut(at..at + 4)
        && u32::from_be_bytes(oid.try_into().unwrap()) >= FIRST_USER_OID
    {
        oid.copy_from_slice(&FIRST_USER_OID.to_be_bytes());
    }
}

fn zero(body: &mut [u8], range: std::ops::Range<usize>) {
    if let Some(part) = body.get_mut(range) {
        part.fill(0);
    }
}
