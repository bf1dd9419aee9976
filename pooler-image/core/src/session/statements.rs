//! Prepared statements: what a client calls them, and which of them a server connection has.
//!
//! A statement is known by a keyed 128-bit hash of its text and parameter types, so that the same
//! statement of many clients is prepared once per server connection, whatever each client calls it,
//! and a server connection can move between event loops without a shared table.
//!
//! A text means what the tables are when it is parsed. So a client's Parse is always the server's to answer, and a
//! server connection that prepared the statement before it did prepares it anew when that client first uses it there:
//! a client that has just come never hears that a cached plan must not change.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use super::interner::{KeyHasher, Statement, StatementKey};
use super::shape::Shape;

/// What the names that we give to statements on a server connection begin with.
const SERVER_NAME_PREFIX: &[u8] = b"_p";

/// A statement as one client knows it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// What the client calls it.
    pub(super) name: Arc<[u8]>,
    pub(super) statement: Arc<Statement>,
    /// When the client had it parsed.
    pub(super) since: u64,
    /// What its rows looked like then.
    pub(super) shape: Option<Shape>,
    /// The body of its ParameterDescription.
    pub(super) parameters: Option<Arc<[u8]>>,
}

/// A client's own names.
#[derive(Debug, Default)]
pub struct ClientStatements {
    named: BTreeMap<Arc<[u8]>, Known>,
}

impl ClientStatements {
    /// The statement that the client calls `name`.
    pub(super) fn get(&self, name: &[u8]) -> Option<&Known> {
        self.named.get(name)
    }

    pub(super) fn note_parameters(&mut self, name: &[u8], body: &[u8]) {
        if let Some(known) = self.named.get_mut(name) {
            known.parameters = Some(known.statement.shared(body));
        }
    }

    pub(super) fn note_shape(&mut self, name: &[u8], shape: Shape) {
        if let Some(known) = self.named.get_mut(name) {
            known.shape = Some(shape);
        }
    }

    pub(super) fn insert(&mut self, known: Known) {
        self.named.insert(Arc::clone(&known.name), known);
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Known> {
        self.named.remove(name)
    }

    /// Puts back what was taken out, beside what has come since.
    pub(super) fn put_back(&mut self, taken: Self) {
        for (name, known) in taken.named {
            self.named.entry(name).or_insert(known);
        }
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
    /// The statement's name on the server.
    pub(super) fn name(self) -> Vec<u8> {
        let mut name = Vec::with_capacity(12);
        self.write_name(&mut name);
        name
    }

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

/// A statement on one server connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) number: Number,
    /// When it was parsed there.
    pub(super) since: u64,
    /// What its rows look like there.
    pub(super) shape: Option<Shape>,
    used: u64,
}

impl ServerStatements {
    /// Finds it, and it counts as used now.
    pub(super) fn touch(&mut self, key: StatementKey) -> Option<Prepared> {
        self.tick += 1;
        let prepared = self.prepared.get_mut(&key)?;
        prepared.used = self.tick;
        Some(*prepared)
    }

    /// A new number for a statement that is about to be prepared.
    pub(super) fn add(&mut self, key: StatementKey, since: u64) -> Number {
        let number = self.next_number();
        self.restore(key, Prepared { number, since, shape: None, used: 0 });
        number
    }

    /// A number that no statement has had here.
    pub(super) fn next_number(&mut self) -> Number {
        let number = Number(self.next);
        self.next = self.next.wrapping_add(1);
        number
    }

    /// Puts back what was taken out ahead of a reply that never came.
    pub(super) fn restore(&mut self, key: StatementKey, prepared: Prepared) {
        self.tick += 1;
        self.prepared.insert(key, Prepared { used: self.tick, ..prepared });
    }

    /// What the rows of a statement look like, if it still has `number`.
    pub(super) fn note_shape(&mut self, key: StatementKey, number: Number, shape: Shape) {
        if let Some(prepared) = self.prepared.get_mut(&key).filter(|prepared| prepared.number == number) {
            prepared.shape = Some(shape);
        }
    }

    /// Takes out `key` if it still has `number`.
    pub(super) fn remove(&mut self, key: StatementKey, number: Number) -> Option<Prepared> {
        self.prepared.get(&key).filter(|prepared| prepared.number == number)?;
        self.prepared.remove(&key)
    }

    /// Takes out the least recently used, when there are more than `most` and it was not used after `since`.
    pub(super) fn evict(&mut self, most: usize, since: u64) -> Option<(StatementKey, Prepared)> {
        if self.prepared.len() < most.max(1) {
            return None;
        }
        let (key, prepared) = self.prepared.iter().min_by_key(|(_, prepared)| prepared.used)?;
        let (key, prepared) = (*key, *prepared);
        if prepared.used > since {
            return None;
        }
        self.prepared.remove(&key);
        Some((key, prepared))
    }

    /// Takes out all, numbers go on.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self { next: self.next, tick: self.tick, ..Self::default() })
    }

    /// Puts back what [`Self::take`] took out, beside what has come since.
    pub(super) fn put_back(&mut self, taken: Self) {
        for (key, prepared) in taken.prepared {
            self.prepared.entry(key).or_insert(prepared);
        }
    }

    /// Statements of ours have been there, or may have been.
    pub(super) fn were_used(&self) -> bool {
        self.next > 0
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

    fn keys() -> [StatementKey; 3] {
        [1, 2, 3].map(StatementKey::of_test)
    }

    #[test]
    fn the_least_recently_used_goes_first_but_never_one_of_this_batch() {
        let keys = keys();
        let mut server = ServerStatements::default();
        let numbers: Vec<_> = keys.iter().map(|key| server.add(*key, 0)).collect();
        server.touch(keys[0]);
        let batch = server.tick();
        server.touch(keys[2]);
        let evicted = |server: &mut ServerStatements, most| {
            server.evict(most, batch).map(|(key, prepared)| (key, prepared.number))
        };
        assert_eq!(evicted(&mut server, 3), Some((keys[1], numbers[1])));
        assert_eq!(evicted(&mut server, 2), Some((keys[0], numbers[0])));
        assert_eq!(evicted(&mut server, 1), None, "used in this batch");
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
