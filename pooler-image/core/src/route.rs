//! Which of several servers, and which of its addresses, a login tries first.

use std::net::SocketAddr;

/// What the last logins say of where to go. Places are numbered as in the document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Route {
    first: usize,
    good: Option<SocketAddr>,
    /// An address that took a login and did not let go of it.
    stuck: Option<SocketAddr>,
}

impl Route {
    /// The order in which `count` places are tried, each of them once: the last good one, then the others in turn.
    pub fn order(self, count: usize) -> impl Iterator<Item = usize> {
        let first = self.first;
        (0..count).map(move |turn| (first + turn) % count)
    }

    /// The order in which the addresses of a place are tried: the last good one first, one that is stuck last.
    pub fn sort(self, addresses: &mut [SocketAddr]) {
        // stable: otherwise as the resolver says
        addresses.sort_by_key(|address| {
            (self.stuck == Some(*address), self.good.is_some() && self.good != Some(*address))
        });
    }

    /// A login has succeeded there. Whether the one before had succeeded elsewhere.
    pub fn succeeded(&mut self, place: usize, address: SocketAddr) -> bool {
        let moved = self.good.is_some_and(|good| good != address);
        *self = Self { first: place, good: Some(address), stuck: None };
        moved
    }

    /// A login came no further than this place, and others were not tried: they are next time.
    pub fn got_stuck(&mut self, place: usize, address: SocketAddr) {
        self.first = place + 1;
        self.stuck = Some(address);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 5432))
    }

    #[test]
    fn the_last_good_place_comes_first_and_the_others_in_turn() {
        let mut route = Route::default();
        assert_eq!(route.order(3).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(!route.succeeded(1, address(1)), "nothing is known of a place before");
        assert_eq!(route.order(3).collect::<Vec<_>>(), [1, 2, 0]);
        assert!(!route.succeeded(1, address(1)));
        assert!(route.succeeded(0, address(0)));
        route.got_stuck(0, address(0));
        assert_eq!(route.order(3).collect::<Vec<_>>(), [1, 2, 0]);
    }

    #[test]
    fn the_last_good_address_comes_first_and_a_stuck_one_last() {
        let mut route = Route::default();
        let sorted = |route: Route| {
            let mut addresses = [1, 2, 3].map(address);
            route.sort(&mut addresses);
            addresses
        };
        assert_eq!(sorted(route), [1, 2, 3].map(address));
        route.succeeded(0, address(3));
        assert_eq!(sorted(route), [3, 1, 2].map(address));
        route.got_stuck(0, address(3));
        assert_eq!(sorted(route), [1, 2, 3].map(address));
        route.got_stuck(0, address(1));
        assert_eq!(sorted(route), [3, 2, 1].map(address));
    }

    proptest! {
        #[test]
        fn every_place_is_tried_once_whatever_was_before(
            steps in prop::collection::vec((any::<bool>(), 0usize..9, any::<u8>()), 0..9),
            count in 0usize..9,
        ) {
            let mut route = Route::default();
            for (good, place, last) in steps {
                if good { route.succeeded(place, address(last)); } else { route.got_stuck(place, address(last)); }
            }
            let mut order: Vec<_> = route.order(count).collect();
            order.sort_unstable();
            prop_assert_eq!(order, (0..count).collect::<Vec<_>>());
        }
    }
}
