//! Licences, banned crates and sources of everything that is linked in, by `deny.toml` and `cargo metadata`.
//!
//! A small part of what cargo-deny does, so that a fresh machine needs nothing to check it; security
//! advisories are not looked at here.

use crate::program;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[derive(Deserialize)]
struct Config {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
    #[serde(default)]
    clarify: Vec<Clarify>,
}

/// What a crate is under that does not say so in its manifest; holds for this version only.
#[derive(Deserialize)]
struct Clarify {
    #[serde(rename = "crate")]
    name: String,
    version: String,
    expression: String,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    #[serde(default)]
    reason: String,
    /// One copy is welcome, two are not.
    #[serde(default)]
    deny_multiple_versions: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

/// Prints every problem; fails if there is one.
pub(crate) fn run(root: &Path) -> Result<()> {
    let config: Config =
        toml::from_str(&std::fs::read_to_string(root.join("deny.toml"))?).context("deny.toml")?;
    let packages = packages(root, &config.graph.targets)?;
    let mut problems = check_licenses(&config.licenses, &packages);
    problems.extend(check_bans(&config.bans, &packages));
    problems.extend(check_sources(&config.sources, &packages));
    for problem in &problems {
        println!("{problem}");
    }
    ensure!(problems.is_empty(), "{} problems with dependencies", problems.len());
    println!("{} crates have allowed licences, sources and neighbours", packages.len());
    Ok(())
}

/// Every package that is built for one of the targets.
fn packages(root: &Path, targets: &[String]) -> Result<Vec<Package>> {
    let mut used = BTreeMap::new();
    for target in targets {
        let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", target];
        let value: Value = serde_json::from_str(&program::output(program::cargo(root).args(arguments))?)?;
        // Only `resolve` knows the target; `packages` names all.
        let nodes = value["resolve"]["nodes"].as_array().context("cargo metadata has no nodes")?;
        let ids: BTreeSet<&str> = nodes.iter().filter_map(|node| node["id"].as_str()).collect();
        let metadata = Metadata::deserialize(&value)?;
        for package in metadata.packages.into_iter().filter(|p| ids.contains(p.id.as_str())) {
            used.insert(package.id.clone(), package);
        }
    }
    Ok(used.into_values().collect())
}

fn check_licenses(licenses: &Licenses, packages: &[Package]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    for p in packages {
        let clarified = || {
            let clarify = licenses.clarify.iter().find(|c| c.name == p.name && c.version == p.version)?;
            Some(&clarify.expression)
        };
        let Some(expression) = p.license.as_ref().or_else(clarified) else {
            problems.push(format!("{} {} says no licence", p.name, p.version));
            continue;
        };
        match choose(expression, &licenses.allow) {
            Ok(Some(chosen)) => used.extend(chosen),
            Ok(None) => problems.push(format!("{} {} is under {expression}", p.name, p.version)),
            Err(e) => problems.push(format!("{} {}: licence {expression:?}: {e}", p.name, p.version)),
        }
    }
    for c in &licenses.clarify {
        let needed = |p: &Package| p.name == c.name && p.version == c.version && p.license.is_none();
        if !packages.iter().any(needed) {
            problems.push(format!("deny.toml clarifies {} {}, which needs none", c.name, c.version));
        }
    }
    let unused = licenses.allow.iter().filter(|l| !used.contains(*l));
    problems.extend(unused.map(|l| format!("deny.toml allows {l}, which no crate needs")));
    problems
}

fn check_bans(bans: &Bans, packages: &[Package]) -> Vec<String> {
    let mut problems = Vec::new();
    for ban in &bans.deny {
        let found: Vec<&str> =
            packages.iter().filter(|p| p.name == ban.name).map(|p| p.version.as_str()).collect();
        if ban.deny_multiple_versions && found.len() > 1 {
            problems.push(format!("{} is there {} times: {}", ban.name, found.len(), found.join(", ")));
        } else if !ban.deny_multiple_versions && !found.is_empty() {
            problems.push(format!("{} is banned: {}", ban.name, ban.reason));
        }
    }
    problems
}

fn check_sources(sources: &Sources, packages: &[Package]) -> Vec<String> {
    let allowed = |source: &str| {
        source.strip_prefix("registry+").is_some_and(|r| sources.allow_registry.iter().any(|a| a == r))
    };
    let foreign = packages.iter().filter(|p| p.source.as_deref().is_some_and(|s| !allowed(s)));
    foreign
        .map(|p| format!("{} {} comes from elsewhere than an allowed registry", p.name, p.version))
        .collect()
}

/// The licences by which an SPDX expression is satisfied: of alternatives the first that is allowed.
fn choose(expression: &str, allow: &BTreeSet<String>) -> Result<Option<BTreeSet<String>>> {
    // Old manifests write a slash for OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    let chosen = either(&mut rest, allow)?;
    ensure!(rest.is_empty(), "unexpected {:?}", rest[0]);
    Ok(chosen)
}

type Chosen = Option<BTreeSet<String>>;

/// `a OR b`: binds weakest.
fn either(words: &mut &[&str], allow: &BTreeSet<String>) -> Result<Chosen> {
    let mut chosen = both(words, allow)?;
    while words.first() == Some(&"OR") {
        *words = &words[1..];
        let other = both(words, allow)?;
        chosen = chosen.or(other);
    }
    Ok(chosen)
}

/// `a AND b`.
fn both(words: &mut &[&str], allow: &BTreeSet<String>) -> Result<Chosen> {
    let mut chosen = one(words, allow)?;
    while words.first() == Some(&"AND") {
        *words = &words[1..];
        let other = one(words, allow)?;
        chosen = chosen.zip(other).map(|(mut all, other)| {
            all.extend(other);
            all
        });
    }
    Ok(chosen)
}

/// A licence, `licence WITH exception`, or an expression in parentheses.
fn one(words: &mut &[&str], allow: &BTreeSet<String>) -> Result<Chosen> {
    let Some((first, rest)) = words.split_first() else { bail!("it ends too early") };
    *words = rest;
    if *first == "(" {
        let chosen = either(words, allow)?;
        ensure!(words.first() == Some(&")"), "a parenthesis is not closed");
        *words = &words[1..];
        return Ok(chosen);
    }
    ensure!(!matches!(*first, "AND" | "OR" | "WITH" | ")"), "unexpected {first:?}");
    let mut name = (*first).to_owned();
    if let ["WITH", exception, rest @ ..] = *words {
        name = format!("{name} WITH {exception}");
        *words = rest;
    }
    Ok(allow.contains(&name).then(|| BTreeSet::from([name])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn satisfied(expression: &str, by: &str) {
        let allow =
            ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"].map(String::from).into();
        let chosen = choose(expression, &allow).map(|c| c.map(|c| Vec::from_iter(c).join(" + ")));
        assert_eq!(
            chosen.unwrap_or(Some("error".into())).as_deref(),
            (!by.is_empty()).then_some(by),
            "{expression}"
        );
    }

    #[test]
    fn expressions() {
        satisfied("MIT", "MIT");
        satisfied("GPL-3.0", "");
        satisfied("GPL-3.0 OR MIT", "MIT");
        satisfied("Unlicense/MIT", "MIT");
        satisfied("MIT AND GPL-3.0", "");
        satisfied("(MIT OR Apache-2.0) AND Unicode-3.0", "MIT + Unicode-3.0");
        satisfied("GPL-2.0 OR MIT AND Unicode-3.0", "MIT + Unicode-3.0");
        satisfied("Apache-2.0 WITH LLVM-exception", "Apache-2.0 WITH LLVM-exception");
        satisfied("GPL-2.0 WITH Classpath-exception", "");
        for broken in ["", "MIT OR", "(MIT", "MIT)", "AND MIT", "MIT MIT"] {
            satisfied(broken, "error");
        }
    }

    fn package(name: &str, version: &str, source: Option<&str>) -> Package {
        let (id, source) = (format!("{name}@{version}"), source.map(str::to_owned));
        Package { id, name: name.into(), version: version.into(), license: None, source }
    }

    #[test]
    fn bans_and_sources() {
        let index = "registry+https://github.com/rust-lang/crates.io-index";
        let packages = [
            package("ring", "0.16.0", Some(index)),
            package("ring", "0.17.0", Some(index)),
            package("openssl", "1.0.0", Some("git+https://example.com/x")),
            package("apron-model", "0.1.0", None),
        ];
        let ban = |name: &str, deny_multiple_versions| Ban {
            name: name.into(),
            reason: "why".into(),
            deny_multiple_versions,
        };
        let bans = Bans { deny: vec![ban("ring", true), ban("openssl", false), ban("native-tls", false)] };
        let found = check_bans(&bans, &packages);
        assert_eq!(found, ["ring is there 2 times: 0.16.0, 0.17.0", "openssl is banned: why"]);
        let sources = Sources { allow_registry: vec![index.trim_start_matches("registry+").to_owned()] };
        let found = check_sources(&sources, &packages);
        assert_eq!(found, ["openssl 1.0.0 comes from elsewhere than an allowed registry"]);
    }

    #[test]
    fn licences_are_allowed_or_clarified_and_the_list_holds_nothing_else() {
        let mut mit = package("a", "1.0.0", None);
        mit.license = Some("MIT".to_owned());
        let clarify =
            |name: &str| Clarify { name: name.into(), version: "1.0.0".into(), expression: "MIT".into() };
        let licenses = |clarify| Licenses { allow: ["MIT", "ISC"].map(String::from).into(), clarify };
        let packages = [mit, package("b", "1.0.0", None)];
        let unused = "deny.toml allows ISC, which no crate needs";
        assert_eq!(check_licenses(&licenses(vec![]), &packages), ["b 1.0.0 says no licence", unused]);
        assert_eq!(check_licenses(&licenses(vec![clarify("b")]), &packages), [unused]);
        let found = check_licenses(&licenses(vec![clarify("a"), clarify("b")]), &packages);
        assert_eq!(found, ["deny.toml clarifies a 1.0.0, which needs none", unused]);
    }
}
