//! Layers through the real child. Needs root.

mod common;

use apron_images::content::Content;
use apron_images::manifest::{Descriptor, LAYER_TYPE, RunDefaults};
use apron_images::pack::{Layer, PackOptions, assemble, pack_directory};
use apron_images::process::Cancel;
use apron_images::unpack::{Bounds, SweptLayers, UnpackError, sweep, unpack_layers, unpack_tree};
use apron_model::ids::Digest;
use common::{Scratch, Tar, bounds, helper};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;
use tar::EntryType;

struct Rig {
    scratch: Scratch,
    content: Content,
}

impl Rig {
    fn new() -> Rig {
        let scratch = Scratch::new();
        let content = Content::open(scratch.join("content")).unwrap();
        Rig { scratch, content }
    }

    /// An image of this one layer; `stored` is the layer as compressed.
    fn image(&self, tar: &[u8], stored: &[u8]) -> Digest {
        let diff_id = self.content.put(tar).unwrap();
        let blob = self.content.put(stored).unwrap();
        let layer = Layer { descriptor: Descriptor::new(LAYER_TYPE, blob, stored.len() as u64), diff_id };
        assemble(&self.content, None, &[layer], RunDefaults::default()).unwrap()
    }

    fn unpack(&self, tar: Vec<u8>) -> Result<PathBuf, UnpackError> {
        let image = self.image(&tar, &tar);
        unpack_layers(&self.content, &image, &self.scratch.join("layers"), &helper(), &bounds())
            .map(|mut paths| paths.remove(0))
    }

    /// The layer is refused with this, and nothing of it stays.
    fn check_refused(&self, tar: Tar, part: &str) {
        let error = self.unpack(tar.bytes()).expect_err(part);
        assert!(matches!(error, UnpackError::Refused(_)), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.fault().permanent);
        assert_eq!(fs::read_dir(self.scratch.join("layers")).unwrap().count(), 0, "{part}");
    }
}

fn attribute(path: &std::path::Path, name: &std::ffi::CStr) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut value = vec![0_u8; 256];
    // SAFETY: the names are NUL-terminated and the buffer as long as said.
    let length =
        unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    usize::try_from(length).ok().map(|length| value[..length].to_vec())
}

#[test]
fn everything_a_layer_may_hold() {
    let rig = Rig::new();
    let long = format!("usr/{}/{}/file", "d".repeat(120), "e".repeat(120));
    let tar = Tar::new()
        .member(EntryType::Directory, "./", (0, 0), 0o755, b"")
        .directory("usr/")
        .member(EntryType::Regular, "usr/tool", (0, 0), 0o4755, b"#!/bin/sh\n")
        .member(EntryType::Regular, "home/file", (1000, 65_535), 0o640, b"mine")
        .file(&long, b"long")
        .file("/absolute", b"stays below")
        .file("sparse", &vec![0; 1 << 20])
        .link(EntryType::Symlink, "etc-mtab", "/proc/mounts")
        .link(EntryType::Symlink, "up", "../../usr")
        .link(EntryType::Link, "usr/tool-again", "usr/tool")
        .member(EntryType::Fifo, "pipe", (7, 7), 0o600, b"")
        .directory("gone-below/")
        .file("gone-below/.wh..wh..opq", b"")
        .file("usr/.wh.deleted", b"")
        .attribute(
            "SCHILY.xattr.security.capability",
            &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        )
        .file("ping", b"x")
        .attribute("SCHILY.xattr.trusted.overlay.redirect", b"/etc")
        .directory("forged/")
        .bytes();
    let layer = rig.unpack(tar.clone()).unwrap();

    let metadata =
        |name: &str| fs::symlink_metadata(layer.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let owner = |name: &str| (metadata(name).uid(), metadata(name).gid());
    assert_eq!((metadata("usr/tool").mode() & 0o7777, owner("usr/tool")), (0o4755, (0, 0)));
    assert_eq!((metadata("home/file").mode() & 0o7777, owner("home/file")), (0o640, (1000, 65_535)));
    assert_eq!(metadata("usr/tool").mtime(), 1_700_000_000);
    assert_eq!(metadata("usr").mtime(), 1_700_000_000, "a directory's time is set after its members");
    assert_eq!(fs::read(layer.join(&long)).unwrap(), b"long");
    assert_eq!(fs::read(layer.join("absolute")).unwrap(), b"stays below");
    assert_eq!(metadata("sparse").len(), 1 << 20);
    assert!(metadata("sparse").blocks() < 64, "zeros take no space");
    assert_eq!(fs::read_link(layer.join("etc-mtab")).unwrap(), PathBuf::from("/proc/mounts"));
    assert_eq!(metadata("usr/tool").ino(), metadata("usr/tool-again").ino());
    assert!(metadata("pipe").file_type().is_fifo());
    let deleted = metadata("usr/deleted");
    assert!(deleted.file_type().is_char_device() && deleted.rdev() == 0);
    assert_eq!(attribute(&layer.join("gone-below"), c"trusted.overlay.opaque").as_deref(), Some(&b"y"[..]));
    assert_eq!(fs::read_dir(layer.join("gone-below")).unwrap().count(), 0);
    assert!(attribute(&layer.join("ping"), c"security.capability").is_some());
    assert_eq!(attribute(&layer.join("forged"), c"trusted.overlay.redirect"), None);

    // Again is nothing to do, and packed again it is the same layer.
    let inode = metadata("usr/tool").ino();
    assert_eq!(rig.unpack(tar).unwrap(), layer);
    assert_eq!(metadata("usr/tool").ino(), inode);
    let options = PackOptions { overlay: true, ..PackOptions::default() };
    let packed = pack_directory(&rig.content, &layer, &options).unwrap();
    assert_eq!(pack_directory(&rig.content, &layer, &options).unwrap(), packed, "deterministic");
    let image = assemble(&rig.content, None, &[packed], RunDefaults::default()).unwrap();
    let again = unpack_layers(&rig.content, &image, &rig.scratch.join("again"), &helper(), &bounds())
        .unwrap()
        .remove(0);
    assert_eq!(fs::read(again.join("home/file")).unwrap(), b"mine");
    assert!(fs::symlink_metadata(again.join("usr/deleted")).unwrap().file_type().is_char_device());
    assert_eq!(attribute(&again.join("gone-below"), c"trusted.overlay.opaque").as_deref(), Some(&b"y"[..]));
    assert!(attribute(&again.join("ping"), c"security.capability").is_some());
    let ino = |name: &str| fs::symlink_metadata(again.join(name)).unwrap().ino();
    assert_eq!(ino("usr/tool"), ino("usr/tool-again"));
}

#[test]
fn hostile_layers() {
    let rig = Rig::new();
    fs::create_dir_all(rig.scratch.join("layers")).unwrap();
    rig.check_refused(Tar::new().file("../escape", b"x"), "leaves the archive's directory");
    rig.check_refused(Tar::new().file("a/../../escape", b"x"), "leaves the archive's directory");
    rig.check_refused(
        Tar::new().link(EntryType::Symlink, "a", "/").file("a/escape", b"x"),
        "goes through a symbolic link",
    );
    rig.check_refused(
        Tar::new().link(EntryType::Link, "a", "../../../etc/passwd"),
        "leaves the archive's directory",
    );
    rig.check_refused(Tar::new().link(EntryType::Link, "a", "/etc/passwd"), "does not hold");
    rig.check_refused(
        Tar::new().link(EntryType::Symlink, "etc", "/").link(EntryType::Link, "a", "etc/passwd"),
        "through a symbolic link",
    );
    rig.check_refused(Tar::new().member(EntryType::Block, "sda", (0, 0), 0o666, b""), "is a device");
    rig.check_refused(Tar::new().member(EntryType::Char, "mem", (0, 0), 0o666, b""), "is a device");
    rig.check_refused(Tar::new().member(EntryType::Regular, "a", (70_000, 0), 0o644, b""), "above 65535");
    rig.check_refused(Tar::new().file("a", b"x").file("a/b", b"x"), "not a directory");
    rig.check_refused(Tar::new().attribute("GNU.sparse.major", b"1").file("a", b"x"), "sparse");
    assert!(!rig.scratch.0.parent().unwrap().join("escape").exists());
}

#[test]
fn names_too_long_are_refused() {
    let rig = Rig::new();
    fs::create_dir_all(rig.scratch.join("layers")).unwrap();
    rig.check_refused(Tar::new().file(&"n".repeat(300), b"x"), "more than 255 bytes");
    rig.check_refused(Tar::new().file(&"d/".repeat(2100), b"x"), "at most 4095");
}

#[test]
fn compressed_layers_and_wrong_ones() {
    let rig = Rig::new();
    let tar = Tar::new().file("a", &b"content ".repeat(10_000)).bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&tar).unwrap();
    let gzip = gzip.finish().unwrap();
    let frame = ruzstd::encoding::compress_to_vec(&tar[..], ruzstd::encoding::CompressionLevel::Fastest);
    // Two frames with a skippable one between them, as parallel writers make them.
    let half = tar.len() / 2;
    let mut frames =
        ruzstd::encoding::compress_to_vec(&tar[..half], ruzstd::encoding::CompressionLevel::Fastest);
    frames.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    frames
        .extend(ruzstd::encoding::compress_to_vec(&tar[half..], ruzstd::encoding::CompressionLevel::Fastest));
    for (number, stored) in [gzip, frame, frames].iter().enumerate() {
        let image = rig.image(&tar, stored);
        let layers = rig.scratch.join(format!("layers-{number}"));
        let path = unpack_layers(&rig.content, &image, &layers, &helper(), &bounds()).unwrap().remove(0);
        assert_eq!(fs::read(path.join("a")).unwrap().len(), 80_000);
    }
    let other = Tar::new().file("b", b"x").bytes();
    let image = rig.image(&tar, &other);
    let error =
        unpack_layers(&rig.content, &image, &rig.scratch.join("wrong"), &helper(), &bounds()).unwrap_err();
    assert!(matches!(error, UnpackError::WrongDiffId { .. }), "{error}");
    let truncated = &tar[..tar.len() / 2];
    for stored in
        [b"\x1f\x8bnot gzip at all, and short", b"no archive either, and that is all".as_slice(), truncated]
    {
        let image = rig.image(&tar, stored);
        let error = unpack_layers(&rig.content, &image, &rig.scratch.join("wrong"), &helper(), &bounds())
            .unwrap_err();
        assert!(matches!(error, UnpackError::Damaged(_)) && error.fault().permanent, "{error:?}");
    }
    assert_eq!(fs::read_dir(rig.scratch.join("wrong")).unwrap().count(), 0);
}

/// Whoever owns the store has put other bytes under a layer's name, among them a layer that would unpack.
#[test]
fn a_blob_that_is_not_what_its_name_says() {
    let rig = Rig::new();
    let tar = Tar::new().file("a", &vec![7; 1 << 20]).bytes();
    let other = Tar::new().file("a", &vec![8; 1 << 20]).bytes();
    for planted in [other.as_slice(), b"", b"no archive"] {
        let image = rig.image(&tar, &tar);
        let layer = rig.content.manifest(&image).unwrap().layers.remove(0).digest;
        let path = rig.content.blob_path(&layer).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, planted).unwrap();
        let layers = rig.scratch.join("layers");
        let error = unpack_layers(&rig.content, &image, &layers, &helper(), &bounds()).unwrap_err();
        let actual = rig.content.put(planted).unwrap();
        let text = error.to_string();
        assert!(text.contains(layer.as_str()) && text.contains(actual.as_str()), "{text}");
        assert!(error.fault().permanent);
        assert_eq!(fs::read_dir(&layers).unwrap().count(), 0);
        assert!(!rig.content.has(&layer), "it can be fetched again");
    }
    // A link out of the store is not even opened.
    let image = rig.image(&tar, &tar);
    let layer = rig.content.manifest(&image).unwrap().layers.remove(0).digest;
    let path = rig.content.blob_path(&layer).unwrap();
    fs::rename(&path, rig.scratch.join("outside")).unwrap();
    std::os::unix::fs::symlink(rig.scratch.join("outside"), &path).unwrap();
    let error =
        unpack_layers(&rig.content, &image, &rig.scratch.join("layers"), &helper(), &bounds()).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[test]
fn fields_that_nobody_filled_in() {
    let rig = Rig::new();
    let mut tar = Tar::new().file("a", b"x").bytes();
    // Owner, group and time of the header, then its checksum anew.
    tar[108..124].fill(0);
    tar[136..148].fill(b' ');
    tar[148..156].fill(b' ');
    let sum: u32 = tar[..512].iter().map(|b| u32::from(*b)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let layer = rig.unpack(tar).unwrap();
    let metadata = fs::metadata(layer.join("a")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mtime()), (0, 0, 0));
}

#[test]
fn an_image_that_unpacks_to_too_much() {
    let rig = Rig::new();
    let layers = rig.scratch.join("layers");
    let small = |members: u64| Bounds { bytes_max: 3 << 20, members_max: members, ..bounds() };
    let bomb = {
        let tar = Tar::new().file("zeros", &vec![0; 8 << 20]).bytes();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&tar).unwrap();
        rig.image(&tar, &gzip.finish().unwrap())
    };
    let refused = |image: &Digest, members: u64, part: &str| {
        let error = unpack_layers(&rig.content, image, &layers, &helper(), &small(members)).unwrap_err();
        assert!(error.fault().permanent && error.to_string().contains(part), "{error}");
    };
    refused(&bomb, 100, "more than 3 MiB, the limit");
    assert_eq!(fs::read_dir(&layers).unwrap().count(), 0);
    let many = (0..20).fold(Tar::new(), |tar, i| tar.file(&format!("file-{i}"), b"x")).bytes();
    refused(&rig.image(&many, &many), 19, "more than 19 files, directories and links, the limit");
    assert_eq!(fs::read_dir(&layers).unwrap().count(), 0);

    // Each layer alone is small enough; those that were unpacked before count as well.
    let parts: Vec<Layer> = (0..2)
        .map(|i| {
            let tar = Tar::new().file(&format!("file-{i}"), &vec![i + 1; 2 << 20]).bytes();
            let digest = rig.content.put(&tar).unwrap();
            Layer {
                descriptor: Descriptor::new(LAYER_TYPE, digest.clone(), tar.len() as u64),
                diff_id: digest,
            }
        })
        .collect();
    let image = assemble(&rig.content, None, &parts, RunDefaults::default()).unwrap();
    for _ in 0..2 {
        refused(&image, 100, "more than 3 MiB, the limit");
    }
    unpack_layers(&rig.content, &image, &layers, &helper(), &bounds()).unwrap();
}

/// What describes a member counts as little as it takes: a name of 40 MiB is no name.
#[test]
fn a_member_with_an_endless_name() {
    let rig = Rig::new();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(40 << 20);
    header.set_cksum();
    let tar = [header.as_bytes().as_slice(), &vec![b'a'; 40 << 20]].concat();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let image = rig.image(&tar, &gzip.finish().unwrap());
    let layers = rig.scratch.join("layers");
    let error = unpack_layers(&rig.content, &image, &layers, &helper(), &bounds()).unwrap_err();
    assert!(error.fault().permanent && error.to_string().contains("describes one member"), "{error}");
    assert_eq!(fs::read_dir(&layers).unwrap().count(), 0);
}

/// Who unpacks stops before the disk is full for those who serve.
#[test]
fn unpacking_leaves_room() {
    let rig = Rig::new();
    let tar = Tar::new().file("a", &vec![7; 40 << 20]).bytes();
    let image = rig.image(&tar, &tar);
    let disk = rig.scratch.join("disk");
    fs::create_dir(&disk).unwrap();
    common::server::in_namespaces(&[], || {
        let none = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), &disk, Some("tmpfs"), none, Some("size=100m")).unwrap();
        fs::write(disk.join("filler"), vec![1; 66 << 20]).unwrap();
        let layers = disk.join("layers");
        let error = unpack_layers(&rig.content, &image, &layers, &helper(), &bounds()).unwrap_err();
        assert!(matches!(error, UnpackError::NoRoom(_)) && !error.fault().permanent, "{error}");
        let text = error.to_string();
        assert!(text.contains(disk.to_str().unwrap()) && text.contains("4 MiB must stay free"), "{text}");
        assert_eq!(fs::read_dir(&layers).unwrap().count(), 0);
    });
}

/// A process that reads and says nothing, as one on a disk that does not answer.
#[test]
fn unpacking_ends_when_it_is_no_longer_wanted() {
    let rig = Rig::new();
    let tar = Tar::new().file("a", &vec![7; 1 << 20]).bytes();
    let image = rig.image(&tar, &tar);
    let layers = rig.scratch.join("layers");
    let script = rig.scratch.join("hangs");
    fs::write(&script, format!("#!/bin/sh\necho $$ >> {}\nsleep 600\n", rig.scratch.join("pids").display()))
        .unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let hangs = apron_images::helper::Helper { program: script, arguments: Vec::new() };
    let late = Bounds { time_max: Duration::from_millis(200), ..bounds() };
    let error = unpack_layers(&rig.content, &image, &layers, &hangs, &late).unwrap_err();
    assert!(matches!(error, UnpackError::Late { .. }) && !error.fault().permanent, "{error}");
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let guard = cancel.on_drop();
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(guard);
        });
        let error =
            unpack_layers(&rig.content, &image, &layers, &hangs, &Bounds::until(&cancel)).unwrap_err();
        assert!(matches!(error, UnpackError::Cancelled) && !error.fault().permanent, "{error}");
    });
    assert_eq!(fs::read_dir(&layers).unwrap().count(), 0);
    for pid in fs::read_to_string(rig.scratch.join("pids")).unwrap().lines() {
        assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "{pid} lives");
    }
}

#[test]
fn layers_that_nobody_needs_are_swept() {
    let rig = Rig::new();
    let layers = rig.scratch.join("layers");
    let image = |name: &str| {
        let tar = Tar::new().file(name, name.as_bytes()).bytes();
        rig.image(&tar, &tar)
    };
    let images = [image("kept"), image("old"), image("wanted again")];
    let path =
        |image: &Digest| unpack_layers(&rig.content, image, &layers, &helper(), &bounds()).unwrap().remove(0);
    let paths: Vec<PathBuf> = images.iter().map(&path).collect();
    let keep = BTreeSet::from([paths[0].file_name().unwrap().to_str().unwrap().to_owned()]);
    let hour = Duration::from_secs(3600);
    assert_eq!(sweep(&layers, &keep, hour).unwrap(), SweptLayers::default(), "all are young");
    std::thread::sleep(Duration::from_millis(300));
    let modified = fs::metadata(&paths[2]).unwrap().modified().unwrap();
    path(&images[2]);
    assert_eq!(fs::metadata(&paths[2]).unwrap().modified().unwrap(), modified, "the image's own time stays");
    let swept = sweep(&layers, &keep, Duration::from_millis(200)).unwrap();
    assert_eq!(swept.layers, 1);
    assert!(swept.bytes >= 1024);
    assert!(paths[0].exists() && !paths[1].exists() && paths[2].exists());
    assert_eq!(path(&images[1]), paths[1]);
    assert_eq!(fs::read_dir(&layers).unwrap().count(), 3);
    assert_eq!(sweep(&rig.scratch.join("absent"), &keep, hour).unwrap(), SweptLayers::default());
}

#[test]
fn one_layer_asked_for_many_times_at_once() {
    let rig = Rig::new();
    let tar = Tar::new().file("a", &vec![7; 1 << 20]).bytes();
    let image = rig.image(&tar, &tar);
    let layers = rig.scratch.join("layers");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| unpack_layers(&rig.content, &image, &layers, &helper(), &bounds()).unwrap());
        }
    });
    assert_eq!(fs::read_dir(&layers).unwrap().count(), 1);
}

#[test]
fn a_source_tree_is_plain_files_of_root() {
    let rig = Rig::new();
    let tar = Tar::new()
        .member(EntryType::XGlobalHeader, "pax_global_header", (0, 0), 0o644, b"20 comment=abcdefgh\n")
        .member(EntryType::Regular, "run.sh", (500_000, 500_000), 0o6755, b"x")
        .file(".wh.notes", b"a file like any other")
        .bytes();
    let blob = rig.content.put(&tar).unwrap();
    let into = rig.scratch.join("source");
    fs::create_dir(&into).unwrap();
    unpack_tree(&rig.content, &blob, &into, &helper(), &bounds()).unwrap();
    let metadata = fs::metadata(into.join("run.sh")).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o755));
    assert!(into.join(".wh.notes").exists());
}

/// What the reader of the archive can see and do is told by what it leaves: its root is the target.
#[test]
fn a_program_that_is_no_child_is_reported() {
    let rig = Rig::new();
    let tar = Tar::new().file("a", b"x").bytes();
    let image = rig.image(&tar, &tar);
    let broken = apron_images::helper::Helper { program: PathBuf::from("/bin/false"), arguments: Vec::new() };
    let error =
        unpack_layers(&rig.content, &image, &rig.scratch.join("layers"), &broken, &bounds()).unwrap_err();
    assert!(error.to_string().contains("exit status: 1"), "{error}");
    assert!(!error.fault().permanent);
}
