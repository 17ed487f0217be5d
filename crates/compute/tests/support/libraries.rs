//! The libraries that a program of this host is linked to, copied into a tree in which it is to run.

use std::fs;
use std::path::Path;
use std::process::Command;

pub(crate) fn copy_libraries(program: &Path, tree: &Path) {
    let linked = Command::new("ldd").arg(program).output().unwrap();
    for line in String::from_utf8(linked.stdout).unwrap().lines() {
        let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
        let target = tree.join(&library[1..]);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(library, target).unwrap();
    }
}
