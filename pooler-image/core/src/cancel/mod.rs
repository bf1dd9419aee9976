//! Cancel keys that lead back to their client: to the pooler process, to the loop in it, to the place in that loop.
//!
//! Whoever has the secret can read a key; so a cancel request that reaches another replica finds its way without a list
//! of keys. To everybody else a key is random. A key of protocol 3.0 is nothing but the sealed place (63 bits, with a
//! part that proves which client it is for); a long key of protocol 3.2 has a longer proof and a code that
//! authenticates it.
//!
//! ```text
//! short   process id: left half | secret: right half
//! long    process id: left half | secret: right half, proof (12), code (16)
//! passed on by a peer
//!         process id: 0         | secret: nonce (16), sealed content (21), code (16)
//! ```
//!
//! What a peer passes on has a form of its own, so that it is never passed on again, and does not show the client's key.

mod keys;
mod permutation;
mod place;

pub use keys::{CancelKeys, KeyForm};
pub use place::{Origin, Owner, Place, Proof, Request};
