//! Makes cancel keys and reads them.

use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;
use subtle::ConstantTimeEq;

use crate::wire::CancelKey;

use super::permutation::{Halves, Permutation};
use super::place::{LONG_PROOF, Origin, Owner, Place, Proof, Request, pack, repack, unpack};

/// Bytes of a code that authenticates.
const CODE: usize = 16;
const NONCE: usize = 16;
/// Form, place, proof.
const CONTENT: usize = 1 + 8 + LONG_PROOF;

/// Process id of what a peer passes on: no key has it.
const PASSED_ON: i32 = 0;

/// How long a key may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// Protocol 3.0: a secret of four bytes.
    Short,
    /// Protocol 3.2: a secret of 32.
    Long,
}

impl KeyForm {
    /// For a client that speaks protocol 3 with this minor version.
    pub const fn of_protocol(minor: u16) -> Self {
        if minor >= 2 { Self::Long } else { Self::Short }
    }
}

/// The keys of all processes that share a secret.
#[derive(Clone)]
pub struct CancelKeys {
    permutation: Permutation,
    owners: [u8; 16],
    long: [u8; 32],
    content: [u8; 32],
    passed_on: [u8; 32],
}

impl CancelKeys {
    /// From the secret, which is as good as its randomness.
    pub fn derive(secret: &[u8]) -> Self {
        let root = Sha256::digest(secret).into();
        let key = |purpose: &str| authenticate(&root, &[b"pgpooler cancel keys 1 ", purpose.as_bytes()]);
        Self {
            permutation: Permutation::new(first(&key("place"))),
            owners: first(&key("owner")),
            long: key("long key"),
            content: key("content passed on"),
            passed_on: key("passed on"),
        }
    }

    /// The process at this address.
    pub fn owner_at(&self, address: IpAddr) -> Owner {
        let mut hasher = SipHasher24::new_with_key(&self.owners);
        match address.to_canonical() {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        Owner::of_hash(hasher.finish())
    }

    /// The key of a client; `None` when its place has a higher number than keys can tell.
    pub fn key(&self, place: Place, proof: &Proof, form: KeyForm) -> Option<CancelKey> {
        let Halves { left, right } = self.permutation.seal(pack(place, proof)?);
        let mut secret = right.to_be_bytes().to_vec();
        if form == KeyForm::Long {
            secret.extend(proof.long());
            let code: [u8; CODE] = first(&authenticate(&self.long, &[&left.to_be_bytes(), &secret]));
            secret.extend(code);
        }
        CancelKey::new(left as i32, &secret)
    }

    /// What a key says; `None` for one that nobody with this secret has made, as far as its form can tell.
    pub fn read(&self, key: &CancelKey) -> Option<Request> {
        if key.process_id() == PASSED_ON {
            return self.read_passed_on(key.secret());
        }
        let left = u32::try_from(key.process_id()).ok()?;
        let (right, rest) = key.secret().split_first_chunk()?;
        let sealed = Halves::new(left, u32::from_be_bytes(*right))?;
        let long = match rest {
            [] => None,
            rest => Some(self.long_proof(left, key.secret(), rest)?),
        };
        Some(unpack(self.permutation.open(sealed), Origin::Client, long))
    }

    fn long_proof(&self, left: u32, secret: &[u8], rest: &[u8]) -> Option<[u8; LONG_PROOF]> {
        let (proof, code) = rest.split_first_chunk()?;
        let covered = secret.get(..secret.len().checked_sub(CODE)?)?;
        let expected: [u8; CODE] = first(&authenticate(&self.long, &[&left.to_be_bytes(), covered]));
        bool::from(expected.ct_eq(code)).then_some(*proof)
    }

    /// What tells the owner of a request. It shows nothing of the client's key; the nonce must be new each time.
    pub fn pass_on(&self, request: &Request, nonce: [u8; NONCE]) -> Option<CancelKey> {
        let mut content = [0; CONTENT];
        let parts = [u8::from(request.long.is_some())]
            .into_iter()
            .chain(repack(request).to_be_bytes())
            .chain(request.long.unwrap_or_default());
        let stream = authenticate(&self.content, &[&nonce]);
        for (byte, (part, mask)) in content.iter_mut().zip(parts.zip(stream)) {
            *byte = part ^ mask;
        }
        let code: [u8; CODE] = first(&authenticate(&self.passed_on, &[&nonce, &content]));
        CancelKey::new(PASSED_ON, &[nonce.as_slice(), &content, &code].concat())
    }

    fn read_passed_on(&self, secret: &[u8]) -> Option<Request> {
        let (nonce, rest) = secret.split_first_chunk::<NONCE>()?;
        let (content, code) = rest.split_first_chunk::<CONTENT>()?;
        let expected: [u8; CODE] = first(&authenticate(&self.passed_on, &[nonce, content]));
        if !bool::from(expected.ct_eq(code)) {
            return None;
        }
        let stream = authenticate(&self.content, &[nonce]);
        let mut plain = content.iter().zip(stream).map(|(byte, mask)| byte ^ mask);
        let form = plain.next()?;
        let number = plain.by_ref().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(byte));
        let mut proof = [0; LONG_PROOF];
        proof.iter_mut().zip(plain).for_each(|(byte, part)| *byte = part);
        let halves = Halves::new((number >> 32) as u32, number as u32)?;
        Some(unpack(halves, Origin::Peer, (form != 0).then_some(proof)))
    }
}

impl fmt::Debug for CancelKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CancelKeys([redacted])")
    }
}

/// HMAC-SHA-256 over the parts, whose lengths are fixed but for the last one's.
fn authenticate(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [0; 64];
    block.iter_mut().zip(key).for_each(|(byte, part)| *byte = *part);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn first<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    const { assert!(N <= 32) };
    std::array::from_fn(|n| bytes[n])
}
