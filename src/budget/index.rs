//! What belongs together: `PgPoolers` by server, pods by `PgPooler`. There may be thousands of either.

use super::groups::{News, ServerKey};
use super::state::{Pod, Pooler, State};
use crate::plan::backends::Roles;

impl State {
    /// Something has changed that all on a server have to know, and none at once.
    pub(super) fn stir(&mut self, server: &ServerKey) {
        let uids: Vec<String> = self.uids_on(server).cloned().collect();
        for uid in uids {
            if let Some(pooler) = self.poolers.get_mut(&uid) {
                pooler.stir = News::Some;
            }
        }
    }

    /// It is on this server from now on. What it was on before.
    pub(super) fn settle(&mut self, uid: &str, server: &ServerKey) -> Option<ServerKey> {
        let before = self.poolers.get_mut(uid)?.server.replace(server.clone());
        if let Some(before) = &before {
            self.leave_server(uid, before);
        }
        self.on.entry(server.clone()).or_default().insert(uid.to_owned());
        self.stir(server);
        before
    }

    pub(super) fn leave_server(&mut self, uid: &str, server: &ServerKey) {
        if let Some(on) = self.on.get_mut(server) {
            on.remove(uid);
            if on.is_empty() {
                self.on.remove(server);
            }
        }
        self.stir(server);
    }

    /// Uids of the `PgPoolers` on a server.
    pub(super) fn uids_on(&self, server: &ServerKey) -> impl Iterator<Item = &String> {
        self.on.get(server).into_iter().flatten()
    }

    pub(super) fn poolers_on(&self, server: &ServerKey) -> impl Iterator<Item = &Pooler> {
        self.uids_on(server).filter_map(|uid| self.poolers.get(uid))
    }

    /// Pods on a server that somebody limits.
    pub(super) fn on<'a>(&'a self, server: &'a ServerKey) -> impl Iterator<Item = &'a Pod> {
        self.poolers_on(server)
            .flat_map(|pooler| self.pods_of(pooler))
            .filter(move |pod| pod.server.as_ref() == Some(server))
    }

    /// The pods of a `PgPooler`.
    pub(super) fn pods_of(&self, pooler: &Pooler) -> impl Iterator<Item = &Pod> {
        pooler.pods.iter().filter_map(|uid| self.pods.get(uid))
    }

    /// What all pods on a server log in as.
    pub(super) fn roles_on(&self, server: &ServerKey) -> Roles {
        self.poolers_on(server).fold(Roles::default(), |all, pooler| all.and(&pooler.roles))
    }
}
