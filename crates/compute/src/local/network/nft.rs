//! Packet rules: one nf_tables table of our own for IPv4 and one for IPv6, spoken to the kernel through netlink.
//!
//! The product must not need the `nft` program, so this module owns a small encoder for the few expressions
//! that our rules use. The tables are replaced in one batch, which the kernel commits as a whole or not at all;
//! nothing of any other table is read or written, except that `dropping_chains` lists foreign forward chains
//! whose policy is drop, because a packet that we accept may still be dropped there.
//!
//! What the rules say, for interfaces whose name begins with ours:
//! - prerouting, from an instance: a packet whose source is not the address that is routed to its interface is
//!   dropped, whatever the host's reverse path filter is set to; every IPv6 packet is dropped;
//! - forward, from an instance: answers pass; a connection above so many at once is dropped; neighbours and private networks are refused with an ICMP error,
//!   so that a program fails at once and not by a time-out; the operator's allowed networks pass;
//! - forward, to an instance: only answers pass, since the proxy and the checks run on this host;
//! - input, from an instance: answers, DNS to the gateway address and ping pass, all else is refused, at whichever
//!   of the host's addresses. DNS packets above a rate per instance are dropped before anything reads them;
//! - input, from elsewhere: nobody but this host itself reaches the gateway address;
//! - postrouting: what leaves this host from our range carries the host's address.

mod expression;
mod numbers;

use crate::local::network::cidr::Cidr;
use expression::*;
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use nix::sys::time::TimeVal;
use numbers::*;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// The kernel answers a batch at once; a longer wait means that something is badly wrong.
const ANSWER_TIMEOUT_S: i64 = 5;
/// Messages of a dump that are read at most; a host with more chains than this is not judged.
const DUMP_READS_MAX: usize = 4096;
/// Only root could send us any.
const FOREIGN_DATAGRAMS_MAX: usize = 64;
/// One netlink datagram of a dump; the kernel sends at most 32 KiB.
const READ_BYTES: usize = 64 * 1024;

/// DNS packets of one instance that pass each second, and at once: what AWS's own resolver grants an interface,
/// and less at once than the relay's receive buffer holds of several.
const DNS_PACKETS_PER_SECOND: u64 = 1024;
const DNS_PACKETS_BURST: u32 = 512;
/// An instance that asked nothing for this long is forgotten.
const DNS_SOURCE_KEPT_MS: u64 = 60_000;
/// No more instances than this are counted; each takes some hundred bytes of the kernel's memory.
const SOURCES_MAX: u32 = 65_536;

/// Networks that an instance may not reach unless the operator allows it: this network, private, shared,
/// loopback, link-local, multicast, reserved and broadcast addresses, and two from outside these ranges on which
/// clouds answer their machines with secrets: Azure's 168.63.129.16 and, in 192.0.0.0/24, Oracle's.
pub const REFUSED: [(Ipv4Addr, u8); 11] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Everything that the table's content follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Name of our table; the platform's id is part of it.
    pub table: String,
    /// What the names of all our interfaces begin with, and no other's.
    pub interfaces: String,
    /// Where instances' addresses come from.
    pub range: Cidr,
    /// The host's address on every one of our interfaces; DNS answers there.
    pub gateway: Ipv4Addr,
    /// Networks of `REFUSED` that instances may reach all the same.
    pub allow: Vec<Cidr>,
    /// What one instance may have open to the outside at once; closed ones do not count.
    pub connections_max: u32,
}

/// The kernel did not take the rules.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    #[error("cannot talk to nf_tables: {}", explain(.0))]
    Socket(#[source] io::Error),
    #[error("the kernel refused the packet rules at step '{step}': {}", explain(.error))]
    Refused { step: String, error: io::Error },
}

/// The error, and what the kernel lacks if that is what it means.
fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP | libc::ENOENT | libc::EINVAL) => {
            format!(
                "{error}: this kernel lacks nf_tables or a part of it; what is needed are the modules nf_tables, \
                 nf_conntrack, nft_ct, nft_fib_ipv4, nft_limit, nft_masq and nft_reject_ipv4"
            )
        }
        Some(libc::EPERM) => format!("{error}: that takes root on the host itself (CAP_NET_ADMIN)"),
        _ => error.to_string(),
    }
}

/// Puts the tables in place of any earlier ones of the same name, atomically.
pub fn replace(rules: &Rules) -> Result<(), NftError> {
    match send(table_batch(rules, has_ipv6(), true)) {
        Err(NftError::Refused { step, error }) if step == COUNT_STEP => {
            tracing::warn!(
                %error,
                "this kernel cannot count connections (it lacks the module nft_connlimit): one instance can use up all \
                 that the host can track, and the others then reach nothing"
            );
            send(table_batch(rules, has_ipv6(), false))
        }
        other => other,
    }
}

/// Removes the tables; none there is a success.
pub fn remove(table: &str) -> Result<(), NftError> {
    let mut batch = Batch::begin();
    batch.remove_table(table);
    if has_ipv6() {
        batch.family = FAMILY_IPV6;
        batch.remove_table(table);
    }
    send(batch)
}

/// A kernel without IPv6 may know no rules for it, and needs none.
fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Base chains of other tables at the forward hook whose policy is drop, as "family table chain": packets of
/// instances need a rule there too. Docker makes such a chain.
pub fn dropping_chains() -> Result<Vec<String>, NftError> {
    let socket = open().map_err(NftError::Socket)?;
    let mut message = Vec::new();
    message_begin(&mut message, NFT_SUBSYSTEM | GETCHAIN, REQUEST | DUMP, 1, FAMILY_UNSPECIFIED, 0);
    message_end(&mut message, 0);
    send_all(&socket, &message)?;
    let mut found = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    for _ in 0..DUMP_READS_MAX {
        let length = receive(&socket, &mut buffer)?;
        for (kind, payload) in messages(&buffer[..length]) {
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => {
                    let error = kernel_error(payload).unwrap_or_else(|| io::ErrorKind::InvalidData.into());
                    return Err(NftError::Refused { step: "list chains".into(), error });
                }
                _ => found.extend(dropping_chain(payload)),
            }
        }
    }
    Ok(found)
}

fn dropping_chain(payload: &[u8]) -> Option<String> {
    let family = match *payload.first()? {
        1 => "inet",
        FAMILY_IPV4 => "ip",
        _ => return None,
    };
    let attributes = payload.get(4..)?;
    let hook = attribute(attributes, CHAIN_HOOK)?;
    let number = be32(attribute(hook, HOOK_NUMBER)?)?;
    let policy = be32(attribute(attributes, CHAIN_POLICY)?)?;
    if number != HOOK_FORWARD || policy != VERDICT_DROP {
        return None;
    }
    let table = text(attribute(attributes, CHAIN_TABLE)?);
    let chain = text(attribute(attributes, CHAIN_NAME)?);
    Some(format!("{family} {table} {chain}"))
}

fn table_batch(rules: &Rules, ipv6: bool, count: bool) -> Batch {
    let mut batch = Batch::begin();
    let table = &rules.table;
    batch.remove_table(table);
    batch.table(NEWTABLE, table);
    for name in ["from-instance", "to-instance", "to-host"] {
        batch.chain(table, name, None);
    }
    batch.chain(table, "prerouting", Some(RAW_PREROUTING));
    batch.chain(table, "forward", Some(Base { kind: "filter", hook: HOOK_FORWARD, priority: 0 }));
    batch.chain(table, "input", Some(Base { kind: "filter", hook: HOOK_INPUT, priority: 0 }));
    batch.chain(table, "postrouting", Some(Base { kind: "nat", hook: HOOK_POSTROUTING, priority: 100 }));
    batch.set_of_sources(table, DNS_SOURCES, 1, Some(DNS_SOURCE_KEPT_MS));
    if count {
        // The kernel itself forgets a source that has no connection any more.
        batch.set_of_sources(table, CONNECTION_SOURCES, 2, None);
    }

    let ours_in = |operator| vec![meta(META_IIFNAME), compare(operator, rules.interfaces.as_bytes())];
    let ours_out = |operator| vec![meta(META_OIFNAME), compare(operator, rules.interfaces.as_bytes())];
    let join = |parts: Vec<Vec<Vec<u8>>>| parts.concat();
    let gateway = to_network(&Cidr::containing(rules.gateway, 32));
    let dns = |protocol: i32| {
        let port = vec![
            meta(META_L4PROTO),
            compare(EQUAL, &[protocol as u8]),
            payload(BASE_TRANSPORT, 2, 2),
            compare(EQUAL, &u16::to_be_bytes(53)),
        ];
        join(vec![gateway.clone(), port])
    };
    let too_often = || vec![payload(BASE_NETWORK, IP_SOURCE, 4), over_rate(), verdict(VERDICT_DROP)];

    let no_way_back = vec![route_to_source(), compare(EQUAL, &[0; 4]), verdict(VERDICT_DROP)];
    batch.rule(table, "prerouting", join(vec![ours_in(EQUAL), no_way_back]));
    batch.rule(table, "forward", join(vec![ours_in(EQUAL), vec![jump("from-instance")]]));
    batch.rule(table, "forward", join(vec![ours_out(EQUAL), vec![jump("to-instance")]]));
    let stranger =
        join(vec![ours_in(NOT_EQUAL), vec![meta(META_IIFNAME), compare(NOT_EQUAL, &LOOPBACK_NAME)]]);
    batch.rule(table, "input", join(vec![gateway.clone(), stranger, vec![verdict(VERDICT_DROP)]]));
    batch.rule(table, "input", join(vec![ours_in(EQUAL), vec![jump("to-host")]]));

    // A repeated query by UDP is an answer to the kernel, so this stands first. By TCP only new connections count:
    // they are what the rule for answers leaves.
    batch.rule(table, "to-host", join(vec![dns(libc::IPPROTO_UDP), too_often()]));
    for chain in ["from-instance", "to-instance", "to-host"] {
        batch.rule(table, chain, join(vec![state(STATE_INVALID), vec![verdict(VERDICT_DROP)]]));
        let answers = state(STATE_ESTABLISHED | STATE_RELATED);
        batch.rule(table, chain, join(vec![answers, vec![verdict(VERDICT_ACCEPT)]]));
    }

    if count {
        // By UDP the kernel would count what was sent in the last minutes, whether its socket is open or not.
        let too_many = vec![
            meta(META_L4PROTO),
            compare(EQUAL, &[libc::IPPROTO_TCP as u8]),
            payload(BASE_NETWORK, IP_SOURCE, 4),
            over_count(rules.connections_max),
            refuse(),
        ];
        batch.rule(table, "from-instance", too_many);
        batch.name_last(COUNT_STEP);
    }
    // A neighbour is refused before an allowed network is looked at: allowing 10.0.0.0/8 opens no neighbour.
    batch.rule(table, "from-instance", join(vec![ours_out(EQUAL), vec![refuse()]]));
    for network in &rules.allow {
        batch.rule(table, "from-instance", join(vec![to_network(network), vec![verdict(VERDICT_ACCEPT)]]));
    }
    for (address, prefix) in REFUSED {
        let network = Cidr::containing(address, prefix);
        batch.rule(table, "from-instance", join(vec![to_network(&network), vec![refuse()]]));
    }
    batch.rule(table, "to-instance", vec![refuse()]);

    batch.rule(table, "to-host", join(vec![dns(libc::IPPROTO_TCP), too_often()]));
    for protocol in [libc::IPPROTO_UDP, libc::IPPROTO_TCP] {
        batch.rule(table, "to-host", join(vec![dns(protocol), vec![verdict(VERDICT_ACCEPT)]]));
    }
    let ping = vec![
        meta(META_L4PROTO),
        compare(EQUAL, &[libc::IPPROTO_ICMP as u8]),
        payload(BASE_TRANSPORT, 0, 1),
        compare(EQUAL, &[ICMP_ECHO_REQUEST]),
        verdict(VERDICT_ACCEPT),
    ];
    batch.rule(table, "to-host", join(vec![gateway, ping]));
    batch.rule(table, "to-host", vec![refuse()]);

    let leaving = join(vec![in_network(IP_SOURCE, &rules.range), ours_out(NOT_EQUAL), vec![masquerade()]]);
    batch.rule(table, "postrouting", leaving);

    if ipv6 {
        batch.family = FAMILY_IPV6;
        batch.remove_table(table);
        batch.table(NEWTABLE, table);
        batch.chain(table, "prerouting", Some(RAW_PREROUTING));
        batch.rule(table, "prerouting", join(vec![ours_in(EQUAL), vec![verdict(VERDICT_DROP)]]));
    }
    batch
}

const DNS_SOURCES: &str = "dns-sources";
const CONNECTION_SOURCES: &str = "connection-sources";
/// The step that a kernel without nft_connlimit refuses.
const COUNT_STEP: &str = "count of connections";
/// Before connections are tracked, so that what is dropped there leaves no trace.
const RAW_PREROUTING: Base = Base { kind: "filter", hook: HOOK_PREROUTING, priority: -300 };
/// A name that is compared as a whole fills its field.
const LOOPBACK_NAME: [u8; libc::IFNAMSIZ] = *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

struct Base {
    kind: &'static str,
    hook: u32,
    priority: i32,
}

/// Messages that the kernel commits together, and the name of each for the error.
struct Batch {
    bytes: Vec<u8>,
    steps: Vec<String>,
    /// Of the tables that the next messages are about.
    family: u8,
    /// Where the last message but the end begins: the only one whose success is told.
    last: usize,
}

impl Batch {
    fn begin() -> Batch {
        let mut batch = Batch { bytes: Vec::new(), steps: Vec::new(), family: FAMILY_IPV4, last: 0 };
        batch.edge(BATCH_BEGIN, "begin");
        batch
    }

    /// The batch's first or last message.
    fn edge(&mut self, kind: u16, step: &str) {
        let start = self.bytes.len();
        let sequence = self.steps.len() as u32;
        self.steps.push(step.to_owned());
        message_begin(&mut self.bytes, kind, REQUEST, sequence, FAMILY_UNSPECIFIED, NFT_SUBSYSTEM >> 8);
        message_end(&mut self.bytes, start);
    }

    fn message(&mut self, kind: u16, flags: u16, step: String, attributes: Vec<u8>) {
        let start = self.bytes.len();
        let sequence = self.steps.len() as u32;
        self.steps.push(step);
        self.last = start;
        let kind = NFT_SUBSYSTEM | kind;
        message_begin(&mut self.bytes, kind, REQUEST | flags, sequence, self.family, 0);
        self.bytes.extend(attributes);
        message_end(&mut self.bytes, start);
    }

    fn table(&mut self, kind: u16, table: &str) {
        let flags = if kind == NEWTABLE { CREATE } else { 0 };
        self.message(kind, flags, format!("table {table}"), string(1, table));
    }

    /// Created first if absent, so that the deletion cannot fail for that.
    fn remove_table(&mut self, table: &str) {
        self.table(NEWTABLE, table);
        self.table(DELTABLE, table);
    }

    /// A set of source addresses that rules fill by themselves, each with a counter of its own. `id` is the set's
    /// within the batch.
    fn set_of_sources(&mut self, table: &str, name: &str, id: u32, kept_ms: Option<u64>) {
        let timeouts = if kept_ms.is_some() { SET_HAS_TIMEOUTS } else { 0 };
        let mut attributes = [
            string(1, table),
            string(2, name),
            number(3, timeouts | SET_HAS_EXPRESSIONS),
            number(4, KEY_IPV4_ADDRESS),
            number(5, 4),
            nested(9, &number(1, SOURCES_MAX)),
            number(10, id),
        ]
        .concat();
        attributes.extend(kept_ms.map(|kept_ms| long_number(11, kept_ms)).unwrap_or_default());
        self.message(NEWSET, CREATE, format!("set {name}"), attributes);
    }

    /// What errors about the last message are to say.
    fn name_last(&mut self, step: &str) {
        if let Some(last) = self.steps.last_mut() {
            *last = step.to_owned();
        }
    }

    fn chain(&mut self, table: &str, name: &str, base: Option<Base>) {
        let mut attributes = [string(CHAIN_TABLE, table), string(CHAIN_NAME, name)].concat();
        if let Some(base) = base {
            let hook = [number(HOOK_NUMBER, base.hook), number(2, base.priority as u32)].concat();
            attributes.extend(nested(CHAIN_HOOK, &hook));
            attributes.extend(number(CHAIN_POLICY, VERDICT_ACCEPT));
            attributes.extend(string(CHAIN_TYPE, base.kind));
        }
        self.message(NEWCHAIN, CREATE, format!("chain {name}"), attributes);
    }

    fn rule(&mut self, table: &str, chain: &str, expressions: Vec<Vec<u8>>) {
        let list: Vec<u8> = expressions.iter().flat_map(|expression| nested(1, expression)).collect();
        let attributes = [string(1, table), string(2, chain), nested(4, &list)].concat();
        let step = format!("rule {} of {chain}", self.steps.len());
        self.message(NEWRULE, CREATE | APPEND, step, attributes);
    }
}

fn message_begin(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16) {
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
}

/// Fills in the length of the message that begins at `start`; attributes keep it a multiple of four.
fn message_end(bytes: &mut [u8], start: usize) {
    let length = (bytes.len() - start) as u32;
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    socket::setsockopt(&socket, socket::sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_TIMEOUT_S, 0))?;
    Ok(socket)
}

fn send_all(socket: &OwnedFd, bytes: &[u8]) -> Result<(), NftError> {
    let sent = socket::sendto(socket.as_raw_fd(), bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())
        .map_err(|e| NftError::Socket(e.into()))?;
    if sent != bytes.len() {
        return Err(NftError::Socket(io::Error::other("the kernel took only part of the message")));
    }
    Ok(())
}

/// One datagram of the kernel, whole; other programs' are passed over.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, NftError> {
    for _ in 0..FOREIGN_DATAGRAMS_MAX {
        let mut parts = [io::IoSliceMut::new(buffer)];
        let flags = MsgFlags::empty();
        let received = socket::recvmsg::<NetlinkAddr>(socket.as_raw_fd(), &mut parts, None, flags)
            .map_err(|e| NftError::Socket(e.into()))?;
        if received.flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(NftError::Socket(io::Error::other("the kernel's answer is too long")));
        }
        if received.address.is_some_and(|sender| sender.pid() == 0) {
            return Ok(received.bytes);
        }
    }
    Err(NftError::Socket(io::Error::other("other programs answer in the kernel's place")))
}

/// Sends a batch. The kernel tells every failure, and the success of the last message when all is committed: the
/// first thing it says is the outcome.
fn send(mut batch: Batch) -> Result<(), NftError> {
    // The low byte of the flags, which stand after length and type.
    let low = batch.last + if cfg!(target_endian = "little") { 6 } else { 7 };
    batch.bytes[low] |= ACK as u8;
    batch.edge(BATCH_END, "end");
    let socket = open().map_err(NftError::Socket)?;
    send_all(&socket, &batch.bytes)?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let length = receive(&socket, &mut buffer)?;
        for (kind, payload) in messages(&buffer[..length]) {
            if kind != NLMSG_ERROR {
                continue;
            }
            let Some(error) = kernel_error(payload) else { return Ok(()) };
            // After the error stands the header of the message that it is about.
            let sequence = i32_at(payload, 12).and_then(|number| usize::try_from(number).ok());
            let step = sequence.and_then(|number| batch.steps.get(number).cloned()).unwrap_or_default();
            return Err(NftError::Refused { step, error });
        }
    }
}

/// What struct nlmsgerr begins with; `None` for success.
fn kernel_error(payload: &[u8]) -> Option<io::Error> {
    match i32_at(payload, 0) {
        Some(0) => None,
        Some(code) => Some(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Some(io::ErrorKind::InvalidData.into()),
    }
}

/// Type and payload (after the netlink header) of each message in one datagram.
fn messages(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let Some(length) = i32_at(bytes, 0) {
        let Ok(length) = usize::try_from(length) else { break };
        let Some(message) = bytes.get(..length).filter(|message| message.len() >= 16) else { break };
        found.push((u16::from_ne_bytes([message[4], message[5]]), &message[16..]));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The value of the first attribute of this kind.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
        let found = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & !NESTED;
        let value = bytes.get(4..length)?;
        if found == kind {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}
