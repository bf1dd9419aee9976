//! How many server connections PgBouncer could have had: it has no limit for the whole, only one for each pool, so
//! this is a product that many have never done.

use super::config::{Config, Database};

/// PgBouncer's default.
const DEFAULT_POOL_SIZE: u32 = 20;

/// The most that all processes could have held on one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sum {
    /// So many.
    Bounded {
        /// Of all processes.
        total: u32,
        /// How it comes about.
        text: String,
    },
    /// There is no telling.
    Unbounded {
        /// Why.
        text: String,
    },
}

/// What the product is made of.
pub(super) struct Terms<'a> {
    /// All of it.
    pub(super) config: &'a Config,
    /// `default_pool_size`, if it is set.
    pub(super) default_pool_size: Option<u32>,
    /// `reserve_pool_size`, if it is set.
    pub(super) reserve: u32,
    /// `max_db_connections` for all databases, if it is set.
    pub(super) max_db_connections: Option<u32>,
    /// Who logs in, as far as is known; `None`: users are looked up, or the list was not read.
    pub(super) users: Option<Vec<String>>,
}

/// Reckons it for these databases, all on one server.
pub(super) fn sum(databases: &[&Database], terms: &Terms<'_>) -> Sum {
    let mut total = 0_u32;
    let mut parts = Vec::new();
    for database in databases {
        if database.name == "*" && database.dbname.is_none() {
            return Sum::Unbounded { text: "`*` stands for any number of databases".to_owned() };
        }
        let limit = database.max_db_connections.or(terms.max_db_connections.filter(|most| *most > 0));
        match (of_pools(database, terms), limit) {
            (Some((pools, _)), Some(limit)) if limit < pools => {
                total = total.saturating_add(limit);
                parts.push(format!("{limit} for {}", database.name));
            }
            (Some((pools, text)), _) => {
                total = total.saturating_add(pools);
                parts.push(format!("{text} for {}", database.name));
            }
            (None, Some(limit)) => {
                total = total.saturating_add(limit);
                parts.push(format!("{limit} for {}", database.name));
            }
            (None, None) => {
                let text =
                    format!("{} has a pool for each user, and it is not known who logs in", database.name);
                return Sum::Unbounded { text };
            }
        }
    }
    let processes = terms.config.peers.max(1);
    let mut text = parts.join(", ");
    if processes > 1 {
        text = format!("({text}) x {processes} processes");
    }
    Sum::Bounded { total: total.saturating_mul(processes), text }
}

/// The most of all pools of a database, and how it comes about.
fn of_pools(database: &Database, terms: &Terms<'_>) -> Option<(u32, String)> {
    let size = |user: &str| {
        let own = terms.config.users.iter().find(|settings| settings.name == user);
        let own = own.and_then(|settings| settings.pool.size);
        let size = own.or(database.pool.size).or(terms.default_pool_size).unwrap_or(DEFAULT_POOL_SIZE);
        size.saturating_add(terms.reserve)
    };
    if let Some(user) = &database.user {
        return Some((size(user), size(user).to_string()));
    }
    let users = terms.users.as_ref().filter(|users| !users.is_empty())?;
    let sizes: Vec<u32> = users.iter().map(|user| size(user)).collect();
    let total = sizes.iter().copied().fold(0, u32::saturating_add);
    let same = sizes.windows(2).all(|two| two[0] == two[1]);
    let text = match sizes.as_slice() {
        [only] => only.to_string(),
        [first, ..] if same => format!("{first} x {} users", sizes.len()),
        _ => format!("{total} for {} users", sizes.len()),
    };
    Some((total, text))
}
