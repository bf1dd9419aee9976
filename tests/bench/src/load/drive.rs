//! What clients do: log in, ask again and again, ask once each, come and go.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{
    Credentials, Errors, Histogram, Request, Target,
    client::{Client, Phase},
    engine::{Engine, Outcome},
};

/// Far above what a login or a reply needs on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// A turn of the engine comes back after this, to look at the clock.
const TURN: Duration = Duration::from_millis(20);

/// What a load has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Right replies, by how long they took.
    pub(crate) latencies: Histogram,
    /// What went wrong.
    pub(crate) errors: Errors,
    /// From the first request to the last reply.
    pub(crate) took: Duration,
}

/// Clients before one target.
#[derive(Debug)]
pub(crate) struct Load {
    engine: Engine,
    outstanding: usize,
}

impl Tally {
    /// Right replies.
    pub(crate) fn done(&self) -> u64 {
        self.latencies.total()
    }

    fn take(&mut self, request: &Request, outcome: Outcome) {
        match outcome {
            Outcome::Replied(reply, since, now) if reply == request.reply => {
                self.latencies.record(now.saturating_duration_since(since));
            }
            Outcome::Replied(reply, ..) if reply.is_error() => self.errors.add("ErrorResponse"),
            Outcome::Replied(..) => self.errors.add("a wrong reply"),
            Outcome::Failed(error) => self.errors.add(&format!("{error:#}")),
            Outcome::Ready => {}
        }
    }
}

impl Load {
    /// Without clients.
    pub(crate) fn new(target: Target, credentials: Credentials) -> Result<Self> {
        Ok(Self { engine: Engine::new(target, credentials)?, outstanding: 0 })
    }

    /// Logs in more clients, so many at once at most; each must succeed.
    pub(crate) fn log_in(&mut self, clients: usize, at_once: usize) -> Result<Duration> {
        let (errors, took) = self.try_log_in(clients, at_once)?;
        ensure!(errors.count() == 0, "logins failed: {errors}");
        Ok(took)
    }

    /// Logs in more clients, so many at once at most; what went wrong, and how long it took.
    pub(crate) fn try_log_in(&mut self, clients: usize, at_once: usize) -> Result<(Errors, Duration)> {
        let began = Instant::now();
        let (mut opened, mut done, mut errors) = (0, 0, Errors::default());
        while done < clients {
            while opened < clients && opened - done < at_once {
                self.engine.open()?;
                opened += 1;
            }
            self.engine.turn(TURN, |_, _, outcome| match outcome {
                Outcome::Ready => done += 1,
                Outcome::Failed(error) => {
                    errors.add(&format!("{error:#}"));
                    done += 1;
                }
                Outcome::Replied(..) => {}
            })?;
            if began.elapsed() > PATIENCE {
                bail!("{done} of {clients} clients were logged in within {PATIENCE:?}");
            }
        }
        Ok((errors, began.elapsed()))
    }

    /// Every client asks again as soon as it has its reply, for this long; the last replies stay under way.
    pub(crate) fn run(&mut self, request: &Request, duration: Duration) -> Result<Tally> {
        let began = Instant::now();
        let mut tally = Tally::default();
        self.ask_all(request, &mut tally);
        while began.elapsed() < duration {
            self.engine.turn(TURN, |_, client, outcome| {
                let replied = matches!(outcome, Outcome::Replied(..));
                tally.take(request, outcome);
                if replied {
                    ask(client, request, &mut tally.errors);
                }
            })?;
        }
        tally.took = began.elapsed();
        Ok(tally)
    }

    /// Waits for the replies that are under way to this request.
    pub(crate) fn settle(&mut self, request: &Request) -> Result<Tally> {
        self.bounded(request, 0)
    }

    /// So many requests in all, from every client that is idle.
    pub(crate) fn bounded(&mut self, request: &Request, requests: u64) -> Result<Tally> {
        let began = Instant::now();
        let (mut tally, mut left) = (Tally::default(), requests);
        self.outstanding = 0;
        for index in 0..self.engine.len() {
            let Some(client) = self.engine.client(index) else { break };
            if matches!(client.phase, Phase::Idle) && left > 0 {
                ask(client, request, &mut tally.errors);
                left -= 1;
            }
            self.outstanding += usize::from(matches!(client.phase, Phase::Waiting(_)));
        }
        while self.outstanding > 0 {
            let outstanding = &mut self.outstanding;
            self.engine.turn(TURN, |_, client, outcome| {
                let replied = matches!(outcome, Outcome::Replied(..));
                tally.take(request, outcome);
                if replied && left > 0 {
                    left -= 1;
                    ask(client, request, &mut tally.errors);
                } else {
                    *outstanding = outstanding.saturating_sub(1);
                }
            })?;
            if began.elapsed() > PATIENCE {
                bail!("{} replies did not come within {PATIENCE:?}", self.outstanding);
            }
        }
        tally.took = began.elapsed();
        Ok(tally)
    }

    /// Every idle client asks once.
    pub(crate) fn each(&mut self, request: &Request) -> Result<Tally> {
        let clients = self.engine.len() as u64;
        self.bounded(request, clients)
    }

    /// So many clients at once log in, ask once, leave and come again, for this long.
    pub(crate) fn churn(&mut self, request: &Request, at_once: usize, duration: Duration) -> Result<Tally> {
        let began = Instant::now();
        let mut tally = Tally::default();
        for _ in 0..at_once {
            self.engine.open()?;
        }
        let mut gone = Vec::new();
        while began.elapsed() < duration {
            self.engine.turn(TURN, |index, client, outcome| {
                if matches!(outcome, Outcome::Ready) {
                    ask(client, request, &mut tally.errors);
                } else {
                    tally.take(request, outcome);
                    gone.push(index);
                }
            })?;
            for index in gone.drain(..) {
                self.engine.reopen(index)?;
            }
        }
        tally.took = began.elapsed();
        self.engine.leave();
        Ok(tally)
    }

    /// Says goodbye to all clients.
    pub(crate) fn leave(&mut self) {
        self.engine.leave();
    }

    fn ask_all(&mut self, request: &Request, tally: &mut Tally) {
        for index in 0..self.engine.len() {
            if let Some(client) = self.engine.client(index)
                && matches!(client.phase, Phase::Idle)
            {
                ask(client, request, &mut tally.errors);
            }
        }
    }
}

fn ask(client: &mut Client, request: &Request, errors: &mut Errors) {
    client.phase = Phase::Waiting(Instant::now());
    if let Err(error) = client.send(&request.bytes) {
        client.phase = Phase::Closed;
        errors.add(&format!("{error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Protocol, *};
    use crate::fake::Fake;

    fn load(fake: &Fake) -> Load {
        Load::new(Target { port: fake.port(), tls: None }, Credentials::new("u", "p", "d")).unwrap()
    }

    #[test]
    fn every_client_asks_as_often_as_it_is_told_and_checks_its_replies() {
        let fake = Fake::start().unwrap();
        let mut load = load(&fake);
        load.log_in(20, 3).unwrap();
        let preparation = Protocol::Prepared.preparation().unwrap();
        assert_eq!(load.each(&preparation).unwrap().done(), 20);
        for protocol in Protocol::ALL {
            let request = protocol.select_1();
            assert_eq!(load.bounded(&request, 105).unwrap().done(), 105);
            assert!(load.run(&request, Duration::from_millis(5)).unwrap().done() > 0);
            load.settle(&request).unwrap();
        }
        let wrong = Request { reply: preparation.reply, ..Protocol::Simple.select_1() };
        let tally = load.each(&wrong).unwrap();
        assert_eq!((tally.done(), tally.errors.to_string().as_str()), (0, "20 x a wrong reply"));
    }

    #[test]
    fn clients_that_come_and_go_get_through_each_time() {
        let fake = Fake::start().unwrap();
        let tally = load(&fake).churn(&Protocol::Simple.select_1(), 4, Duration::from_millis(100)).unwrap();
        assert!(tally.done() > 4, "{}", tally.done());
        assert_eq!(tally.errors, Errors::default());
    }

    #[test]
    fn a_server_that_goes_away_is_an_error_of_every_client() {
        let fake = Fake::start().unwrap();
        let mut load = load(&fake);
        load.log_in(3, 3).unwrap();
        drop(fake);
        let tally = load.each(&Protocol::Simple.select_1()).unwrap();
        assert_eq!((tally.done(), tally.errors.count()), (0, 3));
    }
}
