//! What the ledgers want done, and what became of it.

use kube::runtime::reflector::ObjectRef;
use pgpooler_core::budget::{Effect, Mark};
use tokio::time::Instant;

use super::groups::{News, ServerKey};
use super::state::{Order, Pod, Pooler, Sight, State};
use crate::api::PgPooler;
use crate::plan::facts::Life;
use crate::plan::figures::FIGURES;

impl State {
    /// What falls by itself.
    pub(super) fn tick(&mut self, now: Instant) {
        let falling = |pod: &&mut Pod| pod.demand.falls_at().is_some_and(|at| at <= now.into_std());
        for pod in self.pods.values_mut().filter(falling) {
            if let Some(group) = pod.server.as_ref().and_then(|server| self.groups.get_mut(server)) {
                group.ledger.want(pod.id, pod.demand.need(now.into_std()));
                group.news = News::Some;
            }
        }
        // what dead processes left behind is asked of the server
        let waits = |server: &ServerKey| {
            self.groups.get(server).is_some_and(|group| !group.ledger.departed().is_empty())
        };
        let due = |pooler: &Pooler| {
            let stirred = pooler.stir == News::Some && now - pooler.looked_at >= FIGURES;
            // a server that does not answer is no reason to ask it all the time
            stirred || pooler.sight == Sight::Clear && pooler.server.as_ref().is_some_and(waits)
        };
        let uids = self.poolers.iter().filter(|(_, pooler)| due(pooler));
        self.changed.extend(uids.map(|(uid, _)| uid.clone()));
    }

    /// Pods that have too many clients are told to shed some.
    pub(super) fn balance(&mut self, now: Instant) {
        for pooler in self.poolers.values_mut() {
            let serves = |pod: &&Pod| pod.talk.is_some() && pod.fact.life == Life::Ready;
            let pods: Vec<&Pod> =
                pooler.pods.iter().filter_map(|uid| self.pods.get(uid)).filter(serves).collect();
            let clients: Vec<_> =
                pods.iter().map(|pod| pod.report.and_then(|report| report.clients)).collect();
            let Some(orders) = pooler.balance.orders(&clients, now.into_std()) else { continue };
            for (pod, order) in pods.iter().zip(orders) {
                let Some(talk) = &pod.talk else { continue };
                if order > 0 {
                    tracing::debug!(pod = pod.fact.name, order, "has too many clients");
                }
                talk.sheds.send_if_modified(|wanted| {
                    let changed = order > 0 || *wanted > 0;
                    *wanted = order;
                    changed
                });
            }
        }
    }

    /// What the ledgers want done. Commands are on their way.
    pub(super) fn decide(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        let mut looked_at = Vec::new();
        for (server, group) in &mut self.groups {
            // before the server has been seen nobody can say what a limit is good for
            if group.news == News::None || group.max_connections.is_none() {
                continue;
            }
            group.news = News::None;
            looked_at.push(server.clone());
            for effect in group.ledger.decide() {
                match effect {
                    Effect::Confirm(mark) => orders.push(Order::Confirm(server.clone(), mark)),
                    Effect::Commit(budget) => {
                        self.writing.insert(server.clone());
                        orders.push(Order::Commit(server.clone(), budget));
                    }
                    Effect::Send(id, command) => {
                        let pod = self.uids.get(&id).and_then(|uid| self.pods.get(uid));
                        if let Some(talk) = pod.and_then(|pod| pod.talk.as_ref()) {
                            tracing::debug!(pod = pod.map(|pod| pod.fact.name.as_str()), %command, "to a pod");
                            // a conversation that has ended is begun again, and the ledger knows
                            let _ = talk.commands.send(command);
                        }
                    }
                }
            }
        }
        for server in looked_at {
            self.write_for_newcomers(&server, &mut orders);
        }
        orders
    }

    /// A `PgPooler` that comes to a server whose budget is written already has to have it too, before its pods are
    /// granted anything.
    fn write_for_newcomers(&mut self, server: &ServerKey, orders: &mut Vec<Order>) {
        let Some(group) = self.groups.get(server) else { return };
        let committed = group.ledger.totals().committed;
        let lacks = self.poolers_on(server).any(|pooler| pooler.committed < committed);
        if lacks && self.writing.insert(server.clone()) {
            orders.push(Order::Commit(server.clone(), committed));
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
        self.all_changed(server);
    }

    /// Everybody is to be looked at, who may have gone too.
    pub(super) fn doubt_all(&mut self) {
        self.changed.extend(self.poolers.keys().cloned());
    }

    fn all_changed(&mut self, server: &ServerKey) {
        let uids: Vec<String> = self.uids_on(server).cloned().collect();
        self.changed.extend(uids);
    }

    pub(super) fn members(&self, server: &ServerKey) -> Vec<ObjectRef<PgPooler>> {
        self.poolers_on(server).map(|pooler| pooler.key.clone()).collect()
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
        let uids: Vec<String> = self.uids_on(server).cloned().collect();
        let Some(group) = self.groups.get_mut(server) else { return };
        for uid in uids {
            let Some(pooler) = self.poolers.get_mut(&uid) else { continue };
            if members.contains(&pooler.key) {
                pooler.committed = budget;
            }
        }
        group.ledger.written(budget);
        self.all_changed(server);
    }
}
