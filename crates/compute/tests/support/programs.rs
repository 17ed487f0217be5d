//! Programs of this host, copied into a tree that becomes an image.

use std::fs;
use std::path::Path;
use std::process::Command;

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

pub(crate) fn copy_libraries(program: &Path, tree: &Path) {
    let linked = Command::new("ldd").arg(program).output().unwrap();
    for line in String::from_utf8(linked.stdout).unwrap().lines() {
        let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
        let target = tree.join(&library[1..]);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(library, target).unwrap();
    }
}
