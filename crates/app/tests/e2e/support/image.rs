//! Small images around one static program, as archives that `apron image import` takes.

use super::Platform;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A static HTTP server whose behaviour comes from its environment; see its source.
const SOURCE: &str = include_str!("server.rs.txt");

impl Platform {
    /// Takes in an image of the server with this name and environment.
    pub fn import(&self, name: &str, env: &[(&str, &str)]) {
        let archive = archive(&self.scratch("image"), name, env);
        self.run(&["image", "import", archive.to_str().expect("a path in UTF-8")]);
    }
}

/// Compiles the server once per test program.
pub fn server() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let binary = dir.join(format!("server-{}", hash(SOURCE)));
        remove_others(dir, &binary);
        if !binary.exists() {
            let source = dir.join(format!("server-{}.rs", std::process::id()));
            let building = dir.join(format!("server-{}", std::process::id()));
            fs::write(&source, SOURCE).expect("the server's source");
            let output = Command::new("rustc")
                .args(["--edition", "2024", "-C", "opt-level=1", "-C", "target-feature=+crt-static"])
                .arg("-o")
                .arg(&building)
                .arg(&source)
                .output()
                .expect("rustc");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let _ = fs::remove_file(source);
            fs::rename(building, &binary).expect("the server in its place");
        }
        binary
    })
}

/// Removes servers of other versions and what compilations that were killed left.
fn remove_others(dir: &Path, own: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(of) = name.strip_prefix("server-").map(|rest| rest.trim_end_matches(".rs")) else {
            continue;
        };
        let lives = of.parse().is_ok_and(|pid| super::processes::Seen::of(pid).is_some());
        if !lives && entry.path() != own {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Writes an archive as `docker save` makes it, with the server at `/server`, and gives its path. The image's
/// name is `name`.
pub fn archive(dir: &Path, name: &str, env: &[(&str, &str)]) -> PathBuf {
    archive_of(dir, name, env, "amd64", &["/server"])
}

pub fn archive_of(
    dir: &Path,
    name: &str,
    env: &[(&str, &str)],
    architecture: &str,
    command: &[&str],
) -> PathBuf {
    let program = fs::read(server()).expect("the server");
    let mut layer = tar::Builder::new(Vec::new());
    entry(&mut layer, "server", 0o755, &program);
    let layer = layer.into_inner().expect("a layer");
    let scratch = dir.join("layer.tar");
    fs::write(&scratch, &layer).expect("a layer");
    let digest = sha256(&scratch);
    let _ = fs::remove_file(&scratch);
    let env: Vec<String> = env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux",
        "config": { "Env": env, "Cmd": command, "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest =
        serde_json::json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer/layer.tar"] }]);
    let path = dir.join(format!("{}.tar", name.replace(['/', ':'], "-")));
    let mut archive = tar::Builder::new(fs::File::create(&path).expect("an archive"));
    entry(&mut archive, "config.json", 0o644, config.to_string().as_bytes());
    entry(&mut archive, "layer/layer.tar", 0o644, &layer);
    entry(&mut archive, "manifest.json", 0o644, manifest.to_string().as_bytes());
    archive.into_inner().and_then(|mut file| file.flush()).expect("an archive");
    path
}

/// The three parts of an OCI image, each content with its digest, ready to be pushed.
pub struct Oci {
    pub layer: (String, Vec<u8>),
    pub config: (String, Vec<u8>),
    pub manifest: Vec<u8>,
}

/// The server as an OCI image with one uncompressed layer, said to be for this architecture.
pub fn oci(dir: &Path, env: &[(&str, &str)], architecture: &str) -> Oci {
    let mut layer = tar::Builder::new(Vec::new());
    entry(&mut layer, "server", 0o755, &fs::read(server()).expect("the server"));
    let layer = layer.into_inner().expect("a layer");
    let digest = |content: &[u8]| {
        let scratch = dir.join("blob");
        fs::write(&scratch, content).expect("a blob");
        format!("sha256:{}", sha256(&scratch))
    };
    let env: Vec<String> = env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux",
        "config": { "Env": env, "Entrypoint": ["/server"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let config = config.to_string().into_bytes();
    let (layer, config) = ((digest(&layer), layer), (digest(&config), config));
    let descriptor = |kind: &str, (digest, content): &(String, Vec<u8>)| {
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": content.len(),
        })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config),
        "layers": [descriptor("layer.v1.tar", &layer)],
    });
    Oci { layer, config, manifest: manifest.to_string().into_bytes() }
}

fn entry<W: Write>(archive: &mut tar::Builder<W>, name: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    archive.append_data(&mut header, name, content).expect("an entry of an archive");
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}

/// Names a version of the source; not for security.
fn hash(text: &str) -> String {
    let sum =
        text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!("{sum:016x}")
}
