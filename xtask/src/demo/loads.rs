//! The loads of the demo, each directly and through the pooler.

use std::{net::SocketAddr, thread::sleep, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    fleet::{Load, Report},
    site::{Server, Site},
    ui,
};

use super::summary::{Row, Summary};

const AT_ONCE: Load = Load::Storm { clients: 1000, transactions: 5 };
const PER_REQUEST: Load = Load::Churn { clients: 4, requests: 100 };
const GROWING: Load = Load::Ramp { from: 50, to: 500, seconds: 15, pause: 200 };
const TEN_THOUSAND: Load = Load::Storm { clients: 10_000, transactions: 2 };
/// PostgreSQL needs a moment to end hundreds of sessions.
const BREATH: Duration = Duration::from_secs(2);

/// A `PgPooler` of the demo and the server behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pool {
    /// Its name and its Service's.
    pub(crate) name: &'static str,
    /// The server.
    pub(crate) server: Server,
    /// What is applied.
    pub(crate) manifest: &'static str,
}

struct Paths<'a> {
    site: &'a Site,
    direct: SocketAddr,
    pooled: SocketAddr,
    budget: u64,
}

/// 1,000 clients at once, a connection for each request, and growth.
pub(crate) fn orders(site: &Site, pool: &Pool, summary: &mut Summary) -> Result<()> {
    let paths = Paths::of(site, pool)?;
    ui::heading("1,000 clients at once");
    paths.both("1,000 clients at once", &AT_ONCE, summary)?;
    ui::heading("A connection for every request");
    paths.both("connect per request", &PER_REQUEST, summary)?;
    ui::heading("50 clients become 500");
    paths.both("50 -> 500 clients", &GROWING, summary)
}

/// 10,000 clients at once, through the pooler only.
pub(crate) fn warehouse(site: &Site, pool: &Pool, summary: &mut Summary) -> Result<()> {
    let paths = Paths::of(site, pool)?;
    ui::heading("10,000 clients at once over 50 server connections");
    paths.pooled("10,000 clients at once", &TEN_THOUSAND, summary)
}

impl<'a> Paths<'a> {
    fn of(site: &'a Site, pool: &Pool) -> Result<Self> {
        let object = site.object(&format!("pgpooler/{}", pool.name))?;
        let budget = object.pointer("/status/budget/budget").and_then(serde_json::Value::as_u64);
        let budget = budget.context("the PgPooler's status has no budget")?;
        Ok(Self { site, direct: site.address(pool.server.name)?, pooled: site.address(pool.name)?, budget })
    }

    fn both(&self, name: &'static str, load: &Load, summary: &mut Summary) -> Result<()> {
        let (report, peak) = self.run(self.direct, load)?;
        ui::say(&format!("directly: {}", told(&report)));
        summary.rows.push(Row { name, pooled: None, report, peak });
        sleep(BREATH);
        self.pooled(name, load, summary)
    }

    fn pooled(&self, name: &'static str, load: &Load, summary: &mut Summary) -> Result<()> {
        let (report, peak) = self.run(self.pooled, load)?;
        ui::say(&format!("through pgpooler: {}", told(&report)));
        summary.rows.push(Row { name, pooled: Some(self.budget), report, peak });
        sleep(BREATH);
        Ok(())
    }

    /// The fleet's report, and the most sessions on the server meanwhile.
    fn run(&self, address: SocketAddr, load: &Load) -> Result<(Report, u64)> {
        let sampler = self.site.sample(self.direct)?;
        let report = self.site.fleet(address, load)?;
        Ok((report, sampler.stop()?.peak))
    }
}

fn told(report: &Report) -> String {
    let (logins, transactions) = (report.logins.count, report.transactions.count);
    let counts = format!(
        "{logins} logins, {transactions} requests, {} errors in {:.1} s",
        report.failures(),
        report.seconds
    );
    let errors = report.errors.iter().map(|(error, count)| format!("{count} x {error}"));
    std::iter::once(counts).chain(errors).collect::<Vec<_>>().join("\n           ")
}
