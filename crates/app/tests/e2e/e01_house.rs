//! Point 1: the binary as it is shipped. That the crates' edges hold is `cargo xtask tidy`, a stage of CI.

use crate::support::{APRON, repository};
use std::process::Command;

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_binary_needs_libc_and_nothing_else() {
    let dynamic = output("readelf", &["--dynamic", "--wide", APRON]);
    let needed: Vec<&str> = dynamic
        .lines()
        .filter_map(|line| line.split_once("(NEEDED)")?.1.split_once('[')?.1.split_once(']'))
        .map(|(name, _)| name)
        .collect();
    println!("needed: {needed:?}");
    assert!(needed.contains(&"libc.so.6"), "{needed:?}");
    // The compiler's unwinder comes with every libc that a distribution installs.
    let allowed =
        ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];
    for name in needed {
        assert!(allowed.contains(&name), "{name} is no part of libc");
    }
    for sign in ["(RPATH)", "(RUNPATH)"] {
        assert!(!dynamic.contains(sign), "{dynamic}");
    }
}

/// Without a platform, an environment or a file.
#[test]
fn it_says_its_version_everywhere_alike() {
    let said = output("env", &["-i", APRON, "version"]);
    assert_eq!(said.trim(), format!("apron {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(output("env", &["-i", APRON, "--version"]), said);
}

#[test]
fn what_a_person_looks_for_first_is_there() {
    for name in ["README.md", "LICENSE", "docs/ARCHITECTURE.md", "rustfmt.toml", "clippy.toml", "deny.toml"] {
        assert!(repository().join(name).is_file(), "{name}");
    }
    let license = std::fs::read_to_string(repository().join("LICENSE")).unwrap();
    assert!(license.contains("Apache License") && license.contains("Version 2.0"));
    assert!(repository().join("docs/decisions").read_dir().unwrap().next().is_some());
}
