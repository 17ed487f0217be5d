//! Who starts programs: what runs a repository's, an archive's or an application's code must stay where it is
//! confined, so nothing else of the product starts any.

use super::{Problem, relative};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// The node and its containers; unpacking, assembling and building; the supervisor, which starts `apron` itself; and
/// the command that has the system make its store of certificates anew.
const MAY: [&str; 4] = [
    "crates/compute/src/",
    "crates/images/src/",
    "crates/app/src/supervisor/",
    "crates/app/src/cli/trust.rs",
];
/// Both standard library and tokio name the type so. Put together here, as the words of `text.rs` are.
const STARTS: [&str; 2] = [concat!("Command", "::new("), concat!("process", "::Command")];

pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for file in files {
        let path = relative(root, file);
        if may_not(&path) {
            let text = std::fs::read_to_string(file)?;
            problems.extend(lines(&text).map(|line| {
                Problem::new(&path, format!("line {line}: only {} start programs", MAY.join(", ")))
            }));
        }
    }
    Ok(problems)
}

/// Sources of the product, not its tests, outside the places that may.
fn may_not(path: &str) -> bool {
    let source = path.starts_with("crates/") && path.contains("/src/") && path.ends_with(".rs");
    let of_tests = path.contains("/tests/") || path.ends_with("/tests.rs");
    source && !of_tests && !MAY.iter().any(|place| path.starts_with(place))
}

/// Numbers of the lines that start programs, up to the file's unit tests.
fn lines(text: &str) -> impl Iterator<Item = usize> {
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    product
        .lines()
        .enumerate()
        .filter(|(_, line)| STARTS.iter().any(|start| line.contains(start)))
        .map(|(number, _)| number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_started_only_where_it_may_be() {
        for path in ["crates/control/src/engine.rs", "crates/app/src/serve.rs", "crates/proxy/src/a/b.rs"] {
            assert!(may_not(path), "{path}");
        }
        for path in [
            "crates/compute/src/local/container/launch.rs",
            "crates/app/src/supervisor/spawn.rs",
            "crates/control/src/tests/walk.rs",
            "crates/store/src/line/tests.rs",
            "crates/app/tests/e2e/main.rs",
            "crates/compute/build.rs",
            "xtask/src/program.rs",
        ] {
            assert!(!may_not(path), "{path}");
        }
        let text = "use std::process::Command;\nfn a() {\n    Command::new(\"b\")\n}\n\n#[cfg(test)]\nmod tests {\n    \
                    use std::process::Command;\n}\n";
        assert_eq!(lines(text).collect::<Vec<_>>(), [1, 3]);
    }
}
