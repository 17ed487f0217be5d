//! Packs a directory as the gzip-compressed tar that the API takes as a source.
//!
//! What git ignores stays out (`.gitignore` of the directory, of those in it and of those above it in the same
//! repository, and `.git/info/exclude`), and so does what the directory's `.dockerignore` names, by Docker's
//! rules: patterns count from the root, the last one that matches decides, and an exception may bring back a
//! file below an ignored directory. `apprunner.yaml` always goes along. The order is that of names, so the same
//! tree gives the same archive. Links stay links; nothing outside the directory is read.

use anyhow::{Context, Result, bail};
use apron_model::limits;
use flate2::Compression;
use flate2::write::GzEncoder;
use ignore::WalkBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file that says how to build and run.
pub(crate) const MANIFEST: &str = "apprunner.yaml";
/// Entries of one archive. A source with its dependencies installed has some 100,000 files; far more is a
/// directory that was not meant.
const ENTRIES_MAX: usize = 500_000;
/// Lines of a `.dockerignore`.
const PATTERNS_MAX: usize = 1_000;

/// What became of a directory.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The archive, at its beginning. It has no name any more, so nothing is left behind.
    pub file: File,
    /// Of the archive, compressed.
    pub bytes: u64,
    pub files: usize,
    /// Sockets, pipes and devices, which an archive of sources does not carry.
    pub skipped: Vec<PathBuf>,
}

/// Packs `directory`. Errors name the file that could not be read.
pub(crate) fn pack(directory: &Path) -> Result<Packed> {
    let file = nameless_file()?;
    let docker = DockerIgnore::read(directory)?;
    let mut archive = tar::Builder::new(GzEncoder::new(
        Bounded { file, left: limits::UPLOAD_BYTES_MAX },
        Compression::fast(),
    ));
    let (mut entries, mut files, mut skipped) = (0usize, 0usize, Vec::new());
    let prune = docker.clone();
    let root = directory.to_owned();
    // Outside a repository an ignore file above the directory is not about it: one in a home directory would
    // leave the whole application out.
    let in_repository = directory.canonicalize()?.ancestors().any(|above| above.join(".git").exists());
    let walk = WalkBuilder::new(directory)
        .standard_filters(false)
        .git_ignore(true)
        .git_exclude(true)
        .parents(in_repository)
        .require_git(in_repository)
        .follow_links(false)
        .sort_by_file_name(|a, b| a.cmp(b))
        .filter_entry(move |entry| {
            entry.file_name() != ".git"
                && !(entry.file_type().is_some_and(|kind| kind.is_dir())
                    && entry.path().strip_prefix(&root).is_ok_and(|path| prune.whole_directory(path)))
        })
        .build();
    let manifest = directory.join(MANIFEST);
    let mut manifest_seen = false;
    for entry in walk {
        let entry = entry.with_context(|| format!("cannot read below {}", directory.display()))?;
        let Ok(name) = entry.path().strip_prefix(directory) else { continue };
        let is_directory = entry.file_type().is_some_and(|kind| kind.is_dir());
        manifest_seen |= entry.path() == manifest;
        if name.as_os_str().is_empty() || (name != Path::new(MANIFEST) && docker.ignores(name, is_directory))
        {
            continue;
        }
        entries += 1;
        if entries > ENTRIES_MAX {
            bail!(
                "{} has more than {ENTRIES_MAX} files; leave out what the build does not need with a .gitignore \
                 or .dockerignore",
                directory.display()
            );
        }
        match append(&mut archive, entry.path(), name)? {
            Appended::File => files += 1,
            Appended::Other => {}
            Appended::Skipped => skipped.push(name.to_owned()),
        }
    }
    if !manifest_seen && manifest.is_file() {
        append(&mut archive, &manifest, Path::new(MANIFEST))?;
        files += 1;
    }
    let mut file = archive.into_inner().and_then(GzEncoder::finish).context("cannot write the archive")?.file;
    let bytes = file.stream_position()?;
    file.rewind()?;
    Ok(Packed { file, bytes, files, skipped })
}

enum Appended {
    File,
    Other,
    Skipped,
}

fn append<W: Write>(archive: &mut tar::Builder<W>, path: &Path, name: &Path) -> Result<Appended> {
    let reading = || format!("cannot read {}", path.display());
    let metadata = fs::symlink_metadata(path).with_context(reading)?;
    let writing = || format!("cannot add {} to the archive", name.display());
    let kind = metadata.file_type();
    if kind.is_dir() {
        let mut header = header(&metadata, tar::EntryType::Directory, 0);
        archive.append_data(&mut header, name, io::empty()).with_context(writing)?;
        Ok(Appended::Other)
    } else if kind.is_symlink() {
        let target = fs::read_link(path).with_context(reading)?;
        let mut header = header(&metadata, tar::EntryType::Symlink, 0);
        archive.append_link(&mut header, name, &target).with_context(writing)?;
        Ok(Appended::Other)
    } else if kind.is_file() {
        let file = File::open(path).with_context(reading)?;
        let mut content = Counted { inner: file.take(metadata.len()), read: 0 };
        let mut header = header(&metadata, tar::EntryType::Regular, metadata.len());
        archive.append_data(&mut header, name, &mut content).with_context(writing)?;
        if content.read != metadata.len() {
            bail!("{} became shorter while it was packed; try again", path.display());
        }
        Ok(Appended::File)
    } else {
        Ok(Appended::Skipped)
    }
}

/// Keeps mode and time; who owns a file here means nothing where it is built.
fn header(metadata: &Metadata, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(metadata.mode() & 0o777);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header
}

struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.read += count as u64;
        Ok(count)
    }
}

/// Stops where the API would stop.
struct Bounded {
    file: File,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other(format!("the archive is larger than {} bytes", limits::UPLOAD_BYTES_MAX))
        })?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file of the temporary directory that goes away with its descriptor.
fn nameless_file() -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let directory = std::env::temp_dir();
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE)
        .open(&directory)
        .with_context(|| {
            format!("cannot make a temporary file in {} (set TMPDIR to another place)", directory.display())
        })
}

/// The patterns of one `.dockerignore`, in order.
#[derive(Clone, Default)]
struct DockerIgnore {
    patterns: Vec<Pattern>,
}

#[derive(Clone)]
struct Pattern {
    matches: Gitignore,
    /// `!`: brings back what an earlier one took.
    exception: bool,
}

impl DockerIgnore {
    fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(".dockerignore");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Self::parse(&text).with_context(|| format!("cannot use {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut patterns = Vec::new();
        for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
            let (exception, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let pattern = pattern.trim_start_matches("./").trim_matches('/');
            if line.starts_with('#') || pattern.is_empty() || pattern == "." {
                continue;
            }
            if patterns.len() == PATTERNS_MAX {
                bail!("it has more than {PATTERNS_MAX} patterns");
            }
            let mut builder = GitignoreBuilder::new("");
            // A leading slash binds the pattern to the root, as Docker does always and git on request.
            builder.add_line(None, &format!("/{pattern}"))?;
            patterns.push(Pattern { matches: builder.build()?, exception });
        }
        Ok(DockerIgnore { patterns })
    }

    /// `path` counts from the root.
    fn ignores(&self, path: &Path, is_directory: bool) -> bool {
        let last = self
            .patterns
            .iter()
            .rev()
            .find(|pattern| pattern.matches.matched_path_or_any_parents(path, is_directory).is_ignore());
        last.is_some_and(|pattern| !pattern.exception)
    }

    /// Nothing below this directory can come back, so there is no need to look.
    fn whole_directory(&self, path: &Path) -> bool {
        !path.as_os_str().is_empty()
            && !self.patterns.iter().any(|pattern| pattern.exception)
            && self.ignores(path, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A directory of this test, removed with it.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let path = std::env::temp_dir().join(format!("apron-pack-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            for (file, text) in files {
                let file = path.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Names in the archive in their order, directories with a slash, and the content of files.
    fn contents(packed: Packed) -> Vec<(String, String)> {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.file));
        archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                assert_eq!(entry.header().uid().unwrap(), 0);
                let slash = if entry.header().entry_type().is_dir() { "/" } else { "" };
                let name = format!("{}{slash}", entry.path().unwrap().display());
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                if let Some(link) = entry.link_name().unwrap() {
                    text = format!("-> {}", link.display());
                }
                (name, text)
            })
            .collect()
    }

    fn names(packed: Packed) -> Vec<String> {
        contents(packed).into_iter().map(|(name, _)| name).filter(|name| !name.ends_with('/')).collect()
    }

    #[test]
    fn ignore_files_are_honoured_and_links_stay_links() {
        let directory = Directory::new(
            "ignore",
            &[
                (".gitignore", "*.log\nvenv/\n"),
                (".dockerignore", "# comment\ndocs\n!docs/keep.md\napprunner.yaml\n**/cache\n"),
                (".git/HEAD", "ref"),
                ("apprunner.yaml", "version: 1.0"),
                ("app.py", "print()"),
                ("debug.log", "x"),
                ("venv/bin/python", "x"),
                ("docs/keep.md", "kept"),
                ("docs/drop.md", "x"),
                ("lib/docs/other.md", "not at the root"),
                ("lib/cache/x", "x"),
                ("lib/.gitignore", "secret\n"),
                ("lib/secret", "x"),
                (".hidden", "y"),
            ],
        );
        std::os::unix::fs::symlink("/etc/passwd", directory.0.join("link")).unwrap();
        let packed = pack(&directory.0).unwrap();
        assert!(packed.skipped.is_empty());
        let all: BTreeMap<_, _> = contents(packed).into_iter().collect();
        assert_eq!(all.get("link").unwrap(), "-> /etc/passwd");
        assert_eq!(
            names(pack(&directory.0).unwrap()),
            [
                ".dockerignore",
                ".gitignore",
                ".hidden",
                "app.py",
                "apprunner.yaml",
                "docs/keep.md",
                "lib/.gitignore",
                "lib/docs/other.md",
                "link",
            ]
        );
    }

    #[test]
    fn the_same_tree_gives_the_same_archive() {
        let long = format!("{}/file", "d".repeat(150));
        let directory = Directory::new("same", &[("b", "2"), ("a", "1"), (&long, "3")]);
        let read = || {
            let mut packed = pack(&directory.0).unwrap();
            let mut bytes = Vec::new();
            packed.file.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, packed.bytes);
            assert_eq!(packed.files, 3);
            bytes
        };
        assert_eq!(read(), read());
        assert_eq!(names(pack(&directory.0).unwrap()), ["a", "b", &long]);
    }

    #[test]
    fn an_ignored_manifest_and_a_socket() {
        let directory =
            Directory::new("manifest", &[(".gitignore", "apprunner.yaml\n"), ("apprunner.yaml", "m")]);
        let _socket = std::os::unix::net::UnixListener::bind(directory.0.join("s")).unwrap();
        let packed = pack(&directory.0).unwrap();
        assert_eq!(packed.skipped, [PathBuf::from("s")]);
        assert_eq!(names(packed), [".gitignore", "apprunner.yaml"]);
    }

    #[test]
    fn dockerignore_patterns() {
        for (patterns, path, expect) in [
            ("node_modules", "node_modules/x/y", true),
            ("node_modules", "a/node_modules", false),
            ("**/node_modules", "a/b/node_modules/c", true),
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md\nREADME.md", "README.md", true),
            ("/a/b/", "a/b/c", true),
            ("*\n!src", "src/main.py", false),
            ("*\n!src", "other", true),
            ("", "x", false),
        ] {
            let ignore = DockerIgnore::parse(patterns).unwrap();
            assert_eq!(ignore.ignores(Path::new(path), false), expect, "{patterns:?} {path}");
        }
    }
}
