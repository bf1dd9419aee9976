//! How many server connections there are to share, and each pod's part of them.

use crate::api;

use super::facts::Server;

/// The sum, with every number that it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    /// `max_connections`.
    pub max_connections: u32,
    /// Reserved for superusers and for `pg_use_reserved_connections`.
    pub reserved: u32,
    /// The rest.
    pub usable: u32,
    /// What the spec leaves to others.
    pub keep_free: u32,
    /// CONNECTION LIMIT of the login role, where it binds.
    pub role_limit: Option<u32>,
    /// CONNECTION LIMIT of the database, where it binds.
    pub database_limit: Option<u32>,
    /// What all pods may hold together.
    pub budget: u32,
    /// Pods that the budget bears, at most those that the spec allows; 0: not even one.
    pub max_replicas: u32,
    /// Most pods that can exist at once.
    pub max_pods: u32,
    /// What one pod may hold; 0: the budget does not bear one pod.
    pub share: u32,
}

/// The operator's own session counts against the limits of role and database too.
const OWN_SESSIONS: u32 = 1;

/// Most pods that can exist at once: as many as the spec allows, one more during a rolling update, and as many again
/// that still drain.
pub fn max_pods(max_replicas: u32) -> u32 {
    2 * max_replicas + 1
}

/// Reckons the budget. `None`: `serverConnections` is no number, which the schema refuses.
pub fn reckon(spec: &api::Budget, max_replicas: u32, server: &Server) -> Option<Sum> {
    let reserved = server.superuser_reserved.saturating_add(server.reserved);
    let usable = server.max_connections.saturating_sub(reserved);
    let keep_free = u32::try_from(spec.keep_free).ok()?;
    let limits = [server.role_limit, server.database_limit];
    let budget = limits
        .into_iter()
        .flatten()
        .map(|limit| limit.saturating_sub(OWN_SESSIONS))
        .chain([spec.server_connections.of(usable)?, usable.saturating_sub(keep_free)])
        .min()?;
    let max_replicas = max_replicas.min(budget.saturating_sub(1) / 2);
    let max_pods = max_pods(max_replicas);
    let share = if max_replicas == 0 { 0 } else { budget / max_pods };
    Some(Sum {
        max_connections: server.max_connections,
        reserved,
        usable,
        keep_free,
        role_limit: server.role_limit,
        database_limit: server.database_limit,
        budget,
        max_replicas,
        max_pods,
        share,
    })
}

impl Sum {
    /// How the budget came about, for people.
    pub fn explain(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!(
            "max_connections {} - reserved {} = {} usable; budget {}, with {} kept free",
            self.max_connections, self.reserved, self.usable, self.budget, self.keep_free
        );
        // writing to a String cannot fail
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
    use super::*;
    use crate::api::Connections;

    fn server(max_connections: u32) -> Server {
        Server { max_connections, superuser_reserved: 3, ..Server::default() }
    }

    #[test]
    fn the_defaults_on_a_default_server() {
        let sum = reckon(&api::Budget::default(), 6, &server(100)).expect("valid");
        assert_eq!((sum.usable, sum.budget, sum.max_pods, sum.share), (97, 77, 13, 5));
    }

    #[test]
    fn what_is_kept_free_counts_before_the_percentage() {
        let spec = api::Budget { server_connections: Connections::Percent("100%".into()), keep_free: 40 };
        assert_eq!(reckon(&spec, 6, &server(100)).expect("valid").budget, 57);
    }

    #[test]
    fn a_limit_of_the_role_leaves_room_for_the_operator() {
        let server = Server { role_limit: Some(20), database_limit: Some(15), ..server(100) };
        assert_eq!(reckon(&api::Budget::default(), 3, &server).expect("valid").budget, 14);
    }

    #[test]
    fn a_small_budget_bears_fewer_pods() {
        let spec = api::Budget { server_connections: Connections::Count(10), keep_free: 0 };
        let sum = reckon(&spec, 6, &server(100)).expect("valid");
        assert_eq!((sum.max_replicas, sum.max_pods, sum.share), (4, 9, 1));
    }

    #[test]
    fn a_tiny_budget_bears_none() {
        let sum = reckon(&api::Budget::default(), 6, &server(14)).expect("valid");
        assert_eq!((sum.budget, sum.max_replicas, sum.share), (1, 0, 0));
    }

    proptest::proptest! {
        #[test]
        fn the_shares_of_all_pods_fit(
            max_connections in 0u32..300_000, reserved in 0u32..200, percent in 1u32..=100, keep_free in 0i32..500,
            max_replicas in 1u32..=100, role_limit in proptest::option::of(0u32..500),
        ) {
            let spec = api::Budget { server_connections: Connections::Percent(format!("{percent}%")), keep_free };
            let server = Server { max_connections, reserved, superuser_reserved: 3, role_limit, ..Server::default() };
            let sum = reckon(&spec, max_replicas, &server).expect("valid");
            proptest::prop_assert!(sum.share * sum.max_pods <= sum.budget || sum.share == 0);
            proptest::prop_assert!(sum.budget <= sum.usable.saturating_sub(keep_free as u32));
            proptest::prop_assert!((sum.share == 0) == (sum.budget < 3));
            proptest::prop_assert!(sum.max_replicas <= max_replicas);
        }
    }
}
