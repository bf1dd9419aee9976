//! The monitor sessions: one is kept open to each target, so that the server can be asked even when it is full, and so
//! that a restart is noticed at once. Every failure is a fact.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::reflector::ObjectRef;
use tokio::sync::{Mutex, broadcast, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_postgres::Client;

use crate::api::{PgPooler, Reason};
use crate::plan::backends::Backends;
use crate::plan::facts::{Looked, Server, ServerFact};
use crate::plan::target::Target;

use super::session::{Failure, Session, suits};

/// How old figures may be.
const FRESH: Duration = Duration::from_secs(29);
/// The same on a server on which nothing has changed when it was last looked at.
const CALM: Duration = Duration::from_secs(58);
/// A session that no `PgPooler` has for its target, and that nobody has asked for as long.
const FORGOTTEN: Duration = Duration::from_mins(5);
/// How often such sessions are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// Changes that nobody has fetched yet; who misses one looks again half a minute later.
const CHANGES: usize = 1024;

/// All monitor sessions.
pub struct Sessions {
    monitors: Mutex<Monitors>,
    changed: broadcast::Sender<ObjectRef<PgPooler>>,
}

#[derive(Default)]
struct Monitors {
    by_target: HashMap<Target, Monitor>,
    /// Which target a `PgPooler` has asked for last.
    of: HashMap<Key, Target>,
    swept: Option<Instant>,
}

/// The session to one target; ends with this.
struct Monitor {
    fact: watch::Receiver<ServerFact>,
    users: watch::Sender<BTreeSet<Key>>,
    questions: mpsc::Sender<Question>,
    client: watch::Receiver<Option<Arc<Client>>>,
    task: AbortHandle,
    asked_at: Instant,
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// The server is asked.
    Now,
    /// What the session has seen last will do: it looks every half minute.
    Last,
}

/// To the task of a session.
enum Question {
    Backends(Age, oneshot::Sender<Looked>),
    /// Nothing is asked: the login role's CONNECTION LIMIT is this from now on.
    RoleLimit(Option<u32>, oneshot::Sender<()>),
}

/// Namespace and name.
type Key = (String, String);

impl Drop for Monitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self { monitors: Mutex::default(), changed: broadcast::Sender::new(CHANGES) }
    }
}

impl Sessions {
    /// What the target says; its host must be one that can be resolved from here. Waits for the first answer or failure
    /// only. Cancel-safe.
    pub async fn observe(&self, target: &Target, whom: &ObjectRef<PgPooler>) -> ServerFact {
        let mut fact = self.monitor(target, whom).await;
        // a task that ended says nothing more
        match fact.wait_for(|fact| !matches!(fact, ServerFact::NotAsked)).await {
            Ok(fact) => fact.clone(),
            Err(_) => ServerFact::NotAsked,
        }
    }

    /// All sessions on a server that is observed, as of now; `None`: it cannot be asked. Cancel-safe.
    pub async fn backends(&self, target: &Target) -> Option<Backends> {
        self.looked(target, Age::Now).await.map(|looked| looked.backends)
    }

    /// The same, and when the server was asked. Cancel-safe.
    pub async fn looked(&self, target: &Target, age: Age) -> Option<Looked> {
        let questions = self.monitors.lock().await.by_target.get(target)?.questions.clone();
        let (answer, answered) = oneshot::channel();
        questions.send(Question::Backends(age, answer)).await.ok()?;
        answered.await.ok()
    }

    /// The session to a target that is observed, if it is up.
    pub async fn client(&self, target: &Target) -> Option<Arc<Client>> {
        let client = self.monitors.lock().await.by_target.get(target)?.client.borrow().clone();
        client.filter(|client| !client.is_closed())
    }

    /// The login role's CONNECTION LIMIT is this from now on: what was read before is out of date. Cancel-safe.
    pub async fn role_limit_is(&self, target: &Target, limit: Option<u32>) {
        let monitors = self.monitors.lock().await;
        let Some(questions) = monitors.by_target.get(target).map(|monitor| monitor.questions.clone()) else {
            return;
        };
        drop(monitors);
        let (done, noted) = oneshot::channel();
        // a session that is lost asks again by itself
        if questions.send(Question::RoleLimit(limit, done)).await.is_ok() {
            let _ = noted.await;
        }
    }

    /// Names the `PgPoolers` whose server says something else than before.
    pub fn changes(&self) -> broadcast::Receiver<ObjectRef<PgPooler>> {
        self.changed.subscribe()
    }

    async fn monitor(&self, target: &Target, whom: &ObjectRef<PgPooler>) -> watch::Receiver<ServerFact> {
        let mut monitors = self.monitors.lock().await;
        let key = key_of(whom);
        if monitors.of.get(&key).is_some_and(|last| last != target) {
            monitors.leave(&key);
        }
        let now = Instant::now();
        monitors.sweep(now);
        let Monitors { by_target, of, .. } = &mut *monitors;
        let monitor = by_target
            .entry(target.clone())
            .or_insert_with(|| Monitor::start(target.clone(), self.changed.clone()));
        monitor.asked_at = now;
        if monitor.users.send_if_modified(|users| users.insert(key.clone())) {
            of.insert(key, target.clone());
        }
        monitor.fact.clone()
    }

    /// A `PgPooler` is no more. Cancel-safe.
    pub async fn forget(&self, whom: &ObjectRef<PgPooler>) {
        self.monitors.lock().await.leave(&key_of(whom));
    }
}

fn key_of(whom: &ObjectRef<PgPooler>) -> Key {
    (whom.namespace.clone().unwrap_or_default(), whom.name.clone())
}

impl Monitors {
    /// The `PgPooler` has another target from now on, or none.
    fn leave(&mut self, key: &Key) {
        if let Some(monitor) = self.of.remove(key).and_then(|target| self.by_target.get(&target)) {
            monitor.users.send_if_modified(|users| users.remove(key));
        }
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now - swept < SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.by_target.retain(|_, monitor| {
            let of_use = !monitor.users.borrow().is_empty() || now - monitor.asked_at < FORGOTTEN;
            of_use && !monitor.task.is_finished()
        });
    }
}

impl Monitor {
    fn start(target: Target, changed: broadcast::Sender<ObjectRef<PgPooler>>) -> Self {
        let (says, fact) = watch::channel(ServerFact::NotAsked);
        let (users, used_by) = watch::channel(BTreeSet::new());
        let (questions, asked) = mpsc::channel(1);
        let (up, client) = watch::channel(None);
        let mut work = Work { target, says, up, used_by, changed, asked, last: None };
        let task = tokio::spawn(async move { work.go_on().await }).abort_handle();
        Self { fact, client, users, questions, task, asked_at: Instant::now() }
    }
}

/// What the task of one session works with.
struct Work {
    target: Target,
    says: watch::Sender<ServerFact>,
    /// The session, while it is up.
    up: watch::Sender<Option<Arc<Client>>>,
    used_by: watch::Receiver<BTreeSet<Key>>,
    changed: broadcast::Sender<ObjectRef<PgPooler>>,
    asked: mpsc::Receiver<Question>,
    /// All sessions when they were last looked at.
    last: Option<Looked>,
}

impl Work {
    async fn go_on(&mut self) {
        let (mut failures, mut last) = (0, None);
        loop {
            match Session::open(&self.target).await {
                Ok((session, server)) => {
                    last = None;
                    self.up.send_replace(Some(session.client()));
                    self.say(ServerFact::Seen(server));
                    self.keep(session).await;
                    self.up.send_replace(None);
                }
                Err(Failure { reason, message }) => {
                    self.say(ServerFact::Failed { reason, message });
                    failures = if last == Some(reason) { failures + 1 } else { 0 };
                    last = Some(reason);
                    self.rest(pause(reason, failures)).await;
                }
            }
        }
    }

    /// Until the session is lost, or does not answer.
    async fn keep(&mut self, mut session: Session) {
        // the past is of the server before its restart
        self.last = None;
        self.look(&session).await;
        let mut next = Instant::now() + FRESH;
        loop {
            tokio::select! {
                () = session.lost() => return,
                () = sleep_until(next) => {
                    let asked = std::time::Instant::now();
                    let Ok((server, backends)) = session.look().await else { return };
                    // one that was promoted, or another behind the same name
                    if suits(self.target.role, &server, &self.target.address()).is_err() {
                        return;
                    }
                    self.say(ServerFact::Seen(server));
                    let before = self.remember(Looked { asked, backends });
                    next = Instant::now() + self.after(before.as_ref());
                }
                Some(question) = self.asked.recv() => self.answer(&session, question).await,
            }
        }
    }

    /// Nobody waits for it any more: nothing is lost.
    async fn answer(&mut self, session: &Session, question: Question) {
        match question {
            Question::Backends(age, answer) => {
                let last = self.last.clone().filter(|_| age == Age::Last);
                let looked = match last {
                    Some(last) => Some(last),
                    None => self.look(session).await,
                };
                if let Some(looked) = looked {
                    let _ = answer.send(looked);
                }
            }
            Question::RoleLimit(limit, done) => {
                self.says.send_modify(|fact| {
                    if let ServerFact::Seen(server) = fact {
                        server.role_limit = limit;
                    }
                });
                let _ = done.send(());
            }
        }
    }

    /// Looks at all sessions, and remembers them.
    async fn look(&mut self, session: &Session) -> Option<Looked> {
        let asked = std::time::Instant::now();
        let backends = session.backends().await.ok()?;
        self.remember(Looked { asked, backends });
        self.last.clone()
    }

    /// What was remembered before.
    fn remember(&mut self, looked: Looked) -> Option<Looked> {
        let before = self.last.take();
        let backends = looked.backends.since(before.as_ref().map(|before| &before.backends));
        self.last = Some(Looked { backends, ..looked });
        before
    }

    /// Tells those who want to know that sessions have come or gone; when to look again.
    fn after(&self, before: Option<&Looked>) -> Duration {
        let pair = before.zip(self.last.as_ref());
        if pair.is_some_and(|(before, now)| before.backends.has_those_of(&now.backends)) {
            return CALM;
        }
        self.tell();
        FRESH
    }

    /// Who asks meanwhile hears that nobody knows.
    async fn rest(&mut self, pause: Duration) {
        let over = sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                Some(answer) = self.asked.recv() => drop(answer),
            }
        }
    }

    fn say(&self, fact: ServerFact) {
        let news = is_news(&self.says.borrow(), &fact);
        self.says.send_replace(fact);
        if news {
            self.tell();
        }
    }

    fn tell(&self) {
        for (namespace, name) in self.used_by.borrow().iter() {
            // who does not listen looks again by itself
            let _ = self.changed.send(ObjectRef::new(name).within(namespace));
        }
    }
}

/// Figures that move by themselves are none. The first answer is waited for where it was asked for.
fn is_news(old: &ServerFact, new: &ServerFact) -> bool {
    let steady =
        |server: &Server| Server { of_role: 0, of_others: 0, whose: String::new(), ..server.clone() };
    match (old, new) {
        (ServerFact::NotAsked, _) => false,
        (ServerFact::Seen(old), ServerFact::Seen(new)) => steady(old) != steady(new),
        (ServerFact::Failed { reason: old, .. }, ServerFact::Failed { reason: new, .. }) => old != new,
        _ => true,
    }
}

/// A server that restarts is back in a moment; one that refuses has to be changed by people, and writes each refusal
/// into its log.
fn pause(reason: Reason, failures: u32) -> Duration {
    let (first, longest) = match reason {
        Reason::Unreachable | Reason::NotResolved => (Duration::from_millis(250), Duration::from_secs(2)),
        Reason::TooManyConnections => (Duration::from_secs(1), Duration::from_secs(5)),
        _ => (Duration::from_secs(1), Duration::from_secs(30)),
    };
    (first * 2_u32.pow(failures.min(10))).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_restarts_is_tried_again_soon_and_one_that_refuses_is_not_pestered() {
        let pauses = |reason| (0..12).map(|failures| pause(reason, failures).as_millis()).collect::<Vec<_>>();
        assert_eq!(pauses(Reason::Unreachable)[..5], [250, 500, 1000, 2000, 2000]);
        assert_eq!(pauses(Reason::AuthenticationFailed)[..7], [1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    }

    #[test]
    fn only_what_a_plan_depends_on_is_news() {
        let server = |max_connections, of_role| {
            ServerFact::Seen(Server { max_connections, of_role, ..Server::default() })
        };
        let failed =
            |message: &str| ServerFact::Failed { reason: Reason::Unreachable, message: message.into() };
        assert!(!is_news(&server(100, 3), &server(100, 9)));
        assert!(is_news(&server(100, 3), &server(60, 3)));
        assert!(is_news(&server(100, 3), &failed("a")));
        assert!(!is_news(&failed("a"), &failed("b")));
        assert!(is_news(&failed("a"), &server(100, 3)));
    }
}
