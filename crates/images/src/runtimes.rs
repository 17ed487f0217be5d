//! Managed runtimes: which there are, and their base images assembled from Debian packages.
//!
//! A base is signed packages from the mirror that this host already uses, put together by mmdebstrap into one
//! layer. It is cached under the hash of its recipe and of the mirror, so a changed recipe is a new base and
//! an old one stays what its builds were made on.

mod assemble;

use crate::content::{Content, ContentError};
use crate::pack::PackError;
use crate::process::Cancel;
use apron_model::ids::Digest;
use apron_model::instance::Fault;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use assemble::{forget_unused, remove_leftovers};

const EMBEDDED: &str = include_str!("../runtimes.toml");
/// Name of the base that only clones.
const FETCH: &str = "fetch";
/// Directories every base has on PATH, after its own.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The sentence names the known ones and the near miss.
    #[error("{0}")]
    Unknown(String),
    #[error("the runtime catalogue {path}: {reason}")]
    BadCatalogue { path: PathBuf, reason: String },
    #[error(
        "mmdebstrap is not installed, and without it no base image can be assembled; on Debian and Ubuntu: apt-get install mmdebstrap"
    )]
    NoMmdebstrap,
    #[error("the base image {base} could not be assembled from Debian packages: {reason}")]
    Assembly { base: String, reason: String, last_lines: Vec<String> },
    #[error(
        "the base image {base} was not assembled within {} minutes",
        assemble::ASSEMBLY_TIME_MAX.as_secs() / 60
    )]
    Late { base: String },
    #[error("the assembly of a base image was cancelled")]
    Cancelled,
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

impl RuntimeError {
    pub fn fault(&self) -> Fault {
        let (permanent, last_lines) = match self {
            RuntimeError::Unknown(_) | RuntimeError::BadCatalogue { .. } | RuntimeError::NoMmdebstrap => {
                (true, Vec::new())
            }
            // A mirror that is away comes back.
            RuntimeError::Assembly { last_lines, .. } => (false, last_lines.clone()),
            RuntimeError::Content(e) => (e.permanent(), Vec::new()),
            RuntimeError::Pack(e) => (e.permanent(), Vec::new()),
            RuntimeError::Io { .. } | RuntimeError::Late { .. } | RuntimeError::Cancelled => {
                (false, Vec::new())
            }
        };
        Fault { permanent, reason: self.to_string(), last_lines }
    }
}

/// Which App Runner pipeline a runtime has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pipeline {
    /// No `pre-run`. App Runner builds twice, with the effect that what a build installs is there at run time.
    Original,
    /// `pre-run` after the build, in the image that runs.
    Revised,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// As in `apprunner.yaml`, e.g. `python311`.
    pub name: String,
    /// As in the API, e.g. `PYTHON_311`.
    pub api_name: String,
    /// The version that the base has, e.g. `3.11`.
    pub version: String,
    pub pipeline: Pipeline,
    pub base: Base,
}

/// A recipe. Everything in it is part of the base's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    pub name: String,
    /// The Debian release.
    pub suite: String,
    pub packages: Vec<String>,
    /// Run by `sh -c` inside the new system when its packages are in.
    pub setup: String,
    /// Put before the system's directories on PATH.
    pub path: Vec<String>,
    pub env: BTreeMap<String, String>,
}

impl Base {
    /// The PATH of everything that runs on it.
    pub fn search_path(&self) -> String {
        let mut path = self.path.clone();
        path.push(SYSTEM_PATH.to_owned());
        path.join(":")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    base: Vec<Base>,
    #[serde(default)]
    runtime: Vec<Entry>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    api_name: String,
    version: String,
    pipeline: Pipeline,
    base: String,
}

/// Every runtime that can be asked for.
#[derive(Clone, Debug)]
pub struct Catalogue {
    runtimes: Vec<Runtime>,
    fetch: Runtime,
}

impl Catalogue {
    /// The runtimes that come with the program, and those of the operator's file if there is one, whose entries win.
    pub fn open(file: Option<&Path>) -> Result<Catalogue, RuntimeError> {
        let embedded = (Path::new("runtimes.toml"), EMBEDDED);
        let Some(path) = file else { return Catalogue::read(&[embedded]) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| RuntimeError::Io { path: path.to_owned(), source })?;
        Catalogue::read(&[embedded, (path, &text)])
    }

    fn read(files: &[(&Path, &str)]) -> Result<Catalogue, RuntimeError> {
        let mut bases: BTreeMap<String, Base> = BTreeMap::new();
        let mut entries: BTreeMap<String, (PathBuf, Entry)> = BTreeMap::new();
        for (path, text) in files {
            let file: File = toml::from_str(text).map_err(|e| RuntimeError::BadCatalogue {
                path: path.to_path_buf(),
                reason: e.to_string(),
            })?;
            bases.extend(file.base.into_iter().map(|base| (base.name.clone(), base)));
            entries.extend(file.runtime.into_iter().map(|e| (e.name.clone(), (path.to_path_buf(), e))));
        }
        let mut runtimes = Vec::new();
        for (path, entry) in entries.into_values() {
            let Some(base) = bases.get(&entry.base) else {
                let reason =
                    format!("the runtime {} has the base {}, which is not there", entry.name, entry.base);
                return Err(RuntimeError::BadCatalogue { path, reason });
            };
            let Entry { name, api_name, version, pipeline, .. } = entry;
            runtimes.push(Runtime { name, api_name, version, pipeline, base: base.clone() });
        }
        let Some(base) = bases.remove(FETCH) else {
            let reason = format!("the base {FETCH}, which clones repositories, is not there");
            let path = files.first().map_or_else(PathBuf::new, |(path, _)| path.to_path_buf());
            return Err(RuntimeError::BadCatalogue { path, reason });
        };
        let fetch = Runtime {
            name: FETCH.to_owned(),
            api_name: String::new(),
            version: String::new(),
            pipeline: Pipeline::Original,
            base,
        };
        Ok(Catalogue { runtimes, fetch })
    }

    /// Names as in `apprunner.yaml`, sorted.
    pub fn names(&self) -> Vec<&str> {
        self.runtimes.iter().map(|r| r.name.as_str()).collect()
    }

    /// Names as in the API, in the same order.
    pub fn api_names(&self) -> Vec<&str> {
        self.runtimes.iter().map(|runtime| runtime.api_name.as_str()).collect()
    }

    /// What clones a repository whose runtime is not known yet: git and little else. Not to be asked for by name.
    pub fn fetch(&self) -> &Runtime {
        &self.fetch
    }

    /// Runtimes whose base can clone a repository.
    pub fn with_git(&self) -> impl Iterator<Item = &Runtime> {
        self.runtimes.iter().filter(|runtime| runtime.base.packages.iter().any(|package| package == "git"))
    }

    /// By the name of the file (`python311`) or of the API (`PYTHON_311`).
    pub fn find(&self, name: &str) -> Result<&Runtime, RuntimeError> {
        self.runtimes.iter().find(|r| r.name == name || r.api_name == name).ok_or_else(|| {
            let plain = name.to_ascii_lowercase();
            RuntimeError::Unknown(apron_model::manifest::unknown_runtime(&plain, &self.names()))
        })
    }
}

/// The image of the runtime's base: from the cache, or assembled now, which takes about half a minute. The output of
/// the assembly goes to `lines`. Two callers at once wait for one assembly. Blocking; `cancel` ends it within
/// moments, with everything that it has started.
pub fn base(
    content: &Content,
    bases_dir: &Path,
    runtime: &Runtime,
    cancel: &Cancel,
    lines: &mut dyn FnMut(&str),
) -> Result<Digest, RuntimeError> {
    assemble::cached(content, bases_dir, &runtime.base, cancel, lines)
}

/// Lets an image that is complete in the store stand for a base: one that was pulled or imported, on machines
/// that cannot assemble it.
pub fn record(bases_dir: &Path, base: &Base, image: &Digest) -> Result<(), RuntimeError> {
    assemble::record(bases_dir, base, image)
}

/// The image with which `base` would answer at once.
pub fn cached(content: &Content, bases_dir: &Path, base: &Base) -> Option<Digest> {
    assemble::found(content, bases_dir, base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_catalogue() {
        let catalogue = Catalogue::open(None).unwrap();
        assert_eq!(catalogue.names(), ["nodejs18", "python3", "python311"]);
        assert!(catalogue.fetch().base.packages.contains(&"git".to_owned()));
        assert_eq!(catalogue.find("PYTHON_311").unwrap().name, "python311");
        assert_eq!(catalogue.find("python3").unwrap().base, catalogue.find("python311").unwrap().base);
        assert!(
            catalogue
                .find("python311")
                .unwrap()
                .base
                .search_path()
                .starts_with("/opt/venv/bin:/usr/local/sbin:")
        );
        let error = catalogue.find("python3.11").unwrap_err();
        assert!(error.fault().permanent);
        assert!(error.to_string().contains("did you mean python311?"), "{error}");
    }

    #[test]
    fn an_operators_entry_wins() {
        let own = "[[runtime]]\nname = 'python311'\napi_name = 'PYTHON_311'\nversion = '3.11'\npipeline = 'revised'\nbase = 'mine'\n\
                   [[base]]\nname = 'mine'\nsuite = 'trixie'\npackages = []\nsetup = 'true'\npath = []\nenv = {}\n";
        let catalogue = Catalogue::read(&[(Path::new("a"), EMBEDDED), (Path::new("b"), own)]).unwrap();
        assert_eq!(catalogue.find("python311").unwrap().base.suite, "trixie");
        let missing = Catalogue::read(&[(Path::new("b"), &own[..own.find("[[base]]").unwrap()])]);
        assert!(matches!(missing, Err(RuntimeError::BadCatalogue { .. })));
        assert!(matches!(
            Catalogue::read(&[(Path::new("c"), "x = 1")]),
            Err(RuntimeError::BadCatalogue { .. })
        ));
    }
}
