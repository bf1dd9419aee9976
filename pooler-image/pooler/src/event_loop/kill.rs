//! Clients that must go at once, with what they have under way.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::event_loop::client::{Kick, Killed};
use crate::event_loop::worker::Worker;

impl Worker {
    /// Closes every client of these databases and every server connection to them; new clients wait for the end of the
    /// pause that has begun.
    pub(crate) fn kill(self: &Rc<Self>, databases: &BTreeSet<String>, epoch: u32) {
        for database in databases {
            self.set_paused(Some(database), true);
            // those that are on their way
            self.reconnect(Some(database), epoch);
        }
        for client in self.clients() {
            if databases.contains(&client.pool.database) {
                client.kick(Kick::Killed(Killed::WithDatabase));
            }
        }
    }

    /// Closes the client with this id; `false`: it is not here.
    pub(crate) fn kill_client(&self, id: u64) -> bool {
        let client = self.clients().into_iter().find(|client| client.id == id);
        if let Some(client) = &client {
            client.kick(Kick::Killed(Killed::Itself));
        }
        client.is_some()
    }
}
