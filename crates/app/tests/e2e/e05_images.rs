//! Point 5: images from an archive and from a real registry. Needs root.

use crate::support::registry::Registry;
use crate::support::{Platform, http, image};
use std::time::Instant;

#[test]
fn an_imported_archive_serves() {
    let platform = Platform::start();
    let archive = image::archive(&platform.scratch("image"), "hello:1", &[("TEXT", "from an archive")]);
    let imported = platform.run(&["image", "import", archive.to_str().unwrap()]);
    assert!(imported.contains("hello:1"), "{imported}");
    platform.run(&["deploy", "hello:1", "--name", "hello"]);
    assert_eq!(http::get(&platform.apps, &platform.alias("hello"), "/").unwrap().body, "from an archive");
}

#[test]
fn an_image_of_a_registry_serves_and_a_new_one_takes_over() {
    let platform = Platform::start();
    let dir = platform.scratch("registry");
    let registry = Registry::start(&dir);
    let push_for = |text: &str, tag: &str, architecture: &str| {
        registry.push("team/app", tag, &image::oci(&dir, &[("TEXT", text)], architecture));
    };
    let push = |text: &str| push_for(text, "latest", "amd64");
    push("first");
    let reference = format!("{}/team/app:latest", registry.host);
    platform.run(&["deploy", &reference, "--name", "app"]);
    let get = || http::get(&platform.apps, &platform.alias("app"), "/").unwrap().body;
    assert_eq!(get(), "first");
    push("second");
    let began = Instant::now();
    platform.run(&["deploy", &reference, "--name", "app"]);
    println!("deployment of a new image: {:?}", began.elapsed());
    assert_eq!(get(), "second");

    let said = platform.refused(&["deploy", &format!("{}/team/none:1", registry.host), "--name", "none"]);
    assert!(said.contains("team/none") && said.contains("not"), "{said}");

    // Another architecture's image is told from its configuration, before anything runs.
    push_for("foreign", "foreign", "s390x");
    let said =
        platform.refused(&["deploy", &format!("{}/team/app:foreign", registry.host), "--name", "foreign"]);
    println!("{said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("s390x") && last.contains("amd64"), "{said}");
    assert_eq!(get(), "second");
}
