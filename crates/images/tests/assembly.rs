//! Base images by the real mmdebstrap. Needs root.

mod common;

use apron_images::content::{Content, NameSource};
use apron_images::process::Cancel;
use apron_images::runtimes::{self, Catalogue, RuntimeError};
use common::Scratch;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Processes that have this text in their arguments or environment, by number.
fn processes_with(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().into_string().unwrap();
        if !pid.bytes().all(|b| b.is_ascii_digit()) || pid == std::process::id().to_string() {
            continue;
        }
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let all = [read("cmdline"), read("environ")].concat();
        if String::from_utf8_lossy(&all).contains(text) {
            found.push(pid);
        }
    }
    found
}

fn files_in(path: &Path) -> usize {
    fs::read_dir(path).map_or(0, |entries| entries.count())
}

#[test]
fn an_assembly_that_is_cancelled_leaves_nothing() {
    let scratch = Scratch::new();
    let content = Content::open(scratch.join("content")).unwrap();
    let bases = scratch.join("bases");
    let catalogue = Catalogue::open(None).unwrap();
    let mark = bases.join("tmp").display().to_string();
    let cancel = Cancel::new();
    let began = Instant::now();
    let result = std::thread::scope(|scope| {
        let guard = cancel.on_drop();
        let mark = &mark;
        scope.spawn(move || {
            while processes_with(mark).len() < 3 {
                assert!(began.elapsed() < Duration::from_secs(10), "it does not begin");
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(guard);
        });
        runtimes::base(&content, &bases, catalogue.fetch(), &cancel, &mut |_| {})
    });
    assert!(matches!(result, Err(RuntimeError::Cancelled)), "{result:?}");
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    let ended = Instant::now();
    while !processes_with(&mark).is_empty() {
        assert!(ended.elapsed() < Duration::from_secs(2), "{:?} live", processes_with(&mark));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(files_in(&bases.join("tmp")), 0);
    assert_eq!(files_in(&scratch.join("content/blobs/sha256")), 0);
    assert!(runtimes::cached(&content, &bases, &catalogue.fetch().base).is_none());
}

#[test]
#[ignore = "long: it fetches packages from a mirror"]
fn an_assembly_is_kept_until_nobody_uses_it() {
    let scratch = Scratch::new();
    let content = Content::open(scratch.join("content")).unwrap();
    let bases = scratch.join("bases");
    let catalogue = Catalogue::open(None).unwrap();
    let fetch = catalogue.fetch();
    let began = Instant::now();
    let base = || runtimes::base(&content, &bases, fetch, &Cancel::new(), &mut |_| {}).unwrap();
    let digest = base();
    println!("assembled in {:?}", began.elapsed());
    assert_eq!(files_in(&bases.join("tmp")), 0);
    let names = content.name_list().unwrap();
    assert_eq!((names.len(), &names[0].digest, names[0].source), (1, &digest, NameSource::Base));
    content.sweep(&Default::default(), Duration::ZERO).unwrap();
    assert_eq!(base(), digest, "its name keeps it");
    assert_eq!(runtimes::forget_unused(&content, &bases, Duration::from_secs(3600)).unwrap(), 0);
    assert_eq!(runtimes::forget_unused(&content, &bases, Duration::ZERO).unwrap(), 1);
    assert!(content.name_list().unwrap().is_empty());
    assert_eq!(content.sweep(&Default::default(), Duration::ZERO).unwrap().blobs, 3);
    assert!(runtimes::cached(&content, &bases, &fetch.base).is_none());
}
