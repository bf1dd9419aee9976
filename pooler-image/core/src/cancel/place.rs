//! Where a client is, and what proves that a key is for it.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::pool::{ClientId, LoopId};

use super::permutation::Halves;

const OWNER_BITS: u32 = 18;
const LOOP_BITS: u32 = 6;
const CLIENT_BITS: u32 = 18;
const PROOF_BITS: u32 = 21;

/// Bytes of a long key's proof.
pub(super) const LONG_PROOF: usize = 12;

/// A pooler process, as keys name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(u32);

impl Owner {
    /// A process that has no peers.
    pub const ALONE: Self = Self(1);

    /// The process with this `peer_id`; 0 is nobody's.
    pub const fn of_peer_id(id: u16) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id as u32)) }
    }

    /// From a hash of what identifies the process. Two of ten processes have the same with a probability of 1 to 5,800;
    /// both are then asked.
    pub(super) const fn of_hash(hash: u64) -> Self {
        Self(1 + (hash % ((1 << OWNER_BITS) - 1)) as u32)
    }
}

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The process.
    pub owner: Owner,
    /// The loop of that process.
    pub in_loop: LoopId,
    /// The place in that loop.
    pub client: ClientId,
}

/// What a client has in common with its key and with no other: places are used again.
#[derive(Clone, Copy)]
pub struct Proof([u8; 16]);

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Somebody with a client's key.
    Client,
    /// A process that has the secret too. Not passed on any further.
    Peer,
}

/// What a key of ours says.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub(super) origin: Origin,
    pub(super) place: Place,
    pub(super) short: u32,
    pub(super) long: Option<[u8; LONG_PROOF]>,
}

impl Proof {
    /// Of bytes that nobody can guess.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    fn short(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d]) & ((1 << PROOF_BITS) - 1)
    }

    pub(super) fn long(&self) -> [u8; LONG_PROOF] {
        std::array::from_fn(|n| self.0[n + 4])
    }
}

impl Request {
    /// Where the client is that the request is for.
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Who sent it.
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether it is for the client with this proof, and not for one that had its place before. In constant time.
    pub fn is_for(&self, proof: &Proof) -> bool {
        let short = self.short.ct_eq(&proof.short());
        let long = self.long.map_or(1.into(), |given| given.ct_eq(&proof.long()));
        bool::from(short & long)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("origin", &self.origin)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// A place and the short proof as one number; `None` when the place has no room in it.
pub(super) fn pack(place: Place, proof: &Proof) -> Option<Halves> {
    let (in_loop, client) = (u64::from(place.in_loop.0), u64::from(place.client.0));
    if in_loop >= 1 << LOOP_BITS || client >= 1 << CLIENT_BITS {
        return None;
    }
    let number = [(in_loop, LOOP_BITS), (client, CLIENT_BITS), (u64::from(proof.short()), PROOF_BITS)]
        .into_iter()
        .fold(u64::from(place.owner.0), |number, (part, bits)| number << bits | part);
    Halves::new((number >> 32) as u32, number as u32)
}

/// Any number says something; whether it is true is for [`Request::is_for`].
pub(super) fn unpack(halves: Halves, origin: Origin, long: Option<[u8; LONG_PROOF]>) -> Request {
    let mut number = u64::from(halves.left) << 32 | u64::from(halves.right);
    let mut take = |bits: u32| {
        let part = number & ((1 << bits) - 1);
        number >>= bits;
        part as u32
    };
    let short = take(PROOF_BITS);
    let client = ClientId(take(CLIENT_BITS));
    let in_loop = LoopId(take(LOOP_BITS) as u16);
    Request { origin, place: Place { owner: Owner(take(OWNER_BITS)), in_loop, client }, short, long }
}

/// As a number again.
pub(super) fn repack(request: &Request) -> u64 {
    let place = request.place;
    let parts =
        [(u32::from(place.in_loop.0), LOOP_BITS), (place.client.0, CLIENT_BITS), (request.short, PROOF_BITS)];
    parts.into_iter().fold(u64::from(place.owner.0), |number, (part, bits)| number << bits | u64::from(part))
}
