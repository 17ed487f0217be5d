//! Directories to layers, layers to images.
//!
//! The same directory gives the same bytes: members in order of their names, times in whole seconds, no names
//! of users. Times are kept, because Python takes a compiled file for stale when its source's time changes.

use crate::content::{BlobWriter, Content, ContentError, digest_of, io_error};
use crate::manifest::{
    CONFIG_TYPE, ConfigFile, Descriptor, ImageConfig, ImageManifest, LAYER_GZIP_TYPE, LAYERS_MAX,
    MANIFEST_TYPE, RunDefaults, host_architecture,
};
use apron_model::ids::Digest;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use ring::digest::{Context, SHA256};
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// What a layer may hold before compression, the same as what may be unpacked.
pub const PACKED_BYTES_MAX: u64 = crate::unpack::UNPACKED_BYTES_MAX;
/// Files, directories and links in a layer, the same as what may be unpacked.
pub const PACKED_MEMBERS_MAX: u64 = crate::unpack::MEMBERS_MAX;
/// Names are held for the rest of each directory on the way down, so that members come in order, and for files
/// with several links. A million names in one directory take some 50 MiB.
const NAMES_HELD_BYTES_MAX: usize = 128 * 1024 * 1024;
/// What holding one name takes beside its bytes.
const NAME_OVERHEAD_BYTES: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error("{path} holds more than {} GiB, the limit of one layer", PACKED_BYTES_MAX >> 30)]
    TooLarge { path: PathBuf },
    #[error(
        "{path} holds more than {PACKED_MEMBERS_MAX} files, directories and links, the limit of one layer"
    )]
    TooManyMembers { path: PathBuf },
    #[error(
        "{path} holds too many names in one directory: more than {} MiB of them, the limit",
        NAMES_HELD_BYTES_MAX >> 20
    )]
    TooManyNames { path: PathBuf },
    #[error("{path} cannot be packed: {reason}")]
    Unpackable { path: PathBuf, reason: String },
    #[error("{path} cannot be packed: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl PackError {
    /// Whether the same call will fail again however often it is repeated.
    pub fn permanent(&self) -> bool {
        match self {
            PackError::Content(e) => e.permanent(),
            PackError::TooLarge { .. }
            | PackError::TooManyMembers { .. }
            | PackError::TooManyNames { .. }
            | PackError::Unpackable { .. } => true,
            // A path that no program can open stays so.
            PackError::Io { source, .. } => source.kind() == io::ErrorKind::InvalidFilename,
        }
    }
}

/// How a directory becomes a layer.
#[derive(Clone, Debug, Default)]
pub struct PackOptions {
    /// Owners on disk are the image's plus this; smaller ones become root.
    pub first_id: u32,
    /// The directory is the upper one of an overlay: devices 0:0 are deletions, and an attribute marks
    /// directories that hide what lies below.
    pub overlay: bool,
    /// Left out with everything below, relative to the directory.
    pub without: BTreeSet<PathBuf>,
    /// Left out when nothing is in them: empty files or directories that served as mount points.
    pub without_empty: BTreeSet<PathBuf>,
}

/// One packed layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub descriptor: Descriptor,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
}

/// Packs everything below `directory` into a blob.
pub fn pack_directory(
    content: &Content,
    directory: &Path,
    options: &PackOptions,
) -> Result<Layer, PackError> {
    let mut builder = Builder::new(LayerWriter::new(content)?);
    let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let (mut bytes, mut members) = (0_u64, 0_u64);
    let mut waiting = Waiting::default();
    waiting.push(PathBuf::new(), [Ok(OsString::new())]).map_err(|e| unpackable(directory, e))?;
    while let Some(path) = waiting.pop() {
        members += 1;
        if members > PACKED_MEMBERS_MAX {
            return Err(PackError::TooManyMembers { path: directory.to_owned() });
        }
        let place = directory.join(&path);
        let fail = |e: io::Error| unpackable(&place, e);
        let metadata = fs::symlink_metadata(&place).map_err(fail)?;
        if options.without.contains(&path) || is_empty_mount_point(&place, &path, &metadata, options)? {
            continue;
        }
        let kind = metadata.file_type();
        if kind.is_dir() {
            if !path.as_os_str().is_empty() {
                append(&mut builder, &path, &place, &metadata, EntryType::Directory, options)?;
            }
            if options.overlay && attribute(&place, c"trusted.overlay.redirect").map_err(fail)?.is_some() {
                let reason = "it is a renamed directory in a form that overlayfs alone can read".to_owned();
                return Err(PackError::Unpackable { path: place, reason });
            }
            if options.overlay
                && attribute(&place, c"trusted.overlay.opaque").map_err(fail)?.as_deref() == Some(b"y")
            {
                whiteout(&mut builder, &path.join(".wh..wh..opq")).map_err(fail)?;
            }
            let entries = fs::read_dir(&place).map_err(fail)?.map(|entry| Ok(entry?.file_name()));
            if !waiting.push(path, entries).map_err(fail)? {
                return Err(PackError::TooManyNames { path: place });
            }
            continue;
        }
        if kind.is_char_device() && metadata.rdev() == 0 && options.overlay {
            let mut name = OsString::from(".wh.");
            name.push(path.file_name().unwrap_or_default());
            whiteout(&mut builder, &path.with_file_name(name)).map_err(fail)?;
            continue;
        }
        if !kind.is_symlink() && metadata.nlink() > 1 {
            if let Some(first) = links.get(&(metadata.dev(), metadata.ino())) {
                let mut header = header(&metadata, EntryType::Link, options);
                builder.append_link(&mut header, &path, first).map_err(fail)?;
                continue;
            }
            if !waiting.hold(path.as_os_str()) {
                return Err(PackError::TooManyNames { path: place });
            }
            links.insert((metadata.dev(), metadata.ino()), path.clone());
        }
        if kind.is_file() {
            bytes = bytes.saturating_add(metadata.len());
            if bytes > PACKED_BYTES_MAX {
                return Err(PackError::TooLarge { path: directory.to_owned() });
            }
            append(&mut builder, &path, &place, &metadata, EntryType::Regular, options)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&place).map_err(fail)?;
            let mut header = header(&metadata, EntryType::Symlink, options);
            builder.append_link(&mut header, &path, &target).map_err(fail)?;
        } else if kind.is_fifo() {
            append(&mut builder, &path, &place, &metadata, EntryType::Fifo, options)?;
        }
        // Sockets mean nothing without their process; other devices cannot be made in a container.
    }
    let writer = builder.into_inner().map_err(|e| unpackable(directory, e))?;
    writer.finish().map_err(|e| unpackable(directory, e))?.seal()
}

/// What is still to be packed: for each directory on the way down, the names in it that come later.
#[derive(Default)]
struct Waiting {
    levels: Vec<(PathBuf, Vec<OsString>)>,
    held_bytes: usize,
}

impl Waiting {
    /// Adds what is in a directory, to come next; false when that is more than may be held.
    fn push(
        &mut self,
        directory: PathBuf,
        entries: impl IntoIterator<Item = io::Result<OsString>>,
    ) -> io::Result<bool> {
        let mut names = Vec::new();
        for name in entries {
            let name = name?;
            if !self.hold(&name) {
                return Ok(false);
            }
            names.push(name);
        }
        // In reverse, so that they come off in order.
        names.sort_unstable_by(|a, b| b.cmp(a));
        self.levels.push((directory, names));
        Ok(true)
    }

    fn pop(&mut self) -> Option<PathBuf> {
        loop {
            let (directory, names) = self.levels.last_mut()?;
            if let Some(name) = names.pop() {
                self.held_bytes -= NAME_OVERHEAD_BYTES + name.len();
                return Some(directory.join(name));
            }
            self.levels.pop();
        }
    }

    /// Counts one more name; false when that is too much.
    fn hold(&mut self, name: &OsStr) -> bool {
        self.held_bytes += NAME_OVERHEAD_BYTES + name.len();
        self.held_bytes <= NAMES_HELD_BYTES_MAX
    }
}

/// Makes a layer of an uncompressed tar, as it comes.
pub fn pack_stream(content: &Content, mut tar: impl Read) -> Result<Layer, PackError> {
    let mut writer = LayerWriter::new(content)?;
    let nowhere = Path::new("the archive");
    let copied = io::copy(&mut (&mut tar).take(PACKED_BYTES_MAX + 1), &mut writer)
        .map_err(|e| unpackable(nowhere, e))?;
    if copied > PACKED_BYTES_MAX {
        return Err(PackError::TooLarge { path: nowhere.to_owned() });
    }
    writer.finish().map_err(|e| unpackable(nowhere, e))?.seal()
}

/// Makes an image of this machine's platform: the base's layers, then these. Answers with its manifest's digest.
pub fn assemble(
    content: &Content,
    base: Option<&Digest>,
    layers: &[Layer],
    run: RunDefaults,
) -> Result<Digest, ContentError> {
    let (mut descriptors, mut diff_ids) = match base {
        Some(base) => (content.manifest(base)?.layers, content.config(base)?.diff_ids),
        None => (Vec::new(), Vec::new()),
    };
    descriptors.extend(layers.iter().map(|layer| layer.descriptor.clone()));
    diff_ids.extend(layers.iter().map(|layer| layer.diff_id.clone()));
    let config =
        ImageConfig { architecture: host_architecture().to_owned(), os: "linux".to_owned(), run, diff_ids };
    let text = json(&ConfigFile::from(&config))?;
    let config = Descriptor::new(CONFIG_TYPE, content.put(&text)?, text.len() as u64);
    let media_type = MANIFEST_TYPE.to_owned();
    let manifest = ImageManifest { schema_version: 2, media_type, config, layers: descriptors };
    let text = json(&manifest)?;
    let digest = content.put(&text)?;
    if manifest.layers.len() > LAYERS_MAX {
        let reason = format!("{} layers; at most {LAYERS_MAX}", manifest.layers.len());
        return Err(ContentError::Malformed { digest, what: "image manifest", reason });
    }
    Ok(digest)
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, ContentError> {
    serde_json::to_vec(value).map_err(|e| io_error(Path::new("an image's description"), io::Error::other(e)))
}

fn append(
    builder: &mut Builder<LayerWriter>,
    path: &Path,
    place: &Path,
    metadata: &fs::Metadata,
    kind: EntryType,
    options: &PackOptions,
) -> Result<(), PackError> {
    let fail = |e: io::Error| unpackable(place, e);
    let mut attributes = Vec::new();
    if kind != EntryType::Fifo {
        for name in attribute_names(place).map_err(fail)? {
            let Ok(text) = name.to_str() else { continue };
            if !(text == "security.capability" || text.starts_with("user.")) {
                continue;
            }
            if let Some(mut value) = attribute(place, &name).map_err(fail)? {
                if text == "security.capability" {
                    value = without_root_id(value);
                }
                attributes.push((format!("SCHILY.xattr.{text}"), value));
            }
        }
    }
    attributes.sort();
    if !attributes.is_empty() {
        let list = attributes.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        builder.append_pax_extensions(list).map_err(fail)?;
    }
    let mut header = header(metadata, kind, options);
    if kind == EntryType::Regular {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(place).map_err(fail)?;
        header.set_size(metadata.len());
        builder.append_data(&mut header, path, file.take(metadata.len())).map_err(fail)
    } else {
        builder.append_data(&mut header, path, io::empty()).map_err(fail)
    }
}

fn header(metadata: &fs::Metadata, kind: EntryType, options: &PackOptions) -> Header {
    let inside = |id: u32| match id.checked_sub(options.first_id) {
        Some(id) if id < 65_536 => u64::from(id),
        _ => 0,
    };
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(metadata.mode() & 0o7777);
    header.set_uid(inside(metadata.uid()));
    header.set_gid(inside(metadata.gid()));
    header.set_mtime(metadata.mtime().max(0) as u64);
    header.set_size(0);
    header
}

fn whiteout(builder: &mut Builder<LayerWriter>, path: &Path) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    builder.append_data(&mut header, path, io::empty())
}

fn is_empty_mount_point(
    place: &Path,
    path: &Path,
    metadata: &fs::Metadata,
    options: &PackOptions,
) -> Result<bool, PackError> {
    if !options.without_empty.contains(path) {
        return Ok(false);
    }
    Ok(match metadata.is_dir() {
        true => fs::read_dir(place).map_err(|e| unpackable(place, e))?.next().is_none(),
        false => metadata.is_file() && metadata.len() == 0,
    })
}

/// File capabilities that were set in a user namespace name the host's id of its root; an image's do not.
fn without_root_id(value: Vec<u8>) -> Vec<u8> {
    const REVISION_3: u8 = 3;
    match value.as_slice() {
        // linux/capability.h: a little-endian word of flags and revision, two pairs of sets, the root id.
        [flags, _, _, REVISION_3, sets @ ..] if value.len() == 24 => {
            let mut plain = vec![*flags, 0, 0, 2];
            plain.extend_from_slice(&sets[..16]);
            plain
        }
        _ => value,
    }
}

fn attribute_names(place: &Path) -> io::Result<Vec<std::ffi::CString>> {
    let path = std::ffi::CString::new(place.as_os_str().as_bytes())?;
    // XATTR_LIST_MAX: the kernel returns no longer list.
    let mut buffer = vec![0_u8; 65_536];
    // SAFETY: the path is NUL-terminated and the buffer as long as said.
    let length = unsafe { libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    match usize::try_from(length) {
        Ok(length) => buffer[..length]
            .split(|b| *b == 0)
            .filter(|name| !name.is_empty())
            .map(|name| std::ffi::CString::new(name).map_err(io::Error::other))
            .collect(),
        Err(_) => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ENOTSUP) => Ok(Vec::new()),
            e => Err(e),
        },
    }
}

fn attribute(place: &Path, name: &std::ffi::CStr) -> io::Result<Option<Vec<u8>>> {
    let path = std::ffi::CString::new(place.as_os_str().as_bytes())?;
    // XATTR_SIZE_MAX: the kernel keeps no longer value.
    let mut buffer = vec![0_u8; 65_536];
    // SAFETY: path and name are NUL-terminated and the buffer as long as said.
    let length =
        unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    match usize::try_from(length) {
        Ok(length) => {
            buffer.truncate(length);
            Ok(Some(buffer))
        }
        Err(_) => match io::Error::last_os_error() {
            e if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::ENOTSUP)) => Ok(None),
            e => Err(e),
        },
    }
}

fn unpackable(path: &Path, e: io::Error) -> PackError {
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PackError::Content(io_error(path, e)),
        _ => PackError::Io { path: path.to_owned(), source: e },
    }
}

/// Compresses and hashes on both sides of the compression.
struct LayerWriter {
    compressed: GzEncoder<BlobWriter>,
    hash: Context,
}

impl LayerWriter {
    fn new(content: &Content) -> Result<LayerWriter, ContentError> {
        // The fastest level: layers stay on this machine, and their unpacking is what people wait for.
        let compressed = GzBuilder::new().mtime(0).write(content.writer()?, Compression::fast());
        Ok(LayerWriter { compressed, hash: Context::new(&SHA256) })
    }

    fn finish(self) -> io::Result<Packed> {
        Ok(Packed { blob: self.compressed.finish()?, diff_id: digest_of(self.hash) })
    }
}

impl Write for LayerWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.compressed.write(buffer)?;
        self.hash.update(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.compressed.flush()
    }
}

struct Packed {
    blob: BlobWriter,
    diff_id: Digest,
}

impl Packed {
    fn seal(self) -> Result<Layer, PackError> {
        let (digest, size) = self.blob.finish(None)?;
        Ok(Layer { descriptor: Descriptor::new(LAYER_GZIP_TYPE, digest, size), diff_id: self.diff_id })
    }
}

/// The bytes of a file, for callers that put a single file into an image.
pub fn single_file(
    content: &Content,
    file: &Path,
    path_in_image: &str,
    mode: u32,
) -> Result<Layer, PackError> {
    let fail = |e: io::Error| unpackable(file, e);
    let source = File::open(file).map_err(fail)?;
    let size = source.metadata().map_err(fail)?.len();
    let mut builder = Builder::new(LayerWriter::new(content)?);
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    builder
        .append_data(&mut header, path_in_image.trim_start_matches('/'), source.take(size))
        .map_err(fail)?;
    builder.into_inner().and_then(LayerWriter::finish).map_err(fail)?.seal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_order_and_are_bounded() {
        let mut waiting = Waiting::default();
        let names = |names: &[&str]| names.iter().map(|name| Ok(OsString::from(name))).collect::<Vec<_>>();
        assert!(waiting.push(PathBuf::new(), names(&["b", "a", "c"])).unwrap());
        assert_eq!(waiting.pop(), Some(PathBuf::from("a")));
        assert!(waiting.push(PathBuf::from("a"), names(&["y", "x"])).unwrap());
        let rest: Vec<PathBuf> = std::iter::from_fn(|| waiting.pop()).collect();
        assert_eq!(rest, ["a/x", "a/y", "b", "c"].map(PathBuf::from));
        assert_eq!(waiting.held_bytes, 0);
        let many = (0..).map(|i| Ok(OsString::from(format!("{i:0>200}"))));
        assert!(!waiting.push(PathBuf::new(), many).unwrap());
    }
}
