//! What pods say.

use pgpooler_core::budget::{Answer, Demand, Link, Phase, Report};
use std::time::Duration;

use tokio::time::Instant;

use super::groups::{News, ServerKey};
use super::state::{Pod, State};
use crate::plan::facts::Reach;

impl State {
    /// A connection to a pod is about to be opened.
    pub(super) fn link(&mut self, uid: &str) -> Link {
        let Some(pod) = self.pods.get(uid) else { return Link::default() };
        let group = pod.server.as_ref().and_then(|server| self.groups.get_mut(server));
        group.map_or(Link::default(), |group| group.ledger.link(pod.id))
    }

    /// It has ended.
    pub(super) fn lost(&mut self, uid: &str) {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.reach = Reach::Silent;
            if let Some(pooler) = self.poolers.get_mut(&pod.pooler) {
                pooler.stir = News::Some;
            }
        }
    }

    /// What a pod says; the epoch of another leader, if it follows one.
    pub(super) fn heard(&mut self, uid: &str, link: Link, report: &Report, now: Instant) -> Option<u64> {
        let pod = self.pods.get_mut(uid)?;
        let was = std::mem::replace(&mut pod.reach, Reach::Connected);
        let before = pod.report.replace(*report);
        let moved = before.is_none_or(|before| figures(&before) != figures(report));
        if (moved || was != Reach::Connected)
            && let Some(pooler) = self.poolers.get_mut(&pod.pooler)
        {
            pooler.stir = News::Some;
        }
        let Some(group) = pod.server.as_ref().and_then(|server| self.groups.get_mut(server)) else {
            if let Some(pooler) = self.poolers.get_mut(&pod.pooler) {
                pooler.peak = pooler.peak.max(report.usage.active + report.usage.waiting.min(1));
            }
            return None;
        };
        let departed = group.ledger.departed().len();
        if let Answer::Superseded(epoch) = group.ledger.reported(pod.id, link, report) {
            return Some(epoch);
        }
        let is_new = before.is_none_or(|before| before.incarnation != report.incarnation);
        if is_new {
            // until it shows what it needs it is to have as much as others
            let part = group.budget / group.ledger.pods().count().max(1) as u32;
            pod.demand = Demand::new(part, now.into_std());
        }
        if is_new {
            pod.started = now.into_std().checked_sub(Duration::from_millis(report.uptime));
        }
        if group.ledger.departed().len() > departed {
            // what is older than the process that answers is of the one before it
            let died = pod.started.unwrap_or_else(|| now.into_std());
            group.bury(pod.id, pod.fact.address.as_deref(), died);
        }
        let refused =
            before.filter(|_| !is_new).is_some_and(|before| report.usage.refused > before.usage.refused);
        pod.note_need(report, now);
        let need = pod.demand.need(now.into_std());
        group.ledger.want(pod.id, need);
        group.news = News::Some;
        let (server, pooler) = (pod.server.clone(), pod.pooler.clone());
        // what the server says of itself has changed, and the pod knows first
        let restarted = report
            .max_connections
            .is_some_and(|most| group.max_connections.is_some_and(|known| known != most));
        if restarted || departed < group.ledger.departed().len() {
            self.changed.insert(pooler.clone());
        }
        if let (true, Some(server)) = (refused, server) {
            self.refused(&pooler, &server, now);
        }
        self.note_peak(&pooler);
        None
    }

    /// The server was full although nobody can see why.
    fn refused(&mut self, pooler: &str, server: &ServerKey, now: Instant) {
        let held: u32 = self.on(server).filter_map(|pod| pod.report).map(|report| report.usage.held).sum();
        let Some(of) = self.poolers.get(pooler) else { return };
        let sessions = self.uids_on(server).count() as u32;
        let known = held + of.foreign.unwrap_or(0) + sessions;
        let usable = of.usable;
        if let Some(group) = self.groups.get_mut(server) {
            group.belief.refused(usable, known, now.into_std());
            tracing::warn!(server = ?server, usable, known, "the server refused a login although it should have room (53300)");
        }
        self.changed.insert(pooler.to_owned());
        self.stir(server);
    }

    fn note_peak(&mut self, pooler: &str) {
        let Some(of) = self.poolers.get(pooler) else { return };
        let reports = self.pods_of(of).filter_map(|pod| pod.report);
        let active: u32 = reports.map(|report| report.usage.active).sum();
        if let Some(pooler) = self.poolers.get_mut(pooler) {
            pooler.peak = pooler.peak.max(active);
        }
    }
}

/// What a status shows of a report.
fn figures(report: &Report) -> (Phase, u32, u32, u32, u32) {
    let usage = &report.usage;
    (report.phase, report.limit, usage.held, usage.active, usage.waiting)
}

impl Pod {
    fn note_need(&mut self, report: &Report, now: Instant) {
        if report.phase == Phase::Draining {
            // what it needed a moment ago it will not need again
            self.demand = Demand::default();
        }
        self.demand.note(&report.usage, now.into_std());
    }
}
