//! Instants and addresses in few words: each client has some of them, and there are many clients.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::NonZeroU64;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// An instant, as nanoseconds since one in the past of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(NonZeroU64);

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

impl From<Instant> for Stamp {
    fn from(instant: Instant) -> Self {
        let since = instant.saturating_duration_since(origin()).as_nanos();
        // enough for five centuries
        Self(NonZeroU64::MIN.saturating_add(u64::try_from(since).unwrap_or(u64::MAX)))
    }
}

impl From<Stamp> for Instant {
    fn from(stamp: Stamp) -> Self {
        origin() + Duration::from_nanos(stamp.0.get() - 1)
    }
}

/// An address; the long ones in a place of their own.
#[derive(Debug)]
pub(crate) enum Address {
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4(address),
            SocketAddr::V6(address) => Self::V6(Box::new(address)),
        }
    }
}

impl From<&Address> for SocketAddr {
    fn from(address: &Address) -> Self {
        match address {
            Address::V4(address) => Self::V4(*address),
            Address::V6(address) => Self::V6(**address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_comes_back_as_it_was() {
        let _ = Stamp::from(Instant::now());
        let later = Instant::now() + Duration::from_nanos(123_456_789);
        assert_eq!(Instant::from(Stamp::from(later)), later);
    }

    #[test]
    fn an_instant_before_the_first_is_the_first() {
        let stamp = Stamp::from(Instant::now());
        let Some(earlier) = Instant::now().checked_sub(Duration::from_hours(1)) else { return };
        assert!(Instant::from(Stamp::from(earlier)) <= Instant::from(stamp));
    }

    #[test]
    fn addresses_come_back_as_they_were() {
        for text in ["127.0.0.1:5432", "[fe80::1%7]:6432"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(&Address::from(address)), address);
        }
    }
}
