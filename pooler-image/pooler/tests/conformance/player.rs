//! Plays a script: every wait has a deadline, so that nothing hangs.

use std::io::{Read as _, Write as _};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pgpooler_test_support::{Arrival, Login, RawClient, wire};

use super::ground::{direct, server};
use super::rivals::Rivals;
use super::script::{Key, Script, Step};
use super::transcript::{Event, Transcript, comparable};

/// Far above what any step needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Writes up to this size do not wait for a reader.
const SMALL_WRITE: usize = 16 * 1024;

/// Plays a script as clients that log in this way; what they saw, up to the first step that failed.
pub(crate) fn play(script: &Script, login: &Login, rivals: Option<&mut Rivals>) -> Transcript {
    if !script.before.is_empty() {
        RawClient::login(&direct()).unwrap().rows(&script.before).expect("the SQL before a script");
    }
    let mut player = Player { login, peers: Vec::new(), seen: Transcript::new() };
    if let Err(why) = player.run(script, rivals) {
        player.seen.push(why);
    }
    player.seen
}

struct Player<'a> {
    login: &'a Login,
    peers: Vec<Option<Peer>>,
    seen: Transcript,
}

/// One client of a script.
struct Peer {
    client: RawClient,
    /// Out of a transaction, and owed nothing.
    idle: bool,
    writer: Option<JoinHandle<()>>,
}

type Outcome = Result<(), (usize, Event)>;

impl Player<'_> {
    fn run(&mut self, script: &Script, mut rivals: Option<&mut Rivals>) -> Outcome {
        for (number, (who, step)) in script.steps.iter().enumerate() {
            let fail = |why: String| (*who, Event::Failed(format!("step {number}: {why}")));
            self.act(*who, step).map_err(|error| fail(format!("{error:#}")))?;
            if let Some(rivals) = rivals.as_deref_mut() {
                let idle = self.peers.iter().flatten().all(|peer| peer.idle);
                rivals.disturb(idle).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn act(&mut self, who: usize, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Connect => {
                let client = RawClient::connect(self.login.port)?;
                self.put(who, Peer { client, idle: true, writer: None });
            }
            Step::Login(parameters) => self.log_in(who, parameters)?,
            Step::Admin(sql) => drop(server().sql(sql)?),
            Step::AdminUntil(sql) => admin_until(sql)?,
            Step::Pin => {}
            Step::Cancel(key) => self.cancel(who, *key)?,
            Step::Vanish => self.peers[who] = None,
            _ => self.speak(who, step)?,
        }
        Ok(())
    }

    fn put(&mut self, who: usize, peer: Peer) {
        if self.peers.len() <= who {
            self.peers.resize_with(who + 1, || None);
        }
        self.peers[who] = Some(peer);
    }

    fn peer(&mut self, who: usize) -> anyhow::Result<&mut Peer> {
        if self.peers.get(who).is_none_or(Option::is_none) {
            let client = RawClient::login(self.login)?;
            self.put(who, Peer { client, idle: true, writer: None });
        }
        self.peers[who].as_mut().ok_or_else(|| anyhow::anyhow!("no client {who}"))
    }

    fn log_in(&mut self, who: usize, parameters: &[(String, String)]) -> anyhow::Result<()> {
        let login = Login { parameters: parameters.to_vec(), ..self.login.clone() };
        let (client, messages) = RawClient::login_messages(&login)?;
        self.put(who, Peer { client, idle: true, writer: None });
        self.seen.extend(messages.into_iter().map(|message| (who, Event::Message(comparable(message)))));
        Ok(())
    }

    fn speak(&mut self, who: usize, step: &Step) -> anyhow::Result<()> {
        let password = self.login.password.clone();
        let mut events = Vec::new();
        let peer = self.peer(who)?;
        let outcome = peer.speak(step, &password, &mut events);
        let gone = matches!(step, Step::Leave);
        self.seen.extend(events.into_iter().map(|event| (who, event)));
        if gone {
            self.peers[who] = None;
        }
        outcome
    }

    fn cancel(&mut self, who: usize, key: Key) -> anyhow::Result<()> {
        let port = self.login.port;
        let known = self.peer(who)?.client.backend_key.clone();
        let (mut pid, mut secret) = known.ok_or_else(|| anyhow::anyhow!("no BackendKeyData"))?;
        match key {
            Key::Right => {}
            Key::Wrong => secret.iter_mut().for_each(|byte| *byte ^= 1),
            Key::Long => secret.extend([0; 4]),
            Key::Stranger => pid = 0x7fff_fffe,
        }
        let mut request = RawClient::connect(port)?;
        request.send(&wire::cancel_request(pid, &secret))?;
        let answer = request.read_to_end()?;
        anyhow::ensure!(answer.is_empty(), "a request to cancel was answered: {}", answer.escape_ascii());
        Ok(())
    }
}

impl Peer {
    fn speak(&mut self, step: &Step, password: &str, events: &mut Vec<Event>) -> anyhow::Result<()> {
        match step {
            Step::Send(bytes) => self.send(bytes),
            Step::Pieces(bytes, size, pause) => bytes.chunks(*size).try_for_each(|piece| {
                self.send(piece)?;
                thread::sleep(*pause);
                Ok(())
            }),
            Step::Ready(count) => (0..*count).try_for_each(|_| self.until(b'Z', events)),
            Step::Until(tag) => self.until(*tag, events),
            Step::Authenticate => self.authenticate(password, events),
            Step::Byte => self.byte(events),
            Step::Closed => self.closed(events),
            Step::Silence(time) => self.silence(*time, events),
            Step::HalfClose => self.client.half_close(),
            Step::Leave => {
                self.send(&wire::terminate())?;
                self.closed(events)
            }
            _ => anyhow::bail!("not a step of a client: {step:?}"),
        }
    }

    /// Does not wait for a reader: a server may answer the beginning before it takes the rest.
    fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.idle = false;
        self.finish_writing()?;
        let mut stream = self.client.stream().try_clone()?;
        stream.set_write_timeout(Some(PATIENCE))?;
        if bytes.len() <= SMALL_WRITE {
            // what a server that has hung up does not take is not missed: what it said before is compared
            let _ = stream.write_all(bytes);
            return Ok(());
        }
        let bytes = bytes.to_vec();
        self.writer = Some(thread::spawn(move || drop(stream.write_all(&bytes))));
        Ok(())
    }

    fn finish_writing(&mut self) -> anyhow::Result<()> {
        match self.writer.take().map(JoinHandle::join) {
            Some(Err(_)) => anyhow::bail!("a write panicked"),
            _ => Ok(()),
        }
    }

    fn until(&mut self, tag: u8, events: &mut Vec<Event>) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.next(deadline, events)? {
                Some(found) if found == tag => return Ok(()),
                Some(_) => {}
                None => anyhow::bail!("the connection ended before {}", char::from(tag)),
            }
        }
    }

    /// The tag of the next message, which is noted.
    fn next(&mut self, deadline: Instant, events: &mut Vec<Event>) -> anyhow::Result<Option<u8>> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.client.arrival(left)? {
            Arrival::Message(message) => {
                let tag = message.tag;
                if tag == b'Z' {
                    self.idle = message.body == b"I";
                }
                events.push(Event::Message(comparable(message)));
                Ok(Some(tag))
            }
            Arrival::Closed => {
                self.idle = true;
                events.push(Event::Closed);
                Ok(None)
            }
            Arrival::Nothing => anyhow::bail!("nothing came for {PATIENCE:?}"),
        }
    }

    fn authenticate(&mut self, password: &str, events: &mut Vec<Event>) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.client.arrival(left)? {
                Arrival::Message(message) => {
                    self.client.follow_login(password, &message)?;
                    let last = matches!(message.tag, b'Z' | b'E');
                    self.idle = message.tag == b'Z';
                    events.push(Event::Message(comparable(message)));
                    if last {
                        return Ok(());
                    }
                }
                Arrival::Closed => {
                    events.push(Event::Closed);
                    return Ok(());
                }
                Arrival::Nothing => anyhow::bail!("nothing came for {PATIENCE:?}"),
            }
        }
    }

    fn byte(&mut self, events: &mut Vec<Event>) -> anyhow::Result<()> {
        let mut byte = [0];
        self.client.stream().read_exact(&mut byte)?;
        events.push(Event::Byte(byte[0]));
        Ok(())
    }

    fn closed(&mut self, events: &mut Vec<Event>) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.next(deadline, events)?.is_some() {}
        Ok(())
    }

    fn silence(&mut self, time: Duration, events: &mut Vec<Event>) -> anyhow::Result<()> {
        match self.client.arrival(time)? {
            Arrival::Nothing => {
                events.push(Event::Silence);
                Ok(())
            }
            Arrival::Message(message) => {
                events.push(Event::Message(comparable(message)));
                anyhow::bail!("something came that should not")
            }
            Arrival::Closed => {
                events.push(Event::Closed);
                Ok(())
            }
        }
    }
}

fn admin_until(sql: &str) -> anyhow::Result<()> {
    let mut admin = RawClient::login(&server().superuser())?;
    let deadline = Instant::now() + PATIENCE;
    while admin.rows(sql)?.concat().first().is_none_or(|value| value != "t") {
        anyhow::ensure!(Instant::now() < deadline, "never true: {sql}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
