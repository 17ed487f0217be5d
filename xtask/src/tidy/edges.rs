//! Who may depend on whom: the picture of the house in docs/ARCHITECTURE.md, as a table.

use super::Problem;
use anyhow::{Context, Result};
use std::path::Path;
use toml::Table;

/// What a crate may use of our own and, where that is bounded, of others'.
struct Rule {
    name: &'static str,
    ours: &'static [&'static str],
    /// External crates of the product itself (not of its tests); `None` sets no bound.
    external: Option<&'static [&'static str]>,
}

/// Nothing depends on `app`; `compute` embeds the program of `shim` and reads the files that it writes.
const RULES: &[Rule] = &[
    Rule { name: "model", ours: &[], external: Some(&["saphyr-parser", "serde", "serde_json", "thiserror"]) },
    Rule {
        name: "wire",
        ours: &[],
        external: Some(&[
            "base64",
            "bytes",
            "hmac",
            "http",
            "regex-lite",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
        ]),
    },
    Rule { name: "shim", ours: &[], external: Some(&["libc"]) },
    Rule { name: "store", ours: &["model"], external: None },
    Rule { name: "images", ours: &["model"], external: None },
    Rule { name: "telemetry", ours: &["model"], external: None },
    Rule { name: "compute", ours: &["images", "model", "shim"], external: None },
    Rule { name: "proxy", ours: &["model"], external: None },
    Rule {
        name: "control",
        ours: &["compute", "images", "model", "store", "telemetry", "wire"],
        external: None,
    },
    Rule {
        name: "app",
        ours: &["compute", "control", "images", "model", "proxy", "store", "telemetry", "wire"],
        external: None,
    },
];

pub(super) fn check(root: &Path) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let architecture = std::fs::read_to_string(root.join("docs/ARCHITECTURE.md")).unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(root.join("crates"))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    for name in &names {
        let path = format!("crates/{name}/Cargo.toml");
        let text = std::fs::read_to_string(root.join(&path))?;
        let manifest: Table = text.parse().with_context(|| path.clone())?;
        match RULES.iter().find(|rule| rule.name == name) {
            Some(rule) => {
                problems.extend(check_crate(rule, &manifest).into_iter().map(|p| Problem::new(&path, p)))
            }
            None => problems.push(Problem::new(&path, "is not in the table of xtask/src/tidy/edges.rs")),
        }
        if !architecture.contains(&format!("`{name}`")) && !architecture.contains(&format!("crates/{name}")) {
            problems.push(Problem::new("docs/ARCHITECTURE.md", format!("does not name the crate `{name}`")));
        }
    }
    Ok(problems)
}

fn check_crate(rule: &Rule, manifest: &Table) -> Vec<String> {
    let mut problems = Vec::new();
    if manifest.get("lints").and_then(|l| l.get("workspace")).and_then(|w| w.as_bool()) != Some(true) {
        problems.push("does not take the workspace's lints".to_owned());
    }
    for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
        let mut tables: Vec<&Table> = manifest.get(kind).and_then(|t| t.as_table()).into_iter().collect();
        for target in manifest.get("target").and_then(|t| t.as_table()).into_iter().flat_map(|t| t.values()) {
            tables.extend(target.get(kind).and_then(|t| t.as_table()));
        }
        for (name, value) in tables.into_iter().flatten() {
            let from_workspace = value.get("workspace").and_then(|w| w.as_bool()) == Some(true);
            if !from_workspace && value.get("path").is_none() {
                problems.push(format!("{name}: versions stand in the workspace's Cargo.toml, once"));
            }
            let ours = if name == "apron" { Some("app") } else { name.strip_prefix("apron-") };
            match (ours, rule.external) {
                (Some(ours), _) if !rule.ours.contains(&ours) => {
                    problems.push(format!("{} must not depend on {ours}", rule.name));
                }
                (None, Some(external))
                    if kind != "dev-dependencies" && !external.contains(&name.as_str()) =>
                {
                    problems.push(format!("{} may not use {name}, only {}", rule.name, external.join(", ")));
                }
                _ => {}
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(name: &str, dependencies: &str) -> Vec<String> {
        let rule = RULES.iter().find(|rule| rule.name == name).unwrap();
        check_crate(rule, &format!("[lints]\nworkspace = true\n{dependencies}").parse().unwrap())
    }

    #[test]
    fn edges_are_held() {
        assert_eq!(problems("model", "[dependencies]\nserde.workspace = true"), Vec::<String>::new());
        assert_eq!(problems("model", "[dependencies]\ntokio.workspace = true").len(), 1);
        assert_eq!(problems("model", "[dev-dependencies]\ntokio.workspace = true").len(), 0);
        for (name, on) in [
            ("model", "wire"),
            ("wire", "model"),
            ("proxy", "store"),
            ("proxy", "wire"),
            ("store", "compute"),
            ("compute", "telemetry"),
            ("images", "compute"),
            ("shim", "model"),
            ("control", "proxy"),
        ] {
            for kind in ["dependencies", "dev-dependencies", "target.x86_64-unknown-linux-gnu.dependencies"] {
                let found = problems(name, &format!("[{kind}]\napron-{on}.workspace = true"));
                assert_eq!(found, [format!("{name} must not depend on {on}")]);
            }
        }
        assert_eq!(
            problems("store", "[dependencies]\napron.workspace = true"),
            ["store must not depend on app"]
        );
        assert_eq!(problems("store", "[dependencies]\nsqlx = \"1\"").len(), 1);
    }

    /// The table has no cycle: every crate may only use crates that stand above it.
    #[test]
    fn the_table_has_no_cycle() {
        for (i, rule) in RULES.iter().enumerate() {
            for ours in rule.ours {
                assert!(RULES[..i].iter().any(|above| above.name == *ours), "{} → {ours}", rule.name);
            }
        }
    }
}
