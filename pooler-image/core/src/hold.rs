//! While the server is away: since when, and whether clients still wait for it.
//!
//! ```text
//!            a login fails                 `limit` has passed
//! present ------------------> held ------------------------------> refused
//!    ^                         |                                      |
//!    '------ a login succeeds -'--------------------------------------'
//! ```
//!
//! Clients that wait for a server connection wait on while they are held, and hear at once that the server is away when
//! they are refused. Nothing here knows of clients.

use std::time::{Duration, Instant};

use crate::wire::{ErrorResponse, SqlState};

/// Whether logins to the server succeed.
#[derive(Debug, Default)]
pub struct Hold {
    absence: Option<Absence>,
}

/// No login has succeeded since one failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// When the first login failed.
    pub since: Instant,
    /// Which server it is, and why the last login failed.
    pub why: String,
    /// What becomes of clients.
    pub stage: Stage,
}

/// What becomes of clients while the server is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// They wait.
    Held,
    /// They hear at once that it is away.
    Refused,
}

/// A change that others must know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The first login has failed.
    Began {
        /// Why.
        why: String,
    },
    /// Clients are refused from now on.
    Refuses {
        /// How long the server has been away.
        away: Duration,
        /// Why the last login failed.
        why: String,
    },
    /// Clients wait again, since they may for longer.
    HoldsAgain,
    /// The server is back.
    Ended {
        /// How long it was away.
        away: Duration,
    },
}

impl Hold {
    /// What is known of the server's absence; none: it is there.
    pub fn absence(&self) -> Option<&Absence> {
        self.absence.as_ref()
    }

    /// A login has failed because the server is away.
    pub fn failed(&mut self, why: String, now: Instant) -> Option<Change> {
        if let Some(absence) = &mut self.absence {
            absence.why = why;
            return None;
        }
        self.absence = Some(Absence { since: now, why: why.clone(), stage: Stage::Held });
        Some(Change::Began { why })
    }

    /// A login has succeeded, or has failed in a way that shows that the server is there.
    pub fn answered(&mut self, now: Instant) -> Option<Change> {
        self.absence.take().map(|absence| Change::Ended { away: absence.away(now) })
    }

    /// Time has passed, or clients are held for another `limit` (zero: for ever).
    pub fn look(&mut self, limit: Duration, now: Instant) -> Option<Change> {
        let absence = self.absence.as_mut()?;
        let away = absence.away(now);
        let stage = if !limit.is_zero() && away >= limit { Stage::Refused } else { Stage::Held };
        match (std::mem::replace(&mut absence.stage, stage), stage) {
            (Stage::Held, Stage::Refused) => Some(Change::Refuses { away, why: absence.why.clone() }),
            (Stage::Refused, Stage::Held) => Some(Change::HoldsAgain),
            _ => None,
        }
    }
}

impl Absence {
    /// For how long.
    pub fn away(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// What clients are told who do not wait.
    pub fn error(&self, now: Instant) -> ErrorResponse {
        let seconds = self.away(now).as_secs();
        let told = format!("PostgreSQL has not answered for {seconds} seconds: {}", self.why);
        ErrorResponse::error(SqlState::CANNOT_CONNECT_NOW, told)
            .hint("Nothing was sent to it, and it is tried again all the time (server_hold_timeout).")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn clients_are_held_from_the_first_failure_and_refused_when_the_limit_has_passed() {
        let (start, mut hold) = (Instant::now(), Hold::default());
        assert_eq!(hold.look(LIMIT, start), None);
        assert_eq!(hold.failed("refused".into(), start), Some(Change::Began { why: "refused".into() }));
        assert_eq!(hold.failed("no route".into(), start + second(59)), None);
        assert_eq!(hold.look(LIMIT, start + second(59)), None);
        let refuses = Change::Refuses { away: LIMIT, why: "no route".into() };
        assert_eq!(hold.look(LIMIT, start + LIMIT), Some(refuses));
        assert_eq!(hold.look(LIMIT, start + LIMIT), None, "said once");
        let ended = Change::Ended { away: second(75) };
        assert_eq!(hold.answered(start + second(75)), Some(ended));
        assert_eq!(hold.absence(), None);
    }

    #[test]
    fn another_limit_holds_at_once() {
        let (start, mut hold) = (Instant::now(), Hold::default());
        hold.failed("refused".into(), start);
        assert!(matches!(hold.look(second(1), start + second(2)), Some(Change::Refuses { .. })));
        assert_eq!(hold.look(LIMIT, start + second(2)), Some(Change::HoldsAgain));
        assert_eq!(hold.look(Duration::ZERO, start + second(10_000)), None, "zero is for ever");
    }

    #[test]
    fn a_refused_client_hears_which_server_for_how_long_and_why() {
        let (start, mut hold) = (Instant::now(), Hold::default());
        hold.failed("pg-0:5432: connection refused".into(), start);
        let error = hold.absence().unwrap().error(start + second(75));
        let told = String::from_utf8_lossy(&error.to_bytes()).into_owned();
        assert!(told.contains("57P03"), "{told}");
        assert!(told.contains("has not answered for 75 seconds: pg-0:5432: connection refused"), "{told}");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Fail,
        Answer,
        Look,
    }

    proptest! {
        /// Against the sentence itself: refused if and only if the first failure without a success since was that long ago.
        #[test]
        fn refused_is_who_comes_when_no_login_has_succeeded_for_the_limit(
            steps in prop::collection::vec(
                (prop_oneof![Just(Step::Fail), Just(Step::Answer), Just(Step::Look)], 0u64..50), 0..40
            )
        ) {
            let (mut now, mut hold, mut failing) = (Instant::now(), Hold::default(), None);
            for (step, wait) in steps {
                now += second(wait);
                match step {
                    Step::Fail => { hold.failed(String::new(), now); failing = failing.or(Some(now)); }
                    Step::Answer => { hold.answered(now); failing = None; }
                    Step::Look => {}
                }
                hold.look(LIMIT, now);
                let refused = hold.absence().is_some_and(|absence| absence.stage == Stage::Refused);
                prop_assert_eq!(refused, failing.is_some_and(|since| now - since >= LIMIT));
                prop_assert_eq!(hold.absence().is_some(), failing.is_some());
            }
        }
    }
}
