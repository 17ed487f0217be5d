//! The network of instances: addresses, routed virtual interfaces, forwarding and the packet rules' inputs.
//!
//! An instance gets a veth whose inner end is `eth0` of its network namespace, with a /32 address. There is no
//! bridge: the host routes each address to its interface, so that neighbours meet in the forward hook like
//! everyone else. Both ends know the other's hardware address for good, so no packet ever waits for ARP, and the
//! host's end takes none.
//!
//! The host answers on one gateway address in 169.254.0.0/16 which every host end carries. It is derived from
//! the platform's id, because two platforms on one host must not share it: each runs a DNS forwarder there.
//! An `unreachable` route for the whole range, with the id as its metric, marks the range as taken for other
//! platforms, and keeps packets for addresses without an instance from leaving through the default route.
//!
//! IPv6 is off on both ends. Forwarding is enabled per interface, on ours and on those that carry a default
//! route or a route to a network that instances may reach; the global switch stays as it is.

pub mod addresses;
pub mod cidr;
pub mod dns;
mod forwarding;
pub mod nft;
mod range;

use crate::local::durable;
use addresses::Book;
use cidr::Cidr;
pub(crate) use forwarding::restore_forwarding;
use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope, RouteType};
use nix::fcntl::{Flock, FlockArg};
use nix::net::if_::{if_nameindex, if_nametoindex};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The file of addresses and of what else must be known later.
pub(crate) const BOOK: &str = "network.json";
/// An interface name has 15 characters at most, ten are our prefix, and five hex digits number 20 bits.
const RANGE_PREFIX_MIN: u8 = 12;
/// Smaller ranges would be exhausted by their own quarantine.
const RANGE_PREFIX_MAX: u8 = 24;
/// A few netlink messages; the kernel needs well under a millisecond for each.
const NETLINK_TIMEOUT: Duration = Duration::from_secs(10);
/// Each allowed network is a rule that packets are compared with one after the other, and all are sent at once.
const EGRESS_ALLOW_MAX: usize = 256;
/// Connections by TCP to the outside that one instance may have open at once. The kernel tracks 65,536 for the whole host
/// where there is little memory, 262,144 elsewhere; and looks through an instance's when it opens one.
pub const INSTANCE_CONNECTIONS_MAX: u32 = 4096;
/// The kernel takes well under a millisecond on a quiet machine; it waits for every other change of interfaces.
const ACTIVE_WAIT: Duration = Duration::from_secs(5);
const ACTIVE_POLL: Duration = Duration::from_millis(1);
/// The discipline of an interface that is not sent through.
const NO_QUEUE_YET: &str = "noop";
/// What veths have when the host has no default route to measure by.
const MTU_DEFAULT: u32 = 1500;

/// Why an instance has no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("cannot {step}: {reason}")]
    Kernel { step: String, reason: String },
    #[error("cannot keep {path}: {error}")]
    File { path: PathBuf, error: io::Error },
    #[error("no address range is free: {}", .0.join("; "))]
    NoRange(Vec<String>),
    #[error("address range {0} must have a prefix from /{RANGE_PREFIX_MIN} to /{RANGE_PREFIX_MAX}")]
    RangeSize(Cidr),
    #[error("egress_allow names {0} networks; at most {EGRESS_ALLOW_MAX} can be allowed")]
    TooManyAllowed(usize),
    #[error("this kernel cannot make veth interfaces ({0}); it needs the module veth")]
    NoVeth(String),
    #[error("all addresses of {0} are in use or were in use in the last ten minutes")]
    NoAddress(Cidr),
    #[error(transparent)]
    Rules(#[from] nft::NftError),
}

/// What the network of one platform follows from.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Keeps `network.json`.
    pub node_dir: PathBuf,
    /// The data directory's id, 8 hex digits.
    pub platform: String,
    /// Tried in order; the first that overlaps no route of the host is taken and then kept.
    pub ranges: Vec<Cidr>,
    /// Private networks that instances may reach.
    pub egress_allow: Vec<Cidr>,
    /// `INSTANCE_CONNECTIONS_MAX`.
    pub connections_max: u32,
}

/// The names and the address that follow from a platform's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    platform: u32,
    /// What the names of all our host-side interfaces begin with: ten characters.
    pub interfaces: String,
    pub table: String,
    /// The host's address on our interfaces, where DNS answers.
    pub gateway: Ipv4Addr,
}

impl Names {
    /// `platform` is the data directory's id; text that is not hexadecimal is taken as 0, which cannot come
    /// from a data directory that this program made.
    pub fn of(platform: &str) -> Names {
        let number = u32::from_str_radix(platform, 16).unwrap_or(0);
        // 169.254.1.1 to 169.254.160.254: clear of the addresses at .169 and .170 that clouds answer on, and
        // of the first and last 256 addresses, which are reserved.
        let gateway = Ipv4Addr::new(169, 254, 1 + (number % 160) as u8, 1 + (number / 160 % 254) as u8);
        Names {
            platform: number,
            interfaces: format!("ap{number:08x}"),
            table: format!("apron_{number:08x}"),
            gateway,
        }
    }
}

/// The network of this platform; all methods may be called at once from several tasks.
pub struct Network {
    names: Names,
    path: PathBuf,
    mtu: u32,
    egress_allow: Vec<Cidr>,
    book: Mutex<Book>,
}

impl Network {
    /// Chooses or confirms the range, marks it by a route, and puts our packet rules in place. Interfaces of
    /// living instances are not touched.
    pub async fn open(config: NetworkConfig) -> Result<Network, NetworkError> {
        for range in &config.ranges {
            if !(RANGE_PREFIX_MIN..=RANGE_PREFIX_MAX).contains(&range.prefix()) {
                return Err(NetworkError::RangeSize(*range));
            }
        }
        if config.egress_allow.len() > EGRESS_ALLOW_MAX {
            return Err(NetworkError::TooManyAllowed(config.egress_allow.len()));
        }
        let names = Names::of(&config.platform);
        let prefix = names.interfaces.clone();
        on_thread(move || probe(&prefix)).await?;
        let path = config.node_dir.join(BOOK);
        let (choice, kept) = (names.clone(), path.clone());
        let book = on_thread(move || range::choose_range(&choice, &kept, &config.ranges)).await?;
        let rules = nft::Rules {
            table: names.table.clone(),
            interfaces: names.interfaces.clone(),
            range: book.range,
            gateway: names.gateway,
            allow: config.egress_allow.clone(),
            connections_max: config.connections_max,
        };
        on_thread(move || Ok(nft::replace(&rules)?)).await?;
        let mtu = default_interfaces(&[]).first().map_or(MTU_DEFAULT, |interface| mtu_of(interface));
        let network = Network { names, path, mtu, egress_allow: config.egress_allow, book: Mutex::new(book) };
        network.enable_forwarding();
        network.warn_of_foreign_chains().await;
        Ok(network)
    }

    /// The host's address on every instance's interface: its gateway and its name server.
    pub fn gateway(&self) -> Ipv4Addr {
        self.names.gateway
    }

    pub fn range(&self) -> Cidr {
        self.book().range
    }

    /// The address of this id: the one it has, or a free one from now on. Durable before it returns.
    pub fn lease(&self, id: &str) -> Result<Ipv4Addr, NetworkError> {
        let mut book = self.book();
        if let Some(address) = book.get(id) {
            return Ok(address);
        }
        let range = book.range;
        let mut next = book.clone();
        let address = next.lease(id, uptime_ms()?).ok_or(NetworkError::NoAddress(range))?;
        self.keep(&next)?;
        *book = next;
        Ok(address)
    }

    /// Ends the lease of this id; its address rests before anyone else gets it. An unknown id is a success.
    pub fn release(&self, id: &str) -> Result<(), NetworkError> {
        let mut book = self.book();
        let mut next = book.clone();
        if next.release(id, uptime_ms()?) {
            self.keep(&next)?;
            *book = next;
        }
        Ok(())
    }

    /// The ids that hold an address.
    pub fn leased(&self) -> Vec<String> {
        self.book().ids().map(str::to_owned).collect()
    }

    /// The address that this id holds.
    pub fn leased_address(&self, id: &str) -> Option<Ipv4Addr> {
        self.book().get(id)
    }

    /// Removes our interfaces of all addresses but these: what a node that was killed left half made. Blocking.
    pub fn sweep(&self, keep: &[Ipv4Addr]) -> Result<(), NetworkError> {
        let keep: Vec<String> = keep.iter().map(|address| self.interface(*address)).collect();
        delete_links(&self.names.interfaces, keep)
    }

    /// Gives the network namespace in `netns` (a file that stands for it) its `eth0` with this address and the
    /// host its route there. An interface that the address had before is replaced, and none is left half made by
    /// a failure.
    pub async fn attach(&self, address: Ipv4Addr, netns: &Path) -> Result<(), NetworkError> {
        self.enable_forwarding();
        let link = Link {
            name: self.interface(address),
            address,
            gateway: self.names.gateway,
            mtu: self.mtu,
            netns: netns.to_owned(),
        };
        let name = link.name.clone();
        let attached = match on_thread(move || attach(&link)).await {
            Ok(()) => on_thread(move || wait_until_active(&name)).await,
            Err(error) => Err(error),
        };
        if attached.is_err()
            && let Err(error) = self.detach(address).await
        {
            tracing::warn!(%address, %error, "half an interface is left");
        }
        attached
    }

    /// Removes the interface of this address and with it the route; none there is a success.
    pub async fn detach(&self, address: Ipv4Addr) -> Result<(), NetworkError> {
        let name = self.interface(address);
        on_thread(move || with_netlink(async |handle| delete_link(&handle, &name).await)).await
    }

    /// Whether the interface of this address exists on the host.
    pub fn attached(&self, address: Ipv4Addr) -> bool {
        if_nametoindex(self.interface(address).as_str()).is_ok()
    }

    fn interface(&self, address: Ipv4Addr) -> String {
        let offset = address.to_bits().wrapping_sub(self.book().range.network().to_bits());
        format!("{}{offset:x}", self.names.interfaces)
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn keep(&self, book: &Book) -> Result<(), NetworkError> {
        durable::write_json(&self.path, book)
            .map_err(|error| NetworkError::File { path: self.path.clone(), error })
    }

    async fn warn_of_foreign_chains(&self) {
        match on_thread(|| Ok(nft::dropping_chains()?)).await {
            Ok(chains) if chains.is_empty() => {}
            Ok(chains) => tracing::warn!(
                "packets of instances are dropped by default in {}: let interfaces that begin with {} pass there, \
                 e.g. iptables -I FORWARD -i {}+ -j ACCEPT; iptables -I FORWARD -o {}+ -m conntrack \
                 --ctstate ESTABLISHED,RELATED -j ACCEPT",
                chains.join(", "),
                self.names.interfaces,
                self.names.interfaces,
                self.names.interfaces
            ),
            Err(error) => {
                tracing::warn!(%error, "cannot tell whether other packet rules drop forwarded packets")
            }
        }
    }
}

/// Removes every interface, route and packet rule of a platform; what is not there is a success. Blocking.
pub fn purge(platform: &str) -> Result<(), NetworkError> {
    let names = Names::of(platform);
    nft::remove(&names.table)?;
    delete_links(&names.interfaces, Vec::new())?;
    apart(move || {
        with_netlink(async |handle| {
            for route in routes(&handle).await? {
                if range::marks_range_of(&route, names.platform) {
                    let deleted = handle.route().del(route).execute().await;
                    deleted.map_err(|e| kernel("remove the route of the address range", e))?;
                }
            }
            Ok(())
        })
    })
}

/// Removes the host's interfaces whose names begin like this, but for some.
fn delete_links(prefix: &str, keep: Vec<String>) -> Result<(), NetworkError> {
    let wanted = |name: &String| name.starts_with(prefix) && !keep.contains(name);
    let ours: Vec<String> = interfaces()?.into_iter().filter(wanted).collect();
    apart(move || {
        with_netlink(async |handle| {
            for name in &ours {
                delete_link(&handle, name).await?;
            }
            Ok(())
        })
    })
}

fn interfaces() -> Result<Vec<String>, NetworkError> {
    let all = if_nameindex().map_err(|e| kernel("list interfaces", e))?;
    Ok(all.iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect())
}

/// Finds out at the start, not at the first instance, whether the kernel makes veths. Where one of ours is, it does.
fn probe(prefix: &str) -> Result<(), NetworkError> {
    if interfaces()?.iter().any(|name| name.starts_with(prefix)) {
        return Ok(());
    }
    // No address gives these names: their ends are no hexadecimal numbers.
    let (one, other) = (format!("{prefix}try-1"), format!("{prefix}try-2"));
    with_netlink(async |handle| {
        let made = handle.link().add(LinkVeth::new(&one, &other).build()).execute().await;
        made.map_err(|error| NetworkError::NoVeth(error.to_string()))?;
        delete_link(&handle, &one).await
    })
}

/// Runs on a thread of its own and waits for it: the caller may itself be inside a runtime.
fn apart(work: impl FnOnce() -> Result<(), NetworkError> + Send) -> Result<(), NetworkError> {
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|_| Err(kernel("change the network", "the thread died")))
}

async fn routes(handle: &Handle) -> Result<Vec<RouteMessage>, NetworkError> {
    let every = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let found: Vec<RouteMessage> =
        handle.route().get(every).execute().try_collect().await.map_err(|e| kernel("list routes", e))?;
    Ok(found.into_iter().filter(|route| route.header.address_family == AddressFamily::Inet).collect())
}

/// One veth to make.
struct Link {
    name: String,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    mtu: u32,
    netns: PathBuf,
}

/// Runs on a thread of its own, which ends inside the instance's network namespace.
fn attach(link: &Link) -> Result<(), NetworkError> {
    let netns = File::open(&link.netns).map_err(|e| kernel("open the network namespace", e))?;
    let [a, b, c, d] = link.address.octets();
    let (outer_mac, inner_mac) = (vec![0x06, 0x61, a, b, c, d], vec![0x02, 0x61, a, b, c, d]);

    with_netlink(async |handle| {
        delete_link(&handle, &link.name).await?;
        let inner = LinkUnspec::new_with_name("eth0")
            .address(inner_mac.clone())
            .mtu(link.mtu)
            .setns_by_fd(netns.as_raw_fd())
            .build();
        let outer: LinkMessage = LinkVeth::new(&link.name, "eth0")
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inner)))
            .address(outer_mac.clone())
            .mtu(link.mtu)
            .arp(false)
            .build();
        let made = handle.link().add(outer).execute().await;
        made.map_err(|e| kernel(&format!("make interface {}", link.name), e))?;

        let step = |what: &str| format!("{what} of {}", link.name);
        for (family, key, value) in [
            ("ipv6", "disable_ipv6", "1"),
            ("ipv4", "forwarding", "1"),
            ("ipv4", "rp_filter", "1"),
            ("ipv4", "accept_redirects", "0"),
            ("ipv4", "accept_source_route", "0"),
            ("ipv4", "send_redirects", "0"),
        ] {
            sysctl(family, &link.name, key, value)?;
        }
        let index = if_nametoindex(link.name.as_str()).map_err(|e| kernel(&step("number"), e))?;
        configure(&handle, index, link.gateway, (link.address, &inner_mac), &step("host end")).await?;
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(link.address, 32)
            .output_interface(index)
            .pref_source(link.gateway)
            .scope(RouteScope::Link)
            .build();
        handle.route().add(route).execute().await.map_err(|e| kernel(&step("host route"), e))
    })?;

    nix::sched::setns(&netns, nix::sched::CloneFlags::CLONE_NEWNET)
        .map_err(|e| kernel("enter the network namespace", e))?;
    with_netlink(async |handle| {
        // Of all interfaces, and of those that come: `addrconf_disable_ipv6` in the kernel's net/ipv6/addrconf.c.
        sysctl("ipv6", "all", "disable_ipv6", "1")?;
        // Ports below 1024 are the instance's own; a program without root may listen on 80, as in Docker.
        let low_ports = Path::new("/proc/sys/net/ipv4/ip_unprivileged_port_start");
        fs::write(low_ports, "0").map_err(|e| kernel("open low ports", e))?;
        let lo = if_nametoindex("lo").map_err(|e| kernel("number of lo", e))?;
        let up = handle.link().change(LinkUnspec::new_with_index(lo).up().build()).execute().await;
        up.map_err(|e| kernel("set lo up", e))?;
        let index = if_nametoindex("eth0").map_err(|e| kernel("number of eth0", e))?;
        configure(&handle, index, link.address, (link.gateway, &outer_mac), "inner end").await?;
        let on_link = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(link.gateway, 32)
            .output_interface(index)
            .scope(RouteScope::Link)
            .build();
        let default =
            RouteMessageBuilder::<Ipv4Addr>::new().gateway(link.gateway).output_interface(index).build();
        for route in [on_link, default] {
            handle.route().add(route).execute().await.map_err(|e| kernel("add a route inside", e))?;
        }
        Ok(())
    })
}

/// The host's end was up before the other one was, and the kernel begins to send through it in its own time, when
/// it has seen that there is another end. Until then it drops what is sent: the first answer or connection to an
/// instance would be lost, and come a second later.
fn wait_until_active(name: &str) -> Result<(), NetworkError> {
    let began = Instant::now();
    with_netlink(async |handle| {
        loop {
            let found = handle.link().get().match_name(name.to_owned()).execute().try_next().await;
            let found = found.map_err(|e| kernel(&format!("look at interface {name}"), e))?;
            let idle = |attribute: &LinkAttribute| *attribute == LinkAttribute::Qdisc(NO_QUEUE_YET.into());
            if found.is_some_and(|link| !link.attributes.iter().any(idle)) {
                return Ok(());
            }
            if began.elapsed() > ACTIVE_WAIT {
                return Err(kernel(
                    &format!("bring up interface {name}"),
                    "the kernel does not send through it",
                ));
            }
            tokio::time::sleep(ACTIVE_POLL).await;
        }
    })
}

/// Sets an end's own address and the other's hardware address, and brings it up.
async fn configure(
    handle: &Handle,
    index: u32,
    own: Ipv4Addr,
    (other, other_mac): (Ipv4Addr, &[u8]),
    step: &str,
) -> Result<(), NetworkError> {
    let added = handle.address().add(index, IpAddr::V4(own), 32).execute().await;
    added.map_err(|e| kernel(&format!("set the address of {step}"), e))?;
    let up = handle.link().change(LinkUnspec::new_with_index(index).up().build()).execute().await;
    up.map_err(|e| kernel(&format!("bring up {step}"), e))?;
    let neighbour = handle.neighbours().add(index, IpAddr::V4(other)).link_layer_address(other_mac);
    neighbour.execute().await.map_err(|e| kernel(&format!("set the neighbour of {step}"), e))
}

async fn delete_link(handle: &Handle, name: &str) -> Result<(), NetworkError> {
    let Ok(index) = if_nametoindex(name) else { return Ok(()) };
    match handle.link().del(index).execute().await {
        Ok(()) => Ok(()),
        // It went with its namespace in the meantime.
        Err(_) if if_nametoindex(name).is_err() => Ok(()),
        Err(error) => Err(kernel(&format!("remove interface {name}"), error)),
    }
}

fn kernel(step: &str, reason: impl std::fmt::Display) -> NetworkError {
    NetworkError::Kernel { step: step.to_owned(), reason: reason.to_string() }
}

/// A netlink connection belongs to the network namespace of the thread that opens it, therefore each piece of
/// work has its own, on the calling thread.
fn with_netlink<T>(work: impl AsyncFnOnce(Handle) -> Result<T, NetworkError>) -> Result<T, NetworkError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| kernel("open netlink", e))?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| kernel("open netlink", e))?;
        let driver = tokio::spawn(connection);
        let done = tokio::time::timeout(NETLINK_TIMEOUT, work(handle)).await;
        driver.abort();
        done.unwrap_or_else(|_| Err(kernel("set up the network", "the kernel did not answer in 10 s")))
    })
}

/// Runs blocking work on a thread of its own: some of it changes the thread's network namespace for good.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send + 'static,
) -> Result<T, NetworkError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("network".into())
        .spawn(move || {
            // The receiver is gone only when the caller no longer waits.
            let _ = sender.send(work());
        })
        .map_err(|e| kernel("start a thread", e))?;
    receiver.await.unwrap_or_else(|_| Err(kernel("set up the network", "the thread died")))
}

/// Interfaces that carry a default route or a route into one of `networks`, from the kernel's main table.
fn default_interfaces(networks: &[Cidr]) -> Vec<String> {
    let table = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, _, _, _, _, _, mask, ..] = fields[..] else { continue };
        let (Some(destination), Some(mask)) = (route_field(destination), route_field(mask)) else { continue };
        let route = Cidr::containing(destination, mask.to_bits().leading_ones() as u8);
        let wanted = route.prefix() == 0 || networks.iter().any(|network| network.overlaps(&route));
        // "*" stands for a route without an interface, as ours for the range is.
        if wanted && interface != "*" && !found.iter().any(|known| known == interface) {
            found.push(interface.to_owned());
        }
    }
    found
}

/// Hexadecimal in the machine's byte order, as /proc/net/route writes addresses.
fn route_field(text: &str) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(u32::from_str_radix(text, 16).ok()?.to_ne_bytes()))
}

fn mtu_of(interface: &str) -> u32 {
    fs::read_to_string(format!("/sys/class/net/{interface}/mtu"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(MTU_DEFAULT)
}

/// Sets a per-interface switch of the calling thread's network namespace. IPv6 switches that are absent
/// because the kernel has no IPv6 are already as wished.
fn sysctl(family: &str, interface: &str, key: &str, value: &str) -> Result<(), NetworkError> {
    let path = Path::new("/proc/sys/net").join(family).join("conf").join(interface).join(key);
    match fs::write(&path, value) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound && family == "ipv6" => Ok(()),
        Err(e) => Err(kernel(&format!("set {}", path.display()), e)),
    }
}

fn sysctl_read(family: &str, interface: &str, key: &str) -> Option<String> {
    let path = format!("/proc/sys/net/{family}/conf/{interface}/{key}");
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Milliseconds since the machine's start, sleep included.
pub(crate) fn uptime_ms() -> Result<u64, NetworkError> {
    let path = Path::new("/proc/uptime");
    let problem = |error| NetworkError::File { path: path.to_owned(), error };
    let text = fs::read_to_string(path).map_err(problem)?;
    let seconds = text.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    let seconds = seconds.ok_or_else(|| problem(io::ErrorKind::InvalidData.into()))?;
    Ok((seconds * 1000.0) as u64)
}
