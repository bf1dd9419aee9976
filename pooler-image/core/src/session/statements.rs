//! Prepared statements: what a client calls them, and which of them a server connection has.
//!
//! A statement is known by a keyed 128-bit hash of its text and parameter types, so that the same
//! statement of many clients is prepared once per server connection, whatever each client calls it,
//! and a server connection can move between event loops without a shared table.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

/// What the names that we give to statements on a server connection begin with.
const SERVER_NAME_PREFIX: &[u8] = b"_p";

/// The identity of a statement: a keyed hash of its text and parameter types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatementKey(u128);

/// A prepared statement as a client gave it.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its identity.
    pub key: StatementKey,
    /// All of Parse behind the name: query text with its zero byte, count and OIDs of parameter types.
    pub definition: Box<[u8]>,
}

/// One statement text in memory once per loop, however many clients prepared it.
#[derive(Debug)]
pub struct Interner {
    secret: [u8; 16],
    known: HashMap<StatementKey, Arc<Statement>, BuildHasherDefault<KeyHasher>>,
    bytes: usize,
    sweep_at: usize,
}

/// Below this many bytes of statements nothing is ever swept.
const SWEEP_FLOOR: usize = 256 * 1024;

/// What a statement costs besides its definition, about.
const STATEMENT_COST: usize = 128;

impl Interner {
    /// `secret` must be random and the same in all loops of a process, since it makes collisions
    /// (one client running another's statement) infeasible to construct.
    pub fn new(secret: [u8; 16]) -> Self {
        Self { secret, known: HashMap::default(), bytes: 0, sweep_at: SWEEP_FLOOR }
    }

    /// The statement with this definition (all of Parse behind the name).
    pub fn intern(&mut self, definition: &[u8]) -> Arc<Statement> {
        let key = self.key(definition);
        if let Some(known) = self.known.get(&key) {
            return Arc::clone(known);
        }
        if self.bytes >= self.sweep_at {
            self.sweep();
            self.sweep_at = SWEEP_FLOOR.max(self.bytes * 2);
        }
        let statement = Arc::new(Statement { key, definition: definition.into() });
        self.bytes += statement.cost();
        self.known.insert(key, Arc::clone(&statement));
        statement
    }

    /// Forgets statements that nobody holds, if they are worth it. To be called now and then: new statements alone
    /// would not give back the memory of clients that have left.
    pub fn trim(&mut self) {
        if self.bytes > SWEEP_FLOOR {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        self.known.retain(|_, statement| Arc::strong_count(statement) > 1);
        self.bytes = self.known.values().map(|statement| statement.cost()).sum();
    }

    fn key(&self, definition: &[u8]) -> StatementKey {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        hasher.write(definition);
        StatementKey(hasher.finish128().as_u128())
    }
}

impl Statement {
    fn cost(&self) -> usize {
        self.definition.len() + STATEMENT_COST
    }
}

/// [`StatementKey`]s are hashes already.
#[derive(Debug, Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

/// A client's own names.
#[derive(Debug, Default)]
pub struct ClientStatements {
    named: BTreeMap<Box<[u8]>, Arc<Statement>>,
}

impl ClientStatements {
    /// The statement that the client calls `name`.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.named.get(name)
    }

    pub(super) fn insert(&mut self, name: Box<[u8]>, statement: Arc<Statement>) {
        self.named.insert(name, statement);
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Arc<Statement>> {
        self.named.remove(name)
    }

    pub(super) fn clear(&mut self) {
        self.named.clear();
    }

    /// How many names the client has.
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// No names.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }
}

/// The number in the name of a statement on one server connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(u32);

impl Number {
    /// Writes the statement's name on the server, without a zero byte.
    pub(super) fn write_name(self, out: &mut Vec<u8>) {
        out.extend_from_slice(SERVER_NAME_PREFIX);
        let mut digits = [0_u8; 10];
        let mut rest = self.0;
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        out.extend_from_slice(&digits[at..]);
    }
}

/// A client's own name could be one of ours: it must not reach a server as it is.
pub(super) fn looks_like_ours(name: &[u8]) -> bool {
    name.strip_prefix(SERVER_NAME_PREFIX).is_some_and(|rest| rest.iter().all(u8::is_ascii_digit))
}

/// The statements that a server connection has, as far as its replies and ours to come say.
#[derive(Debug, Default)]
pub(super) struct ServerStatements {
    prepared: HashMap<StatementKey, Prepared, BuildHasherDefault<KeyHasher>>,
    next: u32,
    tick: u64,
}

#[derive(Debug, Clone, Copy)]
struct Prepared {
    number: Number,
    used: u64,
}

impl ServerStatements {
    /// Its number, and it counts as used now.
    pub(super) fn touch(&mut self, key: StatementKey) -> Option<Number> {
        self.tick += 1;
        let tick = self.tick;
        self.prepared.get_mut(&key).map(|prepared| {
            prepared.used = tick;
            prepared.number
        })
    }

    /// A new number for a statement that is about to be prepared.
    pub(super) fn add(&mut self, key: StatementKey) -> Number {
        let number = Number(self.next);
        self.next = self.next.wrapping_add(1);
        self.restore(key, number);
        number
    }

    /// Puts back what was taken out ahead of a reply that never came.
    pub(super) fn restore(&mut self, key: StatementKey, number: Number) {
        self.tick += 1;
        self.prepared.insert(key, Prepared { number, used: self.tick });
    }

    /// Takes out `key` if it still has `number`.
    pub(super) fn remove(&mut self, key: StatementKey, number: Number) {
        if self.prepared.get(&key).is_some_and(|prepared| prepared.number == number) {
            self.prepared.remove(&key);
        }
    }

    /// Takes out the least recently used, when there are more than `most` and it was not used after `since`.
    pub(super) fn evict(&mut self, most: usize, since: u64) -> Option<(StatementKey, Number)> {
        if self.prepared.len() < most.max(1) {
            return None;
        }
        let (key, prepared) = self.prepared.iter().min_by_key(|(_, prepared)| prepared.used)?;
        let (key, prepared) = (*key, *prepared);
        if prepared.used > since {
            return None;
        }
        self.prepared.remove(&key);
        Some((key, prepared.number))
    }

    /// The present moment on the clock that `evict` compares with.
    pub(super) fn tick(&self) -> u64 {
        self.tick
    }

    pub(super) fn clear(&mut self) {
        self.prepared.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.prepared.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_one_statement_and_another_is_another() {
        let mut interner = Interner::new([7; 16]);
        let a = interner.intern(b"select 1\0\0\0");
        let b = interner.intern(b"select 1\0\0\0");
        let c = interner.intern(b"select 2\0\0\0");
        assert!(Arc::ptr_eq(&a, &b));
        assert_ne!(a.key, c.key);
    }

    #[test]
    fn statements_nobody_holds_are_swept_in_the_end() {
        let mut interner = Interner::new([0; 16]);
        let held = interner.intern(b"held");
        for n in 0..SWEEP_FLOOR / 10 {
            drop(interner.intern(n.to_string().as_bytes()));
        }
        assert!(interner.bytes <= SWEEP_FLOOR + 2 * STATEMENT_COST);
        drop(interner.intern(&[0; 2 * SWEEP_FLOOR]));
        interner.trim();
        assert_eq!(interner.known.len(), 1);
        assert!(Arc::ptr_eq(&held, &interner.intern(b"held")));
    }

    #[test]
    fn the_least_recently_used_goes_first_but_never_one_of_this_batch() {
        let mut interner = Interner::new([0; 16]);
        let keys: Vec<_> = (0..3).map(|n| interner.intern(&[n]).key).collect();
        let mut server = ServerStatements::default();
        let numbers: Vec<_> = keys.iter().map(|key| server.add(*key)).collect();
        server.touch(keys[0]);
        let batch = server.tick();
        server.touch(keys[2]);
        assert_eq!(server.evict(3, batch), Some((keys[1], numbers[1])));
        assert_eq!(server.evict(2, batch), Some((keys[0], numbers[0])));
        assert_eq!(server.evict(1, batch), None, "used in this batch");
    }

    #[test]
    fn names_of_ours_are_recognised() {
        let mut name = Vec::new();
        Number(1203).write_name(&mut name);
        assert_eq!(name, b"_p1203");
        assert!(looks_like_ours(&name));
        assert!(!looks_like_ours(b"_px"));
        assert!(!looks_like_ours(b"p1"));
    }
}
