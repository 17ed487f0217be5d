//! An IPv4 network in prefix notation, as configuration, routes and packet rules need it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A network whose host bits are all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cidr {
    network: Ipv4Addr,
    prefix: u8,
}

/// The text is no IPv4 network, or its host bits are set.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an IPv4 network such as 10.213.0.0/16")]
pub struct CidrError(String);

impl Cidr {
    /// The network of `prefix` bits that contains `address`; a prefix above 32 counts as 32.
    pub fn containing(address: Ipv4Addr, prefix: u8) -> Cidr {
        let prefix = prefix.min(32);
        Cidr { network: Ipv4Addr::from_bits(address.to_bits() & mask(prefix)), prefix }
    }
    pub fn network(&self) -> Ipv4Addr {
        self.network
    }
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask(self.prefix))
    }
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.network.to_bits()
    }
    pub fn overlaps(&self, other: &Cidr) -> bool {
        let shorter = self.prefix.min(other.prefix);
        (self.network.to_bits() ^ other.network.to_bits()) & mask(shorter) == 0
    }
    /// How many addresses lie in it.
    pub fn size(&self) -> u64 {
        1 << (32 - u32::from(self.prefix))
    }
    /// The address `offset` places after the network's own; none when that lies outside.
    pub fn address(&self, offset: u64) -> Option<Ipv4Addr> {
        (offset < self.size()).then(|| Ipv4Addr::from_bits(self.network.to_bits() + offset as u32))
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let problem = || CidrError(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(problem)?;
        let address: Ipv4Addr = address.parse().map_err(|_| problem())?;
        let prefix: u8 = prefix.parse().map_err(|_| problem())?;
        let cidr = Cidr::containing(address, prefix);
        if prefix > 32 || cidr.network != address {
            return Err(problem());
        }
        Ok(cidr)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Cidr, CidrError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn parses_only_networks() {
        assert_eq!(cidr("10.213.0.0/16").to_string(), "10.213.0.0/16");
        assert_eq!(cidr("0.0.0.0/0").size(), 1 << 32);
        for wrong in ["10.213.0.1/16", "10.213.0.0", "10.213.0.0/33", "fd00::/8", "a/b", ""] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn overlap_and_membership() {
        assert!(cidr("10.0.0.0/8").overlaps(&cidr("10.213.0.0/16")));
        assert!(cidr("10.213.4.0/24").overlaps(&cidr("10.213.0.0/16")));
        assert!(!cidr("10.212.0.0/16").overlaps(&cidr("10.213.0.0/16")));
        assert!(cidr("172.16.0.0/12").contains(Ipv4Addr::new(172, 31, 255, 255)));
        assert!(!cidr("172.16.0.0/12").contains(Ipv4Addr::new(172, 32, 0, 0)));
        assert_eq!(cidr("10.213.0.0/30").address(3), Some(Ipv4Addr::new(10, 213, 0, 3)));
        assert_eq!(cidr("10.213.0.0/30").address(4), None);
    }
}
