//! Tar members to files, inside the target directory as the root directory.
//!
//! The process that runs this sees nothing but the target, so a mistake here damages one layer and no more.
//! What no honest archive holds is refused with the member's name all the same: a layer that is half applied
//! would be worse than none.

use super::{Kind, Request, Unpacked};
use crate::room::{LOOK_BYTES, Shortage, shortage_at};
use crate::stream::is_too_large;
use crate::tarball::{Member, Tarball};
use crate::tree;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink,
};
use std::path::{Component, Path, PathBuf};
use tar::EntryType;

/// Names of directories are held until the end for their times. The largest known layers have some 100,000, and
/// this process has 1 GiB in all.
const DIRECTORY_NAMES_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Opaque directories in one layer; they are reported by name.
const OPAQUE_MAX: usize = 50_000;
/// Linux opens no longer path.
const PATH_BYTES_MAX: usize = 4095;
/// Extended attributes of one member, and the size of each: ext4 keeps one block.
const ATTRIBUTES_MAX: usize = 64;
const ATTRIBUTE_BYTES_MAX: usize = 64 * 1024;
/// A run of zero bytes of this size is left out of a file.
const HOLE_BYTES: usize = 64 * 1024;

/// What any member takes on a disk at least.
const MEMBER_BYTES: u64 = 4096;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

#[derive(Debug)]
pub(super) enum Refusal {
    /// A member that is never unpacked, and why.
    Member(String),
    TooManyBytes,
    TooManyMembers,
    NoRoom(Shortage),
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(e: io::Error) -> Refusal {
        match is_too_large(&e) {
            true => Refusal::TooManyBytes,
            false => Refusal::Io(e),
        }
    }
}

/// Owners, modes and attributes of one member.
struct Attributes {
    owner: Option<(u32, u32)>,
    mode: u32,
    modified: TimeSpec,
    extended: Vec<(CString, Vec<u8>)>,
}

/// Unpacks into the root directory.
pub(super) fn unpack_members(
    mut blob: File,
    request: &Request,
    opaque: &mut Vec<Vec<u8>>,
) -> Result<Unpacked, Refusal> {
    let mut tarball = Tarball::new(&mut blob, request.bytes_max)?;
    let mut unpacking = Unpacking::new(request, opaque);
    tarball.each(|member| unpacking.member(member))?;
    unpacking.set_directory_times()?;
    let Unpacking { written, members, .. } = unpacking;
    let (diff_id, bytes) = tarball.finish()?;
    // What lies behind the compressed stream counts for the blob's digest, which the sender takes.
    io::copy(&mut blob, &mut io::sink())?;
    Ok(Unpacked { diff_id, bytes: bytes.max(written), members })
}

/// One archive on its way into the root directory.
struct Unpacking<'a> {
    layer: bool,
    members_max: u64,
    members: u64,
    /// Bytes of files, holes included.
    written: u64,
    /// The disk is looked at again when so much has been written and made.
    look_at: u64,
    /// Writing into a directory changes its time, so times of directories come last.
    directories: Vec<(PathBuf, TimeSpec)>,
    directory_names_bytes: usize,
    opaque: &'a mut Vec<Vec<u8>>,
}

impl<'a> Unpacking<'a> {
    fn new(request: &Request, opaque: &'a mut Vec<Vec<u8>>) -> Unpacking<'a> {
        Unpacking {
            layer: request.kind == Kind::Layer,
            members_max: request.members_max,
            members: 0,
            written: 0,
            look_at: 0,
            directories: Vec::new(),
            directory_names_bytes: 0,
            opaque,
        }
    }

    fn member(&mut self, member: &mut Member<'_, '_>) -> Result<(), Refusal> {
        self.members += 1;
        if self.members > self.members_max {
            return Err(Refusal::TooManyMembers);
        }
        let kind = member.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let path = member_path(&member.path_bytes(), "the name")?;
        let attributes = attributes(member, self.layer, &path)?;
        self.check_room()?;
        prepare_parent(&path)?;
        if self.layer && self.is_deletion(&path)? {
            return Ok(());
        }
        let place = Path::new("/").join(&path);
        if clear(&place, kind == EntryType::Directory)? && kind == EntryType::Directory {
            mark(self.opaque, &path)?;
        }
        match kind {
            EntryType::Directory => self.directory(&path, &place, &attributes),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.regular(member, &place, &attributes)
            }
            EntryType::Symlink => symbolic_link(member, &path, &place, &attributes),
            EntryType::Link => hard_link(member, &path, &place),
            EntryType::Fifo => fifo(&place, &attributes),
            EntryType::Char | EntryType::Block => {
                Err(refuse(&path, "is a device; images cannot bring devices"))
            }
            _ => Err(refuse(&path, "is of a kind that is not unpacked")),
        }
    }

    /// Whether the member stands for something of the layers below that goes; then that is done.
    fn is_deletion(&mut self, path: &Path) -> Result<bool, Refusal> {
        let Some(name) = path.file_name().map(OsStr::as_bytes) else { return Ok(false) };
        if name == OPAQUE {
            mark(self.opaque, path.parent().unwrap_or(Path::new("")))?;
            return Ok(true);
        }
        match name.strip_prefix(WHITEOUT) {
            Some(hidden) => white_out(path, hidden, self.opaque).map(|()| true),
            None => Ok(false),
        }
    }

    fn directory(&mut self, path: &Path, place: &Path, attributes: &Attributes) -> Result<(), Refusal> {
        match fs::DirBuilder::new().mode(0o700).create(place) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e.into()),
            _ => self.directories.push((place.to_owned(), attributes.modified)),
        }
        self.directory_names_bytes += size_of::<(PathBuf, TimeSpec)>() + place.as_os_str().len();
        if self.directory_names_bytes > DIRECTORY_NAMES_BYTES_MAX {
            return Err(refuse(path, "is one directory too many, or has too long a name"));
        }
        apply(place, attributes)
    }

    fn regular(
        &mut self,
        member: &mut Member<'_, '_>,
        place: &Path,
        attributes: &Attributes,
    ) -> Result<(), Refusal> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
        let mut buffer = vec![0; HOLE_BYTES];
        let mut hole_at_end = false;
        loop {
            let have = fill(member, &mut buffer)?;
            if have == 0 {
                break;
            }
            self.written = self.written.saturating_add(have as u64);
            hole_at_end = have == buffer.len() && buffer.iter().all(|b| *b == 0);
            if hole_at_end {
                file.seek(SeekFrom::Current(have as i64))?;
            } else {
                file.write_all(&buffer[..have])?;
            }
            self.check_room()?;
        }
        if hole_at_end {
            let end = file.stream_position()?;
            file.set_len(end)?;
        }
        apply(place, attributes)
    }

    /// Looks at the disk from time to time, whether files or their number fill it.
    fn check_room(&mut self) -> Result<(), Refusal> {
        let made = self.written.saturating_add(self.members.saturating_mul(MEMBER_BYTES));
        if made < self.look_at {
            return Ok(());
        }
        self.look_at = made + LOOK_BYTES;
        match shortage_at(Path::new("/"), 0) {
            Some(shortage) => Err(Refusal::NoRoom(shortage)),
            None => Ok(()),
        }
    }

    fn set_directory_times(&self) -> io::Result<()> {
        for (place, modified) in self.directories.iter().rev() {
            // A later member may have replaced it.
            if fs::symlink_metadata(place).is_ok_and(|m| m.is_dir()) {
                set_modified(place, *modified)?;
            }
        }
        Ok(())
    }
}

fn symbolic_link(
    member: &Member<'_, '_>,
    path: &Path,
    place: &Path,
    attributes: &Attributes,
) -> Result<(), Refusal> {
    let target = member.link_name_bytes().unwrap_or_default().into_owned();
    if target.is_empty() || target.len() > PATH_BYTES_MAX {
        return Err(refuse(path, "is a symbolic link to nothing or to an over-long name"));
    }
    // Wherever it points: it is resolved by the container, whose root directory this becomes.
    symlink(OsStr::from_bytes(&target), place)?;
    apply(place, attributes)
}

fn hard_link(member: &Member<'_, '_>, path: &Path, place: &Path) -> Result<(), Refusal> {
    let target = member_path(&member.link_name_bytes().unwrap_or_default(), "the target of a hard link")?;
    check_parent(&target)?;
    let source = Path::new("/").join(&target);
    match fs::symlink_metadata(&source) {
        Ok(metadata) if !metadata.is_dir() => Ok(fs::hard_link(&source, place)?),
        _ => Err(refuse(path, "is a hard link to a file that this archive does not hold")),
    }
}

fn fifo(place: &Path, attributes: &Attributes) -> Result<(), Refusal> {
    nix::unistd::mkfifo(place, Mode::from_bits_truncate(0o600)).map_err(io::Error::from)?;
    apply(place, attributes)
}

/// The name without a leading slash or dots; one that climbs is refused.
fn member_path(name: &[u8], what: &str) -> Result<PathBuf, Refusal> {
    let shown = || String::from_utf8_lossy(&name[..name.len().min(200)]).into_owned();
    if name.len() > PATH_BYTES_MAX {
        return Err(Refusal::Member(format!(
            "{what} {:?}… has {} bytes; at most {PATH_BYTES_MAX}",
            shown(),
            name.len()
        )));
    }
    if name.contains(&0) {
        return Err(Refusal::Member(format!("{what} {:?} holds a NUL byte", shown())));
    }
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(name)).components() {
        match component {
            Component::Normal(part) if part.len() > 255 => {
                return Err(Refusal::Member(format!(
                    "{what} {:?} has a part of more than 255 bytes",
                    shown()
                )));
            }
            Component::Normal(part) => path.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Refusal::Member(format!("{what} {:?} leaves the archive's directory", shown())));
            }
        }
    }
    Ok(path)
}

/// Makes the directories above a member; a link among them is refused.
fn prepare_parent(path: &Path) -> Result<(), Refusal> {
    let mut place = PathBuf::from("/");
    for part in path.parent().unwrap_or(Path::new("")).components() {
        place.push(part);
        match fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) if metadata.is_symlink() => {
                return Err(refuse(path, "goes through a symbolic link"));
            }
            Ok(_) => return Err(refuse(path, "lies below something that is not a directory")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().mode(0o755).create(&place)?
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Like `prepare_parent` for something that must exist.
fn check_parent(path: &Path) -> Result<(), Refusal> {
    let mut place = PathBuf::from("/");
    for part in path.parent().unwrap_or(Path::new("")).components() {
        place.push(part);
        if fs::symlink_metadata(&place).is_ok_and(|m| m.is_symlink()) {
            return Err(refuse(path, "is linked through a symbolic link"));
        }
    }
    Ok(())
}

/// Removes what an earlier member left at this place, except a directory under a directory. Answers whether
/// it was a whiteout, whose directory must hide what lies below it.
fn clear(place: &Path, directory: bool) -> Result<bool, Refusal> {
    let metadata = match fs::symlink_metadata(place) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    if metadata.is_dir() {
        if !directory {
            if place == Path::new("/") {
                return Err(Refusal::Member("the archive's own directory is not a directory".to_owned()));
            }
            tree::remove(place)?;
        }
        return Ok(false);
    }
    let whiteout = is_whiteout(&metadata);
    fs::remove_file(place)?;
    Ok(whiteout)
}

/// `.wh.NAME` hides NAME of the layers below, never the NAME of this layer.
fn white_out(path: &Path, hidden: &[u8], opaque: &mut Vec<Vec<u8>>) -> Result<(), Refusal> {
    // Bookkeeping of a file system that Docker once used.
    if hidden.starts_with(WHITEOUT) {
        return Ok(());
    }
    if hidden.is_empty() || hidden == b"." || hidden == b".." {
        return Err(refuse(path, "is a deletion of nothing"));
    }
    let hidden = path.with_file_name(OsStr::from_bytes(hidden));
    let place = Path::new("/").join(&hidden);
    match fs::symlink_metadata(&place) {
        Ok(metadata) if metadata.is_dir() => mark(opaque, &hidden),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            mknod(&place, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0)).map_err(io::Error::from)?;
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

fn is_whiteout(metadata: &fs::Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

fn mark(opaque: &mut Vec<Vec<u8>>, path: &Path) -> Result<(), Refusal> {
    if opaque.len() >= OPAQUE_MAX {
        return Err(Refusal::Member(format!("more than {OPAQUE_MAX} opaque directories")));
    }
    opaque.push(path.as_os_str().as_bytes().to_vec());
    Ok(())
}

fn attributes(member: &mut Member<'_, '_>, layer: bool, path: &Path) -> Result<Attributes, Refusal> {
    let header = member.header();
    let fields = header.as_old();
    let mut uid = number(&fields.uid, || header.uid())?;
    let mut gid = number(&fields.gid, || header.gid())?;
    let mode = number(&fields.mode, || header.mode().map(u64::from))? as u32;
    let mtime = number(&fields.mtime, || header.mtime())?;
    let mut modified = TimeSpec::new(mtime.try_into().unwrap_or(0), 0);
    let mut extended = Vec::new();
    if let Some(extensions) = member.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let value = extension.value_bytes();
            let text = || std::str::from_utf8(value).unwrap_or("");
            match extension.key_bytes() {
                b"uid" => {
                    uid = text().parse().map_err(|_| refuse(path, "has a user id that is no number"))?
                }
                b"gid" => {
                    gid = text().parse().map_err(|_| refuse(path, "has a group id that is no number"))?
                }
                b"mtime" => modified = seconds(text()).unwrap_or(modified),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(refuse(
                        path,
                        "is a sparse file in a form that is not unpacked (GNU.sparse in pax headers)",
                    ));
                }
                key => {
                    let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else { continue };
                    // `trusted.` would forge overlayfs marks, other `security.` belongs to the host.
                    if !(name == b"security.capability" || name.starts_with(b"user.")) {
                        continue;
                    }
                    if extended.len() >= ATTRIBUTES_MAX || value.len() > ATTRIBUTE_BYTES_MAX {
                        return Err(refuse(path, "has too many or too large extended attributes"));
                    }
                    if let Ok(name) = CString::new(name) {
                        extended.push((name, value.to_vec()));
                    }
                }
            }
        }
    }
    let id = |id: u64| match u32::try_from(id) {
        Ok(id) if id < 65_536 => Ok(id),
        _ => Err(refuse(
            path,
            &format!("belongs to the user or group {id}; ids above 65535 do not exist in instances"),
        )),
    };
    Ok(match layer {
        true => Attributes { owner: Some((id(uid)?, id(gid)?)), mode: mode & 0o7777, modified, extended },
        false => Attributes { owner: None, mode: mode & 0o777, modified, extended: Vec::new() },
    })
}

/// A number of a header. Writers leave fields empty that say nothing to them, and readers take that for 0.
fn number(field: &[u8], read: impl Fn() -> io::Result<u64>) -> io::Result<u64> {
    match field.iter().all(|b| matches!(b, 0 | b' ')) {
        true => Ok(0),
        false => read(),
    }
}

/// `1700000000.123456789` as pax writes it.
fn seconds(text: &str) -> Option<TimeSpec> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos = format!("{:0<9}", fraction.get(..fraction.len().min(9))?).parse().ok()?;
    Some(TimeSpec::new(whole.parse().ok()?, nanos))
}

fn apply(place: &Path, attributes: &Attributes) -> Result<(), Refusal> {
    let link = fs::symlink_metadata(place)?.is_symlink();
    if let Some((uid, gid)) = attributes.owner {
        lchown(place, Some(uid), Some(gid))?;
    }
    if !link {
        // After the owner: a change of owner clears the set-user-id bit.
        fs::set_permissions(place, fs::Permissions::from_mode(attributes.mode))?;
        let name = CString::new(place.as_os_str().as_bytes()).map_err(io::Error::other)?;
        for (attribute, value) in &attributes.extended {
            // SAFETY: both names are NUL-terminated and the value is as long as said.
            let result = unsafe {
                libc::lsetxattr(name.as_ptr(), attribute.as_ptr(), value.as_ptr().cast(), value.len(), 0)
            };
            if result != 0 {
                let e = io::Error::last_os_error();
                // A file system without attributes of this kind loses them, as it does for every program.
                if e.raw_os_error() != Some(libc::ENOTSUP) {
                    return Err(Refusal::Io(io::Error::new(
                        e.kind(),
                        format!("attribute {attribute:?} of {place:?}: {e}"),
                    )));
                }
            }
        }
    }
    Ok(set_modified(place, attributes.modified)?)
}

fn set_modified(place: &Path, modified: TimeSpec) -> io::Result<()> {
    let at = nix::fcntl::AT_FDCWD;
    Ok(utimensat(at, place, &modified, &modified, UtimensatFlags::NoFollowSymlink)?)
}

/// Reads until the buffer is full or the content ends; answers with the bytes that are there.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match source.read(&mut buffer[have..])? {
            0 => break,
            count => have += count,
        }
    }
    Ok(have)
}

fn refuse(path: &Path, why: &str) -> Refusal {
    let name: String = path.to_string_lossy().chars().take(200).collect();
    Refusal::Member(format!("the member {name:?} {why}"))
}
