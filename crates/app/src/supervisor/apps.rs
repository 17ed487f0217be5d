//! Where applications answer: the address asked for, or the well-known port when it is free.

use crate::config::Apps;
use crate::listeners::{self, ListenError, Listeners};
use crate::log::say;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Binds what `apps` says, `loops` sockets of it, or uses what an earlier run's proxy still has on that address.
pub(super) fn listeners(
    apps: Apps,
    inherited: Option<Listeners>,
    loops: usize,
) -> Result<Option<Listeners>, ListenError> {
    match apps {
        Apps::Off => Ok(None),
        Apps::At(address) => match inherited.filter(|l| same(address, l.address)) {
            Some(listeners) => Ok(Some(listeners)),
            None => listeners::bind(address, loops).map(Some),
        },
        Apps::Preferred { port, otherwise } => {
            let fits = |l: &Listeners| [port, otherwise].contains(&l.address.port());
            if let Some(listeners) = inherited.filter(fits) {
                return Ok(Some(listeners));
            }
            match everywhere(port, loops) {
                Err(error @ ListenError::InUse { .. }) => {
                    let listeners = everywhere(otherwise, loops)?;
                    say(&format!("{error}; applications answer on port {otherwise} instead"));
                    Ok(Some(listeners))
                }
                other => other.map(Some),
            }
        }
    }
}

/// Whether a bound address is the one that was asked for; port 0 asks for any.
pub(super) fn same(asked: SocketAddr, bound: SocketAddr) -> bool {
    asked == bound || (asked.port() == 0 && asked.ip() == bound.ip())
}

/// Binds a port of every address, of IPv4 alone where the kernel has no other.
fn everywhere(port: u16, loops: usize) -> Result<Listeners, ListenError> {
    match listeners::bind((Ipv6Addr::UNSPECIFIED, port).into(), loops) {
        Err(ListenError::Other { .. }) => listeners::bind((Ipv4Addr::UNSPECIFIED, port).into(), loops),
        bound => bound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, TcpStream};

    fn free_port() -> u16 {
        everywhere(0, 1).unwrap().address.port()
    }

    #[test]
    fn both_families_are_answered() {
        let listeners = everywhere(0, 1).unwrap();
        let port = listeners.address.port();
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            TcpStream::connect((address, port)).unwrap();
        }
        let taken = listeners::bind((Ipv4Addr::UNSPECIFIED, port).into(), 1);
        assert!(matches!(taken, Err(ListenError::InUse { .. })));
    }

    #[test]
    fn the_other_port_serves_when_the_preferred_one_is_taken() {
        let taken = everywhere(0, 1).unwrap();
        let (port, otherwise) = (taken.address.port(), free_port());
        let found = listeners(Apps::Preferred { port, otherwise }, None, 2).unwrap().unwrap();
        assert_eq!((found.address.port(), found.sockets.len()), (otherwise, 2));
        // With both taken the error names the second, which was the last hope.
        let error = listeners(Apps::Preferred { port, otherwise }, None, 2).unwrap_err();
        assert!(error.to_string().contains(&format!(":{otherwise} is in use by")), "{error}");
    }

    #[test]
    fn what_an_earlier_proxy_has_is_used() {
        let earlier = listeners::bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let address = earlier.address;
        let found = listeners(Apps::At(address), Some(earlier), 1).unwrap().unwrap();
        assert_eq!((found.address, found.sockets.len()), (address, 3));
        let moved = listeners(Apps::At("127.0.0.2:0".parse().unwrap()), Some(found), 1).unwrap().unwrap();
        assert_eq!(moved.sockets.len(), 1);
        assert!(listeners(Apps::Off, Some(moved), 1).unwrap().is_none());
    }
}
