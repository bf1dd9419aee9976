//! Clients that leave while the process stays, or before its deadline: those that do not notice.
//!
//! A client leaves as the answer to its own test whether the connection is there ([`Worker::parts_on_test`]), or when it
//! has been silent for long enough behind the end of what it was about. Others are served as ever.

use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pgpooler_core::drain::{Application, Way, interval};
use pgpooler_core::pool::ClientId;
use pgpooler_core::session::Liveness;

use crate::event_loop::buffers::poll_read;
use crate::event_loop::client::{ClientConn, ClientShared};
use crate::event_loop::seat::Sitter;
use crate::event_loop::worker::Worker;
use crate::process::Party;
use crate::reactor::sleep;

/// How often clients are counted and looked at for their silence.
const ROUND: Duration = Duration::from_millis(200);

/// Between two looks whose turn it is, at least and at most.
const TICKS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// What a client has to say.
pub(super) enum Heard {
    /// Nothing, or the beginning of what may be a test.
    Nothing,
    /// A test whether the connection is there.
    Test,
    /// Something that is to be done.
    Other,
    /// It has left.
    End,
}

/// The clients of one party on this loop.
#[derive(Debug, Default)]
struct Group {
    clients: u32,
    silent: Vec<ClientId>,
}

/// Lets clients go one after the other, until none is to leave any more.
pub(crate) async fn run(worker: Rc<Worker>) {
    while worker.process.is_parting() && !worker.is_leaving() {
        let began = Instant::now();
        let mut groups = worker.look_around(began);
        let tick = worker.tick(&groups, began);
        while began.elapsed() < ROUND && !worker.is_leaving() {
            for (party, group) in &mut groups {
                worker.let_silent_go(party, group);
            }
            sleep(tick).await;
        }
    }
    worker.process.forget_parties(worker.me);
    worker.parting.set(false);
}

impl Worker {
    /// Who is there, and who is silent.
    fn look_around(&self, now: Instant) -> HashMap<Party, Group> {
        let limit = self.drain_idle_timeout();
        let mut groups: HashMap<Party, Group> = HashMap::new();
        for client in self.clients() {
            let group = groups.entry(self.party(&client)).or_default();
            group.clients += 1;
            let is_silent = |sitter: Option<&Sitter>| {
                limit.zip(sitter).is_some_and(|(limit, sitter)| sitter.has_been_silent(limit, now))
            };
            if self.with_sitter(client.slot, is_silent) {
                group.silent.push(client.slot);
            }
        }
        let counts = groups.iter().map(|(party, group)| (party.clone(), group.clients)).collect();
        self.process.note_parties(self.me, counts, now);
        groups
    }

    /// Often enough for those who have least time.
    fn tick(&self, groups: &HashMap<Party, Group>, now: Instant) -> Duration {
        let left = self.process.time_to_part(now);
        let most = groups.values().map(|group| group.clients).max().unwrap_or_default();
        (interval(most, left) / 2).clamp(TICKS.0, TICKS.1)
    }

    /// The next of a party whose clients are silent, if it is somebody's turn.
    fn let_silent_go(self: &Rc<Self>, party: &Party, group: &mut Group) {
        let Some(limit) = self.drain_idle_timeout() else { return };
        while let Some(slot) = group.silent.last() {
            match self.part_with_silent(*slot, party, limit) {
                Silence::Kept => return,
                Silence::Gone => {
                    group.silent.pop();
                    return;
                }
                Silence::Broken => group.silent.pop(),
            };
        }
    }

    fn part_with_silent(self: &Rc<Self>, slot: ClientId, party: &Party, limit: Duration) -> Silence {
        let now = Instant::now();
        let Some(sitter) = self.stand_up(slot) else { return Silence::Broken };
        let is_silent = sitter.has_been_silent(limit, now);
        // the last look: what it has sent by now is done first
        if !is_silent || sitter.has_something_to_say() {
            self.put_back(slot, sitter);
            return Silence::Broken;
        }
        if !self.process.lets_go(party, Way::Silence, now) {
            self.put_back(slot, sitter);
            return Silence::Kept;
        }
        self.part_with(*sitter, Way::Silence);
        Silence::Gone
    }

    fn drain_idle_timeout(&self) -> Option<Duration> {
        self.current.borrow().loaded.document.drain_idle_timeout.unless_zero()
    }

    /// Whether a client that has tested its connection may be closed for it, now.
    pub(super) fn parts_on_test(&self, client: &ClientConn) -> bool {
        let application = application(client);
        let party = Party { application, address: client.shared.peer().ip() };
        self.process.lets_go(&party, Way::LivenessTest, Instant::now())
    }

    fn party(&self, client: &ClientShared) -> Party {
        let application = Application {
            name: self.application_name(client),
            database: client.pool.database.clone(),
            user: client.pool.user_name.clone(),
        };
        Party { application, address: client.peer().ip() }
    }

    /// Counts a client that has left, while clients are to leave.
    pub(super) fn note_departure(&self, shared: &ClientShared, name: &str) {
        if !self.parting.get() && !self.is_leaving() {
            return;
        }
        let way = shared.way.get().unwrap_or(Way::Own);
        let (database, user) = (shared.pool.database.clone(), shared.pool.user_name.clone());
        self.process.note_departure(&Application { name: name.to_owned(), database, user }, way);
    }

    /// The clients whose statements are cancelled leave for that.
    pub(super) fn note_cancelled(&self, links: &HashSet<u64>) {
        self.look_at_clients(|client| {
            if links.contains(&client.id) {
                client.way.set(Some(Way::Cancelled));
            }
        });
    }

    /// Those that are here when the loop ends are waited for no more.
    pub(super) fn give_up(&self) {
        for client in self.clients() {
            client.way.set(Some(Way::Cancelled));
            self.note_departure(&client, &self.application_name(&client));
        }
    }
}

/// What became of a client that was silent.
enum Silence {
    /// It is not its turn.
    Kept,
    Gone,
    /// It is silent no more.
    Broken,
}

fn application(client: &ClientConn) -> Application {
    Application {
        name: client.application_name().to_owned(),
        database: client.shared.pool.database.clone(),
        user: client.shared.pool.user_name.clone(),
    }
}

impl ClientConn {
    /// How it calls its application.
    pub(super) fn application_name(&self) -> &str {
        let own = self.session.settings().get("application_name");
        own.or(self.shared.application_name.as_deref()).unwrap_or_default()
    }

    /// Reads what the client has sent, outside of a transaction and owed nothing, and says what it is. What is to be done
    /// is in its carry then, for whoever does it.
    pub(super) fn hear(&mut self, worker: &Worker) -> io::Result<Heard> {
        let mut cx = Context::from_waker(Waker::noop());
        let read = &mut worker.scratch.borrow_mut().read;
        let (mut is_new, mut is_closed) = (self.carry.is_unseen(), false);
        while let Poll::Ready(length) = poll_read(&mut self.stream, &mut cx, read) {
            let bytes = read.get(..length?).unwrap_or_default();
            is_closed = bytes.is_empty();
            is_new |= !is_closed;
            // what is more than a test is not read on
            if is_closed || Liveness::of(&self.session, self.carry.take_in(bytes)) == Liveness::Other {
                break;
            }
        }
        if !is_new {
            return Ok(if is_closed { Heard::End } else { Heard::Nothing });
        }
        let heard = match Liveness::of(&self.session, self.carry.take_in(&[])) {
            Liveness::Unfinished if !is_closed => return Ok(Heard::Nothing),
            Liveness::Test if !is_closed => Heard::Test,
            _ => Heard::Other,
        };
        self.carry.reread();
        Ok(heard)
    }
}
