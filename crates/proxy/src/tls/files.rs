//! Certificates and keys from files: what hosts have that are known beyond this machine.
//!
//! A directory holds a pair for each: `<any name>/cert.pem` with `key.pem` beside it, or `<any name>.pem` with
//! `<any name>.key`. Which hosts a pair is for, its certificate says. The directory is looked at every few seconds;
//! what changed is read, and published as a whole that nothing changes any more. A pair that cannot be used, most of
//! all one that is only half replaced, leaves in place what was read before.

use super::DAY;
use super::validity::Moment;
use crate::config::{CertificateFiles, PairFiles};
use crate::wall;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Twice what one machine is asked to serve; further ones are not read, and that is said.
const PAIRS_MAX: usize = 20_000;
/// A chain has some kilobytes; anything much longer is another file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Between two looks: whoever replaced a file sees it served soon.
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// A look at very many files costs time of the loops' cores: a pause is this many times as long as the look before
/// it, so that looking takes one part in a hundred.
const PAUSE_LOOKS: u32 = 100;
/// The longest pause all the same.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A certificate that ends within this time should have been replaced: what renews them does so weeks before.
const REMINDER_TIME: Duration = DAY.saturating_mul(7);

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct PairError {
    path: PathBuf,
    why: String,
}

impl PairError {
    fn new(path: &Path, why: impl ToString) -> PairError {
        PairError { path: path.to_owned(), why: why.to_string() }
    }
}

/// Certificates by host. Never changes.
#[derive(Default)]
pub(crate) struct Held {
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
    for_all: Option<Arc<CertifiedKey>>,
}

impl Held {
    /// The certificate that names this host, in lower case: the one with the name itself, else the one whose wildcard
    /// stands for its first label.
    pub(crate) fn find(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        self.exact.get(host).or_else(|| self.wildcard.get(host.split_once('.')?.1))
    }

    /// The pair that was given for every host without another.
    pub(crate) fn for_all(&self) -> Option<Arc<CertifiedKey>> {
        self.for_all.clone()
    }

    fn add(&mut self, pair: &Pair) {
        for name in &pair.names {
            let (names, name) = match name.strip_prefix("*.") {
                Some(domain) => (&mut self.wildcard, domain),
                None => (&mut self.exact, name.as_str()),
            };
            names.insert(name.into(), pair.certified.clone());
        }
    }
}

/// The files, what was read from them, and who is told.
pub(crate) struct Files {
    directory: Option<PathBuf>,
    for_all: Option<(PairFiles, Known)>,
    provider: Arc<CryptoProvider>,
    /// By the path of the certificate.
    known: BTreeMap<PathBuf, Known>,
    /// What was said last of the directory as a whole.
    said: String,
    held: watch::Sender<Arc<Held>>,
}

impl Files {
    /// Reads everything once. Only the pair for all hosts has to be there: a platform whose directory cannot be read
    /// says so and serves what it can.
    pub(crate) fn open(config: &CertificateFiles, provider: Arc<CryptoProvider>) -> Result<Files, PairError> {
        let for_all = match &config.pair {
            None => None,
            Some(files) => {
                let (stamps, pair) = read_pair(files, &provider)?;
                let known = Known { stamps: Some(stamps), pair: Some(pair), ..Known::default() };
                Some((files.clone(), known))
            }
        };
        let mut files = Files {
            directory: config.directory.clone(),
            for_all,
            provider,
            known: BTreeMap::new(),
            said: String::new(),
            held: watch::Sender::new(Arc::new(Held::default())),
        };
        files.look();
        files.publish();
        files.remind(&Moment::of(wall::since_1970() + REMINDER_TIME));
        Ok(files)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Held>> {
        self.held.subscribe()
    }

    /// Looks again and again, until whoever holds the other end of `stop` lets go of it.
    pub(crate) fn keep(mut self, stop: &Receiver<()>) {
        let mut pause = PAUSE_MIN;
        while stop.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let begun = Instant::now();
            if self.look() {
                self.publish();
            }
            self.remind(&Moment::of(wall::since_1970() + REMINDER_TIME));
            pause = (begun.elapsed() * PAUSE_LOOKS).clamp(PAUSE_MIN, PAUSE_MAX);
        }
    }

    /// Reads what changed; whether anything did.
    fn look(&mut self) -> bool {
        let mut changed = match &mut self.for_all {
            Some((files, known)) => known.look(files, &self.provider),
            None => false,
        };
        let Some(directory) = self.directory.clone() else { return changed };
        match pairs(&directory) {
            Ok((pairs, all)) => {
                let said = if all { String::new() } else { format!("it holds more than {PAIRS_MAX} pairs") };
                self.say(&directory, said);
                let kept: BTreeSet<&PathBuf> = pairs.iter().map(|files| &files.certificate).collect();
                let before = self.known.len();
                self.known
                    .retain(|path, known| kept.contains(path) || !std::mem::replace(&mut known.missed, true));
                changed |= self.known.len() != before;
                for files in &pairs {
                    let known = self.known.entry(files.certificate.clone()).or_default();
                    changed |= known.look(files, &self.provider);
                }
            }
            Err(error) => self.say(&directory, error.to_string()),
        }
        changed
    }

    /// Says once of each pair what its clients or its owner would rather not find out by themselves.
    fn remind(&mut self, soon: &Moment) {
        let all = self.for_all.iter_mut().map(|(files, known)| (&files.certificate, known));
        for (path, known) in self.known.iter_mut().chain(all) {
            known.remind(path, soon);
        }
    }

    /// The same again is no news.
    fn say(&mut self, directory: &Path, reason: String) {
        if self.said != reason {
            if !reason.is_empty() {
                tracing::error!(directory = %directory.display(), reason, "not all certificates are read");
            }
            self.said = reason;
        }
    }

    fn publish(&self) {
        let mut pairs: Vec<&Pair> = self.known.values().filter_map(|known| known.pair.as_ref()).collect();
        // Of two pairs for one name the one that was written last counts.
        pairs.sort_by_key(|pair| pair.modified);
        let mut held = Held::default();
        pairs.iter().for_each(|pair| held.add(pair));
        let for_all = self.for_all.as_ref().and_then(|(_, known)| known.pair.as_ref());
        held.for_all = for_all.map(|pair| pair.certified.clone());
        if self.directory.is_some() {
            let names = held.exact.len() + held.wildcard.len();
            tracing::info!(pairs = pairs.len(), names, "certificates from files");
        }
        self.held.send_replace(Arc::new(held));
    }
}

/// What is known of one pair of files.
#[derive(Default)]
struct Known {
    /// Of the files that `pair` was read from.
    stamps: Option<Stamps>,
    pair: Option<Pair>,
    problem: Option<Problem>,
    /// The last look did not find it. What the next one does not find either is gone: files that are replaced may be
    /// away for a moment.
    missed: bool,
    /// It was said that `pair` ends soon.
    reminded: bool,
}

/// Said when a second look meets it too: a look may have come between two files that are replaced.
struct Problem {
    error: PairError,
    said: bool,
}

impl Known {
    /// Reads the pair if it changed, or could not be used; whether it is another one now.
    fn look(&mut self, files: &PairFiles, provider: &CryptoProvider) -> bool {
        self.missed = false;
        let stamps = Stamps::of(files).ok();
        if self.problem.is_none() && stamps.is_some() && stamps == self.stamps {
            return false;
        }
        match read_pair(files, provider) {
            Ok((stamps, pair)) => {
                *self = Known { stamps: Some(stamps), pair: Some(pair), ..Known::default() };
                true
            }
            Err(error) => {
                match &mut self.problem {
                    Some(problem) if problem.error == error => problem.say(self.pair.is_some()),
                    problem => *problem = Some(Problem { error, said: false }),
                }
                false
            }
        }
    }
}

impl Known {
    fn remind(&mut self, path: &Path, soon: &Moment) {
        let Some(Pair { end: Some(end), .. }) = &self.pair else { return };
        if !self.reminded && end < soon {
            self.reminded = true;
            tracing::warn!(certificate = %path.display(), until = end.day(), "a certificate ends soon, or has ended");
        }
    }
}

impl Problem {
    fn say(&mut self, has_former: bool) {
        if !self.said {
            self.said = true;
            let instead = if has_former { "the one before it is served" } else { "it is not served" };
            tracing::error!(error = %self.error, instead, "a certificate and its key cannot be used");
        }
    }
}

/// A certificate with its key, ready to serve.
struct Pair {
    certified: Arc<CertifiedKey>,
    /// In lower case; `*.` stands for one label.
    names: Vec<String>,
    end: Option<Moment>,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
}

/// What of a file changes when its content does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of what a link leads to: tools that renew certificates replace links.
    fn of(path: &Path) -> Result<Stamp, PairError> {
        let file = fs::metadata(path).map_err(|error| PairError::new(path, error))?;
        if !file.is_file() {
            return Err(PairError::new(path, "it is not a file"));
        }
        Ok(Stamp {
            place: (file.dev(), file.ino()),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamps {
    certificate: Stamp,
    key: Stamp,
}

impl Stamps {
    fn of(files: &PairFiles) -> Result<Stamps, PairError> {
        Ok(Stamps { certificate: Stamp::of(&files.certificate)?, key: Stamp::of(&files.key)? })
    }
}

fn read_pair(files: &PairFiles, provider: &CryptoProvider) -> Result<(Stamps, Pair), PairError> {
    let PairFiles { certificate, key } = files;
    let stamps = Stamps::of(files)?;
    let (chain_text, key_text) = (content(certificate)?, content(key)?);
    if Stamps::of(files)? != stamps {
        return Err(PairError::new(certificate, "it or its key changes while it is read"));
    }
    let chain = CertificateDer::pem_slice_iter(&chain_text).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| PairError::new(certificate, error))?;
    let own = chain.first().ok_or_else(|| PairError::new(certificate, "it holds no certificate"))?;
    let names = names(own).map_err(|error| PairError::new(certificate, error))?;
    if names.is_empty() {
        return Err(PairError::new(certificate, "it names no host"));
    }
    let end = Moment::end_of(own);
    let private = PrivateKeyDer::from_pem_slice(&key_text).map_err(|error| PairError::new(key, error))?;
    // Also checks that the two belong together.
    let certified = CertifiedKey::from_der(chain, private, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            PairError::new(key, format!("it is not the key of {}", certificate.display()))
        }
        error => PairError::new(key, error),
    })?;
    Ok((stamps, Pair { certified: Arc::new(certified), names, end, modified: stamps.certificate.modified }))
}

/// The hosts that a certificate is for.
fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, webpki::Error> {
    let parsed = webpki::EndEntityCert::try_from(certificate)?;
    Ok(parsed.valid_dns_names().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect())
}

fn content(path: &Path) -> Result<Vec<u8>, PairError> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content));
    match read {
        Err(error) => Err(PairError::new(path, error)),
        Ok(_) if content.len() as u64 > FILE_BYTES_MAX => {
            Err(PairError::new(path, format!("it has more than {FILE_BYTES_MAX} bytes")))
        }
        Ok(_) => Ok(content),
    }
}

/// The pairs of a directory, and whether they are all of them. Names that begin with a dot are somebody's unfinished
/// work.
fn pairs(directory: &Path) -> io::Result<(Vec<PairFiles>, bool)> {
    let mut pairs = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // Gone since it was listed.
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        let is_directory = kind.is_dir() || kind.is_symlink() && path.is_dir();
        let files = match path.extension() {
            _ if is_directory => PairFiles { certificate: path.join("cert.pem"), key: path.join("key.pem") },
            Some(extension) if extension == "pem" => {
                PairFiles { key: path.with_extension("key"), certificate: path }
            }
            _ => continue,
        };
        if pairs.len() == PAIRS_MAX {
            return Ok((pairs, false));
        }
        pairs.push(files);
    }
    Ok((pairs, true))
}

#[cfg(test)]
mod tests;
