//! A backup: everything that a platform needs to begin again, in one tar archive.
//!
//! ```text
//! manifest.json        format and version, the schema of the rows, the id of the data directory they come from
//! credentials          the root key
//! rows/<n>.jsonl       all rows, a line each, the same for SQLite and PostgreSQL
//! images.json          names of imported images
//! blobs/sha256/<hex>   all content that a row or a name needs
//! complete.json        counts of the above; an archive without it was cut short
//! ```
//! Logs and the certificates of the proxy are not part of it, and neither is the id: the names of everything that the
//! platform has on its machine carry that, so a directory keeps its own.
//!
//! Reading needs nothing of the running platform but its files, so it disturbs nobody: the rows are one snapshot, and
//! the content that they name is renewed before it is copied, so that no sweep takes it meanwhile.

use apron_images::content::{Content, ContentError, NameSource};
use apron_model::ids::Digest;
use apron_store::{BackupError as RowsError, Filling, PostgresDatabase, Store, StoreError};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use tar::{Archive, Builder, Entry, EntryType, Header};
use tokio::runtime::Runtime;

/// It changes when an older version could not read what this one writes.
const FORMAT: u32 = 1;
/// Rows are passed on in members of about this size.
const ROWS_BYTES: usize = 4 * 1024 * 1024;
/// A member of an archive that is read into memory: rows, of which the last may be a long one, or names.
const MEMBER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The root key's file has two short lines.
const CREDENTIALS_BYTES_MAX: u64 = 64 * 1024;
/// Where the rows lie in the data directory.
const DATABASE: &str = "control/apron.db";
const BLOBS: &str = "blobs/sha256/";
const NOT_TAKEN: &str = "the rows cannot take the place of the present ones";

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("the rows cannot be read or written")]
    Rows(#[from] RowsError),
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    #[error("the content store cannot be used")]
    Content(#[from] ContentError),
    #[error("{0} has no rows of a platform; one that keeps them in PostgreSQL is named with --database")]
    NoDatabase(PathBuf),
    #[error("control of an earlier run is at work in {0}; apron serve takes it over and ends it in order")]
    Running(PathBuf),
    #[error("it is not a backup that this version can read: {0}")]
    Archive(String),
    #[error("it is incomplete or damaged: {0}")]
    Incomplete(String),
    #[error(
        "{0} is open in another process, an apron backup or a tool for databases; restore again when it has ended"
    )]
    Open(PathBuf),
    #[error(
        "a restore into {0} was broken off before its end: run apron restore again. To go back instead, rename \
         apron.db.replaced in {0}/control to apron.db, and remove apron.db.half-restored"
    )]
    HalfDone(PathBuf),
    #[error(
        "a restore into the database that {0} uses was broken off before its end: make a new database and run apron \
         restore again. To start with another one instead, remove {0}/control/server.half-restored"
    )]
    ServerHalfDone(PathBuf),
    #[error(
        "{0} has no rows, and a restore began there: run apron restore again. To start with the rows of before the last \
         one instead, rename apron.db.replaced in {0}/control to apron.db; to start without any, remove \
         apron.db.replaced and apron.db.restoring"
    )]
    NoRows(PathBuf),
    #[error("{what}")]
    System {
        what: String,
        #[source]
        source: io::Error,
    },
}

/// What a backup holds, to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    pub rows: u64,
    pub blobs: u64,
    pub blob_bytes: u64,
    /// What a row names and the content store did not have.
    pub missing: BTreeSet<Digest>,
}

/// Where a platform keeps what is backed up.
#[derive(Clone, Debug)]
pub struct Place {
    pub data_dir: PathBuf,
    /// None for the embedded SQLite.
    pub database: Option<PostgresDatabase>,
}

/// The first member. It may grow: an older version reads what it knows.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    version: String,
    schema: u32,
    data_directory: String,
}

/// Writes a backup of a platform, which may be running. `credentials` and `id` are those of its data directory.
pub fn write(place: &Place, id: &str, credentials: &[u8], to: File) -> Result<Counts, BackupError> {
    let runtime = runtime()?;
    // Connections that are dropped say so to the runtime.
    let _entered = runtime.enter();
    let store = runtime.block_on(open(place))?;
    let content = Content::open(place.data_dir.join("content"))?;
    let mut archive = Archiver { builder: Builder::new(BufWriter::new(to)) };
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: runtime.block_on(store.schema())?,
        data_directory: id.to_owned(),
    };
    archive.json("manifest.json", &manifest)?;
    archive.bytes("credentials", credentials)?;

    let (rows, mut roots) = rows(&runtime, &store, &mut archive)?;
    let mut counts = Counts { rows, ..Counts::default() };
    let names: BTreeMap<String, Digest> = content
        .name_list()?
        .into_iter()
        // A base is assembled again where it is missing.
        .filter(|name| name.source == NameSource::Imported)
        .map(|name| (name.name, name.digest))
        .collect();
    archive.json("images.json", &names)?;
    roots.extend(names.into_values());
    let needed = needed(&content, &roots, &mut counts.missing)?;
    for digest in &needed {
        counts.blob_bytes += archive.blob(&content, digest)?;
        counts.blobs += 1;
    }
    archive.json("complete.json", &counts)?;
    let written = archive.builder.into_inner().and_then(|mut file| {
        file.flush()?;
        file.get_ref().sync_all()
    });
    written.map_err(system("the backup cannot be written"))?;
    runtime.block_on(store.close());
    Ok(counts)
}

async fn open(place: &Place) -> Result<Store, BackupError> {
    if let Some(database) = &place.database {
        return Ok(Store::connect_read_only(database).await?);
    }
    let path = place.data_dir.join(DATABASE);
    match path.exists() {
        true => Ok(Store::open_read_only(&path).await?),
        false => Err(BackupError::NoDatabase(path)),
    }
}

/// Writes all rows and answers with their number, and with the content that they name.
fn rows(
    runtime: &Runtime,
    store: &Store,
    archive: &mut Archiver,
) -> Result<(u64, BTreeSet<Digest>), BackupError> {
    let (mut rows, mut members) = (0, 0);
    let mut pending = Vec::with_capacity(ROWS_BYTES);
    let mut pass_on = |pending: &mut Vec<u8>| {
        members += 1;
        let passed = archive.append(&format!("rows/{members:06}.jsonl"), pending.len() as u64, &pending[..]);
        pending.clear();
        passed
    };
    let dumped = store.dump(|line| {
        rows += 1;
        pending.extend_from_slice(line.as_bytes());
        pending.push(b'\n');
        if pending.len() < ROWS_BYTES { Ok(()) } else { pass_on(&mut pending) }
    });
    let named = runtime.block_on(dumped)?;
    pass_on(&mut pending).map_err(system("the backup cannot be written"))?;
    Ok((rows, named))
}

/// What hangs on these, themselves included, as far as the store has it. Each is renewed.
fn needed(
    content: &Content,
    roots: &BTreeSet<Digest>,
    missing: &mut BTreeSet<Digest>,
) -> Result<BTreeSet<Digest>, BackupError> {
    let mut needed = BTreeSet::new();
    let mut keep = |digest: Digest| -> Result<(), ContentError> {
        match content.renew(&digest)? {
            true => needed.insert(digest),
            false => missing.insert(digest),
        };
        Ok(())
    };
    for root in roots {
        keep(root.clone())?;
        content.parts(root)?.into_iter().try_for_each(&mut keep)?;
    }
    Ok(needed)
}

struct Archiver {
    builder: Builder<BufWriter<File>>,
}

impl Archiver {
    fn append(&mut self, name: &str, bytes: u64, content: impl Read) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_size(bytes);
        self.builder.append_data(&mut header, name, content)
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
        self.append(name, bytes.len() as u64, bytes).map_err(system("the backup cannot be written"))
    }

    fn json(&mut self, name: &str, value: &impl Serialize) -> Result<(), BackupError> {
        let text = serde_json::to_vec(value).expect("texts and numbers always have a JSON form");
        self.bytes(name, &text)
    }

    fn blob(&mut self, content: &Content, digest: &Digest) -> Result<u64, BackupError> {
        let file = content.open_blob(digest)?;
        let failed = || format!("{digest} cannot be written to the backup");
        let bytes = file.metadata().map_err(|source| BackupError::System { what: failed(), source })?.len();
        let hex = digest.as_str().trim_start_matches("sha256:");
        self.append(&format!("{BLOBS}{hex}"), bytes, file.take(bytes))
            .map_err(|source| BackupError::System { what: failed(), source })?;
        Ok(bytes)
    }
}

/// The root key of a backup. A file that is no backup is told from one here, before anything is changed.
pub fn credentials(from: &File) -> Result<Vec<u8>, BackupError> {
    let mut archive = Archive::new(BufReader::new(from));
    let foreign = |_| BackupError::Archive("it is no such archive".to_owned());
    let mut entries = archive.entries().map_err(foreign)?;
    let mut next = |name: &str, bytes_max: u64| -> Result<Vec<u8>, BackupError> {
        let entry = entries.next().ok_or_else(|| BackupError::Archive(format!("it has no {name}")))?;
        let mut entry = entry.map_err(foreign)?;
        match name_of(&entry)? == name {
            true => read(&mut entry, bytes_max),
            false => Err(BackupError::Archive(format!("it does not begin with {name}"))),
        }
    };
    manifest(&next("manifest.json", MEMBER_BYTES_MAX)?)?;
    next("credentials", CREDENTIALS_BYTES_MAX)
}

fn manifest(text: &[u8]) -> Result<Manifest, BackupError> {
    let manifest: Manifest =
        serde_json::from_slice(text).map_err(|error| BackupError::Archive(error.to_string()))?;
    match manifest.format {
        FORMAT => Ok(manifest),
        other => Err(BackupError::Archive(format!("its format is {other}, not {FORMAT}"))),
    }
}

/// Puts a platform that does not run into the state of a backup: content is added, and when all of it is there the
/// rows take the place of the present ones. Until then a failure leaves everything as it was; from then on, and in a
/// database server from the first row on, no platform starts there before `finish_restore`.
pub fn restore(place: &Place, from: File) -> Result<Counts, BackupError> {
    let _lock = lock(&place.data_dir)?;
    let runtime = runtime()?;
    // Connections that are dropped say so to the runtime.
    let _entered = runtime.enter();
    let content = Content::open(place.data_dir.join("content"))?;
    let rows = Rows::of(place);
    remove_database(&rows.fresh)?;
    let repeated = rows.half_done.exists();
    if place.database.is_some() {
        rows.begin().map_err(system(NOT_TAKEN))?;
    }
    let filled = fill(place, &rows.fresh, &runtime, &content, from);
    let (counts, names) = match filled {
        Ok(filled) => filled,
        Err(error) => {
            remove_database(&rows.fresh)?;
            if place.database.is_some() && !repeated {
                finish_restore(place)?;
            }
            return Err(error);
        }
    };
    if place.database.is_none() {
        fold(&runtime, &rows.current)?;
        rows.take_over(Rows::STEPS.len()).map_err(system(NOT_TAKEN))?;
    }
    // The rows that they are for are there.
    content.names_set(&Vec::from_iter(names))?;
    Ok(counts)
}

/// Says that a restore is over, after its last part.
pub fn finish_restore(place: &Place) -> Result<(), BackupError> {
    remove(&Rows::of(place).half_done).map_err(system("what says that a restore began cannot be removed"))
}

/// Refuses a data directory in which a restore has begun to change something and was broken off.
pub fn check_restored(place: &Place) -> Result<(), BackupError> {
    let rows = Rows::of(place);
    let data_dir = place.data_dir.clone();
    match (&place.database, rows.half_done.exists()) {
        (None, _) if !rows.current.exists() && (rows.fresh.exists() || rows.replaced.exists()) => {
            Err(BackupError::NoRows(data_dir))
        }
        (None, true) => Err(BackupError::HalfDone(data_dir)),
        (Some(_), true) => Err(BackupError::ServerHalfDone(data_dir)),
        (_, false) => Ok(()),
    }
}

/// Reads an archive into the content store and into a database that nobody uses yet. Answers with what it held, and
/// the names of its images.
fn fill(
    place: &Place,
    fresh: &Path,
    runtime: &Runtime,
    content: &Content,
    from: File,
) -> Result<(Counts, BTreeMap<String, Digest>), BackupError> {
    let mut archive = Archive::new(BufReader::new(from));
    let mut counts = Counts::default();
    let (mut filling, mut names, mut complete) = (None, BTreeMap::<String, Digest>::new(), None);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let name = name_of(&entry)?;
        match (name.as_str(), &mut filling) {
            ("manifest.json", None) => {
                let schema = manifest(&read(&mut entry, MEMBER_BYTES_MAX)?)?.schema;
                filling = Some(runtime.block_on(begin(place, fresh, schema))?);
            }
            ("credentials", _) => {}
            (name, Some(filling)) if name.starts_with("rows/") => {
                let text = String::from_utf8(read(&mut entry, MEMBER_BYTES_MAX)?);
                let text = text.map_err(|_| BackupError::Archive(format!("{name} is no text")))?;
                for line in text.lines() {
                    runtime.block_on(filling.row(line))?;
                    counts.rows += 1;
                }
            }
            ("images.json", Some(_)) => names = parsed(&name, &read(&mut entry, MEMBER_BYTES_MAX)?)?,
            ("complete.json", Some(_)) => {
                complete = Some(parsed(&name, &read(&mut entry, MEMBER_BYTES_MAX)?)?)
            }
            (name, Some(_)) if name.starts_with(BLOBS) => {
                counts.blob_bytes += blob(content, &name[BLOBS.len()..], &mut entry)?;
                counts.blobs += 1;
            }
            (other, _) => return Err(BackupError::Archive(format!("it has a member {other}"))),
        }
    }
    let expected: Counts =
        complete.ok_or_else(|| BackupError::Incomplete("its end is missing".to_owned()))?;
    counts.missing = expected.missing.clone();
    let (Some(filling), true) = (filling, counts == expected) else {
        return Err(BackupError::Incomplete(format!("it holds {counts:?} of {expected:?}")));
    };
    let store = runtime.block_on(filling.finish())?;
    runtime.block_on(store.close());
    Ok((counts, names))
}

async fn begin(place: &Place, fresh: &Path, schema: u32) -> Result<Filling, BackupError> {
    let store = match &place.database {
        Some(database) => Store::blank_postgres(database).await?,
        None => Store::blank(fresh).await?,
    };
    Ok(Filling::begin(store, schema).await?)
}

/// Stores a blob that is not there yet. Answers with its size.
fn blob(content: &Content, hex: &str, entry: &mut impl Read) -> Result<u64, BackupError> {
    let digest = Digest::new(format!("sha256:{hex}"));
    if content.renew(&digest)? {
        return io::copy(entry, &mut io::sink()).map_err(unreadable);
    }
    let mut writer = content.writer()?;
    io::copy(entry, &mut writer).map_err(|error| content.written(error))?;
    match writer.finish(Some(&digest)) {
        Err(error @ ContentError::Mismatch { .. }) => Err(BackupError::Incomplete(error.to_string())),
        finished => Ok(finished?.1),
    }
}

/// The files of a data directory that a restore changes.
struct Rows {
    directory: PathBuf,
    current: PathBuf,
    /// The rows of the archive, until they are the current ones.
    fresh: PathBuf,
    /// The rows of before the last restore, for whoever restored the wrong file.
    replaced: PathBuf,
    /// A second name of the current rows that becomes `replaced`.
    kept: PathBuf,
    /// It is there while rows, names of images and root key may be of different times.
    half_done: PathBuf,
}

impl Rows {
    /// Each may be the last before the machine stops: whoever repeats all of them ends in the same place, and at any
    /// time there are current rows, whole, if there were any.
    const STEPS: [fn(&Rows) -> io::Result<()>; 6] =
        [Rows::forget_log, Rows::name_again, Rows::keep, Rows::begin, Rows::replace, Rows::sync];

    fn of(place: &Place) -> Rows {
        let directory = place.data_dir.join("control");
        let current = place.data_dir.join(DATABASE);
        let half_done = match place.database {
            None => with_suffix(&current, ".half-restored"),
            Some(_) => directory.join("server.half-restored"),
        };
        Rows {
            fresh: with_suffix(&current, ".restoring"),
            replaced: with_suffix(&current, ".replaced"),
            kept: with_suffix(&current, ".keeping"),
            half_done,
            current,
            directory,
        }
    }

    /// Puts the fresh rows in the place of the current ones, or does the first steps of that.
    fn take_over(&self, steps: usize) -> io::Result<()> {
        Rows::STEPS.iter().take(steps).try_for_each(|step| step(self))
    }

    /// What a tool left beside the rows that were replaced an earlier time does not belong to those that come.
    fn forget_log(&self) -> io::Result<()> {
        if self.has_kept() {
            return Ok(());
        }
        remove(&with_suffix(&self.replaced, "-wal"))?;
        remove(&with_suffix(&self.replaced, "-shm"))?;
        remove(&self.kept)
    }

    /// A try that was broken off has kept the rows of before, and the current ones may be its own.
    fn has_kept(&self) -> bool {
        self.half_done.exists()
    }

    fn name_again(&self) -> io::Result<()> {
        if self.has_kept() {
            return Ok(());
        }
        match fs::hard_link(&self.current, &self.kept) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn keep(&self) -> io::Result<()> {
        match fs::rename(&self.kept, &self.replaced) {
            // There were no rows. Those that were replaced before stay.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Between two names of one file, which an earlier try may have left, renaming changes nothing.
            other => other.and_then(|()| remove(&self.kept)),
        }?;
        self.sync()
    }

    fn begin(&self) -> io::Result<()> {
        File::create(&self.half_done)?.sync_all()?;
        self.sync()
    }

    fn replace(&self) -> io::Result<()> {
        fs::rename(&self.fresh, &self.current)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

/// Makes the database one file: a control that was killed left its last transactions in another one beside it.
fn fold(runtime: &Runtime, database: &Path) -> Result<(), BackupError> {
    if database.exists() {
        let store = runtime.block_on(Store::blank(database))?;
        runtime.block_on(store.close());
    } else {
        // What is beside rows that are gone says nothing without them.
        remove_database(database)?;
    }
    // With rows that are not its own it would spoil them.
    match with_suffix(database, "-wal").exists() {
        true => Err(BackupError::Open(database.to_owned())),
        false => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove_database(path: &Path) -> Result<(), BackupError> {
    for suffix in ["", "-wal", "-shm"] {
        remove(&with_suffix(path, suffix))
            .map_err(system("what an earlier restore left cannot be removed"))?;
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

/// Control outlives its supervisor, and must not write to a database that is replaced.
fn lock(data_dir: &Path) -> Result<Flock<File>, BackupError> {
    let file = File::create(data_dir.join("control/lock")).map_err(system("the lock cannot be made"))?;
    let locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
    locked.map_err(|_| BackupError::Running(data_dir.to_owned()))
}

fn name_of(entry: &Entry<'_, impl Read>) -> Result<String, BackupError> {
    if entry.header().entry_type() != EntryType::Regular {
        return Err(BackupError::Archive("it has a member that is not a file".to_owned()));
    }
    String::from_utf8(entry.path_bytes().into_owned())
        .map_err(|_| BackupError::Archive("it has a member with a strange name".to_owned()))
}

fn read(entry: &mut impl Read, bytes_max: u64) -> Result<Vec<u8>, BackupError> {
    let mut bytes = Vec::new();
    entry.take(bytes_max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(BackupError::Archive(format!("it has a member of more than {bytes_max} bytes"))),
        false => Ok(bytes),
    }
}

fn parsed<T: for<'t> Deserialize<'t>>(name: &str, text: &[u8]) -> Result<T, BackupError> {
    serde_json::from_slice(text).map_err(|error| BackupError::Archive(format!("{name}: {error}")))
}

/// What the reader of archives says quotes what it found, so it is not repeated.
fn unreadable(error: io::Error) -> BackupError {
    match error.raw_os_error() {
        Some(_) => system("it cannot be read")(error),
        None => BackupError::Incomplete("a member of it cannot be read".to_owned()),
    }
}

fn runtime() -> Result<Runtime, BackupError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("the runtime cannot be made"))
}

fn system(what: &'static str) -> impl Fn(io::Error) -> BackupError {
    move |source| BackupError::System { what: what.to_owned(), source }
}

#[cfg(test)]
mod tests;
