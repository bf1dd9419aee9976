//! Whether the server is there, which one it is, and what becomes of clients while it is away.
//!
//! All loops share this: one that sees a login fail or succeed lets the others know.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pgpooler_config::{Target, TargetRole};
use pgpooler_core::hold::{Change, Hold, Stage};
use pgpooler_core::pool::{LoopId, PoolId};
use pgpooler_core::route::Route;
use pgpooler_core::wire::ErrorResponse;
use tracing::{info, warn};

use super::{Mail, Process};
use crate::connect::{ConnectError, ServerLogin};
use crate::report::{AbsenceReport, PresenceReport};

/// After a connection was lost, those that lie idle are not looked at again for so long: many end at once.
const DOUBT_PERIOD: Duration = Duration::from_millis(200);

/// The process's view of the server.
#[derive(Debug, Default)]
pub(super) struct Presence {
    known: Mutex<Known>,
    /// Of the hold, for loops to look at without the lock.
    stage: AtomicU8,
    holds: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    hold: Hold,
    route: Route,
    /// Where the last login succeeded.
    seen: Option<Seen>,
    /// Whose login failed last: it tries again while nobody waits.
    prober: Option<(LoopId, PoolId)>,
    doubted: Option<(SocketAddr, Instant)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    host: String,
    port: u16,
    address: SocketAddr,
    in_recovery: Option<bool>,
}

const PRESENT: u8 = 0;
const HELD: u8 = 1;
const REFUSED: u8 = 2;

impl Presence {
    fn known<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = act(&mut known);
        let stage = match known.hold.absence().map(|absence| absence.stage) {
            None => PRESENT,
            Some(Stage::Held) => HELD,
            Some(Stage::Refused) => REFUSED,
        };
        // a loop that sees an old value has its janitor look again
        self.stage.store(stage, Ordering::Relaxed);
        outcome
    }

    fn stage(&self) -> u8 {
        self.stage.load(Ordering::Relaxed)
    }
}

impl Process {
    /// Where the next login goes.
    pub(crate) fn route(&self) -> Route {
        self.presence.known(|known| known.route)
    }

    /// No login succeeds.
    pub(crate) fn is_server_away(&self) -> bool {
        self.presence.stage() != PRESENT
    }

    /// No login has succeeded for so long that nobody waits for one.
    pub(crate) fn refuses_for_server(&self) -> bool {
        self.presence.stage() == REFUSED
    }

    /// What a client is told then; none: the server is back.
    pub(crate) fn absence(&self, now: Instant) -> Option<ErrorResponse> {
        let told = |known: &mut Known| {
            let absence = known.hold.absence().filter(|absence| absence.stage == Stage::Refused);
            absence.map(|absence| absence.error(now))
        };
        self.presence.known(told)
    }

    /// So many were told.
    pub(crate) fn note_refused_for_server(&self, clients: usize) {
        self.presence.refused.fetch_add(clients as u64, Ordering::Relaxed);
    }

    /// A login has succeeded.
    pub(crate) fn server_answered(&self, target: &Target, login: &ServerLogin) {
        let now = Instant::now();
        let (place, address) = (login.spot.place, login.spot.address);
        let named = target.places().nth(place);
        let seen = named.map(|(host, port)| Seen {
            host: host.to_owned(),
            port,
            address,
            in_recovery: login.in_recovery,
        });
        let (change, moved) = self.presence.known(|known| {
            let moved = known.route.succeeded(place, address);
            known.seen = seen;
            (known.hold.answered(now), moved)
        });
        if moved {
            info!(%address, "logins to PostgreSQL succeed at another address");
            self.forget_welcomes();
            // only one can be the primary
            if target.role == TargetRole::Primary {
                self.tell_all(|| Mail::Moved(address));
            }
        }
        self.react(change);
    }

    /// A login has failed, of a pool that can try again by itself, or of another.
    pub(crate) fn server_failed(&self, target: &Target, error: &ConnectError, of: Option<(LoopId, PoolId)>) {
        let now = Instant::now();
        let change = self.presence.known(|known| {
            if let Some(stuck) = error.stuck {
                known.route.got_stuck(stuck.place, stuck.address);
            }
            if error.kind.is_loss() {
                known.prober = of.or(known.prober);
                known.hold.failed(error.told.clients.clone(), now)
            } else if target.role == TargetRole::Any {
                // whatever it says: it is there
                known.hold.answered(now)
            } else {
                None
            }
        });
        self.react(change);
    }

    /// A connection of this loop to this address has ended without being asked to. Whether those that lie idle are to be
    /// doubted for it; the other loops hear of it.
    pub(crate) fn connection_lost(&self, address: SocketAddr, me: LoopId) -> bool {
        let now = Instant::now();
        let fresh = self.presence.known(|known| {
            let recent = |(of, at): &(SocketAddr, Instant)| {
                *of == address && now.saturating_duration_since(*at) < DOUBT_PERIOD
            };
            let fresh = !known.doubted.as_ref().is_some_and(recent);
            if fresh {
                known.doubted = Some((address, now));
            }
            fresh
        });
        if fresh {
            self.tell_others(me, || Mail::Doubt(Some(address)));
        }
        fresh
    }

    /// Time has passed: clients may have been held for long enough.
    pub(crate) fn look_at_hold(&self, now: Instant) {
        if self.is_server_away() {
            let limit = self.current().loaded.document.server_hold_timeout.as_duration();
            let change = self.presence.known(|known| known.hold.look(limit, now));
            self.react(change);
        }
    }

    /// The pool of this loop that is to see whether a login succeeds.
    pub(crate) fn prober_on(&self, me: LoopId) -> Option<PoolId> {
        if !self.is_server_away() {
            return None;
        }
        self.presence.known(|known| known.prober).filter(|(on, _)| *on == me).map(|(_, pool)| pool)
    }

    /// The document names others: nothing is known of them.
    pub(super) fn forget_target(&self) {
        let now = Instant::now();
        let change = self.presence.known(|known| {
            let change = known.hold.answered(now);
            *known = Known::default();
            change
        });
        if change.is_some() {
            info!("the target was changed: clients wait for the new one");
        }
        self.server_lost();
    }

    pub(super) fn server_report(&self) -> PresenceReport {
        let now = Instant::now();
        let role = |standby| if standby { TargetRole::Standby } else { TargetRole::Primary };
        let (seen, absence) = self.presence.known(|known| {
            let absence = known.hold.absence().map(|absence| AbsenceReport {
                away: absence.away(now),
                refuses: absence.stage == Stage::Refused,
                why: absence.why.clone(),
            });
            (known.seen.clone(), absence)
        });
        PresenceReport {
            address: seen.as_ref().map(|seen| seen.address),
            role: seen.as_ref().and_then(|seen| seen.in_recovery).map(role),
            host: seen.map(|seen| (seen.host, seen.port)),
            absence,
            holds: self.presence.holds.load(Ordering::Relaxed),
            refused: self.presence.refused.load(Ordering::Relaxed),
        }
    }

    fn react(&self, change: Option<Change>) {
        match change {
            None => {}
            Some(Change::Began { why }) => {
                self.presence.holds.fetch_add(1, Ordering::Relaxed);
                warn!(%why, "PostgreSQL does not answer: clients are held");
                self.tell_all(|| Mail::Doubt(None));
            }
            Some(Change::Refuses { away, why }) => {
                warn!(seconds = away.as_secs(), %why, "PostgreSQL has not answered for too long: clients are refused");
            }
            Some(Change::HoldsAgain) => info!("clients are held again, for longer (server_hold_timeout)"),
            Some(Change::Ended { away }) => {
                info!(milliseconds = away.as_millis() as u64, "PostgreSQL answers again: clients go on");
                self.forget_welcomes();
                self.tell_all(|| Mail::Back);
            }
        }
    }
}
