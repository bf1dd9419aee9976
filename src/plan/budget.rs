//! How many server connections there are to share, what of them is one `PgPooler`'s, and what each of its pods may use
//! without hearing from anybody. `docs/sizing.md` has the same sum in words.

use crate::api;

use super::facts::{Neighbour, Server, Sharing};

/// What a `PgPooler` brings to the sum.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Its `budget`.
    pub spec: &'a api::Budget,
    /// Its `maxReplicas`.
    pub max_replicas: u32,
    /// Role that it logs in as.
    pub role: &'a str,
    /// Database of its target.
    pub database: &'a str,
    /// Floor of the pods that its Deployment makes now.
    pub standing_floor: Option<u32>,
}

/// What the server has for all `PgPoolers` on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// `max_connections`.
    pub max_connections: u32,
    /// Reserved for superusers and for `pg_use_reserved_connections`.
    pub reserved: u32,
    /// The rest.
    pub usable: u32,
    /// Of these not to be had, as refusals have taught.
    pub hidden: u32,
    /// What is left to others: the most that any `PgPooler` on the server asks for, or what others were seen to use.
    pub keep_free: u32,
    /// Most sessions of others at once.
    pub foreign_peak: u32,
    /// What all pods of all `PgPoolers` may hold together.
    pub budget: u32,
}

/// The sum of one `PgPooler`, with every number that it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    /// Of the server.
    pub places: Places,
    /// CONNECTION LIMIT of the login role, where it binds.
    pub role_limit: Option<u32>,
    /// CONNECTION LIMIT of the database, where it binds.
    pub database_limit: Option<u32>,
    /// Most that all its pods may hold together.
    pub cap: u32,
    /// What of it is there when all `PgPoolers` on the server want more; alone it is all.
    pub part: u32,
    /// Pods that the budget bears, at most those that the spec allows; 0: not even one.
    pub max_replicas: u32,
    /// Most pods that can exist at once.
    pub max_pods: u32,
    /// What a pod may hold without hearing from anybody; 0: the budget does not bear one pod.
    pub floor: u32,
    /// The floor if no pod had one yet.
    pub fresh_floor: u32,
}

/// Each `PgPooler` has one session of its operator's on the server, which counts against the limits of role and
/// database too.
const OWN_SESSIONS: u32 = 1;
/// All floors together are this part of the budget at most, or one connection a pod.
const FLOORS: u32 = 10;
/// A floor that pods have already may have become as large a part before it is made anew: a change of the budget alone
/// must not replace pods.
const KEPT_FLOORS: u32 = 5;

/// Most pods that can exist at once: as many as the spec allows, one more during a rolling update, and as many again
/// that still drain.
pub fn max_pods(max_replicas: u32) -> u32 {
    max_replicas.saturating_mul(2).saturating_add(1)
}

/// Reckons the budget. `None`: `serverConnections` or another number is none, which the schema refuses.
pub fn reckon(terms: Terms<'_>, server: &Server, sharing: &Sharing) -> Option<Sum> {
    let spec = terms.spec;
    let weight = u32::try_from(spec.weight).ok()?.max(1);
    let places = places(u32::try_from(spec.keep_free).ok()?, server, sharing);
    let others = || sharing.others.iter();
    let of_role =
        server.role_limit.map(|limit| limited(limit, weight, others().filter(|one| one.role == terms.role)));
    let of_database = server
        .database_limit
        .map(|limit| limited(limit, weight, others().filter(|one| one.database == terms.database)));
    let limits = [of_role, of_database].into_iter().flatten();
    let cap = limits.chain([spec.server_connections.of(places.usable)?, places.budget]).min()?;
    let part = cap.min(portion(places.budget, weight, others()));
    let max_replicas = terms.max_replicas.min(part.saturating_sub(1) / 2);
    let max_pods = max_pods(max_replicas);
    let [fresh_floor, largest] = match max_replicas {
        0 => [0, 0],
        _ => [FLOORS, KEPT_FLOORS].map(|parts| (part / parts / max_pods).max(1)),
    };
    Some(Sum {
        places,
        role_limit: server.role_limit,
        database_limit: server.database_limit,
        cap,
        part,
        max_replicas,
        max_pods,
        floor: terms.standing_floor.filter(|floor| (1..=largest).contains(floor)).unwrap_or(fresh_floor),
        fresh_floor,
    })
}

fn places(keep_free: u32, server: &Server, sharing: &Sharing) -> Places {
    let reserved = server.superuser_reserved.saturating_add(server.reserved);
    let usable = server.max_connections.saturating_sub(reserved);
    let asked = sharing.others.iter().map(|other| other.keep_free).fold(keep_free, u32::max);
    let keep_free = asked.max(sharing.foreign_peak);
    Places {
        max_connections: server.max_connections,
        reserved,
        usable,
        hidden: sharing.hidden,
        keep_free,
        foreign_peak: sharing.foreign_peak,
        budget: usable.saturating_sub(sharing.hidden).saturating_sub(keep_free),
    }
}

/// What a limit that `others` are under too leaves: each operator session has its place, the rest is shared.
fn limited<'a>(limit: u32, weight: u32, others: impl Iterator<Item = &'a Neighbour> + Clone) -> u32 {
    let sessions = OWN_SESSIONS.saturating_mul(others.clone().count() as u32 + 1);
    portion(limit.saturating_sub(sessions), weight, others)
}

fn portion<'a>(total: u32, weight: u32, others: impl Iterator<Item = &'a Neighbour>) -> u32 {
    let all = others.map(|other| u64::from(other.weight.max(1))).sum::<u64>() + u64::from(weight);
    (u64::from(total) * u64::from(weight) / all) as u32
}

impl Sum {
    /// What is set aside for pods that nobody has spoken to: so much for all that may exist.
    pub fn reserve(&self) -> u32 {
        self.floor.saturating_mul(self.max_pods)
    }

    /// What so many pods can use together of `total` while none is on its way: all but the floors of those that could
    /// still come.
    pub fn together(&self, total: u32, pods: u32) -> u32 {
        total.saturating_sub(self.floor.saturating_mul(self.max_pods.saturating_sub(pods)))
    }

    /// What one of so many pods can have while the others are idle and keep their floors.
    pub fn lone(&self, total: u32, pods: u32) -> u32 {
        self.together(total, pods).saturating_sub(self.floor.saturating_mul(pods.saturating_sub(1)))
    }

    /// How the budget came about, for people.
    pub fn explain(&self) -> String {
        use std::fmt::Write as _;
        let Places { max_connections, reserved, usable, hidden, keep_free, budget, .. } = self.places;
        let mut text = format!("max_connections {max_connections} - reserved {reserved} = {usable} usable");
        // writing to a String cannot fail
        if hidden > 0 {
            let _ = write!(text, ", {hidden} of them hidden");
        }
        let _ = write!(text, "; {keep_free} kept free; budget {}", self.cap);
        if self.part < self.cap {
            let _ = write!(text, ", {} of it whatever other PgPoolers need", self.part);
        }
        if self.cap < budget {
            let _ = write!(text, " of {budget}");
        }
        if let Some(limit) = self.role_limit {
            let _ = write!(text, ", role limit {limit}");
        }
        if let Some(limit) = self.database_limit {
            let _ = write!(text, ", database limit {limit}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::Connections;

    fn server(max_connections: u32) -> Server {
        Server { max_connections, superuser_reserved: 3, ..Server::default() }
    }

    fn count(count: i64, keep_free: i32) -> api::Budget {
        api::Budget { server_connections: Connections::Count(count), keep_free, ..api::Budget::default() }
    }

    fn terms(spec: &api::Budget, max_replicas: u32) -> Terms<'_> {
        Terms { spec, max_replicas, role: "app", database: "shop", standing_floor: None }
    }

    fn alone(spec: &api::Budget, max_replicas: u32, server: &Server) -> Sum {
        reckon(terms(spec, max_replicas), server, &Sharing::default()).expect("valid")
    }

    fn neighbour(weight: u32, role: &str) -> Neighbour {
        Neighbour { weight, role: role.into(), keep_free: 10, ..Neighbour::default() }
    }

    #[test]
    fn the_defaults_on_a_default_server() {
        let sum = alone(&api::Budget::default(), 6, &server(100));
        assert_eq!((sum.places.usable, sum.places.budget, sum.cap, sum.part), (97, 87, 77, 77));
        assert_eq!((sum.max_pods, sum.floor, sum.reserve()), (13, 1, 13));
    }

    #[test]
    fn what_is_kept_free_counts_before_the_percentage() {
        let spec = api::Budget { server_connections: Connections::Percent("100%".into()), ..count(1, 40) };
        assert_eq!(alone(&spec, 6, &server(100)).cap, 57);
    }

    #[test]
    fn others_who_use_more_than_is_kept_free_have_it() {
        let sharing = Sharing { foreign_peak: 30, hidden: 5, ..Sharing::default() };
        let sum = reckon(terms(&api::Budget::default(), 6), &server(100), &sharing).expect("valid");
        assert_eq!((sum.places.keep_free, sum.places.budget, sum.cap), (30, 62, 62));
    }

    #[test]
    fn a_limit_of_the_role_leaves_room_for_the_operator() {
        let server = Server { role_limit: Some(20), database_limit: Some(15), ..server(100) };
        assert_eq!(alone(&api::Budget::default(), 3, &server).cap, 14);
    }

    #[test]
    fn pgpoolers_on_one_server_share_by_weight() {
        let sharing = Sharing { others: vec![neighbour(300, "other")], ..Sharing::default() };
        let sum = reckon(terms(&api::Budget::default(), 2), &server(100), &sharing).expect("valid");
        assert_eq!((sum.cap, sum.part, sum.floor), (77, 21, 1));
    }

    #[test]
    fn pgpoolers_that_log_in_as_one_role_share_its_limit() {
        let server = Server { role_limit: Some(42), ..server(100) };
        let sharing =
            Sharing { others: vec![neighbour(100, "app"), neighbour(100, "x")], ..Sharing::default() };
        let sum = reckon(terms(&api::Budget::default(), 2), &server, &sharing).expect("valid");
        assert_eq!((sum.cap, sum.part), (20, 20));
    }

    #[test]
    fn a_small_budget_bears_fewer_pods() {
        let sum = alone(&count(10, 0), 6, &server(100));
        assert_eq!((sum.max_replicas, sum.max_pods, sum.floor), (4, 9, 1));
    }

    #[test]
    fn a_tiny_budget_bears_none() {
        let sum = alone(&api::Budget::default(), 6, &server(14));
        assert_eq!((sum.cap, sum.max_replicas, sum.floor), (1, 0, 0));
    }

    #[test]
    fn a_floor_is_kept_until_all_of_them_are_a_fifth_of_the_budget() {
        let floor = |max_connections, standing| {
            let spec = api::Budget::default();
            let terms = Terms { standing_floor: Some(standing), ..terms(&spec, 2) };
            reckon(terms, &server(max_connections), &Sharing::default()).expect("valid").floor
        };
        assert_eq!(floor(1000, 15), 15, "as if made now");
        assert_eq!(floor(600, 15), 15, "a seventh of the budget");
        assert_eq!(floor(400, 15), 6);
        assert_eq!(floor(5000, 15), 15, "more is no reason to replace pods");
        assert_eq!(floor(100, 0), 1, "pods that nobody limits have none");
    }

    prop_compose! {
        fn any_neighbour()(weight in 1u32..=1000, keep_free in 0u32..200, role in "[ab]", database in "[ab]")
            -> Neighbour {
            Neighbour { name: String::new(), weight, keep_free, role, database }
        }
    }

    proptest! {
        #[test]
        fn the_floors_of_all_pods_of_all_pgpoolers_fit(
            max_connections in 0u32..300_000, reserved in 0u32..200, percent in 1u32..=100, hidden in 0u32..100,
            max_replicas in 1u32..=100, role_limit in prop::option::of(0u32..500), standing in 0u32..100,
            foreign_peak in 0u32..100, all in prop::collection::vec(any_neighbour(), 1..5),
        ) {
            let server = Server { max_connections, reserved, superuser_reserved: 3, role_limit, ..Server::default() };
            let (mut parts, mut floors, mut of_role) = (0, 0, 0);
            for (index, mine) in all.iter().enumerate() {
                let mut others = all.clone();
                others.remove(index);
                let spec = api::Budget {
                    server_connections: Connections::Percent(format!("{percent}%")),
                    keep_free: mine.keep_free as i32,
                    weight: mine.weight as i32,
                    ..api::Budget::default()
                };
                let terms = Terms {
                    spec: &spec, max_replicas, role: &mine.role, database: &mine.database, standing_floor: Some(standing),
                };
                let sum = reckon(terms, &server, &Sharing { others, hidden, foreign_peak, foreign: None }).expect("valid");
                prop_assert!(sum.part <= sum.cap && sum.cap <= sum.places.budget);
                prop_assert!(sum.reserve() <= sum.part);
                prop_assert!(sum.reserve() <= (sum.part / 5).max(sum.max_pods) || sum.floor == 0);
                prop_assert_eq!(sum.floor == 0, sum.part < 3);
                prop_assert!(sum.max_replicas <= max_replicas);
                parts += sum.part;
                floors += sum.reserve();
                of_role += if mine.role == "a" { sum.cap + 1 } else { 0 };
                prop_assert!(parts <= sum.places.budget && floors <= parts);
            }
            prop_assert!(role_limit.is_none_or(|limit| of_role <= limit.max(all.len() as u32)));
        }
    }
}
