//! Who may depend on whom: the picture of the house in docs/ARCHITECTURE.md, as a table.

use super::Problem;
use anyhow::{Context, Result};
use std::path::Path;
use toml::{Table, Value};

/// What a crate may use of our own and, where that is bounded, of others'.
struct Rule {
    name: &'static str,
    ours: &'static [&'static str],
    /// External crates of the product itself (not of its tests); `None` sets no bound.
    external: Option<&'static [&'static str]>,
}

/// Nothing depends on `app`; `compute` embeds the program of `shim` and reads the files that it writes.
const RULES: &[Rule] = &[
    // `jiff` for its calendar: without its features for time zones it reads no file.
    Rule {
        name: "model",
        ours: &[],
        external: Some(&["jiff", "saphyr-parser", "serde", "serde_json", "thiserror"]),
    },
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
    Rule { name: "activity", ours: &["model"], external: None },
    Rule { name: "store", ours: &["model"], external: None },
    Rule { name: "images", ours: &["model"], external: None },
    Rule { name: "telemetry", ours: &["model"], external: None },
    Rule { name: "scalers", ours: &["model"], external: Some(&[]) },
    Rule { name: "proxy", ours: &["activity", "model"], external: None },
    Rule { name: "compute", ours: &["activity", "images", "model", "shim"], external: None },
    Rule {
        name: "control",
        ours: &["compute", "images", "model", "store", "telemetry", "wire"],
        external: None,
    },
    Rule { name: "app", ours: &["compute", "control", "images", "model", "proxy", "wire"], external: None },
    Rule { name: "sim", ours: &["compute", "control", "model", "store"], external: None },
    // Nothing that is made from what it generates: it must build when that does not.
    Rule { name: "xtask", ours: &["scalers"], external: None },
];

/// The page that says to people what the table says.
const PAGE: &str = "docs/ARCHITECTURE.md";

/// `members` are directories, from the root.
pub(super) fn check(root: &Path, members: &[String]) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let architecture = std::fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    let words: Vec<&str> = architecture.split_whitespace().collect();
    if !words.join(" ").contains(&sentence(RULES)) {
        problems.push(Problem::new(PAGE, format!("does not say: {}", sentence(RULES))));
    }
    for member in members {
        let name = member.strip_prefix("crates/").unwrap_or(member);
        let path = format!("{member}/Cargo.toml");
        let manifest = manifest(root, member)?;
        match RULES.iter().find(|rule| rule.name == name) {
            Some(rule) => {
                let found = [check_crate(rule, &manifest), check_unused(rule, &manifest)].concat();
                problems.extend(found.into_iter().map(|p| Problem::new(&path, p)));
            }
            None => problems.push(Problem::new(&path, "is not in the table of xtask/src/tidy/edges.rs")),
        }
        if !architecture.contains(&format!("`{name}`")) && !architecture.contains(&format!("crates/{name}")) {
            problems.push(Problem::new(PAGE, format!("does not name the crate `{name}`")));
        }
    }
    Ok(problems)
}

/// The table as a sentence; crates that may use the same stand together.
fn sentence(rules: &[Rule]) -> String {
    let clauses = rules.chunk_by(|one, next| one.ours == next.ours).map(|alike| {
        let names: Vec<&str> = alike.iter().map(|rule| rule.name).collect();
        let ours = if alike[0].ours.is_empty() { "none".to_owned() } else { alike[0].ours.join(", ") };
        format!("{} → {ours}", names.join(", "))
    });
    format!("Edges, checked by `cargo xtask tidy`: {}.", clauses.collect::<Vec<_>>().join("; "))
}

/// The manifest of a member of the workspace.
pub(super) fn manifest(root: &Path, member: &str) -> Result<Table> {
    let path = format!("{member}/Cargo.toml");
    std::fs::read_to_string(root.join(&path))?.parse().context(path)
}

/// Kind, name and what is said of every dependency.
pub(super) fn dependencies(manifest: &Table) -> Vec<(&'static str, &str, &Value)> {
    let mut all = Vec::new();
    for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
        let targets = manifest.get("target").and_then(Value::as_table);
        let targets = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
        for table in std::iter::once(manifest).chain(targets) {
            let table = table.get(kind).and_then(Value::as_table);
            all.extend(table.into_iter().flatten().map(|(name, value)| (kind, name.as_str(), value)));
        }
    }
    all
}

fn check_crate(rule: &Rule, manifest: &Table) -> Vec<String> {
    let mut problems = Vec::new();
    if manifest.get("lints").and_then(|l| l.get("workspace")).and_then(|w| w.as_bool()) != Some(true) {
        problems.push("does not take the workspace's lints".to_owned());
    }
    for (kind, name, value) in dependencies(manifest) {
        let from_workspace = value.get("workspace").and_then(|w| w.as_bool()) == Some(true);
        if !from_workspace && value.get("path").is_none() {
            problems.push(format!("{name}: versions stand in the workspace's Cargo.toml, once"));
        }
        match (ours(name), rule.external) {
            (Some(ours), _) if !rule.ours.contains(&ours) => {
                problems.push(format!("{} must not depend on {ours}", rule.name));
            }
            (None, Some(external)) if kind != "dev-dependencies" && !external.contains(&name) => {
                problems.push(format!("{} may not use {name}, only {}", rule.name, external.join(", ")));
            }
            _ => {}
        }
    }
    problems
}

/// What the table calls this package of ours.
fn ours(package: &str) -> Option<&str> {
    if package == "apron" { Some("app") } else { package.strip_prefix("apron-") }
}

/// Edges that the table allows and the crate does not have: the table and the page say what is.
fn check_unused(rule: &Rule, manifest: &Table) -> Vec<String> {
    let has = |name: &str| dependencies(manifest).iter().any(|(_, package, _)| ours(package) == Some(name));
    let unused = rule.ours.iter().filter(|name| !has(name));
    unused
        .map(|name| format!("does not use {name}: take it from the table of xtask/src/tidy/edges.rs"))
        .collect()
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
            ("xtask", "wire"),
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

    #[test]
    fn the_page_says_what_the_table_says() {
        let rule = |name, ours| Rule { name, ours, external: None };
        let rules = [rule("a", &[]), rule("b", &["a"]), rule("c", &["a"]), rule("d", &["a", "c"])];
        let expected = "Edges, checked by `cargo xtask tidy`: a → none; b, c → a; d → a, c.";
        assert_eq!(sentence(&rules), expected);
    }

    #[test]
    fn an_edge_that_is_allowed_is_there() {
        let rule = RULES.iter().find(|rule| rule.name == "compute").unwrap();
        let manifest = "[dependencies]\napron-activity.workspace = true\napron-images.workspace = true\napron-model.workspace = true\n";
        let missing = check_unused(rule, &manifest.parse().unwrap());
        assert_eq!(missing, ["does not use shim: take it from the table of xtask/src/tidy/edges.rs"]);
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
