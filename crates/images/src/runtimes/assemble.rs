//! One base image from its recipe, by mmdebstrap.
//!
//! mmdebstrap does not read the host's apt configuration, so what lets apt reach a mirror from here (sources,
//! proxy, certificates, clock leniency) is read from it and passed on; the resulting image keeps the sources,
//! because builds install packages too, and nothing else.

use super::{Base, RuntimeError};
use crate::content::{Content, NameSource};
use crate::manifest::RunDefaults;
use crate::pack::{self, PackError};
use crate::process::{Cancel, Cut, Watched};
use crate::tree;
use apron_model::ids::Digest;
use apron_model::limits::{LAST_LINES, LOG_LINE_BYTES_MAX};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use ring::digest::{Context, SHA256};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// One assembly takes half a minute with a near mirror; a build may take half an hour in all.
pub(super) const ASSEMBLY_TIME_MAX: Duration = Duration::from_secs(20 * 60);
/// What the largest base and its image take while it is assembled.
const ASSEMBLY_BYTES: u64 = 1024 * 1024 * 1024;
/// Between two looks at whether another process has assembled the same base.
const LOCK_RETRY: Duration = Duration::from_millis(200);
/// The root of a pid namespace of its own, so that nothing of an assembly outlives it, not even what a package's
/// script has started in the background.
const ISOLATED: [&str; 6] = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "mmdebstrap"];
/// How a shell, and `unshare`, say that there is no such program.
const NO_SUCH_PROGRAM: i32 = 127;
/// Names of bases in the content store begin so, which no reference to an image does.
const NAME_PREFIX: &str = "apron:base/";
/// Changes when this module makes another image of the same recipe.
const FORMAT: u32 = 1;
/// Host settings of apt that decide whether a mirror can be reached.
const APT_PREFIXES: [&str; 7] = [
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::Check-Valid-Until ",
    "Acquire::Check-Date ",
    "Acquire::Retries ",
    "Acquire::ForceIPv4 ",
    "Acquire::ForceIPv6 ",
];
/// Documentation and translations, which no program reads.
const EXCLUDED: [&str; 5] = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
];
/// A file of sources larger than this is not one.
const SOURCES_BYTES_MAX: u64 = 256 * 1024;

pub(super) fn cached(
    content: &Content,
    bases_dir: &Path,
    base: &Base,
    cancel: &Cancel,
    lines: &mut dyn FnMut(&str),
) -> Result<Digest, RuntimeError> {
    fs::create_dir_all(bases_dir).map_err(io_at(bases_dir))?;
    let sources = host_sources(base);
    let name = recipe_hash(base, sources.as_deref());
    let record = bases_dir.join(format!("{name}.digest"));
    if let Some(digest) = used(content, base, &record)? {
        return Ok(digest);
    }
    let _lock = wait_for_lock(&bases_dir.join(format!("{name}.lock")), base, cancel)?;
    if let Some(digest) = used(content, base, &record)? {
        return Ok(digest);
    }
    let digest = assemble(content, bases_dir, base, sources.as_deref(), cancel, lines)?;
    write_record(&record, &digest)?;
    keep_named(content, base, &record, &digest)?;
    Ok(digest)
}

/// The recorded base, which says from now on that it was used.
fn used(content: &Content, base: &Base, record: &Path) -> Result<Option<Digest>, RuntimeError> {
    let Some(digest) = recorded(content, record) else { return Ok(None) };
    #[expect(clippy::disallowed_methods, reason = "times of files are wall time")]
    File::open(record).and_then(|file| file.set_modified(SystemTime::now())).map_err(io_at(record))?;
    keep_named(content, base, record, &digest)?;
    Ok(Some(digest))
}

/// The name keeps a base from being swept out of the store.
fn keep_named(content: &Content, base: &Base, record: &Path, digest: &Digest) -> Result<(), RuntimeError> {
    let name = name_of(&base.name, record);
    if content.name_get(&name)?.as_ref() != Some(digest) {
        content.name_put(&name, digest, NameSource::Base)?;
    }
    Ok(())
}

fn name_of(base: &str, record: &Path) -> String {
    let hash = record.file_stem().unwrap_or_default().to_string_lossy();
    format!("{NAME_PREFIX}{base}@{hash}")
}

/// Waits while another process assembles the same base.
fn wait_for_lock(path: &Path, base: &Base, cancel: &Cancel) -> Result<Flock<File>, RuntimeError> {
    let mut file =
        OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(io_at(path))?;
    let began = Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, Errno::EWOULDBLOCK)) if cancel.is_cancelled() => return Err(RuntimeError::Cancelled),
            Err((_, Errno::EWOULDBLOCK)) if began.elapsed() > ASSEMBLY_TIME_MAX => {
                return Err(RuntimeError::Late { base: base.name.clone() });
            }
            Err((back, Errno::EWOULDBLOCK)) => file = back,
            Err((_, e)) => return Err(io_at(path)(e.into())),
        }
        std::thread::sleep(LOCK_RETRY);
    }
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> RuntimeError {
    move |source| RuntimeError::Io { path: path.to_owned(), source }
}

pub(super) fn record(bases_dir: &Path, base: &Base, image: &Digest) -> Result<(), RuntimeError> {
    fs::create_dir_all(bases_dir)
        .map_err(|source| RuntimeError::Io { path: bases_dir.to_owned(), source })?;
    let name = recipe_hash(base, host_sources(base).as_deref());
    write_record(&bases_dir.join(format!("{name}.digest")), image)
}

fn write_record(record: &Path, digest: &Digest) -> Result<(), RuntimeError> {
    let temporary = record.with_extension("tmp");
    fs::write(&temporary, digest.as_str())
        .and_then(|()| File::open(&temporary)?.sync_all())
        .and_then(|()| fs::rename(&temporary, record))
        .map_err(|source| RuntimeError::Io { path: record.to_owned(), source })
}

pub(super) fn found(content: &Content, bases_dir: &Path, base: &Base) -> Option<Digest> {
    let name = recipe_hash(base, host_sources(base).as_deref());
    recorded(content, &bases_dir.join(format!("{name}.digest")))
}

fn host_sources(base: &Base) -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let host_suite = debian_suite(&release).unwrap_or(&base.suite);
    sources(Path::new("/etc/apt"), host_suite, &base.suite)
}

/// Removes what a killed assembly left. Call it before the first `base` only.
pub fn remove_leftovers(bases_dir: &Path) -> io::Result<()> {
    tree::remove(&bases_dir.join("tmp"))
}

/// Forgets bases that no build has used since `unused_for` ago, and answers with their number. Their blobs go with
/// the content store's next sweep; a build that wants one assembles it anew.
pub fn forget_unused(
    content: &Content,
    bases_dir: &Path,
    unused_for: Duration,
) -> Result<usize, RuntimeError> {
    let entries = match fs::read_dir(bases_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(io_at(bases_dir)(e)),
    };
    let mut forgotten = 0;
    for entry in entries {
        let record = entry.map_err(io_at(bases_dir))?.path();
        if record.extension().is_none_or(|extension| extension != "digest") {
            continue;
        }
        let modified = fs::metadata(&record).and_then(|m| m.modified()).map_err(io_at(&record))?;
        if modified.elapsed().is_ok_and(|age| age > unused_for) {
            fs::remove_file(&record).map_err(io_at(&record))?;
            let end = name_of("", &record)[NAME_PREFIX.len()..].to_owned();
            for name in content.name_list()? {
                if name.source == NameSource::Base && name.name.ends_with(&end) {
                    content.name_remove(&name.name)?;
                }
            }
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

/// The digest in the record, if everything that it stands for is in the store.
fn recorded(content: &Content, record: &Path) -> Option<Digest> {
    let digest = Digest::new(fs::read_to_string(record).ok()?.trim());
    let complete = content.complete(&digest).ok()? && content.config(&digest).is_ok();
    complete.then_some(digest)
}

fn recipe_hash(base: &Base, sources: Option<&str>) -> String {
    let mut hash = Context::new(&SHA256);
    let text = format!("{FORMAT}\n{base:?}\n{sources:?}\n{}", crate::manifest::host_architecture());
    hash.update(text.as_bytes());
    crate::content::digest_of(hash).as_str()["sha256:".len()..][..16].to_owned()
}

fn assemble(
    content: &Content,
    bases_dir: &Path,
    base: &Base,
    sources: Option<&str>,
    cancel: &Cancel,
    lines: &mut dyn FnMut(&str),
) -> Result<Digest, RuntimeError> {
    // The store and the bases lie on one disk.
    content.check_room(ASSEMBLY_BYTES)?;
    let scratch = Scratch::make(bases_dir)?;
    let mut command = Command::new(ISOLATED[0]);
    command
        .args(&ISOLATED[1..])
        .args(["--mode=root", "--variant=minbase", "--format=tar", "--skip=output/dev"])
        .arg(format!("--include={}", base.packages.join(",")))
        .arg("--dpkgopt=force-unsafe-io")
        .env("TMPDIR", &scratch.0);
    command.args(EXCLUDED.iter().map(|path| format!("--dpkgopt=path-exclude={path}")));
    command.args(
        apt_options(Command::new("apt-config").args(["dump", "Acquire"]))
            .iter()
            .map(|o| format!("--aptopt={o}")),
    );
    // The recipe's own step, then the settings of this host out of the image.
    let setup = format!("chroot \"$1\" sh -c {}", quoted(&base.setup));
    command.arg(format!("--customize-hook={setup}"));
    let clean = "cd \"$1\" && rm -f etc/apt/apt.conf.d/99mmdebstrap etc/resolv.conf etc/hostname && rm -rf root/.cache";
    command.arg(format!("--customize-hook={clean}"));
    command.args([base.suite.as_str(), "-"]);
    if let Some(text) = sources {
        let path = scratch.0.join("sources.list");
        fs::write(&path, text).map_err(io_at(&path))?;
        command.arg(path);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watched =
        Watched::spawn(command, cancel, ASSEMBLY_TIME_MAX).map_err(io_at(Path::new(ISOLATED[0])))?;
    let (Some(stdout), Some(stderr)) = (watched.child.stdout.take(), watched.child.stderr.take()) else {
        return Err(io_at(Path::new(ISOLATED[0]))(io::Error::other("its output is missing")));
    };
    // The archive is written while messages come, so each needs a reader of its own.
    let stored = content.clone();
    let packing = std::thread::spawn(move || pack::pack_stream(&stored, stdout));
    let mut last: VecDeque<String> = VecDeque::with_capacity(LAST_LINES);
    let mut reader = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(LOG_LINE_BYTES_MAX as u64).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        lines(&line);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    let ended = watched.wait().map_err(io_at(Path::new(ISOLATED[0])))?;
    let layer = packing.join();
    let failure = match ended {
        Ok(status) if status.success() => None,
        Ok(status) if status.code() == Some(NO_SUCH_PROGRAM) => Some(RuntimeError::NoMmdebstrap),
        Ok(status) => {
            let said = last.iter().rev().find(|l| l.starts_with("E: ")).cloned();
            let reason = said.unwrap_or_else(|| status.to_string());
            Some(RuntimeError::Assembly { base: base.name.clone(), reason, last_lines: last.into() })
        }
        Err(Cut::Cancelled) => Some(RuntimeError::Cancelled),
        Err(Cut::Late) => Some(RuntimeError::Late { base: base.name.clone() }),
    };
    if let Some(failure) = failure {
        return match layer {
            // A part of an archive is of no use to anybody.
            Ok(Ok(layer)) => {
                content.discard(&layer.descriptor.digest)?;
                Err(failure)
            }
            Ok(Err(packing)) => Err(cause(failure, packing)),
            Err(_) => Err(failure),
        };
    }
    let layer = layer.map_err(|_| RuntimeError::Assembly {
        base: base.name.clone(),
        reason: "its archive could not be packed".to_owned(),
        last_lines: Vec::new(),
    })??;
    let mut env = vec![format!("PATH={}", base.search_path())];
    env.extend(base.env.iter().map(|(name, value)| format!("{name}={value}")));
    let run = RunDefaults { env, working_dir: "/".to_owned(), ..RunDefaults::default() };
    Ok(pack::assemble(content, None, &[layer], run)?)
}

/// Which of two failures is the other's cause: a tool that failed because nobody took its archive any more says only
/// that, and what we have ended ourselves leaves a part of an archive.
fn cause(assembly: RuntimeError, packing: PackError) -> RuntimeError {
    match assembly {
        RuntimeError::Assembly { .. } => packing.into(),
        other => other,
    }
}

/// Where one assembly puts its files; it goes with them.
struct Scratch(PathBuf);

impl Scratch {
    fn make(bases_dir: &Path) -> Result<Scratch, RuntimeError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = bases_dir.join(format!("tmp/{}-{number}", std::process::id()));
        fs::create_dir_all(&path).map_err(io_at(&path))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now goes at the next start.
        let _ = tree::remove(&self.0);
    }
}

/// The host's settings for reaching mirrors, as `apt-config` prints them; none when there is no apt.
fn apt_options(command: &mut Command) -> Vec<String> {
    let Ok(output) = command.stdin(Stdio::null()).stderr(Stdio::null()).output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| APT_PREFIXES.iter().any(|prefix| line.starts_with(prefix)) && !line.ends_with("\"\";"))
        .map(|line| line.trim_end_matches(';').to_owned())
        .collect()
}

/// The release of this host when it is Debian, e.g. `trixie`.
fn debian_suite(os_release: &str) -> Option<&str> {
    let field = |name: &str| {
        let value = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.trim_matches('"'))
    };
    field("VERSION_CODENAME").filter(|_| field("ID") == Some("debian"))
}

/// The host's own Debian sources, in deb822 or one-line form, turned from its release to the wanted one: the
/// mirror is the same. None means the tool's default mirror.
fn sources(apt: &Path, host_suite: &str, suite: &str) -> Option<String> {
    let mut files = vec![apt.join("sources.list")];
    let mut parts: Vec<PathBuf> = fs::read_dir(apt.join("sources.list.d"))
        .map(|entries| entries.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    parts.sort();
    files.extend(parts);
    let mut lines = Vec::new();
    for file in files {
        let extension = file.extension().and_then(|e| e.to_str());
        let mut text = String::new();
        let read = File::open(&file).and_then(|f| f.take(SOURCES_BYTES_MAX).read_to_string(&mut text));
        if read.is_err() {
            continue;
        }
        match extension {
            Some("list") => lines.extend(one_line_sources(&text, host_suite, suite)),
            Some("sources") => lines.extend(deb822_sources(&text, host_suite, suite)),
            _ => {}
        }
    }
    // Security updates alone make no system.
    let whole = lines.iter().any(|line: &String| line.split_whitespace().any(|word| word == suite));
    whole.then(|| lines.join("\n") + "\n")
}

/// `bookworm-updates` of the host as `trixie-updates`; other releases and pockets are not wanted.
fn turned(word: &str, host_suite: &str, suite: &str) -> Option<String> {
    match word.strip_prefix(host_suite)? {
        pocket @ ("" | "-updates" | "-security") => Some(format!("{suite}{pocket}")),
        _ => None,
    }
}

fn source_line(uri: &str, suite: &str) -> String {
    // Hosts that are not Debian have the key in this place only.
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    match Path::new(keyring).exists() {
        true => format!("deb [signed-by={keyring}] {uri} {suite} main"),
        false => format!("deb {uri} {suite} main"),
    }
}

/// `deb [options] URI suite components`, comments aside, without options that name files of this host.
fn one_line_sources(text: &str, host_suite: &str, suite: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim().strip_prefix("deb ") else { continue };
        let rest = match rest.trim_start().strip_prefix('[') {
            Some(options) => match options.split_once(']') {
                Some((_, rest)) => rest,
                None => continue,
            },
            None => rest,
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        if let [uri, of, components @ ..] = words.as_slice()
            && let Some(of) = turned(of, host_suite, suite)
            && components.contains(&"main")
        {
            lines.push(source_line(uri, &of));
        }
    }
    lines
}

fn deb822_sources(text: &str, host_suite: &str, suite: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let (Some(types), Some(uris), Some(suites)) = (field("Types"), field("URIs"), field("Suites")) else {
            continue;
        };
        let components = field("Components").unwrap_or_default();
        let enabled = !field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        if !enabled
            || !types.split_whitespace().any(|t| t == "deb")
            || !components.split_whitespace().any(|c| c == "main")
        {
            continue;
        }
        for uri in uris.split_whitespace() {
            for of in suites.split_whitespace().filter_map(|of| turned(of, host_suite, suite)) {
                lines.push(source_line(uri, &of));
            }
        }
    }
    lines
}

/// For `sh`, as one word.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_the_host() {
        let one_line = "# deb http://commented bookworm main\n\
                        deb [signed-by=/x] http://mirror/debian bookworm main contrib\n\
                        deb http://mirror/debian bookworm-updates main\n\
                        deb http://mirror/debian trixie main\n\
                        deb http://other/vendor bookworm tools\n\
                        deb-src http://mirror/debian bookworm main\n";
        let wanted = [
            source_line("http://mirror/debian", "bookworm"),
            source_line("http://mirror/debian", "bookworm-updates"),
        ];
        assert_eq!(one_line_sources(one_line, "bookworm", "bookworm"), wanted);
        let turned = one_line_sources(one_line, "trixie", "bookworm");
        assert_eq!(turned, [source_line("http://mirror/debian", "bookworm")]);
        let stanzas = "Types: deb deb-src\n# comment\nURIs: http://mirror/debian\n\
                       Suites: bookworm bookworm-updates\nComponents: main\n\n\
                       Types: deb\nURIs: http://mirror/security\nSuites: bookworm-security\n\
                       Components: main\nEnabled: no\n";
        assert_eq!(deb822_sources(stanzas, "bookworm", "bookworm"), wanted);
        assert_eq!(sources(Path::new("/nonexistent"), "bookworm", "bookworm"), None);
        assert_eq!(debian_suite("ID=debian\nVERSION_CODENAME=trixie\n"), Some("trixie"));
        assert_eq!(debian_suite("ID=ubuntu\nVERSION_CODENAME=noble\n"), None);
    }

    #[test]
    fn settings_of_the_host() {
        let text = "Acquire \"\";\nAcquire::http::Proxy \"http://proxy:3128\";\nAcquire::https::Verify-Peer \"\";\nAcquire::Languages \"en\";";
        assert_eq!(
            apt_options(Command::new("printf").arg("%s").arg(text)),
            ["Acquire::http::Proxy \"http://proxy:3128\""]
        );
        assert!(apt_options(&mut Command::new("/nonexistent/apt-config")).is_empty());
    }

    #[test]
    fn a_full_disk_is_not_the_mirrors_fault() {
        let full = || PackError::Content(crate::content::ContentError::DiskFull(PathBuf::from("/data")));
        let failed =
            RuntimeError::Assembly { base: "a".into(), reason: "E: broken pipe".into(), last_lines: vec![] };
        assert_eq!(cause(failed, full()).to_string(), "the disk that holds /data is full");
        assert!(matches!(cause(RuntimeError::Cancelled, full()), RuntimeError::Cancelled));
    }

    #[test]
    fn the_recipe_names_the_base() {
        let base = Base {
            name: "a".into(),
            suite: "bookworm".into(),
            packages: vec!["x".into()],
            setup: "true".into(),
            path: vec![],
            env: Default::default(),
        };
        let other = Base { packages: vec!["y".into()], ..base.clone() };
        assert_eq!(recipe_hash(&base, None), recipe_hash(&base, None));
        assert_ne!(recipe_hash(&base, None), recipe_hash(&other, None));
        assert_ne!(recipe_hash(&base, None), recipe_hash(&base, Some("deb x")));
        assert_eq!(quoted("a 'b'"), "'a '\\''b'\\'''");
    }
}
