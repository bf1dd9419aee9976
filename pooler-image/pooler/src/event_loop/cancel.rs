//! Cancel requests: from a client's key to the server connection that it holds at this moment.
//!
//! A key tells the loop and the place of its client; its secret is computed, not stored. The server connection is
//! kept from the pool until PostgreSQL has dealt with the request, so that it can never hit a later query.

use std::hash::Hasher;
use std::rc::Rc;
use std::time::Duration;

use pgpooler_core::pool::{ClientId, LoopId};
use pgpooler_core::wire::CancelKey;
use siphasher::sip128::{Hasher128, SipHasher24};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tracing::warn;

use crate::connect;
use crate::event_loop::client::{ClientShared, Kick};
use crate::event_loop::server::ServerShared;
use crate::event_loop::worker::Worker;
use crate::report::ClientState;

/// How long PostgreSQL may take to deal with a cancel request.
const LIMIT: Duration = Duration::from_secs(10);

/// Places of clients in a loop that a key can tell apart.
const SLOT_BITS: u32 = 24;

/// The key of a client. `long`: it speaks protocol 3.2 and can take a secret of 32 bytes.
pub(crate) fn key(secret: &[u8; 16], me: LoopId, slot: ClientId, id: u64, long: bool) -> Option<CancelKey> {
    let process_id = u32::from(me.0) << SLOT_BITS | slot.0;
    let half = |salt: u8| {
        let mut hasher = SipHasher24::new_with_key(secret);
        hasher.write_u64(id);
        hasher.write_u8(salt);
        hasher.finish128().as_bytes()
    };
    let bytes = [half(0), half(1)].concat();
    CancelKey::new(process_id as i32, bytes.get(..if long { 32 } else { 4 })?)
}

/// The loop and the place in it that a key tells.
pub(crate) fn whose(key: &CancelKey) -> (LoopId, ClientId) {
    let process_id = key.process_id() as u32;
    (LoopId((process_id >> SLOT_BITS) as u16), ClientId(process_id & ((1 << SLOT_BITS) - 1)))
}

impl Worker {
    /// Cancels what the client with this key asked for. A wrong key does nothing, and nobody can tell.
    pub(crate) fn cancel(self: &Rc<Self>, key: &CancelKey) {
        let (_, slot) = whose(key);
        let Some(client) = self.client(slot).filter(|client| self.opens(client, key)) else { return };
        let server = client.server.borrow().clone();
        match (client.state.get(), server) {
            (ClientState::Waiting, _) => client.kick(Kick::Canceled),
            (ClientState::Active, Some(server)) => self.cancel_on_server(&server),
            _ => {}
        }
    }

    fn opens(&self, client: &ClientShared, given: &CancelKey) -> bool {
        let long = given.secret().len() > 4;
        key(&self.process.cancel_secret, self.me, client.slot, client.id, long)
            .is_some_and(|key| key == *given)
    }

    /// Passes a cancel request on.
    pub(crate) fn cancel_on_server(self: &Rc<Self>, server: &Rc<ServerShared>) {
        let Some(key) = server.key.clone() else { return };
        server.cancels.set(server.cancels.get() + 1);
        let (worker, server) = (Rc::clone(self), Rc::clone(server));
        spawn_local(async move {
            match timeout(LIMIT, connect::cancel(server.peer, server.tls.as_ref(), &key)).await {
                Ok(Ok(())) => {}
                failed => {
                    warn!(server = server.id, ?failed, "cancel request could not be delivered");
                    // it may arrive yet, and must not find somebody else's query
                    server.doomed.set(true);
                }
            }
            server.cancels.set(server.cancels.get() - 1);
            worker.cancel_done.notify_waiters();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_back_to_its_client_and_no_two_clients_have_the_same() {
        let one = key(&[1; 16], LoopId(3), ClientId(70_000), 9, false).unwrap();
        let two = key(&[1; 16], LoopId(3), ClientId(70_000), 10, false).unwrap();
        assert_eq!(whose(&one), (LoopId(3), ClientId(70_000)));
        assert_ne!(one, two);
        assert_eq!(key(&[1; 16], LoopId(0), ClientId(1), 9, true).unwrap().secret().len(), 32);
    }
}
