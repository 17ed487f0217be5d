//! What tests of the network need: namespaces, each a thread that lives in one and runs what it is given there;
//! platforms of their own; and a machine beyond this host.

use apron_compute::local::network::cidr::Cidr;
use apron_compute::local::network::{Network, NetworkConfig, purge};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;

type Work = Box<dyn FnOnce() + Send>;

/// A network namespace that lives as long as this value.
pub(crate) struct Namespace {
    pub(crate) tid: i32,
    work: mpsc::Sender<Work>,
}

impl Namespace {
    pub(crate) fn new() -> Namespace {
        let (work, inbox) = mpsc::channel::<Work>();
        let (ready, made) = mpsc::channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .expect("tests of the network need root");
            ready.send(nix::unistd::gettid().as_raw()).unwrap();
            while let Ok(one) = inbox.recv() {
                one();
            }
        });
        Namespace { tid: made.recv().unwrap(), work }
    }

    /// A file that stands for the namespace.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/task/{}/ns/net", std::process::id(), self.tid).into()
    }

    /// Runs `work` inside and gives its result.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = mpsc::channel();
        self.work.send(Box::new(move || sender.send(work()).unwrap())).unwrap();
        receiver.recv().expect("the work inside the namespace panicked")
    }
}

/// Runs a program of the test machine and gives its output.
pub(crate) fn command(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output =
        Command::new(words.next().unwrap()).args(words).output().unwrap_or_else(|e| panic!("{line}: {e}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A platform of its own, removed again also when the test fails.
pub(crate) struct Platform {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
}

impl Platform {
    pub(crate) fn new(number: u32) -> Platform {
        let id = format!("{:08x}", std::process::id().wrapping_mul(2_654_435_761).wrapping_add(number));
        let dir = std::env::temp_dir().join(format!("apron-network-{id}"));
        std::fs::create_dir_all(&dir).unwrap();
        Platform { id, dir }
    }

    pub(crate) async fn open(&self, egress_allow: &[&str]) -> Network {
        let mut config = config(self, 0);
        config.egress_allow = egress_allow.iter().map(|network| network.parse().unwrap()).collect();
        Network::open(config).await.unwrap()
    }
}

/// Of one instance in these tests.
pub(crate) const CONNECTIONS_MAX: u32 = 20;

/// How a platform's network is made, with so many allowed addresses.
pub(crate) fn config(platform: &Platform, allowed: u64) -> NetworkConfig {
    let addresses: Cidr = "10.99.0.0/16".parse().unwrap();
    NetworkConfig {
        node_dir: platform.dir.clone(),
        platform: platform.id.clone(),
        ranges: (0..16).map(|n| Cidr::containing(Ipv4Addr::new(10, 230, n * 16, 0), 20)).collect(),
        connections_max: CONNECTIONS_MAX,
        egress_allow: (0..allowed).map(|n| Cidr::containing(addresses.address(n).unwrap(), 32)).collect(),
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if let Err(error) = purge(&self.id) {
            eprintln!("{error}");
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A machine beyond this host with a public and a private address; both ends carry unlikely ones.
pub(crate) struct Outside {
    pub(crate) namespace: Namespace,
    pub(crate) public: Ipv4Addr,
    pub(crate) private: Ipv4Addr,
    pub(crate) host: Ipv4Addr,
    interface: String,
}

impl Outside {
    /// `number` is even, and another one for each test of a process.
    pub(crate) fn new(number: u8) -> Outside {
        let namespace = Namespace::new();
        let interface = format!("apo{:x}{number}", std::process::id());
        let third = (std::process::id() % 250) as u8;
        let (host, public) =
            (Ipv4Addr::new(198, 18, third, number), Ipv4Addr::new(198, 18, third, number + 1));
        let private = Ipv4Addr::new(172, 20, third, number);
        command(&format!("ip link add {interface} type veth peer name out netns {}", namespace.tid));
        let outside = Outside { namespace, public, private, host, interface };
        let interface = &outside.interface;
        command(&format!("ip addr add {host}/31 dev {interface}"));
        command(&format!("ip link set {interface} up"));
        outside.namespace.run(move || {
            command("ip link set lo up");
            command(&format!("ip addr add {public}/31 dev out"));
            command(&format!("ip addr add {private}/32 dev lo"));
            command("ip link set out up");
        });
        command(&format!("ip route add {private}/32 via {public}"));
        // The product enables this on interfaces with a default route; this one has none.
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/forwarding"), "1").unwrap();
        outside
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        command(&format!("ip link del {}", self.interface));
    }
}
