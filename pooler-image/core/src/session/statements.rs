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
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::script::Edits;
use super::shape::Shape;
use super::{Clock, Settings};
use crate::sql::{self, Effect, Marks, Strings};

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
    /// What its text may do to a session.
    pub(super) marks: Marks,
    /// What it does for certain, when it is not just a statement.
    pub(super) effect: Option<Box<Effect>>,
}

impl Statement {
    fn new(key: StatementKey, definition: &[u8], strings: Strings) -> Self {
        let script = sql::scan(text_of(definition), strings);
        // one Parse, one statement; of several, the server will have none
        let effect = match <[sql::Statement; 1]>::try_from(script.statements) {
            Ok([only]) if only.effect != Effect::Plain => Some(Box::new(only.effect)),
            _ => None,
        };
        Self { key, definition: definition.into(), marks: script.marks, effect }
    }

    /// The same with another text; no other client's Parse can give it.
    pub(super) fn changed(&self, edits: &mut Edits) -> Self {
        let mut definition = Vec::with_capacity(self.definition.len() + 16);
        let text = self.text();
        edits.apply(text, &mut definition);
        definition.extend_from_slice(self.definition.get(text.len()..).unwrap_or_default());
        let mut hasher = SipHasher13::new();
        hasher.write(&definition);
        let key = StatementKey(self.key.0 ^ hasher.finish128().as_u128());
        Self { key, definition: definition.into(), marks: self.marks, effect: self.effect.clone() }
    }

    /// Its text.
    pub(super) fn text(&self) -> &[u8] {
        text_of(&self.definition)
    }

    /// What it does is seen at Execute.
    pub(super) fn acts(&self) -> bool {
        self.effect.is_some() || self.marks.contains(Marks::SEQUENCE_READ)
    }
}

/// The query text in what follows the name in a Parse.
pub(super) fn text_of(definition: &[u8]) -> &[u8] {
    definition.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// One statement text in memory once per loop, however many clients prepared it.
#[derive(Debug)]
pub struct Interner {
    secret: [u8; 16],
    clock: Arc<Clock>,
    known: HashMap<StatementKey, Arc<Statement>, BuildHasherDefault<KeyHasher>>,
    bytes: usize,
    sweep_at: usize,
}

/// Below this many bytes of statements nothing is ever swept.
const SWEEP_FLOOR: usize = 256 * 1024;

/// What a statement costs besides its definition, about.
const STATEMENT_COST: usize = 128;

impl Interner {
    /// `secret` must be random, since it makes collisions (one client running another's statement) infeasible to
    /// construct. It and the clock must be the same in all loops of a process: server connections change loops.
    pub fn new(secret: [u8; 16], clock: Arc<Clock>) -> Self {
        Self { secret, clock, known: HashMap::default(), bytes: 0, sweep_at: SWEEP_FLOOR }
    }

    /// The statement with this definition (all of Parse behind the name), parsed under these settings.
    pub(super) fn intern(
        &mut self,
        definition: &[u8],
        settings: &Settings,
        strings: Strings,
    ) -> Arc<Statement> {
        let key = self.key(definition, settings);
        if let Some(known) = self.known.get(&key) {
            return Arc::clone(known);
        }
        if self.bytes >= self.sweep_at {
            self.sweep();
            self.sweep_at = SWEEP_FLOOR.max(self.bytes * 2);
        }
        let statement = Arc::new(Statement::new(key, definition, strings));
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

    /// The process's clock.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn key(&self, definition: &[u8], settings: &Settings) -> StatementKey {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        hasher.write(definition);
        if !settings.is_empty() {
            let mut context = Vec::new();
            settings.context(&mut context);
            hasher.write_usize(definition.len());
            hasher.write(&context);
        }
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

    fn interner() -> Interner {
        Interner::new([7; 16], Arc::default())
    }

    fn intern(interner: &mut Interner, definition: &[u8]) -> Arc<Statement> {
        interner.intern(definition, &Settings::default(), Strings::Standard)
    }

    #[test]
    fn the_same_text_is_one_statement_and_another_is_another() {
        let mut interner = interner();
        let a = intern(&mut interner, b"select 1\0\0\0");
        let b = intern(&mut interner, b"select 1\0\0\0");
        let c = intern(&mut interner, b"select 2\0\0\0");
        assert!(Arc::ptr_eq(&a, &b));
        assert_ne!(a.key, c.key);
    }

    #[test]
    fn the_same_text_under_other_settings_is_another_statement() {
        let mut interner = interner();
        let mut key = |name: &str, value: &str| {
            let settings = Settings::new([(name.to_owned(), value.to_owned())]);
            interner.intern(b"select 1\0\0\0", &settings, Strings::Standard).key
        };
        let plain = key("application_name", "x");
        assert_eq!(key("application_name", "y"), plain);
        assert_ne!(key("search_path", "a"), plain);
        assert_ne!(key("search_path", "a"), key("search_path", "b"));
    }

    #[test]
    fn statements_nobody_holds_are_swept_in_the_end() {
        let mut interner = interner();
        let held = intern(&mut interner, b"held");
        for n in 0..SWEEP_FLOOR / 10 {
            drop(intern(&mut interner, n.to_string().as_bytes()));
        }
        assert!(interner.bytes <= SWEEP_FLOOR + 2 * STATEMENT_COST);
        drop(intern(&mut interner, &vec![0; 2 * SWEEP_FLOOR]));
        interner.trim();
        assert_eq!(interner.known.len(), 1);
        assert!(Arc::ptr_eq(&held, &intern(&mut interner, b"held")));
    }

    #[test]
    fn the_least_recently_used_goes_first_but_never_one_of_this_batch() {
        let mut interner = interner();
        let keys: Vec<_> = (0..3).map(|n| intern(&mut interner, &[n]).key).collect();
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
