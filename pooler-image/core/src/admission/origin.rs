//! Where a connection comes from, as far as limits go.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of an IPv6 address that its network gives; a host chooses the rest as it likes.
const NETWORK_BITS: u32 = 64;

/// An IPv4 address, or the /64 network of an IPv6 address: a host has as many addresses of it as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & u128::MAX << (128 - NETWORK_BITS)))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self(Ipv4Addr::UNSPECIFIED.into())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(formatter),
            IpAddr::V6(network) => write!(formatter, "{network}/{NETWORK_BITS}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(address: &str) -> String {
        Origin::from(address.parse::<IpAddr>().unwrap()).to_string()
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_and_ipv4_keeps_its_own_however_it_is_written() {
        assert_eq!(told("10.1.2.3"), "10.1.2.3");
        assert_eq!(told("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(told("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(told("2001:db8:1:2:ffff::1"), "2001:db8:1:2::/64");
    }
}
