//! The roles that the program plays for a build: the launch of a container and the unpacking child.

use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["launch", dir] => apron_compute::local::container::launch::launch_main(Path::new(dir)),
        [apron_images::unpack::ROLE] => apron_images::unpack::child_main(),
        _ => panic!("unknown words {words:?}"),
    }
}
