//! Archives in the forms that tools write.

mod common;

use apron_images::archive::{ArchiveError, ROLE, export};
use apron_images::content::{Content, ContentError};
use apron_images::helper::Helper;
use apron_images::manifest::{
    CONFIG_TYPE, Descriptor, ImageManifest, LAYER_TYPE, MANIFEST_TYPE, host_architecture,
};
use apron_images::process::Cancel;
use apron_model::ids::Digest;
use common::{Scratch, Tar, helper};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tar::EntryType;

struct Parts {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    names: [String; 3],
}

fn hex(digest: &Digest) -> String {
    digest.as_str().trim_start_matches("sha256:").to_owned()
}

/// An image for this architecture, its documents and their digests in hex (layer, config, manifest).
fn parts(scratch: &Scratch, architecture: &str) -> Parts {
    let elsewhere = Content::open(scratch.join("elsewhere")).unwrap();
    let layer = Tar::new().file("hello", b"world").bytes();
    let layer_digest = elsewhere.put(&layer).unwrap();
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","config":{{"Env":["A=b"],"Cmd":["/hello"]}},"rootfs":{{"type":"layers","diff_ids":["{layer_digest}"]}}}}"#
    )
    .into_bytes();
    let config_digest = elsewhere.put(&config).unwrap();
    let manifest = serde_json::to_vec(&ImageManifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE.to_owned(),
        config: Descriptor::new(CONFIG_TYPE, config_digest.clone(), config.len() as u64),
        layers: vec![Descriptor::new(LAYER_TYPE, layer_digest.clone(), layer.len() as u64)],
    })
    .unwrap();
    let manifest_digest = elsewhere.put(&manifest).unwrap();
    Parts { layer, config, manifest, names: [hex(&layer_digest), hex(&config_digest), hex(&manifest_digest)] }
}

fn oci_layout(parts: &Parts, annotations: &str) -> Vec<u8> {
    let [layer, config, manifest] = &parts.names;
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{MANIFEST_TYPE}","digest":"sha256:{manifest}","size":{}{annotations}}}]}}"#,
        parts.manifest.len()
    );
    Tar::new()
        .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
        .file("index.json", index.as_bytes())
        .directory("blobs/sha256/")
        .file(&format!("blobs/sha256/{layer}"), &parts.layer)
        .file(&format!("blobs/sha256/{config}"), &parts.config)
        .file(&format!("blobs/sha256/{manifest}"), &parts.manifest)
        .bytes()
}

fn import(content: &Content, path: &Path) -> Result<Vec<(String, Digest)>, ArchiveError> {
    apron_images::archive::import(content, path, &helper(), &Cancel::new())
}

fn check(scratch: &Scratch, archive: &[u8]) -> Result<Vec<(String, Digest)>, ArchiveError> {
    let path = scratch.join("archive.tar");
    fs::write(&path, archive).unwrap();
    import(&Content::open(scratch.join("content")).unwrap(), &path)
}

#[test]
fn an_oci_layout() {
    let scratch = Scratch::new();
    let parts = parts(&scratch, host_architecture());
    let named = oci_layout(&parts, r#","annotations":{"org.opencontainers.image.ref.name":"team/web:1"}"#);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&named).unwrap();
    for archive in [named, gzip.finish().unwrap()] {
        let images = check(&scratch, &archive).unwrap();
        assert_eq!(images, [("team/web:1".to_owned(), Digest::new(format!("sha256:{}", parts.names[2])))]);
    }
    let content = Content::open(scratch.join("content")).unwrap();
    let digest = content.name_get("team/web:1").unwrap().unwrap();
    let config = content.config(&digest).unwrap();
    assert_eq!((config.run.cmd, config.run.env), (vec!["/hello".to_owned()], vec!["A=b".to_owned()]));
    assert_eq!(config.run.working_dir, "/");
    let written = scratch.join("written.tar");
    export(&content, &digest, "web:again", &written).unwrap();
    let other = Content::open(scratch.join("other")).unwrap();
    assert_eq!(import(&other, &written).unwrap(), [("web:again".to_owned(), digest)]);
    let unnamed = check(&scratch, &oci_layout(&parts, "")).unwrap();
    assert!(unnamed[0].0.starts_with("sha256:"));
}

#[test]
fn what_docker_save_writes() {
    let scratch = Scratch::new();
    let parts = parts(&scratch, host_architecture());
    let list = br#"[{"Config":"c.json","RepoTags":["web:1","web:latest"],"Layers":["one/layer.tar","two/layer.tar"]}]"#;
    // Two equal layers, the second as a link to the first: what its configuration says of them must agree.
    let layer = format!("\"sha256:{}\"", parts.names[0]);
    let config =
        String::from_utf8(parts.config.clone()).unwrap().replace(&layer, &format!("{layer},{layer}"));
    let archive = Tar::new()
        .file("c.json", config.as_bytes())
        .directory("one/")
        .file("one/layer.tar", &parts.layer)
        .link(EntryType::Symlink, "two/layer.tar", "../one/layer.tar")
        .file("manifest.json", list)
        .bytes();
    let images = check(&scratch, &archive).unwrap();
    assert_eq!(images.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["web:1", "web:latest"]);
    let content = Content::open(scratch.join("content")).unwrap();
    assert_eq!(content.manifest(&images[0].1).unwrap().layers.len(), 2);
}

#[test]
fn one_image_that_cannot_be_used_keeps_the_others_from_being_named() {
    let scratch = Scratch::new();
    let (good, strange) = (parts(&scratch, host_architecture()), parts(&scratch, "s390x"));
    let list = br#"[{"Config":"good.json","RepoTags":["good:1"],"Layers":["layer.tar"]},
                    {"Config":"strange.json","RepoTags":["strange:1"],"Layers":["layer.tar"]}]"#;
    let archive = Tar::new()
        .file("good.json", &good.config)
        .file("strange.json", &strange.config)
        .file("layer.tar", &good.layer)
        .file("manifest.json", list)
        .bytes();
    assert!(matches!(check(&scratch, &archive), Err(ArchiveError::OtherPlatform { .. })));
    let content = Content::open(scratch.join("content")).unwrap();
    assert_eq!(content.name_get("good:1").unwrap(), None);
}

#[test]
fn one_name_that_cannot_be_used_keeps_the_others_as_they_are() {
    let scratch = Scratch::new();
    let parts = parts(&scratch, host_architecture());
    let list = br#"[{"Config":"c.json","RepoTags":["web:1","two words"],"Layers":["layer.tar"]}]"#;
    let archive = Tar::new()
        .file("c.json", &parts.config)
        .file("layer.tar", &parts.layer)
        .file("manifest.json", list)
        .bytes();
    let error = check(&scratch, &archive).unwrap_err();
    assert!(matches!(error, ArchiveError::Content(ContentError::BadName(_))), "{error}");
    assert!(Content::open(scratch.join("content")).unwrap().name_list().unwrap().is_empty());
}

/// Each blob that an index leads to is left out once.
#[test]
fn what_is_named_but_not_in_it() {
    let scratch = Scratch::new();
    let parts = parts(&scratch, host_architecture());
    let [layer, config, manifest] = &parts.names;
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{MANIFEST_TYPE}","digest":"sha256:{manifest}","size":1}}]}}"#
    );
    let blobs = [(manifest, &parts.manifest), (config, &parts.config), (layer, &parts.layer)];
    for (missing, _) in blobs {
        let _ = fs::remove_dir_all(scratch.join("content"));
        let archive = Tar::new().file("index.json", index.as_bytes());
        let there = blobs.iter().filter(|(name, _)| *name != missing);
        let archive =
            there.fold(archive, |tar, (name, bytes)| tar.file(&format!("blobs/sha256/{name}"), bytes));
        let error = check(&scratch, &archive.bytes()).unwrap_err();
        assert!(matches!(error, ArchiveError::NotAnArchive { .. }), "{error}");
        assert!(error.to_string().contains(&format!("sha256:{missing} is named but not in it")), "{error}");
    }
}

#[test]
fn both_forms_in_one_archive() {
    let scratch = Scratch::new();
    let parts = parts(&scratch, host_architecture());
    let [layer, config, manifest] = &parts.names;
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{MANIFEST_TYPE}","digest":"sha256:{manifest}","size":1}}]}}"#
    );
    let list = format!(
        r#"[{{"Config":"blobs/sha256/{config}","RepoTags":["web:2"],"Layers":["blobs/sha256/{layer}"]}}]"#
    );
    let archive = Tar::new()
        .file("index.json", index.as_bytes())
        .file("manifest.json", list.as_bytes())
        .file(&format!("blobs/sha256/{layer}"), &parts.layer)
        .file(&format!("blobs/sha256/{config}"), &parts.config)
        .file(&format!("blobs/sha256/{manifest}"), &parts.manifest)
        .bytes();
    assert_eq!(check(&scratch, &archive).unwrap()[0].0, "web:2");
}

#[test]
fn what_is_no_image_for_this_machine() {
    let scratch = Scratch::new();
    let parts = parts(&scratch, "s390x");
    let error = check(&scratch, &oci_layout(&parts, "")).unwrap_err().to_string();
    assert!(error.contains("linux/s390x") && error.contains(host_architecture()), "{error}");
    let error = check(&scratch, &Tar::new().file("readme", b"x").bytes()).unwrap_err().to_string();
    assert!(error.contains("neither index.json nor manifest.json"), "{error}");
    let error = check(&scratch, b"this is text, and long enough to be looked at").unwrap_err().to_string();
    assert!(error.contains("is not an image archive"), "{error}");
    let missing = Tar::new().file("manifest.json", br#"[{"Config":"c","Layers":[]}]"#).bytes();
    let error = check(&scratch, &missing).unwrap_err().to_string();
    assert!(error.contains("\"c\" is named but not in it"), "{error}");
    let error =
        import(&Content::open(scratch.join("content")).unwrap(), &scratch.join("absent")).unwrap_err();
    assert!(matches!(error, ArchiveError::Unreadable { .. }), "{error}");
    assert!(Content::open(scratch.join("content")).unwrap().name_list().unwrap().is_empty());
}

/// One header for a member of this kind and size, then so many zeros, compressed.
fn bomb(path: &Path, kind: EntryType, mib: usize) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.as_mut_bytes()[..13].copy_from_slice(b"././@LongLink");
    header.set_mode(0o644);
    header.set_size((mib << 20) as u64);
    header.set_cksum();
    let file = fs::File::create(path).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    gzip.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..mib {
        gzip.write_all(&zeros).unwrap();
    }
    gzip.finish().unwrap();
}

/// Of this process, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The greatest that any child had, in KiB.
fn peak_of_children_kib() -> i64 {
    nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap().max_rss()
}

#[test]
fn what_describes_a_member_takes_no_memory() {
    let scratch = Scratch::new();
    let content = Content::open(scratch.join("content")).unwrap();
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let path = scratch.join("bomb.tar.gz");
        bomb(&path, kind, 160);
        assert!(fs::metadata(&path).unwrap().len() < 2 << 20);
        let error = import(&content, &path).unwrap_err();
        assert!(matches!(error, ArchiveError::NotAnArchive { .. }), "{error}");
        assert!(error.to_string().contains("describes one member"), "{error}");
    }
    let bar = 64 * 1024;
    assert!(peak_kib() < bar, "{} KiB", peak_kib());
    assert!(peak_of_children_kib() < bar as i64, "{} KiB", peak_of_children_kib());
    assert_eq!(fs::read_dir(scratch.join("content/tmp")).unwrap().count(), 0);
}

#[test]
fn archives_with_too_many_or_too_long_names() {
    let scratch = Scratch::new();
    // Equal names and directories count as well.
    let many = (0..20_001).fold(Tar::new(), |tar, _| tar.directory("a/")).bytes();
    let error = check(&scratch, &many).unwrap_err().to_string();
    assert!(error.contains("more than 20000 members"), "{error}");
    let error = check(&scratch, &Tar::new().file(&"d/".repeat(300), b"x").bytes()).unwrap_err().to_string();
    assert!(error.contains("more than 512 bytes"), "{error}");
    let cut = Tar::new().file("a", &[7; 5_000]).bytes();
    let error = check(&scratch, &cut[..2_000]).unwrap_err();
    assert!(matches!(error, ArchiveError::NotAnArchive { .. }), "{error}");
}

/// What takes the reader over has no way out of it.
#[test]
fn the_reader_is_confined() {
    let helper = helper();
    let mut child = Command::new(&helper.program)
        .arg(ROLE)
        .env("APRON_REQUEST", r#"{"bytes_max":1000000,"members_max":10}"#)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let of_child = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id())).unwrap();
    let began = Instant::now();
    while !of_child("status").contains("Seccomp:\t2") {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", of_child("status"));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(of_child("status").contains("NoNewPrivs:\t1"));
    let limits = of_child("limits");
    let limit = limits.lines().find(|line| line.starts_with("Max address space")).unwrap();
    assert!(limit.contains(" 1073741824 "), "{limit}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

/// A program that says what no reader says, or nothing.
#[test]
fn a_reader_that_is_not_believed() {
    let scratch = Scratch::new();
    let content = Content::open(scratch.join("content")).unwrap();
    let path = scratch.join("archive.tar");
    fs::write(&path, Tar::new().file("a", b"x").bytes()).unwrap();
    let script = scratch.join("reader");
    for says in
        ["exit 3", "printf 'e'", "printf 'f\\001\\000\\000\\000a.'", "exec cat /dev/zero", "kill -KILL $$"]
    {
        fs::write(&script, format!("#!/bin/sh\n{says}\n")).unwrap();
        fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let reader =
            Helper { program: PathBuf::from("/bin/sh"), arguments: vec![script.display().to_string()] };
        let error = apron_images::archive::import(&content, &path, &reader, &Cancel::new()).unwrap_err();
        assert!(matches!(error, ArchiveError::Failed { .. }), "{says}: {error}");
    }
    // A program that gets no more memory aborts, and would again.
    fs::write(&script, "ulimit -c 0\nkill -ABRT $$\n").unwrap();
    let reader = Helper { program: PathBuf::from("/bin/sh"), arguments: vec![script.display().to_string()] };
    let error = apron_images::archive::import(&content, &path, &reader, &Cancel::new()).unwrap_err();
    assert!(matches!(error, ArchiveError::NotAnArchive { .. }), "{error}");
    assert!(error.to_string().contains("1024 MiB of memory"), "{error}");
    assert_eq!(fs::read_dir(scratch.join("content/tmp")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(scratch.join("content/blobs/sha256")).unwrap().count(), 0);
}
