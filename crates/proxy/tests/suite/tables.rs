//! The link to control: tables that come, tables that do not, and what happens to requests meanwhile.

use crate::support::{
    Control, Directory, Link, Origin, Running, Wire, eventually, instance_id, start, table,
};
use apron_model::ids::{Generation, ServiceId};
use apron_model::routes::{FromProxy, Load, PROTOCOL_VERSION, RouteState};
use apron_proxy::Config;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const HOST: &str = "app.localhost";

struct World {
    directory: Directory,
    control: Control,
    proxy: Running,
}

fn config(directory: &Directory) -> Config {
    let mut config =
        Config::control(directory.file("control.sock"), directory.file("routes.json"), None, 1_000);
    config.instance_wait_ms = 5_000;
    config
}

/// A proxy with two loops and control's end of its link.
fn world() -> (World, Link) {
    let directory = Directory::new();
    let control = Control::listen(&directory.file("control.sock"));
    let (proxy, address) = start(config(&directory), 2);
    let link = control.accept();
    (World { directory, control, proxy: Running { proxy, address } }, link)
}

fn serving(addresses: &[SocketAddr]) -> (&'static str, RouteState, &[SocketAddr]) {
    (HOST, RouteState::Serving, addresses)
}

#[test]
fn hello_then_tables_then_serving_and_status() {
    let origin = Origin::named("a");
    let (world, mut link) = world();
    match link.next() {
        FromProxy::Hello { version, pid, generation, changes } => {
            assert_eq!((version, pid, changes), (PROTOCOL_VERSION, std::process::id(), true));
            assert_eq!(generation, Generation::default());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.proxy.client().get(HOST, "/").0.get("x-apron-cause"), Some("no_table"));
    link.publish(table(1, &[serving(&[origin.address]), ("off.localhost", RouteState::Paused, &[])]));
    let mut client = world.proxy.client();
    assert_eq!(client.get(HOST, "/").1, "a");
    assert_eq!(client.get("alias-app.localhost", "/").1, "a");
    let (head, _) = client.get("off.localhost", "/");
    assert_eq!((head.status(), head.get("x-apron-cause")), (503, Some("paused")));
    link.publish(table(2, &[serving(&[origin.address]), ("off.localhost", RouteState::NotDeployed, &[])]));
    assert_eq!(client.get("off.localhost", "/").0.get("x-apron-cause"), Some("not_deployed"));
    // An older one changes nothing.
    link.send(table(1, &[]));
    assert_eq!(client.get(HOST, "/").1, "a");
    // What was asked of the other one was turned away, which is no load.
    let told = Load { arrived: 3, answered: 3, ..Load::default() };
    eventually("its requests are told", || {
        let FromProxy::Load(load) = link.next() else { return false };
        assert!(!load.contains_key(&ServiceId::new("service-1")), "{load:?}");
        load.get(&ServiceId::new("service-0")) == Some(&told)
    });
    eventually(
        "and what is served",
        || matches!(link.next(), FromProxy::Status { generation, .. } if generation.counter == 2),
    );
    assert_eq!(client.get(HOST, "/").1, "a");
}

#[test]
fn a_change_takes_what_it_names_and_leaves_the_rest() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let (world, mut link) = world();
    let first = table(1, &[serving(&[a.address]), ("off.localhost", RouteState::Paused, &[])]);
    link.publish(first.clone());
    let mut client = world.proxy.client();
    assert_eq!(client.get(HOST, "/").1, "a");
    let mut second = table(2, &[serving(&[a.address]), ("off.localhost", RouteState::Serving, &[b.address])]);
    second
        .services
        .push(table(0, &[("new.localhost", RouteState::Serving, &[b.address])]).services.remove(0));
    second.services[2].id = ServiceId::new("another");
    link.change(second.since(&first));
    for (host, expect) in [(HOST, "a"), ("off.localhost", "b"), ("new.localhost", "b")] {
        assert_eq!(client.get(host, "/").1, expect, "{host}");
    }
    let mut third = second.clone();
    third.generation.counter = 3;
    third.services.remove(0);
    third.services[0].hosts = vec!["moved.localhost".to_owned()];
    link.change(third.since(&second));
    for (host, expect) in
        [("moved.localhost", 200), ("new.localhost", 200), (HOST, 404), ("off.localhost", 404)]
    {
        assert_eq!(client.get(host, "/").0.status(), expect, "{host}");
    }
    // The file has all of it.
    let saved = || std::fs::read_to_string(world.directory.file("routes.json")).unwrap_or_default();
    eventually("the file is written", || {
        saved().contains("moved.localhost") && saved().contains("new.localhost")
    });
    assert!(!saved().contains(HOST));
    // From a table that is not here nothing is changed: a new connection begins with a whole one.
    let mut change = third.since(&second);
    change.generation.counter = 9;
    let mut line = serde_json::to_vec(&apron_model::routes::ToProxy::Change(change)).unwrap();
    line.push(b'\n');
    std::io::Write::write_all(&mut link.write, &line).unwrap();
    let mut again = world.control.accept();
    assert!(matches!(again.next(), FromProxy::Hello { generation, .. } if generation == third.generation));
    again.publish(table(10, &[serving(&[b.address])]));
    assert_eq!(client.get(HOST, "/").1, "b");
}

#[test]
fn counts_come_with_every_table_and_do_not_wait_for_their_time() {
    let origin = Origin::named("a");
    let (_world, mut link) = world();
    for counter in 1..=5 {
        link.publish(table(counter, &[serving(&[origin.address])]));
        // That the next one is served would be said sooner than what is said from time to time.
        link.send(table(counter + 1, &[serving(&[origin.address])]));
        let next = link.next();
        assert!(matches!(&next, FromProxy::Status { .. }), "{next:?}");
    }
}

#[test]
fn an_instance_that_left_the_table_drains_and_its_idle_connections_close() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let closed = Arc::new(AtomicUsize::new(0));
    let seen = closed.clone();
    let old = Origin::start(move |mut wire| {
        while let Some(head) = wire.head() {
            if head.target() == "/slow" {
                wait.lock().unwrap().recv().unwrap();
            }
            wire.ok("old");
        }
        seen.fetch_add(1, Ordering::SeqCst);
    });
    let new = Origin::named("new");
    let (world, mut link) = world();
    link.publish(table(1, &[serving(&[old.address])]));
    let mut slow = world.proxy.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    eventually("the slow request is counted", || world.proxy.in_flight() == 1);
    let mut client = world.proxy.client();
    assert_eq!(client.get(HOST, "/").1, "old");
    assert_eq!(closed.load(Ordering::SeqCst), 0);
    link.publish(table(2, &[serving(&[new.address])]));
    assert_eq!(client.get(HOST, "/").1, "new");
    eventually("the idle connection to the old instance closes", || closed.load(Ordering::SeqCst) == 1);
    let count = |link: &mut Link| loop {
        if let FromProxy::Status { in_flight, .. } = link.next() {
            return in_flight.get(&instance_id(old.address)).copied();
        }
    };
    assert_eq!(count(&mut link), Some(1), "an instance without a route still counts");
    go.send(()).unwrap();
    let head = slow.head().unwrap();
    assert_eq!(slow.body(&head), b"old");
    eventually("its count goes away", || count(&mut link).is_none());
    eventually("its connection closes", || closed.load(Ordering::SeqCst) == 2);
}

#[test]
fn a_request_waits_for_the_first_instance() {
    let origin = Origin::named("late");
    let (world, mut link) = world();
    link.publish(table(1, &[serving(&[])]));
    let mut client = world.proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    link.publish(table(2, &[serving(&[origin.address])]));
    let head = client.head().unwrap();
    assert_eq!((head.status(), client.body(&head)), (200, b"late".to_vec()));
}

#[test]
fn switching_tables_under_load_loses_nothing() {
    let origins: Vec<Origin> = ["a", "b", "c"].map(Origin::named).into();
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    let (world, mut link) = world();
    link.publish(table(1, &[serving(&addresses[..1])]));
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, answered, address) = (stop.clone(), answered.clone(), world.proxy.address);
            std::thread::spawn(move || {
                let mut client = Wire::connect(address);
                while !stop.load(Ordering::SeqCst) {
                    let (head, body) = client.get(HOST, "/");
                    assert_eq!(head.status(), 200, "{head:?} {body}");
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut counter = 1;
    eventually("enough requests over enough switches", || {
        for address in &addresses {
            counter += 1;
            link.publish(table(counter, &[serving(&[*address])]));
        }
        counter > 150 && answered.load(Ordering::SeqCst) > 5_000
    });
    stop.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    eventually("every place is given back", || world.proxy.in_flight() == 0);
}

#[test]
fn with_control_gone_it_serves_and_comes_back_by_itself() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let (world, mut link) = world();
    link.publish(table(5, &[serving(&[a.address])]));
    drop(link);
    let mut client = world.proxy.client();
    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/").1, "a");
    }
    let World { directory, control, proxy } = world;
    drop(control);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(client.get(HOST, "/").1, "a");
    let control = Control::listen(&directory.file("control.sock"));
    let mut link = control.accept();
    let generation = Generation { epoch: 1, counter: 5 };
    assert!(matches!(link.next(), FromProxy::Hello { generation: g, .. } if g == generation));
    assert!(matches!(link.next(), FromProxy::Serving { generation: g } if g == generation));
    // Nonsense costs the connection, nothing else.
    link.write.write_all(b"{\"table\": 7}\n").unwrap();
    let mut link = control.accept();
    link.publish(table(6, &[serving(&[b.address])]));
    assert_eq!(client.get(HOST, "/").1, "b");
    drop(proxy);
}

#[test]
fn it_starts_from_the_saved_table() {
    let origin = Origin::named("a");
    let (world, mut link) = world();
    let wanted = table(7, &[serving(&[origin.address])]);
    link.publish(wanted.clone());
    let World { directory, control, proxy } = world;
    let saved = directory.file("routes.json");
    eventually("the table is saved", || saved.exists());
    drop((proxy, control, link));

    let (proxy, address) = start(config(&directory), 1);
    let proxy = Running { proxy, address };
    assert_eq!(proxy.proxy.as_ref().unwrap().serving(), wanted.generation);
    assert_eq!(proxy.client().get(HOST, "/").1, "a");
    drop(proxy);

    // A damaged file is no reason not to start.
    std::fs::write(&saved, "{").unwrap();
    let (proxy, address) = start(config(&directory), 1);
    let proxy = Running { proxy, address };
    assert_eq!(proxy.client().get(HOST, "/").0.get("x-apron-cause"), Some("no_table"));
}

/// A file system of 64 KiB in memory, unmounted at the end. Needs root.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: std::path::PathBuf) -> SmallDisk {
        std::fs::create_dir(&path).unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), &path, Some("tmpfs"), flags, Some("size=64k")).unwrap();
        SmallDisk(path)
    }

    fn remount(&self, flags: nix::mount::MsFlags) {
        let flags = flags | nix::mount::MsFlags::MS_REMOUNT;
        let remount = || nix::mount::mount(None::<&str>, &self.0, None::<&str>, flags, None::<&str>);
        // A child that another test is starting has all that is open here for a moment, files that are written included.
        eventually("nobody writes there", || remount() != Err(nix::errno::Errno::EBUSY));
        remount().unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// The generation of the next message that reports one.
fn reported(link: &mut Link) -> u64 {
    match link.next() {
        FromProxy::Hello { generation, .. }
        | FromProxy::Serving { generation }
        | FromProxy::Status { generation, .. } => generation.counter,
        FromProxy::Load(_) => reported(link),
    }
}

#[test]
fn a_table_is_acknowledged_when_it_is_saved_or_after_a_bounded_wait() {
    let origins: Vec<Origin> = ["a", "b", "c", "d"].map(Origin::named).into();
    let directory = Directory::new();
    let disk = SmallDisk::mount(directory.file("disk"));
    let saved = disk.0.join("routes.json");
    let control = Control::listen(&directory.file("control.sock"));
    let config = Config::control(directory.file("control.sock"), saved.clone(), None, 1_000);
    let (proxy, address) = start(config, 2);
    let proxy = Running { proxy, address };
    let mut link = control.accept();
    let on_disk = || std::fs::read_to_string(&saved).unwrap();
    link.publish(table(1, &[serving(&[origins[0].address])]));
    assert!(on_disk().contains("\"counter\":1"), "what is acknowledged is saved");

    // Full: the new table is served at once, and acknowledged only after the wait.
    while std::fs::write(disk.0.join("filler"), vec![0; 128 * 1024]).is_ok() {}
    let begun = std::time::Instant::now();
    link.send(table(2, &[serving(&[origins[1].address])]));
    let mut client = proxy.client();
    eventually("the new table is served", || client.get(HOST, "/").1 == "b");
    while reported(&mut link) != 2 {}
    assert!(begun.elapsed() > Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(on_disk().contains("\"counter\":1"));
    // The disk has had its time: the next deployment does not wait again.
    let begun = std::time::Instant::now();
    link.publish(table(3, &[serving(&[origins[2].address])]));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());

    // Room again: it is saved without a further table.
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    eventually("the table is saved", || on_disk().contains("\"counter\":3"));
    // Read-only: the same, and the proxy ends in order.
    disk.remount(nix::mount::MsFlags::MS_RDONLY);
    link.send(table(4, &[serving(&[origins[3].address])]));
    eventually("the new table is served", || client.get(HOST, "/").1 == "d");
    assert!(on_disk().contains("\"counter\":3"));
    drop(proxy);
}
