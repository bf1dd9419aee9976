//! Who is on a loop: its clients, by seat, and its server connections.

use std::rc::Rc;

use pgpooler_core::pool::{ClientId, ServerId};
use tracing::debug;

use crate::event_loop::client::ClientShared;
use crate::event_loop::seat::Sitter;
use crate::event_loop::server::{ServerConn, ServerShared};
use crate::event_loop::worker::Worker;

/// A client's place in the loop.
#[derive(Debug, Default)]
pub(super) struct Place {
    shared: Option<Rc<ClientShared>>,
    /// Not there while it is being served, or with a task.
    sitter: Option<Box<Sitter>>,
}

/// Clients.
impl Worker {
    /// A place for a client; it is filled by [`Self::seat`].
    pub(crate) fn reserve_seat(&self) -> ClientId {
        ClientId(self.clients.borrow_mut().insert(Place::default()) as u32)
    }

    pub(crate) fn seat(&self, client: &Rc<ClientShared>) {
        self.seat_own(client);
        self.process.client_arrived();
    }

    /// Seats one of our own, which does not count.
    pub(crate) fn seat_own(&self, client: &Rc<ClientShared>) {
        if let Some(place) = self.clients.borrow_mut().get_mut(client.slot.0 as usize) {
            place.shared = Some(Rc::clone(client));
        }
    }

    /// Takes a client out of its seat, to serve it.
    pub(crate) fn stand_up(&self, slot: ClientId) -> Option<Box<Sitter>> {
        self.clients.borrow_mut().get_mut(slot.0 as usize).and_then(|place| place.sitter.take())
    }

    /// Looks at who sits there; nobody, while it is served or with a task.
    pub(crate) fn with_sitter<T>(&self, slot: ClientId, look: impl FnOnce(Option<&Sitter>) -> T) -> T {
        look(self.clients.borrow().get(slot.0 as usize).and_then(|place| place.sitter.as_deref()))
    }

    /// Puts it back.
    pub(crate) fn put_back(&self, slot: ClientId, sitter: Box<Sitter>) {
        if let Some(place) = self.clients.borrow_mut().get_mut(slot.0 as usize) {
            place.sitter = Some(sitter);
        }
    }

    pub(crate) fn free_seat(&self, slot: ClientId) {
        self.clients.borrow_mut().try_remove(slot.0 as usize);
    }

    pub(crate) fn forget_client(&self, client: &ClientShared) {
        debug!(client = client.id, "client left");
        self.free_seat(client.slot);
        self.process.client_left();
    }

    pub(crate) fn client(&self, slot: ClientId) -> Option<Rc<ClientShared>> {
        self.clients.borrow().get(slot.0 as usize).and_then(|place| place.shared.clone())
    }

    pub(crate) fn clients(&self) -> Vec<Rc<ClientShared>> {
        self.clients.borrow().iter().filter_map(|(_, place)| place.shared.clone()).collect()
    }

    /// All clients in turn; nobody may come or leave meanwhile. For looks at ten thousand of them, five times a second.
    pub(crate) fn look_at_clients(&self, mut look: impl FnMut(&ClientShared)) {
        self.clients.borrow().iter().filter_map(|(_, place)| place.shared.as_deref()).for_each(&mut look);
    }

    pub(crate) fn client_count(&self) -> usize {
        self.clients.borrow().len()
    }

    pub(crate) fn count_error(&self, sqlstate: &str) {
        self.errors.borrow_mut().record_pooler(sqlstate.as_bytes());
    }
}

/// Server connections.
impl Worker {
    pub(crate) fn vacant_idle(&self) -> ServerId {
        ServerId(self.idle.borrow().vacant_key() as u32)
    }

    /// Under the id that [`Self::vacant_idle`] gave.
    pub(crate) fn insert_idle(&self, server: Box<ServerConn>) {
        let mut idle = self.idle.borrow_mut();
        idle.insert(server);
        self.process.note_idle(self.me, idle.len());
    }

    /// Where the connection with this id in the process is.
    pub(crate) fn idle_place(&self, id: u64) -> Option<ServerId> {
        let idle = self.idle.borrow();
        idle.iter().find(|(_, server)| server.shared.id == id).map(|(place, _)| ServerId(place as u32))
    }

    pub(crate) fn remove_idle(&self, id: ServerId) -> Option<Box<ServerConn>> {
        let mut idle = self.idle.borrow_mut();
        let server = idle.try_remove(id.0 as usize);
        self.process.note_idle(self.me, idle.len());
        server
    }

    /// Closes idle connections that PostgreSQL has closed, and frees their slots.
    pub(crate) fn sweep_idle(self: &Rc<Self>) {
        let ids: Vec<usize> = self.idle.borrow().iter().map(|(id, _)| id).collect();
        for id in ids {
            let dead = {
                let mut idle = self.idle.borrow_mut();
                idle.get_mut(id).is_some_and(|server| !crate::event_loop::checkout::is_alive(server))
            };
            if dead && let Some(server) = self.remove_idle(ServerId(id as u32)) {
                self.ledger.borrow_mut().forget_idle(server.shared.pool, ServerId(id as u32));
                self.retire(server);
            }
        }
    }

    pub(crate) fn remember_server(&self, server: &Rc<ServerShared>) {
        self.servers.borrow_mut().insert(server.id, Rc::clone(server));
        self.process.note_server(server.pool, true);
    }

    pub(crate) fn forget_server(&self, id: u64) {
        let known = self.servers.borrow_mut().remove(&id);
        if let Some(server) = known {
            self.process.note_server(server.pool, false);
        }
    }
}
