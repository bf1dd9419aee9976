//! Whose sessions on the server are: what a pod that is gone may still hold, and what others use.
//!
//! A role without special rights sees of other roles' sessions only that they exist. What is hidden counts against us.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// All sessions of clients on a server, by its own clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backends {
    /// When they were looked at, in seconds since 1970 by the server's clock.
    pub now: f64,
    /// The sessions.
    pub rows: Vec<Backend>,
}

/// One session.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Process on the server.
    pub pid: i32,
    /// Where its client is.
    pub origin: Origin,
    /// Since when it is there.
    pub start: Start,
    /// Whose it is, seen from the login role.
    pub whose: Whose,
    /// Its role, which everybody may see.
    pub role: String,
    /// Since when it runs its query; `None`: it runs none, or that is hidden.
    pub busy_since: Option<f64>,
}

/// Where the client of a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Not to be seen.
    Hidden,
    /// On the server's own machine.
    Local,
    /// There.
    Address(IpAddr),
}

/// Since when a session is there, by the server's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// Since then.
    At(f64),
    /// That is hidden; but it was not there then, when all sessions were looked at.
    After(f64),
    /// That is hidden, and it was there when anybody first looked.
    Unknown,
}

/// Whose a session is, seen from the login role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The operator's own session.
    Operator,
    /// Of the login role.
    Ours,
    /// Of another role.
    Others,
}

impl Backends {
    /// Whether the sessions are the same ones, whatever they are at.
    pub fn has_those_of(&self, other: &Self) -> bool {
        self.rows.len() == other.rows.len() && self.ids() == other.ids()
    }

    fn ids(&self) -> BTreeSet<(i32, &str)> {
        self.rows.iter().map(|row| (row.pid, row.role.as_str())).collect()
    }
}

/// The roles that poolers log in as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roles {
    /// These.
    These(BTreeSet<String>),
    /// Whichever PostgreSQL knows: they are looked up there.
    Any,
}

impl Roles {
    /// These.
    pub fn these<R: Into<String>>(roles: impl IntoIterator<Item = R>) -> Self {
        Self::These(roles.into_iter().map(Into::into).collect())
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::These(mut one), Self::These(other)) => {
                one.extend(other.iter().cloned());
                Self::These(one)
            }
            _ => Self::Any,
        }
    }

    fn has(&self, role: &str) -> bool {
        match self {
            Self::These(roles) => roles.contains(role),
            Self::Any => true,
        }
    }
}

impl Default for Roles {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

/// A pod that is gone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Departed {
    /// Its address.
    pub address: IpAddr,
    /// Since when it certainly is gone, by the server's clock. Its address may be another pod's by then.
    pub gone_at: f64,
}

/// Whether the server sees pods by their own addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// It does, as far as anybody can tell.
    OfPods,
    /// Something between has others: those of nodes or of a proxy.
    Translated,
}

impl Backend {
    fn is_later_than(&self, moment: f64) -> bool {
        match self.start {
            Start::At(start) => start > moment,
            Start::After(absent) => absent >= moment,
            Start::Unknown => false,
        }
    }
}

impl Backends {
    /// Remembers of sessions whose start is hidden when they were first seen; `before` is what was seen last.
    #[must_use]
    pub fn since(mut self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self };
        for row in self.rows.iter_mut().filter(|row| row.start == Start::Unknown) {
            let known = before.rows.iter().find(|known| known.pid == row.pid && known.whose == row.whose);
            row.start = known.map_or(Start::After(before.now), |known| match known.start {
                // the process number is another session's by now, or the rights have changed
                Start::At(_) => Start::Unknown,
                start => start,
            });
        }
        self
    }

    /// Whether the server sees `pods` by their own addresses.
    pub fn addresses(&self, pods: &[IpAddr]) -> Addresses {
        let of_pods =
            |row: &Backend| matches!(row.origin, Origin::Address(address) if pods.contains(&address));
        let elsewhere = |row: &Backend| {
            row.whose == Whose::Ours && matches!(row.origin, Origin::Address(_)) && !of_pods(row)
        };
        if !self.rows.iter().any(of_pods) && self.rows.iter().any(elsewhere) {
            Addresses::Translated
        } else {
            Addresses::OfPods
        }
    }

    /// How many of the sessions could still be of a pod that is gone. Pods log in as `roles` and as nobody else: what
    /// is hidden of other roles' sessions does not matter.
    pub fn could_be_of(&self, departed: &Departed, roles: &Roles, addresses: Addresses) -> u32 {
        let could = |row: &&Backend| {
            let from_there = match (row.origin, addresses) {
                (Origin::Address(address), Addresses::OfPods) => address == departed.address,
                (Origin::Local, Addresses::OfPods) => false,
                (_, Addresses::Translated) | (Origin::Hidden, _) => true,
            };
            let is_pooled = row.whose != Whose::Operator && roles.has(&row.role);
            is_pooled && from_there && !row.is_later_than(departed.gone_at)
        };
        self.rows.iter().filter(could).count() as u32
    }

    /// Sessions of the login role that a process may have left behind which died before anybody knew it. A session whose
    /// client is gone ends as soon as it has nothing to do, so it has been at the same query ever since. `living`: the
    /// addresses of pods with the times when their processes started; elsewhere what counts is `before`, by the server's
    /// clock.
    pub fn left_before(&self, living: &[(IpAddr, f64)], before: f64) -> u32 {
        let left = |row: &&Backend| {
            let Some(since) = row.busy_since.filter(|_| row.whose == Whose::Ours) else { return false };
            let started = living.iter().filter(|(address, _)| row.origin == Origin::Address(*address));
            since < started.map(|(_, started)| *started).next().unwrap_or(before)
        };
        self.rows.iter().filter(left).count() as u32
    }

    /// Sessions that are not of any pooler. Poolers log in as `roles`, their pods have the addresses `pods`, and hold
    /// `held` in all at most. The operator's own do not count.
    pub fn foreign(&self, pods: &[IpAddr], roles: &Roles, held: u32) -> u32 {
        let clients = self.rows.iter().filter(|row| row.whose != Whose::Operator);
        let (fleet, strangers): (Vec<_>, Vec<_>) = clients.partition(|row| roles.has(&row.role));
        let count = |of: &dyn Fn(&Backend) -> bool| fleet.iter().filter(|row| of(row)).count() as u32;
        let maybe = match self.addresses(pods) {
            Addresses::Translated => (fleet.len() as u32).saturating_sub(held),
            Addresses::OfPods => {
                let is_pod =
                    |row: &Backend| matches!(row.origin, Origin::Address(address) if pods.contains(&address));
                let of_pods = count(&is_pod);
                let hidden = count(&|row| row.origin == Origin::Hidden);
                let elsewhere = fleet.len() as u32 - of_pods - hidden;
                // of a pooler with another role: what pods hold beyond what is seen of them is there
                elsewhere + hidden.saturating_sub(held.saturating_sub(of_pods))
            }
        };
        strangers.len() as u32 + maybe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 8));
    const GONE: Departed = Departed { address: POD, gone_at: 100.0 };

    fn row(pid: i32, origin: Origin, start: Start, whose: Whose) -> Backend {
        let role = if whose == Whose::Others { "other" } else { "app" };
        Backend { pid, origin, start, whose, role: role.into(), busy_since: None }
    }

    fn ours(pid: i32, address: IpAddr, start: f64) -> Backend {
        row(pid, Origin::Address(address), Start::At(start), Whose::Ours)
    }

    fn hidden(pid: i32) -> Backend {
        row(pid, Origin::Hidden, Start::Unknown, Whose::Others)
    }

    fn seen(now: f64, rows: &[Backend]) -> Backends {
        Backends { now, rows: rows.to_vec() }
    }

    #[test]
    fn what_came_from_the_pods_address_before_it_went_may_be_its() {
        let rows = [ours(1, POD, 50.0), ours(2, POD, 150.0), ours(3, OTHER, 50.0)];
        let backends = seen(200.0, &rows);
        assert_eq!(backends.could_be_of(&GONE, &Roles::these(["app", "other"]), Addresses::OfPods), 1);
        assert_eq!(
            backends.could_be_of(&GONE, &Roles::these(["app", "other"]), Addresses::Translated),
            2,
            "any address may have been its"
        );
    }

    #[test]
    fn the_operators_own_session_is_nobodys() {
        let own = row(1, Origin::Hidden, Start::Unknown, Whose::Operator);
        assert_eq!(
            seen(200.0, std::slice::from_ref(&own)).could_be_of(
                &GONE,
                &Roles::these(["app", "other"]),
                Addresses::Translated
            ),
            0
        );
        assert_eq!(seen(200.0, &[own]).foreign(&[POD], &Roles::these(["app"]), 0), 0);
    }

    #[test]
    fn what_has_been_busy_since_before_its_process_started_was_left_by_another() {
        let busy = |address, since| Backend { busy_since: Some(since), ..ours(1, address, 1.0) };
        let backends =
            seen(200.0, &[busy(POD, 90.0), busy(POD, 110.0), busy(OTHER, 140.0), ours(4, OTHER, 1.0)]);
        assert_eq!(backends.left_before(&[(POD, 100.0)], 150.0), 2);
        assert_eq!(backends.left_before(&[(POD, 100.0)], 130.0), 1);
    }

    #[test]
    fn what_roles_have_that_no_pooler_has_is_not_its() {
        assert_eq!(
            seen(200.0, &[hidden(1)]).could_be_of(&GONE, &Roles::these(["app"]), Addresses::OfPods),
            0
        );
    }

    #[test]
    fn what_is_hidden_may_be_its_unless_it_was_first_seen_later() {
        let first = seen(90.0, &[hidden(1)]).since(None);
        assert_eq!(first.could_be_of(&GONE, &Roles::these(["app", "other"]), Addresses::OfPods), 1);
        let second = seen(110.0, &[hidden(1), hidden(2)]).since(Some(&first));
        assert_eq!(
            second.could_be_of(&GONE, &Roles::these(["app", "other"]), Addresses::OfPods),
            2,
            "it may have come before the pod went"
        );
        let third = seen(130.0, &[hidden(1), hidden(2), hidden(3)]).since(Some(&second));
        assert_eq!(third.could_be_of(&GONE, &Roles::these(["app", "other"]), Addresses::OfPods), 2);
        let fourth = seen(160.0, &[hidden(3)]).since(Some(&third));
        assert_eq!(fourth.could_be_of(&GONE, &Roles::these(["app", "other"]), Addresses::OfPods), 0);
    }

    #[test]
    fn others_are_those_from_elsewhere() {
        let local = row(4, Origin::Local, Start::At(1.0), Whose::Ours);
        let rows = [ours(1, POD, 1.0), ours(2, POD, 1.0), ours(3, OTHER, 1.0), local, hidden(5), hidden(6)];
        let foreign = |roles: &Roles, held| seen(2.0, &rows).foreign(&[POD], roles, held);
        assert_eq!(foreign(&Roles::these(["app"]), 77), 4, "no pooler has the role of the hidden ones");
        assert_eq!(foreign(&Roles::these(["app", "other"]), 2), 4);
        assert_eq!(foreign(&Roles::these(["app", "other"]), 3), 3, "one of the hidden is a pod's");
        assert_eq!(foreign(&Roles::these(["app", "other"]), 9), 2);
    }

    #[test]
    fn where_addresses_are_of_nodes_others_are_what_pods_do_not_hold() {
        let rows = [ours(1, OTHER, 1.0), ours(2, OTHER, 1.0), hidden(3)];
        assert_eq!(seen(2.0, &rows).addresses(&[POD]), Addresses::Translated);
        assert_eq!(seen(2.0, &rows).foreign(&[POD], &Roles::these(["app"]), 2), 1);
    }

    proptest::proptest! {
        #[test]
        fn a_session_of_the_pod_is_never_overlooked(
            start in 0.0f64..100.0, looks in proptest::collection::vec(0.0f64..300.0, 1..8), shown: bool,
        ) {
            let mut looks = looks;
            looks.sort_by(f64::total_cmp);
            let mut last: Option<Backends> = None;
            for now in looks {
                let row = if shown { ours(1, POD, start) } else { hidden(1) };
                let rows = if now >= start { vec![row] } else { vec![] };
                let backends = seen(now, &rows).since(last.as_ref());
                let expected = u32::from(now >= start);
                proptest::prop_assert_eq!(backends.could_be_of(&GONE, &Roles::these(["app", "other"]), Addresses::OfPods), expected);
                last = Some(backends);
            }
        }
    }
}
