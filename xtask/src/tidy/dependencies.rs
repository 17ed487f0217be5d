//! Dependencies that nothing uses: they are compiled, checked for their licences and kept up to date for nothing.

use super::edges::{dependencies, manifest};
use super::{Problem, relative};
use anyhow::Result;
use regex_lite::Regex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::Table;

/// Looks for the name of every dependency in the sources of the crate that has it, and for every dependency of the
/// workspace in the manifests of its members. `members` are directories, from the root.
pub(super) fn check(root: &Path, members: &[String], files: &[PathBuf]) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    for member in members {
        let sources: Vec<String> = files
            .iter()
            .filter(|file| file.extension().is_some_and(|e| e == "rs") && file.starts_with(root.join(member)))
            .map(std::fs::read_to_string)
            .collect::<Result<_, _>>()?;
        let manifest = manifest(root, member)?;
        for (_, name, _) in dependencies(&manifest) {
            used.insert(name.to_owned());
            if !sources.iter().any(|text| names(text, name)) {
                let text = format!("{name} is used by no source of {member}");
                problems.push(Problem::new(format!("{member}/Cargo.toml"), text));
            }
        }
    }
    let workspace: Table = std::fs::read_to_string(root.join("Cargo.toml"))?.parse()?;
    let all = workspace.get("workspace").and_then(|w| w.get("dependencies")).and_then(|d| d.as_table());
    for name in all.into_iter().flat_map(Table::keys).filter(|name| !used.contains(*name)) {
        let path = relative(root, &root.join("Cargo.toml"));
        problems.push(Problem::new(path, format!("{name} is a dependency of no member")));
    }
    Ok(problems)
}

/// Whether code, not a comment, speaks of the crate: `name::…`, `use name;`, `use name as …`. A module of the same
/// name stands behind `crate::` or another path and does not count.
fn names(source: &str, dependency: &str) -> bool {
    let name = dependency.replace('-', "_");
    let pattern = format!(r"(^|[^:\w]){name}(::|;| as )");
    let pattern = Regex::new(&pattern).expect("a name of a crate has nothing that a pattern would read");
    source.lines().any(|line| !line.trim_start().starts_with("//") && pattern.is_match(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_seen_and_a_mention_is_none() {
        for used in ["use http::Uri;", "    http::Uri::default()", "use http;", "#[http::main]", "&http::Uri"]
        {
            assert!(names(used, "http"), "{used}");
        }
        for unused in
            ["// http::Uri", "crate::http::get()", "use crate::http;", "\"http://a\"", "http_body::Body"]
        {
            assert!(!names(unused, "http"), "{unused}");
        }
        assert!(names("use futures_util::StreamExt;", "futures-util"));
    }
}
