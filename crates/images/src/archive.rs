//! Image archives: OCI layouts and what `docker save` writes, as tar, gzip-compressed or not.
//!
//! The archive is read once from front to back, by a child that can do nothing but that (`reader`). Every file that
//! may be a blob goes straight into the content store (`members`), where its digest names it; which of them make up
//! an image is known at the end.

mod frames;
mod members;
mod reader;

pub use reader::{ROLE, child_main};

use crate::content::{Content, ContentError};
use crate::helper::Helper;
use crate::manifest::{
    CONFIG_TYPE, DOCUMENT_BYTES_MAX, Descriptor, INDEX_TYPE, ImageIndex, ImageManifest, LAYER_TYPE,
    MANIFEST_TYPE, for_this_machine, host_architecture,
};
use crate::process::Cancel;
use apron_model::ids::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Members of one archive: some images of at most 128 layers, three members for each.
const MEMBERS_MAX: usize = 20_000;
/// Lists in lists: an index names platforms, rarely one more index.
const INDEX_DEPTH_MAX: u32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{path} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} cannot be written: {source}")]
    Unwritable { path: PathBuf, source: io::Error },
    #[error(
        "{path} is not an image archive: {reason}; expected an OCI layout or the output of `docker save`"
    )]
    NotAnArchive { path: PathBuf, reason: String },
    #[error("reading {path} failed: {reason}")]
    Failed { path: PathBuf, reason: String },
    #[error("{path} holds an image for {offered}; this machine runs linux/{}", host_architecture())]
    OtherPlatform { path: PathBuf, offered: String },
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// Stores every image of the archive and records its names: all of them or, where an image or a name cannot be used,
/// none. An image without a name is known by its digest. Blobs of an archive that turns out to be unusable stay in the
/// store unnamed. Blocking; `cancel` ends it.
pub fn import(
    content: &Content,
    path: &Path,
    helper: &Helper,
    cancel: &Cancel,
) -> Result<Vec<(String, Digest)>, ArchiveError> {
    let members = members::read(content, path, helper, cancel)?;
    let import = Import { content, path, members };
    let images = import.images().map_err(|error| match error {
        ArchiveError::Content(ContentError::NotFound(digest)) => {
            import.not_an_archive(&format!("{digest} is named but not in it"))
        }
        error => error,
    })?;
    content.names_set(&images)?;
    Ok(images)
}

/// Writes an image of the store as an OCI layout, under this name. A file that is there is replaced.
pub fn export(content: &Content, image: &Digest, name: &str, path: &Path) -> Result<(), ArchiveError> {
    let manifest = content.manifest(image)?;
    let unwritable = |source| ArchiveError::Unwritable { path: path.to_owned(), source };
    let annotations = BTreeMap::from([("org.opencontainers.image.ref.name".to_owned(), name.to_owned())]);
    let descriptor = Descriptor {
        annotations,
        ..Descriptor::new(MANIFEST_TYPE, image.clone(), content.blob_bytes(image)?)
    };
    let index =
        ImageIndex { schema_version: 2, media_type: INDEX_TYPE.to_owned(), manifests: vec![descriptor] };
    let index = serde_json::to_vec(&index).map_err(|e| unwritable(io::Error::other(e)))?;
    let mut builder = tar::Builder::new(File::create(path).map_err(unwritable)?);
    let mut add = |name: &str, bytes: u64, data: &mut dyn Read| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes);
        builder.append_data(&mut header, name, data)
    };
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    add("oci-layout", layout.len() as u64, &mut layout.as_slice()).map_err(unwritable)?;
    add("index.json", index.len() as u64, &mut index.as_slice()).map_err(unwritable)?;
    let blobs: std::collections::BTreeSet<&Digest> =
        manifest.layers.iter().map(|layer| &layer.digest).chain([&manifest.config.digest, image]).collect();
    for digest in blobs {
        let bytes = content.blob_bytes(digest)?;
        let name = format!("blobs/sha256/{}", crate::content::hex_of(digest)?);
        add(&name, bytes, &mut content.open_blob(digest)?).map_err(unwritable)?;
    }
    builder.into_inner().and_then(|file| file.sync_all()).map_err(unwritable)
}

/// Where a member's bytes went.
enum Member {
    Blob(Digest, u64),
    /// A link to another member: `docker save` once wrote equal layers so.
    Link(String),
}

struct Import<'a> {
    content: &'a Content,
    path: &'a Path,
    members: BTreeMap<String, Member>,
}

/// One entry of `docker save`'s manifest.json.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Import<'_> {
    /// Every image by its names, each complete and for this machine.
    fn images(&self) -> Result<Vec<(String, Digest)>, ArchiveError> {
        let images = match (self.document("index.json")?, self.document("manifest.json")?) {
            (Some(index), docker) => self.oci_layout(&index, docker.as_deref())?,
            (None, Some(list)) => self.docker_save(&list)?,
            (None, None) => {
                return Err(self.not_an_archive("neither index.json nor manifest.json is in it"));
            }
        };
        if images.is_empty() {
            return Err(self.not_an_archive("it holds no image"));
        }
        for (_, digest) in &images {
            self.check(digest)?;
        }
        Ok(images)
    }

    fn oci_layout(&self, index: &[u8], docker: Option<&[u8]>) -> Result<Vec<(String, Digest)>, ArchiveError> {
        let index: ImageIndex = self.json(index, "index.json")?;
        // Newer `docker save` writes both; only its own list has the tags as people know them.
        let tags: Vec<Saved> = match docker {
            Some(list) => self.json(list, "manifest.json")?,
            None => Vec::new(),
        };
        let mut images = Vec::new();
        for descriptor in &index.manifests {
            let manifest = self.manifest(descriptor, 0)?;
            let config = self.content.manifest(&manifest)?.config.digest;
            let mut names: Vec<String> = tags
                .iter()
                .filter(|saved| self.member(&saved.config).is_ok_and(|(digest, _)| *digest == config))
                .flat_map(|saved| saved.repo_tags.clone().unwrap_or_default())
                .collect();
            if names.is_empty() {
                let known = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
                names.extend(known.iter().find_map(|key| descriptor.annotations.get(*key)).cloned());
            }
            if names.is_empty() {
                names.push(manifest.to_string());
            }
            images.extend(names.into_iter().map(|name| (name, manifest.clone())));
        }
        images.sort();
        images.dedup();
        Ok(images)
    }

    /// The manifest for this machine behind a descriptor.
    fn manifest(&self, descriptor: &Descriptor, depth: u32) -> Result<Digest, ArchiveError> {
        #[derive(Deserialize)]
        struct Kind {
            manifests: Option<serde::de::IgnoredAny>,
        }
        if depth >= INDEX_DEPTH_MAX {
            return Err(self.not_an_archive("its lists are nested too deep"));
        }
        let bytes = self.content.document(&descriptor.digest)?;
        let kind: Kind = self.json(&bytes, "a manifest")?;
        if kind.manifests.is_none() {
            return Ok(descriptor.digest.clone());
        }
        let index: ImageIndex = self.json(&bytes, "a list of manifests")?;
        let chosen = for_this_machine(&index)
            .map_err(|offered| ArchiveError::OtherPlatform { path: self.path.to_owned(), offered })?;
        self.manifest(chosen, depth + 1)
    }

    fn docker_save(&self, list: &[u8]) -> Result<Vec<(String, Digest)>, ArchiveError> {
        let saved: Vec<Saved> = self.json(list, "manifest.json")?;
        let mut images = Vec::new();
        for image in saved {
            let (config, size) = self.member(&image.config)?;
            let config = Descriptor::new(CONFIG_TYPE, config.clone(), size);
            let layers = image
                .layers
                .iter()
                .map(|name| {
                    self.member(name).map(|(digest, size)| Descriptor::new(LAYER_TYPE, digest.clone(), size))
                })
                .collect::<Result<Vec<_>, _>>()?;
            let media_type = MANIFEST_TYPE.to_owned();
            let manifest = ImageManifest { schema_version: 2, media_type, config, layers };
            let text = serde_json::to_vec(&manifest).map_err(|e| self.not_an_archive(&e.to_string()))?;
            let digest = self.content.put(&text)?;
            let names =
                image.repo_tags.filter(|tags| !tags.is_empty()).unwrap_or_else(|| vec![digest.to_string()]);
            images.extend(names.into_iter().map(|name| (name, digest.clone())));
        }
        Ok(images)
    }

    /// Every blob of the image is there and it runs on this machine.
    fn check(&self, digest: &Digest) -> Result<(), ArchiveError> {
        let manifest = self.content.manifest(digest)?;
        match self.content.config(digest) {
            Ok(_) => {}
            Err(ContentError::OtherPlatform { os, architecture }) => {
                let offered = format!("{os}/{architecture}");
                return Err(ArchiveError::OtherPlatform { path: self.path.to_owned(), offered });
            }
            Err(e) => return Err(e.into()),
        }
        match manifest.layers.iter().find(|layer| !self.content.has(&layer.digest)) {
            Some(missing) => Err(ContentError::NotFound(missing.digest.clone()).into()),
            None => Ok(()),
        }
    }

    /// The bytes of a small member, if it is there.
    fn document(&self, name: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        match self.members.get(name) {
            Some(Member::Blob(digest, size)) if *size <= DOCUMENT_BYTES_MAX => {
                Ok(Some(self.content.document(digest)?))
            }
            Some(_) => Err(self.not_an_archive(&format!("{name} is too large or a link"))),
            None => Ok(None),
        }
    }

    fn member(&self, name: &str) -> Result<(&Digest, u64), ArchiveError> {
        let mut name = name;
        // A link to a link is as far as any writer went.
        for _ in 0..3 {
            match self.members.get(name) {
                Some(Member::Blob(digest, size)) => return Ok((digest, *size)),
                Some(Member::Link(target)) => name = target,
                None => break,
            }
        }
        Err(self.not_an_archive(&format!("{name:?} is named but not in it")))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, bytes: &[u8], what: &str) -> Result<T, ArchiveError> {
        serde_json::from_slice(bytes).map_err(|e| self.not_an_archive(&format!("{what}: {e}")))
    }

    fn not_an_archive(&self, reason: &str) -> ArchiveError {
        ArchiveError::NotAnArchive { path: self.path.to_owned(), reason: reason.to_owned() }
    }
}
