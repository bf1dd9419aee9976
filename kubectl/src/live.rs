//! What pods say of themselves, asked at their consoles.

use std::time::Duration;

use serde::Serialize;

use crate::console::{Console, ConsoleError, Row};

/// What one pod is doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Where it is in its life.
    pub phase: String,
    /// What it may hold without hearing from anybody.
    pub floor: u64,
    /// What it may hold.
    pub limit: u64,
    /// What it holds.
    pub held: u64,
    /// The most that it could be holding.
    pub charge: u64,
    /// Server connections that clients are using.
    pub active: u64,
    /// Clients, waiting ones included.
    pub clients: u64,
    /// Clients that wait.
    pub waiting: u64,
    /// How long the one that has waited longest has.
    #[serde(serialize_with = "seconds")]
    pub max_wait: Duration,
    /// Transactions since the start.
    pub transactions: u64,
    /// Transactions per second, by the pod's own average of the last minutes.
    pub average: u64,
    /// Hash of its configuration, if it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// Clients are held.
    pub paused: bool,
}

/// Asks a pod.
pub async fn ask(console: &Console) -> Result<Figures, ConsoleError> {
    Ok(Figures::read(
        &console.rows("SHOW BUDGET").await?,
        &console.rows("SHOW POOLS").await?,
        &console.rows("SHOW STATS").await?,
        &console.rows("SHOW STATE").await?,
    ))
}

impl Figures {
    /// From the rows of the commands. What a pod does not say is 0.
    pub fn read(budget: &[Row], pools: &[Row], statistics: &[Row], state: &[Row]) -> Self {
        let of = |key: &str| budget.first().map_or(0, |row| number(row, key));
        let sum =
            |rows: &[Row], key: &str| rows.iter().map(|row| number(row, key)).fold(0, u64::saturating_add);
        let wait = |row: &Row| {
            Duration::from_secs(number(row, "maxwait"))
                .saturating_add(Duration::from_micros(number(row, "maxwait_us")))
        };
        let says = |key: &str| {
            let row = state.iter().find(|row| row.get("key").is_some_and(|name| name == key))?;
            row.get("value").cloned()
        };
        let waiting = sum(pools, "cl_waiting");
        Self {
            phase: budget.first().and_then(|row| row.get("phase").cloned()).unwrap_or_default(),
            floor: of("floor"),
            limit: of("limit"),
            held: of("held"),
            charge: of("charge"),
            active: of("active"),
            clients: sum(pools, "cl_active").saturating_add(waiting),
            waiting,
            max_wait: pools.iter().map(wait).max().unwrap_or_default(),
            transactions: sum(statistics, "total_xact_count"),
            average: sum(statistics, "avg_xact_count"),
            config_hash: says("config_hash").filter(|hash| !hash.is_empty()),
            paused: says("paused").is_some_and(|paused| paused == "yes"),
        }
    }
}

fn number(row: &Row, key: &str) -> u64 {
    row.get(key).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
