#![expect(clippy::disallowed_methods, reason = "times of files are wall time")]

use super::*;
use crate::manifest::{CONFIG_TYPE, Descriptor, LAYER_TYPE, MANIFEST_TYPE};
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

struct Scratch(PathBuf);
impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("apron-content-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
        let _ = fs::remove_dir_all(&self.0);
    }
}

const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn blobs(dir: &Path) -> usize {
    fs::read_dir(dir.join("blobs/sha256")).unwrap().count()
}

/// As if the blob had been written two days ago.
fn make_old(content: &Content, digest: &Digest) {
    let file = File::open(content.blob_path(digest).unwrap()).unwrap();
    file.set_modified(SystemTime::now() - 2 * DAY).unwrap();
}

/// An image of these layers; answers with its manifest and all blobs.
fn image(content: &Content, layers: &[&[u8]]) -> (Digest, Vec<Digest>) {
    let layers: Vec<Descriptor> = layers
        .iter()
        .map(|bytes| Descriptor::new(LAYER_TYPE, content.put(bytes).unwrap(), bytes.len() as u64))
        .collect();
    let config = format!("{{\"layers\": {}}}", layers.len()).into_bytes();
    let config = Descriptor::new(CONFIG_TYPE, content.put(&config).unwrap(), config.len() as u64);
    let mut all: Vec<Digest> = layers.iter().chain([&config]).map(|d| d.digest.clone()).collect();
    let manifest = ImageManifest { schema_version: 2, media_type: MANIFEST_TYPE.to_owned(), config, layers };
    let digest = content.put(&serde_json::to_vec(&manifest).unwrap()).unwrap();
    all.push(digest.clone());
    (digest, all)
}

#[test]
fn a_blob_is_named_by_its_digest() {
    let scratch = Scratch::new("blob");
    let content = Content::open(&scratch.0).unwrap();
    assert_eq!(content.put(b"").unwrap().as_str(), EMPTY);
    let digest = content.put(b"hello").unwrap();
    assert!(content.has(&digest) && content.renew(&digest).unwrap());
    assert_eq!(content.blob_bytes(&digest).unwrap(), 5);
    assert_eq!(content.put(b"hello").unwrap(), digest, "again is the same");
    assert_eq!(fs::read_dir(scratch.0.join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let scratch = Scratch::new("wrong");
    let content = Content::open(&scratch.0).unwrap();
    let mut writer = content.writer().unwrap();
    writer.write_all(b"other").unwrap();
    let error = writer.finish(Some(&Digest::new(EMPTY))).unwrap_err();
    assert!(matches!(error, ContentError::Mismatch { .. }), "{error}");
    drop(content.writer().unwrap());
    assert_eq!(fs::read_dir(scratch.0.join("tmp")).unwrap().count(), 0);
    assert_eq!(blobs(&scratch.0), 0);
}

#[test]
fn a_digest_cannot_leave_the_store() {
    let scratch = Scratch::new("leave");
    let content = Content::open(&scratch.0).unwrap();
    for text in ["sha256:../../../etc/passwd", "sha256:", "md5:00", &EMPTY.to_uppercase()] {
        assert!(matches!(content.open_blob(&Digest::new(text)), Err(ContentError::NotADigest(_))), "{text}");
    }
}

#[test]
fn names_are_kept_by_several_writers() {
    let scratch = Scratch::new("names");
    let threads: Vec<_> = (0..8)
        .map(|i| {
            let dir = scratch.0.clone();
            std::thread::spawn(move || {
                let content = Content::open(dir).unwrap();
                content.name_set(&format!("image-{i}"), &Digest::new(EMPTY)).unwrap();
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    let content = Content::open(&scratch.0).unwrap();
    assert_eq!(content.name_list().unwrap().len(), 8);
    assert_eq!(content.name_remove("image-3").unwrap(), Some(Digest::new(EMPTY)));
    assert_eq!(content.name_remove("image-3").unwrap(), None);
    assert_eq!(content.name_list().unwrap().len(), 7);
}

#[test]
fn a_name_says_what_it_replaced() {
    let scratch = Scratch::new("replaced");
    let content = Content::open(&scratch.0).unwrap();
    let (first, blobs) = image(&content, &[b"one", b"two"]);
    content.name_set("web:1", &first).unwrap();
    let entry = content.name_entry("web:1").unwrap().unwrap();
    let bytes: u64 = blobs.iter().map(|blob| content.blob_bytes(blob).unwrap()).sum();
    assert_eq!((entry.bytes, entry.replaced, entry.source), (bytes, None, NameSource::Imported));
    let (second, _) = image(&content, &[b"three"]);
    content.name_set("web:1", &second).unwrap();
    let entry = content.name_entry("web:1").unwrap().unwrap();
    assert_eq!((entry.digest, entry.replaced), (second, Some(first)));
    for name in ["", "two words", "bell\u{7}", &"n".repeat(513)] {
        assert!(matches!(content.name_set(name, &entry_digest()), Err(ContentError::BadName(_))), "{name:?}");
    }
}

#[test]
fn several_names_are_set_or_none_of_them() {
    let scratch = Scratch::new("several");
    let content = Content::open(&scratch.0).unwrap();
    let named = |name: &str| (name.to_owned(), entry_digest());
    let many: Vec<_> = (1..NAMES_MAX).map(|number| named(&format!("image-{number}"))).collect();
    content.names_set(&many).unwrap();
    let (image, _) = image(&content, &[b"one"]);
    let replacing = ("image-1".to_owned(), image);
    for (more, too_many) in [([named("a"), named("b")], true), ([named("a"), named("two words")], false)] {
        let error = content.names_set(&[[replacing.clone()].as_slice(), &more].concat()).unwrap_err();
        assert_eq!(matches!(error, ContentError::TooManyNames), too_many, "{error}");
        assert_eq!(content.name_get("image-1").unwrap(), Some(entry_digest()));
        assert_eq!(content.name_get("a").unwrap(), None);
    }
    content.names_set(&[replacing.clone(), named("a")]).unwrap();
    assert_eq!(content.name_get("image-1").unwrap(), Some(replacing.1));
}

fn entry_digest() -> Digest {
    Digest::new(EMPTY)
}

/// Needs root: files become those of the directory's owner.
#[test]
fn the_owner_of_the_directory_owns_its_files() {
    let scratch = Scratch::new("owner");
    std::os::unix::fs::chown(&scratch.0, Some(4242), Some(4243)).unwrap();
    let content = Content::open(&scratch.0).unwrap();
    let digest = content.put(b"x").unwrap();
    content.name_set("a", &digest).unwrap();
    for path in [content.blob_path(&digest).unwrap(), scratch.0.join("images.json"), scratch.0.join("tmp")] {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (4242, 4243), "{path:?}");
    }
}

/// Needs root: a tiny file system of its own, filled.
#[test]
fn a_full_disk_is_said_plainly() {
    let scratch = Scratch::new("full");
    let none = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), &scratch.0, Some("tmpfs"), none, Some("size=64k")).unwrap();
    let content = Content::open(&scratch.0).unwrap();
    let result = content.put(&vec![1; 1024 * 1024]);
    assert!(matches!(result, Err(ContentError::DiskFull(_))), "{result:?}");
}

/// Everything below a directory that can tell of a change or of a reading that left a trace.
fn state(dir: &Path) -> Vec<(PathBuf, u32, u32, u64, i64, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let m = fs::symlink_metadata(&path).unwrap();
            let bytes = if m.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            (path, m.uid(), m.mode(), m.nlink(), m.mtime(), bytes)
        })
        .collect();
    all.sort();
    all
}

/// Needs root. Whoever runs control owns the store's directories and has put links in every place; root works in
/// them all the same and touches nothing outside.
#[test]
fn a_taken_control_leads_root_nowhere() {
    let outside = Scratch::new("outside");
    let secret = br#"{"schemaVersion":2,"config":{"mediaType":"","digest":"s3cret","size":1},"layers":[]}"#;
    for (name, bytes) in [("file", &b"precious"[..]), ("json", secret), (&EMPTY[7..], b"")] {
        fs::write(outside.0.join(name), bytes).unwrap();
        File::open(outside.0.join(name)).unwrap().set_modified(SystemTime::now() - 3 * DAY).unwrap();
    }
    let before = state(&outside.0);
    let target = |name: &str| outside.0.join(name);
    let owned = |name: &str| {
        let store = Scratch::new(name);
        std::os::unix::fs::chown(&store.0, Some(4242), Some(4242)).unwrap();
        store
    };

    // Directories that are links from the start.
    for name in ["blobs", "tmp", "blobs/sha256"] {
        let store = owned("planted");
        if name.contains('/') {
            fs::create_dir(store.0.join("blobs")).unwrap();
        }
        symlink(&outside.0, store.0.join(name)).unwrap();
        let error = Content::open(&store.0).unwrap_err().to_string();
        assert!(error.contains("it is a link"), "{name}: {error}");
    }
    let store = owned("itself");
    symlink(&outside.0, store.0.join("content")).unwrap();
    assert!(Content::open(store.0.join("content")).is_err());

    // Directories that become links once they are open: what is written goes where they were.
    let store = owned("swapped");
    let content = Content::open(&store.0).unwrap();
    for name in ["blobs", "tmp"] {
        fs::rename(store.0.join(name), store.0.join(format!("{name}-moved"))).unwrap();
        symlink(&outside.0, store.0.join(name)).unwrap();
    }
    let digest = content.put(b"data").unwrap();
    assert!(store.0.join("blobs-moved/sha256").join(hex_of(&digest).unwrap()).exists());
    make_everything_old(&store.0.join("blobs-moved/sha256"));
    content.sweep(&BTreeSet::new(), Duration::ZERO).unwrap();
    drop(content.writer().unwrap());

    // Files.
    let store = owned("files");
    let content = Content::open(&store.0).unwrap();
    let blob = |text: &str| store.0.join("blobs/sha256").join(text.repeat(64));
    let digest = |text: &str| Digest::new(format!("sha256:{}", text.repeat(64)));
    symlink(target("json"), blob("a")).unwrap();
    fs::hard_link(target("json"), blob("b")).unwrap();
    nix::unistd::mkfifo(&blob("c"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    fs::create_dir(blob("d")).unwrap();
    for text in ["a", "c", "d"] {
        let error = content.open_blob(&digest(text)).unwrap_err();
        assert!(error.permanent() && error.to_string().contains("not a regular file"), "{error}");
        assert!(!content.has(&digest(text)) && !content.renew(&digest(text)).unwrap());
    }
    // What a hard link leads to is read and found to be something else; nothing of it is said.
    let error = content.manifest(&digest("b")).unwrap_err();
    assert!(
        matches!(error, ContentError::Mismatch { .. }) && !error.to_string().contains("s3cret"),
        "{error}"
    );
    fs::remove_file(blob("b")).unwrap();
    symlink(target(&EMPTY[7..]), store.0.join("blobs/sha256").join(&EMPTY[7..])).unwrap();
    content.put(b"").unwrap();
    assert!(fs::symlink_metadata(content.blob_path(&Digest::new(EMPTY)).unwrap()).unwrap().is_file());
    symlink(target("json"), store.0.join("images.json")).unwrap();
    symlink(target("file"), store.0.join("images.lock")).unwrap();
    let error = content.name_list().unwrap_err().to_string();
    assert!(error.contains("not a regular file") && !error.contains("s3cret"), "{error}");
    assert!(content.name_set("web", &Digest::new(EMPTY)).is_err());

    // What looks like a leftover is not root's to remove.
    fs::write(store.0.join("tmp/old"), b"x").unwrap();
    symlink(target("file"), store.0.join("tmp/link")).unwrap();
    make_everything_old(&store.0.join("tmp"));
    drop(Content::open(&store.0).unwrap());
    assert!(store.0.join("tmp/old").exists());
    fs::remove_dir_all(&store.0).unwrap();
    assert_eq!(state(&outside.0), before);
}

fn make_everything_old(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if fs::symlink_metadata(&path).unwrap().is_file() {
            File::open(&path).unwrap().set_modified(SystemTime::now() - 3 * DAY).unwrap();
        }
    }
}

#[test]
fn leftovers_of_the_stores_own_user_go_after_a_day() {
    let scratch = Scratch::new("leftovers");
    let content = Content::open(&scratch.0).unwrap();
    fs::write(scratch.0.join("tmp/young"), b"x").unwrap();
    fs::write(scratch.0.join("tmp/old"), b"x").unwrap();
    File::open(scratch.0.join("tmp/old")).unwrap().set_modified(SystemTime::now() - 2 * DAY).unwrap();
    content.sweep(&BTreeSet::new(), DAY).unwrap();
    assert!(scratch.0.join("tmp/young").exists() && !scratch.0.join("tmp/old").exists());
}

/// Draws for tests: splitmix64.
struct Dice(u64);
impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// For every draw of images, ages, names and wishes: exactly what is needed or young stays.
#[test]
fn a_sweep_takes_what_nobody_needs_and_nothing_else() {
    for seed in 0..20 {
        let mut dice = Dice(seed);
        let scratch = Scratch::new("sweep");
        let content = Content::open(&scratch.0).unwrap();
        let mut keep = BTreeSet::new();
        let mut needed: BTreeSet<Digest> = BTreeSet::new();
        let mut everything: BTreeSet<Digest> = BTreeSet::new();
        for number in 0..8 {
            // Few different layers, so that images share them.
            let layers: Vec<Vec<u8>> =
                (0..=dice.below(3)).map(|_| format!("layer {}", dice.below(6)).into_bytes()).collect();
            let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
            let (digest, all) = image(&content, &layers);
            everything.extend(all.iter().cloned());
            match dice.below(4) {
                0 => {
                    keep.insert(digest);
                }
                1 => content.name_set(&format!("image-{number}"), &digest).unwrap(),
                _ => continue,
            }
            needed.extend(all);
        }
        // An archive of sources, a digest that is not there, and one that is none.
        let source = content.put(&[seed as u8; 3000]).unwrap();
        everything.insert(source.clone());
        needed.insert(source.clone());
        keep.extend([source, Digest::new(EMPTY), Digest::new("sha256:short")]);
        for digest in &everything {
            if dice.below(4) == 0 {
                needed.insert(digest.clone());
            } else {
                make_old(&content, digest);
            }
        }
        let gone: Vec<&Digest> = everything.difference(&needed).collect();
        let bytes = gone.iter().map(|digest| content.blob_bytes(digest).unwrap()).sum();
        let swept = content.sweep(&keep, DAY).unwrap();
        assert_eq!(swept, Swept { blobs: gone.len() as u64, bytes }, "seed {seed}");
        for digest in &everything {
            assert_eq!(content.has(digest), needed.contains(digest), "seed {seed}: {digest}");
        }
        assert_eq!(content.sweep(&keep, DAY).unwrap(), Swept::default());
    }
}

/// A pull that finds old layers in the store, beside a sweep that would take them: whatever the pull counted on
/// is there when it has ended.
#[test]
fn a_pull_beside_a_sweep() {
    let scratch = Scratch::new("race");
    let content = Content::open(&scratch.0).unwrap();
    let ended = AtomicBool::new(false);
    let removed = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        // Also when an assertion fails: the scope waits for its threads.
        let _sweeps_end = Ends(&ended);
        for _ in 0..2 {
            scope.spawn(|| {
                let content = Content::open(&scratch.0).unwrap();
                while !ended.load(Ordering::Relaxed) {
                    let swept = content.sweep(&BTreeSet::new(), DAY).unwrap();
                    removed.fetch_add(swept.blobs, Ordering::Relaxed);
                }
            });
        }
        for round in 0_u32.. {
            // On a busy machine the sweeps may come late; without them nothing would be shown.
            let met = removed.load(Ordering::Relaxed) > 0;
            if round >= 300 && (met || began.elapsed() > Duration::from_secs(20)) {
                break;
            }
            let layers: Vec<Vec<u8>> =
                (0..4).map(|i| format!("layer {i} {}", round % 3).into_bytes()).collect();
            for layer in &layers {
                let digest = digest_of_bytes(layer);
                if content.has(&digest) {
                    make_old_if_there(&content, &digest);
                }
            }
            if round % 8 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            for layer in &layers {
                if !content.renew(&digest_of_bytes(layer)).unwrap() {
                    content.put(layer).unwrap();
                }
            }
            for layer in &layers {
                assert!(content.has(&digest_of_bytes(layer)), "round {round}");
            }
        }
    });
    assert!(removed.load(Ordering::Relaxed) > 0, "the sweeps met something to take");
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn make_old_if_there(content: &Content, digest: &Digest) {
    if let Ok(file) = content.open_blob(digest) {
        let _ = file.set_modified(SystemTime::now() - 2 * DAY);
    }
}
