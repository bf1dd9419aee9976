//! Cancel requests: to the loop that has the client, or to the process that has it.
//!
//! A request is passed on once at most, to whoever its key names; one that a peer has passed on, to nobody. The
//! connection that brought it is closed when its owner has dealt with it: then whoever sent it may go on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use pgpooler_core::cancel::{CancelKeys, KeyForm, Origin, Owner, Place, Proof, Request};
use pgpooler_core::pool::{ClientId, LoopId};
use pgpooler_core::wire::CancelKey;
use siphasher::sip128::{Hasher128, SipHasher24};
use tokio::sync::{Mutex, Semaphore, oneshot};
use tracing::{debug, info};

use super::{Mail, Process};
use crate::auth;
use crate::connect::{self, ConnectErrorKind};
use crate::reactor::{Socket, lookup_host, timeout};
use crate::reload::Loaded;
use crate::report::PeerPoolReport;

/// How long a peer may take to deal with a request; it has a limit of its own for PostgreSQL.
const LIMIT: Duration = Duration::from_secs(12);

/// How long a peer may take to accept a connection: an address that is gone does not answer at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// How long a name may take to be resolved.
const RESOLVE_LIMIT: Duration = Duration::from_secs(2);

/// How long an answer to `peers_dns` is used: so many requests a second cost one question.
const FRESH: Duration = Duration::from_secs(1);

/// Requests passed on at once; others wait.
const MOST_AT_ONCE: usize = 64;

/// What a process needs to give keys and to pass requests on.
pub(crate) struct Peers {
    keys: CancelKeys,
    me: Owner,
    /// Of this process alone, so that one that is started anew takes no key of the old one's clients.
    proofs: [u8; 16],
    at_once: Semaphore,
    /// Requests under way, by the peer's number; none: one that was found by `peers_dns`.
    under_way: std::sync::Mutex<BTreeMap<Option<u16>, PeerPoolReport>>,
    resolved: Mutex<Option<Resolved>>,
}

/// What `peers_dns` meant a moment ago.
struct Resolved {
    at: Instant,
    addresses: Vec<SocketAddr>,
}

impl Peers {
    pub(crate) fn new(keys: CancelKeys, me: Owner, proofs: [u8; 16]) -> Self {
        let at_once = Semaphore::new(MOST_AT_ONCE);
        Self { keys, me, proofs, at_once, under_way: std::sync::Mutex::default(), resolved: Mutex::default() }
    }

    /// The key of a client of ours.
    pub(crate) fn key(&self, in_loop: LoopId, client: ClientId, id: u64, form: KeyForm) -> Option<CancelKey> {
        self.keys.key(Place { owner: self.me, in_loop, client }, &self.proof(id), form)
    }

    /// What the key of the client with this id has in it.
    pub(crate) fn proof(&self, id: u64) -> Proof {
        use std::hash::Hasher;
        let mut hasher = SipHasher24::new_with_key(&self.proofs);
        hasher.write_u64(id);
        Proof::new(hasher.finish128().as_bytes())
    }

    /// Requests that have been passed on, by peer.
    pub(super) fn pools(&self) -> Vec<PeerPoolReport> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }

    fn count(&self, peer_id: Option<u16>, stage: Stage, change: impl FnOnce(&mut u32)) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let pool =
            under_way.entry(peer_id).or_insert(PeerPoolReport { peer_id, ..PeerPoolReport::default() });
        change(match stage {
            Stage::Waiting => &mut pool.waiting,
            Stage::Active => &mut pool.active,
        });
    }

    async fn pass_on(&self, settings: &Loaded, request: &Request) {
        let counted = Counted::waiting(self, peer_id(settings, request.place().owner));
        // never closed
        let Ok(_turn) = self.at_once.acquire().await else { return };
        let _counted = counted.active();
        for peer in self.find(settings, request.place().owner).await {
            match self.tell(settings, &peer, request).await {
                Ok(()) => debug!(?peer, "cancel request passed on"),
                Err(error) => info!(?peer, %error, "cancel request could not be passed on"),
            }
        }
    }

    /// The peers with this mark, mostly one or none, each with its addresses.
    async fn find(&self, Loaded { document, .. }: &Loaded, owner: Owner) -> Vec<Vec<SocketAddr>> {
        if let Some(name) = document.peers_name() {
            let addresses = self.resolve(name).await;
            let marked = addresses.into_iter().filter(|address| self.keys.owner_at(address.ip()) == owner);
            return marked.map(|address| vec![address]).collect();
        }
        let peer = document.peers.iter().find(|peer| Owner::of_peer_id(peer.peer_id) == Some(owner));
        let Some(peer) = peer else { return Vec::new() };
        vec![addresses((&peer.host, peer.port)).await]
    }

    /// The addresses of all peers, asked for at most once in [`FRESH`].
    async fn resolve(&self, name: (&str, u16)) -> Vec<SocketAddr> {
        let mut resolved = self.resolved.lock().await;
        match &*resolved {
            Some(known) if known.at.elapsed() < FRESH => known.addresses.clone(),
            _ => {
                let addresses = addresses(name).await;
                *resolved = Some(Resolved { at: Instant::now(), addresses: addresses.clone() });
                addresses
            }
        }
    }

    /// With the TLS of the fleet, where there is one, and never without it. Otherwise with TLS where we offer it ourselves:
    /// the message shows nothing and proves where it comes from, so a peer that does not offer TLS yet, or no more, is
    /// told without.
    async fn tell(
        &self,
        Loaded { tls, .. }: &Loaded,
        peer: &[SocketAddr],
        request: &Request,
    ) -> Result<(), ConnectErrorKind> {
        let Some(message) = self.keys.pass_on(request, auth::random()?) else { return Ok(()) };
        let stream = reach(peer).await?;
        let address = stream.peer_addr().map_err(ConnectErrorKind::Connect)?;
        if let Some(internal) = &tls.internal {
            let peer = internal.peer(address.ip()).map_err(ConnectErrorKind::Tls)?;
            return connect::cancel_inside(stream, &peer, &message).await;
        }
        let secured =
            tls.peers.peer(&address.ip().to_string(), address.ip()).map_err(ConnectErrorKind::Connect)?;
        match connect::cancel_over(stream, secured.as_ref(), &message).await {
            Err(ConnectErrorKind::NoTls) => connect::cancel_over(reach(peer).await?, None, &message).await,
            outcome => outcome,
        }
    }
}

/// A request that is counted as long as this is there.
struct Counted<'a> {
    peers: &'a Peers,
    peer_id: Option<u16>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Active,
}

impl<'a> Counted<'a> {
    fn waiting(peers: &'a Peers, peer_id: Option<u16>) -> Self {
        Self::at(peers, peer_id, Stage::Waiting)
    }

    /// It has its turn.
    fn active(self) -> Self {
        Self::at(self.peers, self.peer_id, Stage::Active)
    }

    fn at(peers: &'a Peers, peer_id: Option<u16>, stage: Stage) -> Self {
        peers.count(peer_id, stage, |count| *count += 1);
        Self { peers, peer_id, stage }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.peers.count(self.peer_id, self.stage, |count| *count -= 1);
    }
}

/// The number of the peer with this mark, if the document lists it.
fn peer_id(Loaded { document, .. }: &Loaded, owner: Owner) -> Option<u16> {
    document.peers.iter().map(|peer| peer.peer_id).find(|id| Owner::of_peer_id(*id) == Some(owner))
}

async fn reach(peer: &[SocketAddr]) -> Result<Socket, ConnectErrorKind> {
    let first = async {
        let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        for address in peer {
            match Socket::connect(*address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(ConnectErrorKind::Connect(last))
    };
    match timeout(CONNECT_LIMIT, first).await {
        Ok(connected) => connected,
        Err(_) => Err(ConnectErrorKind::Timeout(CONNECT_LIMIT)),
    }
}

impl Process {
    /// Deals with a cancel request; done when its owner has dealt with it. A wrong key does nothing.
    ///
    /// Cancel-safe: a request that has reached its owner is dealt with all the same.
    pub(crate) async fn cancel(&self, key: &CancelKey) {
        let Some(request) = self.peers.keys.read(key) else { return };
        if request.place().owner == self.peers.me {
            self.cancel_here(request).await;
        } else if request.origin() == Origin::Client {
            let current = self.current();
            if timeout(LIMIT, self.peers.pass_on(&current.loaded, &request)).await.is_err() {
                info!("a peer did not deal with a cancel request in time");
            }
        }
    }

    async fn cancel_here(&self, request: Request) {
        let (done, dealt_with) = oneshot::channel();
        // a loop that has ended has no clients
        if self.send(request.place().in_loop, Mail::Cancel(request, done)).is_ok() {
            let _ = dealt_with.await;
        }
    }
}

/// None when the name has none, or nobody answers: there is nobody to wait for then.
async fn addresses((host, port): (&str, u16)) -> Vec<SocketAddr> {
    match timeout(RESOLVE_LIMIT, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses,
        failed => {
            info!(host, failure = ?failed.map(|found| found.map(drop)), "peers could not be found");
            Vec::new()
        }
    }
}
