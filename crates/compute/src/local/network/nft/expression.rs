//! The attributes and expressions that the rules are made of, as netlink takes them.

use super::numbers::*;
use super::{CONNECTION_SOURCES, DNS_PACKETS_BURST, DNS_PACKETS_PER_SECOND, DNS_SOURCES};
use crate::local::network::cidr::Cidr;

pub(super) fn raw(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (value.len() + 4) as u16;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

pub(super) fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    raw(kind | NESTED, value)
}

pub(super) fn string(kind: u16, value: &str) -> Vec<u8> {
    raw(kind, &[value.as_bytes(), b"\0"].concat())
}

pub(super) fn number(kind: u16, value: u32) -> Vec<u8> {
    raw(kind, &value.to_be_bytes())
}

pub(super) fn long_number(kind: u16, value: u64) -> Vec<u8> {
    raw(kind, &value.to_be_bytes())
}

pub(super) fn expression(name: &str, data: &[u8]) -> Vec<u8> {
    [string(1, name), nested(2, data)].concat()
}

pub(super) fn value(kind: u16, bytes: &[u8]) -> Vec<u8> {
    nested(kind, &raw(1, bytes))
}

pub(super) fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[number(1, REGISTER), number(2, key)].concat())
}

pub(super) fn payload(base: u32, offset: u32, length: u32) -> Vec<u8> {
    let attributes = [number(1, REGISTER), number(2, base), number(3, offset), number(4, length)];
    expression("payload", &attributes.concat())
}

pub(super) fn compare(operator: u32, bytes: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(1, REGISTER), number(2, operator), value(3, bytes)].concat())
}

pub(super) fn masked(mask: &[u8]) -> Vec<u8> {
    let zero = vec![0; mask.len()];
    let attributes = [
        number(1, REGISTER),
        number(2, REGISTER),
        number(3, mask.len() as u32),
        value(4, mask),
        value(5, &zero),
    ];
    expression("bitwise", &attributes.concat())
}

pub(super) fn in_network(offset: u32, network: &Cidr) -> Vec<Vec<u8>> {
    vec![
        payload(BASE_NETWORK, offset, 4),
        masked(&network.mask().octets()),
        compare(EQUAL, &network.network().octets()),
    ]
}

pub(super) fn to_network(network: &Cidr) -> Vec<Vec<u8>> {
    in_network(IP_DESTINATION, network)
}

/// Matches a connection that is in one of the given states.
pub(super) fn state(bits: u32) -> Vec<Vec<u8>> {
    let load = expression("ct", &[number(1, REGISTER), number(2, 0)].concat());
    vec![load, masked(&bits.to_ne_bytes()), compare(NOT_EQUAL, &[0; 4])]
}

/// The interface by which the packet's source is reached, if it is the one that the packet came by; else zero.
pub(super) fn route_to_source() -> Vec<u8> {
    let flags = number(3, FIB_OF_SOURCE | FIB_SAME_INTERFACE);
    expression("fib", &[number(1, REGISTER), number(2, FIB_OUTPUT_INTERFACE), flags].concat())
}

/// Matches when the source address that was loaded sends more than it may.
pub(super) fn over_rate() -> Vec<u8> {
    let limit = [
        long_number(1, DNS_PACKETS_PER_SECOND),
        // The unit, in seconds.
        long_number(2, 1),
        number(3, DNS_PACKETS_BURST),
        number(4, LIMIT_PACKETS),
        number(5, LIMIT_OVER),
    ];
    let attributes = [
        string(1, DNS_SOURCES),
        number(3, SET_UPDATE),
        number(4, REGISTER),
        nested(7, &expression("limit", &limit.concat())),
    ];
    expression("dynset", &attributes.concat())
}

/// Matches when the source address that was loaded has more connections than so many.
pub(super) fn over_count(connections_max: u32) -> Vec<u8> {
    let limit = [number(1, connections_max), number(2, CONNECTIONS_OVER)];
    let attributes = [
        string(1, CONNECTION_SOURCES),
        number(3, SET_ADD),
        number(4, REGISTER),
        nested(7, &expression("connlimit", &limit.concat())),
    ];
    expression("dynset", &attributes.concat())
}

pub(super) fn verdict(code: u32) -> Vec<u8> {
    let data = nested(2, &nested(2, &number(1, code)));
    expression("immediate", &[number(1, 0), data].concat())
}

pub(super) fn jump(chain: &str) -> Vec<u8> {
    let code = [number(1, VERDICT_JUMP), string(2, chain)].concat();
    expression("immediate", &[number(1, 0), nested(2, &nested(2, &code))].concat())
}

pub(super) fn refuse() -> Vec<u8> {
    expression("reject", &[number(1, 0), raw(2, &[ICMP_ADMINISTRATIVELY_PROHIBITED])].concat())
}

pub(super) fn masquerade() -> Vec<u8> {
    expression("masq", &[])
}
