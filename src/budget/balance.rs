//! Whether pods have clients in equal parts, and who should let some go: new pods are idle else, since pools keep their
//! connections.
//!
//! A pod sheds a client only in a way that its application does not notice, and where no application allows that nobody
//! leaves. So it is asked for a while, and then not for a longer one.

use std::time::{Duration, Instant};

/// How often clients are counted.
const ROUND: Duration = Duration::from_secs(30);
/// Rounds without any effect before it is given up for a while.
const PATIENCE: u32 = 4;
/// That while.
const PAUSE: Duration = Duration::from_mins(10);
/// Fewer than so many too many are none, nor is less than a quarter of a fair part: whoever connects anew may come back.
const LEAST: u32 = 4;

/// What is known of the balance of one `PgPooler`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Balance {
    next: Option<Instant>,
    /// Too many, when last counted.
    surplus: u32,
    in_vain: u32,
}

impl Balance {
    /// How many clients each pod should shed, in their order; `None`: it is too early to say anything. `clients`: of each
    /// pod that serves; `None`: of one it is not known.
    pub(super) fn orders(&mut self, clients: &[Option<u32>], now: Instant) -> Option<Vec<u32>> {
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.next = Some(now + ROUND);
        let known: Option<Vec<u32>> = clients.iter().copied().collect();
        let orders = known.map_or_else(|| vec![0; clients.len()], |clients| surplus(&clients));
        let surplus = orders.iter().sum();
        self.in_vain =
            if surplus > 0 && surplus >= self.surplus && self.surplus > 0 { self.in_vain + 1 } else { 0 };
        self.surplus = surplus;
        if self.in_vain < PATIENCE {
            return Some(orders);
        }
        (self.in_vain, self.surplus, self.next) = (0, 0, Some(now + PAUSE));
        Some(vec![0; clients.len()])
    }
}

/// What each has above its fair part, if that is worth anybody's while.
fn surplus(clients: &[u32]) -> Vec<u32> {
    let sum: u64 = clients.iter().map(|count| u64::from(*count)).sum();
    let fair = sum.div_ceil(clients.len().max(1) as u64) as u32;
    let least = LEAST.max(fair / 4);
    let above = clients.iter().map(|count| count.saturating_sub(fair));
    above.map(|above| if above >= least { above } else { 0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_shed_what_they_have_above_their_part() {
        assert_eq!(surplus(&[100, 100, 0, 0]), [50, 50, 0, 0]);
        assert_eq!(surplus(&[60, 50, 45, 45]), [0, 0, 0, 0], "that is what chance makes of it");
        assert_eq!(surplus(&[3, 0]), [0, 0]);
        assert_eq!(surplus(&[7]), [0]);
        assert_eq!(surplus(&[]), [0_u32; 0]);
    }

    #[test]
    fn clients_that_go_at_random_come_to_equal_parts() {
        // whoever connects anew comes to each pod alike
        let mut clients = [200_u32, 200, 0, 0, 0, 0];
        for _ in 0..6 {
            let orders = surplus(&clients);
            let shed: u32 = orders.iter().sum();
            for (count, order) in clients.iter_mut().zip(&orders) {
                *count = *count - order + shed / 6;
            }
        }
        let (least, most) = (clients.iter().min().unwrap(), clients.iter().max().unwrap());
        assert!(most - least <= 30, "{clients:?}");
    }

    #[test]
    fn what_has_no_effect_is_given_up_for_a_while() {
        let (mut balance, mut now) = (Balance::default(), Instant::now());
        let clients = [Some(40), Some(0)];
        for _ in 0..=PATIENCE {
            let orders = balance.orders(&clients, now).unwrap();
            assert!(balance.orders(&clients, now).is_none(), "not twice in a round");
            now += ROUND;
            if orders == [0, 0] {
                assert!(balance.orders(&clients, now).is_none());
                now += PAUSE;
                assert_eq!(balance.orders(&clients, now), Some(vec![20, 0]), "and then it is tried again");
                return;
            }
            assert_eq!(orders, [20, 0]);
        }
        panic!("it was never given up");
    }

    #[test]
    fn what_has_an_effect_goes_on_and_ends() {
        let (mut balance, now) = (Balance::default(), Instant::now());
        for (round, left) in [40, 34, 28, 22].into_iter().enumerate() {
            let orders = balance.orders(&[Some(left), Some(40 - left)], now + ROUND * round as u32);
            assert_eq!(orders, Some(vec![if left < 24 { 0 } else { left - 20 }, 0]));
        }
        assert_eq!(balance.orders(&[Some(40), None], now + ROUND * 9), Some(vec![0, 0]), "nobody knows");
    }
}
