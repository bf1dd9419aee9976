//! What the ledgers want done, and what became of it.

use std::collections::HashMap;

use kube::runtime::reflector::ObjectRef;
use pgpooler_core::budget::{Effect, Mark, PodId};
use tokio::time::Instant;

use super::groups::{News, ServerKey};
use super::state::{Order, Sight, State};
use crate::api::PgPooler;

impl State {
    /// What falls by itself.
    pub(super) fn tick(&mut self, now: Instant) {
        for pod in self.pods.values_mut() {
            let Some(group) = pod.server.as_ref().and_then(|server| self.groups.get_mut(server)) else {
                continue;
            };
            if pod.demand.falls_at().is_some_and(|at| at <= now.into_std()) {
                group.ledger.want(pod.id, pod.demand.need(now.into_std()));
                group.news = News::Some;
            }
        }
        // what dead processes left behind is asked of the server
        let waits = |server: &ServerKey| {
            self.groups.get(server).is_some_and(|group| !group.ledger.departed().is_empty())
        };
        // a server that does not answer is no reason to ask it all the time
        let uids = self
            .poolers
            .iter()
            .filter(|(_, pooler)| pooler.sight == Sight::Clear && pooler.server.as_ref().is_some_and(waits));
        self.changed.extend(uids.map(|(uid, _)| uid.clone()));
    }

    /// What the ledgers want done. Commands are on their way.
    pub(super) fn decide(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        let ids: HashMap<PodId, String> = self.pods.iter().map(|(uid, pod)| (pod.id, uid.clone())).collect();
        for (server, group) in &mut self.groups {
            // before the server has been seen nobody can say what a limit is good for
            if group.news == News::None || group.max_connections.is_none() {
                continue;
            }
            group.news = News::None;
            for effect in group.ledger.decide() {
                match effect {
                    Effect::Confirm(mark) => orders.push(Order::Confirm(server.clone(), mark)),
                    Effect::Commit(budget) => {
                        self.writing.insert(server.clone());
                        orders.push(Order::Commit(server.clone(), budget));
                    }
                    Effect::Send(id, command) => {
                        let pod = ids.get(&id).and_then(|uid| self.pods.get(uid));
                        if let Some(talk) = pod.and_then(|pod| pod.talk.as_ref()) {
                            tracing::debug!(pod = pod.map(|pod| pod.fact.name.as_str()), %command, "to a pod");
                            // a conversation that has ended is begun again, and the ledger knows
                            let _ = talk.commands.send(command);
                        }
                    }
                }
            }
        }
        self.write_for_newcomers(&mut orders);
        orders
    }

    /// A `PgPooler` that comes to a server whose budget is written already has to have it too, before its pods are
    /// granted anything.
    fn write_for_newcomers(&mut self, orders: &mut Vec<Order>) {
        for pooler in self.poolers.values() {
            let Some((server, group)) =
                pooler.server.as_ref().and_then(|server| Some((server, self.groups.get(server)?)))
            else {
                continue;
            };
            let committed = group.ledger.totals().committed;
            if pooler.committed < committed && self.writing.insert(server.clone()) {
                orders.push(Order::Commit(server.clone(), committed));
            }
        }
    }

    pub(super) fn take_changed(&mut self) -> Vec<ObjectRef<PgPooler>> {
        let uids = std::mem::take(&mut self.changed);
        uids.iter().filter_map(|uid| self.poolers.get(uid)).map(|pooler| pooler.key.clone()).collect()
    }

    pub(super) fn confirmed(&mut self, server: &ServerKey, mark: Mark, leads: bool) {
        let Some(group) = self.groups.get_mut(server) else { return };
        if leads {
            group.ledger.confirmed(mark);
        } else {
            group.ledger.not_confirmed();
        }
        group.news = News::Some;
        // what waits for room may have it now
        let uids = self.poolers.iter().filter(|(_, pooler)| pooler.server.as_ref() == Some(server));
        self.changed.extend(uids.map(|(uid, _)| uid.clone()));
    }

    pub(super) fn members(&self, server: &ServerKey) -> Vec<ObjectRef<PgPooler>> {
        let of = self.poolers.values().filter(|pooler| pooler.server.as_ref() == Some(server));
        of.map(|pooler| pooler.key.clone()).collect()
    }

    pub(super) fn written(
        &mut self,
        server: &ServerKey,
        budget: u32,
        members: &[ObjectRef<PgPooler>],
        is_written: bool,
    ) {
        self.writing.remove(server);
        let Some(group) = self.groups.get_mut(server) else { return };
        group.news = News::Some;
        if !is_written {
            group.ledger.not_written();
            return;
        }
        let of = self.poolers.values_mut().filter(|pooler| pooler.server.as_ref() == Some(server));
        for pooler in of {
            if members.contains(&pooler.key) {
                pooler.committed = budget;
            }
        }
        group.ledger.written(budget);
        let uids = self.poolers.iter().filter(|(_, pooler)| pooler.server.as_ref() == Some(server));
        self.changed.extend(uids.map(|(uid, _)| uid.clone()));
    }
}
