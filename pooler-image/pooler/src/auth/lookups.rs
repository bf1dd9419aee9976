//! Users that PostgreSQL was asked for: who is being asked for now, and what the answers were.
//!
//! Every login asks anew, so that a changed password counts at once. Logins that come while the same user is being
//! asked for share that answer. An older answer stands in only while PostgreSQL cannot answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgpooler_config::{Document, Secret, Target, UserSecret};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{RandomError, User};

/// A database in which a user is looked up, and the user.
pub(crate) type Key = (String, String);

/// Who is asked, and what.
#[derive(Debug, Clone)]
pub(crate) struct LookupRule {
    /// `auth_user`.
    pub(crate) user: Arc<User>,
    /// `auth_query`.
    pub(crate) query: String,
    /// `auth_dbname`; none: the database that the client asks for.
    database: Option<String>,
    /// `auth_query_cache`.
    pub(crate) cache: Duration,
    target: Target,
}

/// What came of a look-up.
#[derive(Debug, Clone)]
pub enum Answer {
    /// There is such a user.
    Found(Arc<User>),
    /// PostgreSQL knows nobody of that name who may log in here.
    Unknown,
    /// It could not be asked.
    Failed,
}

/// All look-ups of a process.
#[derive(Debug)]
pub struct Lookups {
    rule: LookupRule,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<Key, Known>,
    under_way: HashMap<Key, watch::Receiver<Option<Answer>>>,
    usual_iterations: Option<u32>,
    /// Databases that were asked.
    databases: HashMap<String, Database>,
}

/// Databases without an answer that are asked: clients name them before they have proven anything, and each costs a
/// pool.
const STRANGERS: usize = 64;

/// Look-ups that run at once in a database: those who have proven nothing yet must not take the server connections of
/// those who have.
const AT_ONCE: usize = 4;

#[derive(Debug)]
struct Database {
    has_answered: bool,
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
struct Known {
    user: Arc<User>,
    at: Instant,
}

/// What somebody who wants to know a user has to do.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Wait: somebody else is asking.
    Wait(watch::Receiver<Option<Answer>>),
    /// Ask, and wait.
    Begin(Inquiry, watch::Receiver<Option<Answer>>),
    /// Give up: too many databases that do not answer are being asked.
    Never,
}

/// A look-up under way: whoever has it asks PostgreSQL. Dropped without an answer, it has failed.
#[derive(Debug)]
pub(crate) struct Inquiry {
    lookups: Arc<Lookups>,
    key: Key,
    answer: watch::Sender<Option<Answer>>,
}

impl PartialEq for LookupRule {
    /// The same answers can be expected.
    fn eq(&self, other: &Self) -> bool {
        let Self { user, query, database, cache, target } = self;
        Arc::ptr_eq(user, &other.user)
            && (query, database, cache, target)
                == (&other.query, &other.database, &other.cache, &other.target)
    }
}

impl LookupRule {
    /// What a document says; none when nobody is looked up.
    pub(super) fn of(
        users: &HashMap<String, Arc<User>>,
        document: &Document,
    ) -> Result<Option<Self>, RandomError> {
        let name = &document.auth_user;
        if name.is_empty() {
            return Ok(None);
        }
        let user = match users.get(name) {
            Some(user) => Arc::clone(user),
            // good for a server that asks it for no password
            None => Arc::new(User::new(name, &UserSecret::Plain(Secret::new(String::new())))?),
        };
        let database = Some(document.auth_dbname.clone()).filter(|name| !name.is_empty());
        let (query, cache) = (document.auth_query.clone(), document.auth_query_cache.as_duration());
        Ok(Some(Self { user, query, database, cache, target: document.target.clone() }))
    }
}

impl Lookups {
    pub(crate) fn new(rule: LookupRule) -> Self {
        Self { rule, state: Mutex::default() }
    }

    pub(crate) fn rule(&self) -> &LookupRule {
        &self.rule
    }

    /// Where the user of a client is looked up that asks for `database`.
    pub(crate) fn key(&self, database: &str, user: &str) -> Key {
        let database = self.rule.database.as_deref().unwrap_or(database);
        (database.to_owned(), user.to_owned())
    }

    /// The user as last found, however long ago.
    pub(crate) fn known(&self, key: &Key) -> Option<Arc<User>> {
        self.state().known.get(key).map(|known| Arc::clone(&known.user))
    }

    /// The user as last found, if that is good enough for a time when PostgreSQL does not answer.
    pub(crate) fn stand_in(&self, key: &Key, now: Instant) -> Option<Arc<User>> {
        let state = self.state();
        let known = state.known.get(key)?;
        (now.saturating_duration_since(known.at) < self.rule.cache).then(|| Arc::clone(&known.user))
    }

    /// The last answer is not to stand in any more: a proof failed that was compared with it.
    pub(crate) fn forget(&self, key: &Key) {
        self.state().known.remove(key);
    }

    /// Iterations of the verifier that was found last.
    pub(super) fn usual_iterations(&self) -> Option<u32> {
        self.state().usual_iterations
    }

    /// Joins the look-up of a user, or begins one.
    pub(crate) fn ask(self: &Arc<Self>, key: &Key) -> Ask {
        let mut state = self.state();
        // one whose asker has ended without a word has no sender any more
        if let Some(answer) = state.under_way.get(key).filter(|answer| answer.has_changed().is_ok()) {
            return Ask::Wait(answer.clone());
        }
        if !state.may_ask(&key.0) {
            return Ask::Never;
        }
        let (sender, receiver) = watch::channel(None);
        state.under_way.insert(key.clone(), receiver.clone());
        Ask::Begin(Inquiry { lookups: Arc::clone(self), key: key.clone(), answer: sender }, receiver)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // every state is a whole one
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_ask(&mut self, database: &str) -> bool {
        if self.databases.contains_key(database) {
            return true;
        }
        let room = self.databases.values().filter(|known| !known.has_answered).count() < STRANGERS;
        if room {
            let known = Database { has_answered: false, turns: Arc::new(Semaphore::new(AT_ONCE)) };
            self.databases.insert(database.to_owned(), known);
        }
        room
    }
}

impl Inquiry {
    /// Who is looked up, and where.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn rule(&self) -> &LookupRule {
        &self.lookups.rule
    }

    /// Waits until few enough others are asking.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let turns =
            self.lookups.state().databases.get(&self.key.0).map(|database| Arc::clone(&database.turns));
        turns?.acquire_owned().await.ok()
    }

    /// PostgreSQL has answered. A user whose secret is the same as before keeps the keys learnt so far; those of an
    /// old secret go with it.
    pub(crate) fn answered(self, secret: Option<&UserSecret>, now: Instant) -> Result<(), RandomError> {
        let mut state = self.lookups.state();
        if let Some(database) = state.databases.get_mut(&self.key.0) {
            database.has_answered = true;
        }
        let answer = if let Some(secret) = secret {
            let same = state.known.get(&self.key).filter(|known| known.user.has_secret(secret));
            let user = match same {
                Some(known) => Arc::clone(&known.user),
                None => Arc::new(User::new(&self.key.1, secret)?),
            };
            state.usual_iterations = user.iterations().or(state.usual_iterations);
            state.known.insert(self.key.clone(), Known { user: Arc::clone(&user), at: now });
            Answer::Found(user)
        } else {
            state.known.remove(&self.key);
            Answer::Unknown
        };
        drop(state);
        self.answer.send_replace(Some(answer));
        Ok(())
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        self.lookups.state().under_way.remove(&self.key);
        self.answer.send_if_modified(|answer| answer.is_none() && answer.replace(Answer::Failed).is_none());
    }
}

/// Waits for the answer to a look-up. Cancel-safe.
pub(crate) async fn answer(mut receiver: watch::Receiver<Option<Answer>>) -> Answer {
    match receiver.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone().unwrap_or(Answer::Failed),
        Err(_) => Answer::Failed,
    }
}
