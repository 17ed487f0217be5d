//! Programs of this host, copied into a tree that becomes an image.

use super::libraries::copy_libraries;
use std::fs;
use std::path::Path;

/// A program of this host and the libraries that it is linked to.
pub(crate) fn copy_program(name: &str, tree: &Path) {
    let path =
        ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(name)).into_iter().find(|path| path.exists());
    let path = fs::canonicalize(path.unwrap_or_else(|| panic!("{name} is not installed"))).unwrap();
    let bin = tree.join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(tree.join("opt")).unwrap();
    fs::copy(&path, bin.join(name)).unwrap();
    copy_libraries(&path, tree);
}
