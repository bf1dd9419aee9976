//! What the process may hold, and what a pool may have of it.

/// What the process may hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Slots.
    pub limit: u32,
    /// Most connections that may be logging in: set while nobody knows which server they come to. Those that are open
    /// are on the server that was known, or closed already.
    pub unknown_server: Option<u32>,
    /// The process may have so many of so many slots of all pods; none: it is the only one.
    pub part: Option<(u32, u32)>,
}

impl From<u32> for Terms {
    fn from(limit: u32) -> Self {
        Self { limit, ..Self::default() }
    }
}

/// What one pool may have, over all loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolTerms {
    /// Most connections.
    pub size: PoolSize,
    /// Connections that it keeps.
    pub minimum: PoolSize,
    /// Its part when there are too few for all, in proportion to the other pools'; at least 1.
    pub weight: u32,
}

/// [`PoolTerms::weight`] of pools of which nothing is said.
const WEIGHT: u32 = 100;

impl Default for PoolTerms {
    fn default() -> Self {
        Self { size: PoolSize::default(), minimum: PoolSize::default(), weight: WEIGHT }
    }
}

impl PoolTerms {
    /// Of this size at most, with nothing of its own to keep.
    pub fn of_size(size: PoolSize) -> Self {
        Self { size, ..Self::default() }
    }
}

/// A number of connections of a pool, over all loops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolSize {
    /// In this process.
    pub own: Option<u32>,
    /// Over all pods: the process has a part of it as of all slots.
    pub total: Option<u32>,
}

impl PoolSize {
    /// As many in this process.
    pub fn own(size: u32) -> Self {
        Self { own: Some(size), total: None }
    }

    /// Most connections of the pool, should the process be the only one.
    pub fn most(self) -> Option<u32> {
        self.in_force(None)
    }

    /// The size as an upper limit: the part of a total is one at least, since nobody could be served with none.
    pub(super) fn in_force(self, part: Option<(u32, u32)>) -> Option<u32> {
        let share = |total: u32| match part {
            None => total,
            Some((mine, all)) => {
                let share = u64::from(total) * u64::from(mine) / u64::from(all.max(1));
                share.clamp(1, u64::from(total.max(1))) as u32
            }
        };
        [self.own, self.total.map(share)].into_iter().flatten().min()
    }

    /// The size as a lower limit: the part of a total is rounded up, so that all pods together have it.
    pub(super) fn at_least(self, part: Option<(u32, u32)>) -> u32 {
        let share = |total: u32| match part {
            None => total,
            Some((mine, all)) => {
                let share = (u64::from(total) * u64::from(mine)).div_ceil(u64::from(all.max(1)));
                share.min(u64::from(total)) as u32
            }
        };
        [self.own, self.total.map(share)].into_iter().flatten().max().unwrap_or_default()
    }
}
