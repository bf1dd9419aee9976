//! Statement texts, once in memory for all clients of a loop.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, OnceLock};

use siphasher::sip128::{Hasher128, SipHasher13};

use super::edits::Edits;
use super::{Clock, Settings};
use crate::sql::{self, Effect, Marks, Strings};

/// The identity of a statement: a keyed hash of its text and parameter types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatementKey(u128);

#[cfg(test)]
impl StatementKey {
    /// Of no text.
    pub(super) fn of_test(key: u128) -> Self {
        Self(key)
    }
}

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
    /// It has no statement in it.
    is_empty: bool,
    /// Its ParameterDescription when it was first told: mostly that of all its clients.
    parameters: OnceLock<Arc<[u8]>>,
}

impl Statement {
    fn new(key: StatementKey, definition: &[u8], strings: Strings) -> Self {
        let text = text_of(definition);
        let (script, is_empty) = (sql::scan(text, strings), sql::is_empty(text));
        // one Parse, one statement; of several, the server will have none
        let effect = match <[sql::Statement; 1]>::try_from(script.statements) {
            Ok([only]) if only.effect != Effect::Plain => Some(Box::new(only.effect)),
            _ => None,
        };
        Self {
            key,
            definition: definition.into(),
            marks: script.marks,
            effect,
            is_empty,
            parameters: OnceLock::new(),
        }
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
        let (marks, effect, is_empty) = (self.marks, self.effect.clone(), self.is_empty);
        Self { key, definition: definition.into(), marks, effect, is_empty, parameters: OnceLock::new() }
    }

    /// Its text has no statement: it does nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Its text.
    pub(super) fn text(&self) -> &[u8] {
        text_of(&self.definition)
    }

    /// This ParameterDescription, once in memory for all clients that were told the same.
    pub(super) fn shared(&self, parameters: &[u8]) -> Arc<[u8]> {
        let first = self.parameters.get_or_init(|| parameters.into());
        if **first == *parameters { Arc::clone(first) } else { parameters.into() }
    }

    /// Its part of memory, about.
    fn cost(&self) -> usize {
        self.definition.len() + STATEMENT_COST
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
    /// Settings that clients have or had, each once.
    settings: HashSet<Settings>,
    sweep_settings_at: usize,
}

/// Below so many settings nothing is swept at login.
const SETTINGS_FLOOR: usize = 64;

/// Below this many bytes of statements nothing is ever swept.
const SWEEP_FLOOR: usize = 256 * 1024;

/// What a statement costs besides its definition, about.
const STATEMENT_COST: usize = 128;

impl Interner {
    /// `secret` must be random, since it makes collisions (one client running another's statement) infeasible to
    /// construct. It and the clock must be the same in all loops of a process: server connections change loops.
    pub fn new(secret: [u8; 16], clock: Arc<Clock>) -> Self {
        Self {
            secret,
            clock,
            known: HashMap::default(),
            bytes: 0,
            sweep_at: SWEEP_FLOOR,
            settings: HashSet::new(),
            sweep_settings_at: SETTINGS_FLOOR,
        }
    }

    /// These settings, in the place of memory where all who have them keep them.
    pub(super) fn share(&mut self, settings: &Settings) -> Settings {
        if let Some(known) = self.settings.get(settings) {
            return known.clone();
        }
        if self.settings.len() >= self.sweep_settings_at {
            self.sweep_settings();
        }
        self.settings.insert(settings.clone());
        settings.clone()
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
        self.sweep_settings();
    }

    fn sweep_settings(&mut self) {
        self.settings.retain(|known| !known.is_lonely());
        self.sweep_settings_at = SETTINGS_FLOOR.max(self.settings.len() * 2);
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
}
