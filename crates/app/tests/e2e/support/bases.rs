//! Base images of managed runtimes, assembled once for all tests and put into each platform that builds.

use super::platform::{Options, Platform, new_directory};
use super::repository;
use apron_images::content::Content;
use apron_images::runtimes::{self, Catalogue};
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

/// What `apron serve` gives the content store to.
const CONTROL_UID: u32 = 61_900;

impl Platform {
    /// Starts with the bases of these runtimes in place, so that a build begins at once.
    pub fn with_bases(names: &[&str]) -> Platform {
        Platform::with_bases_and(names, |_| Options::standard())
    }

    /// The same with options that may follow from the data directory.
    pub fn with_bases_and(names: &[&str], options: impl FnOnce(&Path) -> Options) -> Platform {
        let cache = repository().join("target/test-bases");
        let (content_dir, bases_dir) = (cache.join("content"), cache.join("bases"));
        fs::create_dir_all(&bases_dir).expect("the cache of bases");
        let content = Content::open(&content_dir).expect("the cache's content");
        let catalogue = Catalogue::open(None).expect("the embedded catalogue");
        for name in names {
            let runtime = catalogue.find(name).expect("a known runtime");
            runtimes::base(&content, &bases_dir, runtime, &apron_images::process::Cancel::new(), &mut |_| {})
                .expect("a base image");
        }
        let data = new_directory();
        copy(&content_dir.join("blobs/sha256"), &data.join("content/blobs/sha256"));
        copy(&bases_dir, &data.join("node/bases"));
        for dir in ["content", "content/blobs", "content/blobs/sha256"] {
            let _ = chown(data.join(dir), Some(CONTROL_UID), Some(CONTROL_UID));
        }
        let options = options(&data);
        Platform::in_directory(data, options)
    }
}

/// Copies the files of a directory. Not links: the platform changes the owner of what is its own.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("the cache") {
        let entry = entry.expect("an entry of the cache");
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let target = to.join(entry.file_name());
            fs::copy(entry.path(), &target).expect("a copy of a blob");
            let _ = chown(&target, Some(CONTROL_UID), Some(CONTROL_UID));
        }
    }
}
