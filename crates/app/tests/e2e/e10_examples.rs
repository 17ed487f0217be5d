//! Points 4 and 10: the published examples, uploaded from their directories and built with their dependencies, and
//! the image made from scratch. Needs root, and the package indexes of Python and Node.

use crate::support::processes::leftovers;
use crate::support::{APRON, Platform, http, repository};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn every_example_deploys_as_its_readme_says() {
    let mut platform = Platform::with_bases(&["python311", "nodejs18"]);
    let root = repository();
    for name in ["python", "node"] {
        let directory = root.join("examples").join(name);
        let said = platform.run(&["deploy", directory.to_str().unwrap(), "--env", "ADDED=by-hand"]);
        assert!(said.contains("Successfully built your application source code in "), "{said}");
        let answer = http::get(&platform.apps, &platform.alias(name), "/").unwrap();
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        assert!(
            answer.body.starts_with(&format!("Hello from {name}, revision 1")),
            "{name}: {}",
            answer.body
        );
    }
    let built = |name: &str| {
        let libraries = fs::read_dir(Path::new(APRON).parent().unwrap().join("deps")).unwrap().flatten();
        let of = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(name);
        libraries.filter(of).map(|entry| entry.path()).collect::<BTreeSet<PathBuf>>()
    };
    // One library that everything needs tells whether others are built once more with other features.
    let before = built("libtokio-");
    // It waits for cargo, which somebody else may be using.
    let made = Command::new("timeout").arg("300").arg(root.join("examples/static-binary/make")).output();
    let made = made.expect("the example's script");
    assert!(made.status.success(), "{}: {}", made.status, String::from_utf8_lossy(&made.stderr));
    assert!(built("libtokio-").is_subset(&before), "the script builds libraries anew");
    let archive = root.join("target/examples/static-binary.tar");
    platform.run(&["image", "import", archive.to_str().unwrap()]);
    platform.run(&["deploy", "apron-example-static:latest", "--name", "static"]);
    assert_eq!(http::get(&platform.apps, &platform.alias("static"), "/").unwrap().status, 200);

    let (id, data) = (platform.id(), platform.data.clone());
    platform.stop(libc::SIGTERM);
    platform.children_gone();
    assert_eq!(leftovers(&id, &data), Vec::<String>::new());
}
