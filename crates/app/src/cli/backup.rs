//! `apron backup FILE` and `apron restore FILE`: for whoever owns the data directory, which is root.
//!
//! They are the two commands that do not call the API. A backup holds every secret of the platform and all of its
//! content: what may be gigabytes cannot be an answer, and a restore has to be possible where nothing runs. Rows and
//! content belong to control's user, so a child with that user's rights and no others reads and writes them; root
//! opens the file, and keeps its own few files.

use super::progress;
use super::settings::Flags;
use crate::children::{privileges, reach};
use crate::config::{self, DatabaseFlags};
use crate::credentials;
use crate::supervisor::{database, directory};
use anyhow::{Context, Result, bail};
use apron_control::backup::{self, Counts, Place};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Uid, fork};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The backup, a file that only root may read
    file: PathBuf,
    /// The TOML file that apron serve is given, if any
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    database: DatabaseFlags,
}

/// Writes a backup of the platform of the data directory, which may be running.
pub(crate) fn backup(flags: &Flags, arguments: &Arguments) -> Result<ExitCode> {
    let data_dir = data_dir(flags)?;
    let database = config::resolve_database(arguments.config.as_deref(), &arguments.database)?;
    database::check(&data_dir, database.as_ref())?;
    let id = fs::read_to_string(data_dir.join("id"))
        .with_context(|| format!("{} is not the data directory of a platform", data_dir.display()))?;
    let credentials = fs::read(data_dir.join("credentials")).context("cannot read the root key")?;
    let owner = fs::metadata(data_dir.join("control")).context("cannot look at the rows' directory")?.uid();

    // Beside the file, so that it is there whole or not at all.
    let file = std::path::absolute(&arguments.file)?;
    let unfinished = Unfinished::beside(&file)?;
    let place = Place { data_dir: data_dir.clone(), database };
    let to = unfinished.file.try_clone()?;
    let done = as_user(owner, &data_dir, || {
        let counts = backup::write(&place, id.trim_end(), &credentials, to)?;
        progress::print(&format!("{}: {}", arguments.file.display(), told(&counts)));
        for digest in &counts.missing {
            eprintln!("apron: {digest} is not in the content store, and so not in the backup");
        }
        Ok(())
    })?;
    if done == ExitCode::SUCCESS {
        unfinished.finish(&file)?;
    }
    Ok(done)
}

/// Puts a data directory, whose platform does not run, into the state of a backup.
pub(crate) fn restore(flags: &Flags, arguments: &Arguments) -> Result<ExitCode> {
    let path = &arguments.file;
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let key = backup::credentials(&file).with_context(|| format!("cannot use {}", path.display()))?;
    let database = config::resolve_database(arguments.config.as_deref(), &arguments.database)?;
    let (control_uid, proxy_uid) = config::resolve_users(arguments.config.as_deref())?;
    let directory = directory::prepare(&data_dir(flags)?, control_uid, proxy_uid)?;
    let place = Place { data_dir: directory.path.clone(), database };
    let done = as_user(control_uid, &directory.path, || {
        (&file).rewind()?;
        let counts = backup::restore(&place, file)?;
        progress::print(&format!("{}: {}", place.data_dir.display(), told(&counts)));
        Ok(())
    })?;
    if done == ExitCode::SUCCESS {
        credentials::restore(&directory.path, &key)?;
        database::remember(&directory.path, place.database.as_ref())?;
        backup::finish_restore(&place)?;
    }
    Ok(done)
}

fn told(counts: &Counts) -> String {
    let Counts { rows, blobs, blob_bytes, missing: _ } = counts;
    format!("{rows} rows, {blobs} blobs of {} MiB together", blob_bytes.div_ceil(1024 * 1024))
}

fn data_dir(flags: &Flags) -> Result<PathBuf> {
    if !Uid::effective().is_root() {
        bail!("a backup holds everything, so root alone makes and restores one");
    }
    let variable = std::env::var_os(config::DATA_DIR_VARIABLE);
    Ok(std::path::absolute(config::data_dir(flags.data_dir.as_deref(), variable))?)
}

/// A file that becomes another one's content when it is finished, and goes when it is dropped before.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    fn beside(path: &Path) -> Result<Unfinished> {
        let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?;
        let mut unfinished = name.to_owned();
        unfinished.push(format!(".{}.unfinished", std::process::id()));
        let unfinished = path.with_file_name(unfinished);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
        let file = file.with_context(|| format!("cannot make {}", unfinished.display()))?;
        Ok(Unfinished { path: unfinished, file })
    }

    fn finish(self, path: &Path) -> Result<()> {
        let finished = fs::rename(&self.path, path).and_then(|()| {
            let directory = path.parent().ok_or_else(|| io::Error::other("it has no directory"))?;
            File::open(directory)?.sync_all()
        });
        finished.with_context(|| format!("cannot finish {}", path.display()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Finished, it is there under its other name only.
        let _ = fs::remove_file(&self.path);
    }
}

/// Does the work in a child with the rights of `user` and no others; the child tells of its own failure.
fn as_user(user: u32, data_dir: &Path, work: impl FnOnce() -> Result<()>) -> Result<ExitCode> {
    // SAFETY: this process has one thread, so the child may do whatever a program may.
    match unsafe { fork() }.context("cannot start a child")? {
        ForkResult::Child => {
            let rights = reach::ensure(data_dir, user).and_then(|()| privileges::become_user(user));
            let failed = rights.and_then(|()| work()).is_err_and(|error| {
                super::failed(&error);
                true
            });
            std::process::exit(i32::from(failed))
        }
        ForkResult::Parent { child } => match waitpid(child, None).context("cannot wait for a child")? {
            WaitStatus::Exited(_, 0) => Ok(ExitCode::SUCCESS),
            WaitStatus::Exited(..) => Ok(ExitCode::FAILURE),
            other => bail!("the child that works with control's rights ended with {other:?}"),
        },
    }
}
