//! Looks at `pg_stat_activity` many times a second.

use std::{io::Read as _, thread, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::MissedTickBehavior};

use super::connection::{Connection, Target};

/// Longest watch; a forgotten sampler ends by itself.
const LONGEST: Duration = Duration::from_mins(10);

/// How many sessions were there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Samples {
    /// Looks.
    pub(crate) count: u64,
    /// The most sessions that met the condition in one look.
    pub(crate) peak: u64,
    /// The most client sessions of any kind in one look, this one excepted.
    pub(crate) peak_all: u64,
}

/// Looks until standard input ends.
pub(crate) async fn until_input_ends(
    target: &Target,
    condition: &str,
    interval: Duration,
) -> Result<Samples> {
    let mut connection = Connection::open(target).await?;
    let sql = format!(
        "SELECT count(*) FILTER (WHERE {condition}), count(*) FROM pg_stat_activity \
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
            _ = ticks.tick() => samples.add(&connection.query(&sql).await?)?,
        }
    }
    connection.close().await;
    Ok(samples)
}

/// A thread of its own: the process may end while it still reads.
fn input_ended() -> oneshot::Receiver<()> {
    let (ended, receiver) = oneshot::channel();
    thread::spawn(move || {
        // an unreadable input has ended too, and a receiver that is gone does not care
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    receiver
}

impl Samples {
    fn add(&mut self, rows: &[Vec<String>]) -> Result<()> {
        let [row] = rows else { bail!("pg_stat_activity gave {} rows", rows.len()) };
        let [met, all] = row.as_slice() else { bail!("pg_stat_activity gave {} columns", row.len()) };
        self.count += 1;
        self.peak = self.peak.max(met.parse().context("count")?);
        self.peak_all = self.peak_all.max(all.parse().context("count")?);
        Ok(())
    }
}
