//! On which loop the clients of a pool are served.
//!
//! A pool that may have many connections is worth all loops: its clients are spread, and connections are lent where that
//! leaves one loop short. Many pools, or a small one, would pass their few connections from loop to loop all the time:
//! each of them has a home, and its clients go there when they have logged in.

use std::collections::HashMap;

use super::{LoopId, PoolId};

/// Connections of a pool for each loop, and pools for each loop, from which on spreading resp. homes pay.
const FEW: u32 = 2;

/// The homes of pools.
#[derive(Debug, Default)]
pub struct Homes {
    of: HashMap<PoolId, LoopId>,
    /// How many pools each loop is home to.
    pools: Vec<u32>,
}

/// What decides whether a pool has a home.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Loops of the process.
    pub loops: u16,
    /// Pools of the process.
    pub pools: u32,
    /// Most connections that the pool may have.
    pub connections: u32,
}

impl Homes {
    /// Where a client of this pool is served that has logged in `here`.
    pub fn place(&mut self, pool: PoolId, here: LoopId, size: Size) -> LoopId {
        let few = FEW * u32::from(size.loops);
        if size.loops < 2 || size.connections >= few && size.pools < few {
            return here;
        }
        self.pools.resize(usize::from(size.loops), 0);
        *self.of.entry(pool).or_insert_with(|| {
            let fewest = self.pools.iter().enumerate().min_by_key(|(_, pools)| **pools);
            let home = fewest.map_or(0, |(home, _)| home);
            if let Some(pools) = self.pools.get_mut(home) {
                *pools += 1;
            }
            LoopId(home as u16)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: LoopId = LoopId(1);

    fn size(loops: u16, pools: u32, connections: u32) -> Size {
        Size { loops, pools, connections }
    }

    #[test]
    fn a_large_pool_is_spread_as_its_clients_come() {
        assert_eq!(Homes::default().place(PoolId(0), HERE, size(2, 1, 20)), HERE);
        assert_eq!(Homes::default().place(PoolId(0), HERE, size(2, 3, 4)), HERE);
    }

    #[test]
    fn a_small_pool_has_a_home_and_keeps_it() {
        let mut homes = Homes::default();
        for _ in 0..3 {
            assert_eq!(homes.place(PoolId(7), HERE, size(2, 1, 3)), LoopId(0));
        }
    }

    #[test]
    fn many_pools_are_shared_out_evenly() {
        let mut homes = Homes::default();
        let mut each = [0; 4];
        for pool in 0..40 {
            let home = homes.place(PoolId(pool), HERE, size(4, 40, 100));
            each[usize::from(home.0)] += 1;
        }
        assert_eq!(each, [10; 4]);
    }

    #[test]
    fn the_only_loop_is_everybodys() {
        assert_eq!(Homes::default().place(PoolId(0), LoopId(0), size(1, 40, 1)), LoopId(0));
    }
}
