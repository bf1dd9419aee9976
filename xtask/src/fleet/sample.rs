//! Looks at `pg_stat_activity` many times a second.

use std::{collections::BTreeMap, io::Read as _, thread, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::MissedTickBehavior};

use super::connection::{Connection, Target};

/// Longest watch; a forgotten sampler ends by itself.
const LONGEST: Duration = Duration::from_mins(10);

/// How many sessions were there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Samples {
    /// Looks.
    pub(crate) count: u64,
    /// The most sessions that met the condition in one look.
    pub(crate) peak: u64,
    /// The most client sessions of any kind in one look, this one excepted.
    pub(crate) peak_all: u64,
    /// As `peak`, for each `max_connections` that the server had meanwhile.
    #[serde(default)]
    pub(crate) peak_by_size: BTreeMap<u64, u64>,
    /// The server could not be asked, and was asked again.
    #[serde(default)]
    pub(crate) interruptions: u64,
}

/// Looks until standard input ends.
pub(crate) async fn until_input_ends(
    target: &Target,
    condition: &str,
    interval: Duration,
) -> Result<Samples> {
    let mut connection = Some(Connection::open(target).await?);
    let sql = format!(
        "SELECT count(*) FILTER (WHERE {condition}), count(*), current_setting('max_connections') FROM pg_stat_activity \
         WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    );
    let mut samples = Samples::default();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = tokio::time::sleep(LONGEST);
    let mut input_ended = input_ended();
    tokio::pin!(end);
    loop {
        tokio::select! {
            _ = &mut input_ended => break,
            () = &mut end => bail!("nobody ended the sampling within {LONGEST:?}"),
            _ = ticks.tick() => connection = samples.look(target, connection, &sql).await?,
        }
    }
    if let Some(connection) = connection {
        connection.close().await;
    }
    Ok(samples)
}

/// A thread of its own: the process may end while it still reads.
pub(crate) fn input_ended() -> oneshot::Receiver<()> {
    let (ended, receiver) = oneshot::channel();
    thread::spawn(move || {
        // an unreadable input has ended too, and a receiver that is gone does not care
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    receiver
}

impl Samples {
    /// A server that restarts is asked again until it answers.
    async fn look(
        &mut self,
        target: &Target,
        connection: Option<Connection>,
        sql: &str,
    ) -> Result<Option<Connection>> {
        let Some(mut connection) = connection else { return Ok(Connection::open(target).await.ok()) };
        let Ok(rows) = connection.query(sql).await else {
            self.interruptions += 1;
            return Ok(None);
        };
        self.add(&rows)?;
        Ok(Some(connection))
    }

    fn add(&mut self, rows: &[Vec<String>]) -> Result<()> {
        let [row] = rows else { bail!("pg_stat_activity gave {} rows", rows.len()) };
        let [met, all, size] = row.as_slice() else { bail!("pg_stat_activity gave {} columns", row.len()) };
        self.count += 1;
        let met = met.parse().context("count")?;
        self.peak = self.peak.max(met);
        let peak = self.peak_by_size.entry(size.parse().context("max_connections")?).or_default();
        *peak = met.max(*peak);
        self.peak_all = self.peak_all.max(all.parse().context("count")?);
        Ok(())
    }
}
