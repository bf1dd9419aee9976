//! How many of the server's connections the pods may use together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Connections;

/// How many of the server's connections the pods may use together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Budget {
    /// A number, or a percentage of what PostgreSQL leaves to ordinary roles.
    pub server_connections: Connections,
    /// Connections that are left to others in any case: people, migrations, backups. Others who were seen to use more
    /// have more.
    #[schemars(range(min = 0, max = 262_143))]
    pub keep_free: i32,
    /// Its part, compared with other `PgPoolers` on the same server, when all of them want more.
    #[schemars(range(min = 1, max = 1000))]
    pub weight: i32,
    /// `Observe` measures and recommends, and limits nothing: for a first look at a server that is in use.
    pub mode: BudgetMode,
    /// What the operator does about the CONNECTION LIMIT of the login role, with which PostgreSQL itself can guard the
    /// budget.
    pub fence: Fence,
}

/// Whether the budget binds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BudgetMode {
    /// All pods together never hold more than the budget.
    #[default]
    Enforce,
    /// Nothing is limited; status says what the budget would be, and recommends one.
    Observe,
}

/// What the operator does about the CONNECTION LIMIT of the login role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Fence {
    /// Nothing.
    Off,
    /// Compares it with the budget and says so where it does not fit.
    #[default]
    Verify,
    /// Sets it, and puts back what was there when the `PgPooler` is deleted. The role needs the right to do so.
    Manage,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            server_connections: Connections::Percent("80%".into()),
            keep_free: 10,
            weight: 100,
            mode: BudgetMode::default(),
            fence: Fence::default(),
        }
    }
}
