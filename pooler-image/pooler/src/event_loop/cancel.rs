//! Cancel requests: from a client's key to the query that it has running at this moment.
//!
//! A server connection is kept from the pool until PostgreSQL has dealt with the requests for it, so that none can hit
//! a later query. One is under way for a server connection at a time: those that come meanwhile share the next one.

use std::rc::Rc;
use std::time::Duration;

use pgpooler_core::cancel::Request;
use tokio::sync::oneshot;
use tracing::warn;

use crate::connect;
use crate::event_loop::client::Kick;
use crate::event_loop::server::{Outlook, ServerShared, Work, WorkKind};
use crate::event_loop::worker::Worker;
use crate::reactor::{spawn_local, timeout};
use crate::report::ClientState;

/// How long PostgreSQL may take to deal with a cancel request.
const LIMIT: Duration = Duration::from_secs(10);

/// Dropped when the request is dealt with.
pub(crate) type Done = oneshot::Sender<()>;

/// The cancel requests for a server connection.
#[derive(Debug, Default)]
pub(crate) enum Cancels {
    #[default]
    None,
    UnderWay {
        /// Who waits for the one that PostgreSQL has.
        now: Vec<Done>,
        /// Who came later, and for what.
        next: Option<(Work, Vec<Done>)>,
    },
}

impl Cancels {
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Takes a request; whether it is to be sent now.
    fn add(&mut self, work: Work, done: Option<Done>) -> bool {
        let Self::UnderWay { next, .. } = self else {
            *self = Self::UnderWay { now: done.into_iter().collect(), next: None };
            return true;
        };
        match next {
            Some((waiting_for, waiting)) if *waiting_for == work => waiting.extend(done),
            // what the others were for has ended
            _ => *next = Some((work, done.into_iter().collect())),
        }
        false
    }

    /// PostgreSQL has dealt with one; whether another is to be sent, the server connection being at this now.
    fn advance(&mut self, work: Work) -> bool {
        let Self::UnderWay { now, next } = std::mem::take(self) else { return false };
        drop(now);
        match next {
            Some((wanted, now)) if wanted == work && work.kind() == WorkKind::Clients => {
                *self = Self::UnderWay { now, next: None };
                true
            }
            _ => false,
        }
    }
}

impl Worker {
    /// Cancels what a client asked for. A key that is for nobody here does nothing, and nobody can tell.
    pub(crate) fn cancel(self: &Rc<Self>, request: &Request, done: Done) {
        let client = self.client(request.place().client);
        let Some(client) = client.filter(|client| request.is_for(&self.process.peers.proof(client.id)))
        else {
            return;
        };
        let server = client.server();
        match (client.state.get(), server) {
            (ClientState::Waiting, _) => client.kick(Kick::Canceled),
            (ClientState::Active, Some(server)) => match server.work.get().kind() {
                WorkKind::Clients => self.pass_on_cancel(&server, Some(done)),
                WorkKind::Ours => server.held.borrow_mut().push(done),
                WorkKind::Nobodys => {}
            },
            _ => {}
        }
    }

    /// A server connection is at this from now on. Requests that could not be passed on before are now, or never.
    pub(crate) fn turn_to(self: &Rc<Self>, server: &Rc<ServerShared>, kind: WorkKind) {
        let before = server.work.get();
        if before.kind() == kind {
            return;
        }
        server.work.set(before.turn_to(kind));
        for done in server.held.take() {
            if kind == WorkKind::Clients {
                self.pass_on_cancel(server, Some(done));
            }
        }
    }

    /// Has PostgreSQL cancel what a server connection is at.
    pub(crate) fn cancel_on_server(self: &Rc<Self>, server: &Rc<ServerShared>) {
        self.pass_on_cancel(server, None);
    }

    fn pass_on_cancel(self: &Rc<Self>, server: &Rc<ServerShared>, done: Option<Done>) {
        if server.key.is_none() || !server.cancels.borrow_mut().add(server.work.get(), done) {
            return;
        }
        let (worker, server) = (Rc::clone(self), Rc::clone(server));
        spawn_local(async move {
            loop {
                deliver(&server).await;
                if !server.cancels.borrow_mut().advance(server.work.get()) {
                    break;
                }
            }
            worker.cancel_done.notify_waiters();
        });
    }
}

async fn deliver(server: &ServerShared) {
    let Some(key) = &server.key else { return };
    match timeout(LIMIT, connect::cancel(server.peer, server.tls.as_ref(), key)).await {
        Ok(Ok(())) => {}
        failed => {
            warn!(server = server.id, ?failed, "cancel request could not be delivered");
            // it may arrive yet, and must not find somebody else's query
            server.outlook.set(server.outlook.get().max(Outlook::Doomed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> (Done, oneshot::Receiver<()>) {
        oneshot::channel()
    }

    fn ended(receiver: &mut oneshot::Receiver<()>) -> bool {
        matches!(receiver.try_recv(), Err(oneshot::error::TryRecvError::Closed))
    }

    #[test]
    fn requests_that_come_while_one_is_under_way_share_the_next() {
        let work = Work::default().turn_to(WorkKind::Clients);
        let mut cancels = Cancels::default();
        let (first, mut first_done) = sender();
        assert!(cancels.add(work, Some(first)));
        let (mut later_done, later): (Vec<_>, Vec<_>) =
            (0..100).map(|_| sender()).map(|(a, b)| (b, a)).unzip();
        for done in later {
            assert!(!cancels.add(work, Some(done)));
        }
        assert!(cancels.advance(work), "one more, for all");
        assert!(ended(&mut first_done) && !ended(&mut later_done[0]));
        assert!(!cancels.advance(work));
        assert!(cancels.is_none() && later_done.iter_mut().all(ended));
    }

    #[test]
    fn requests_for_a_query_that_has_ended_meanwhile_are_not_sent() {
        let work = Work::default().turn_to(WorkKind::Clients);
        let idle = work.turn_to(WorkKind::Nobodys);
        let after = [idle, idle.turn_to(WorkKind::Clients), work.turn_to(WorkKind::Ours)];
        for now in after {
            let mut cancels = Cancels::default();
            assert!(cancels.add(work, None));
            let (done, mut dealt_with) = sender();
            assert!(!cancels.add(work, Some(done)));
            assert!(!cancels.advance(now), "{now:?}");
            assert!(ended(&mut dealt_with));
        }
    }

    #[test]
    fn a_request_for_the_next_query_takes_the_place_of_those_for_the_last() {
        let work = Work::default().turn_to(WorkKind::Clients);
        let next = work.turn_to(WorkKind::Nobodys).turn_to(WorkKind::Clients);
        let mut cancels = Cancels::default();
        assert!(cancels.add(work, None));
        let (old, mut old_done) = sender();
        assert!(!cancels.add(work, Some(old)));
        assert!(!cancels.add(next, None));
        assert!(ended(&mut old_done));
        assert!(cancels.advance(next));
    }
}
