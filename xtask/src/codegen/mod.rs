//! Writes the Rust of both APIs from `specs/` into `crates/wire/src/generated/`.

mod compatibility;
mod emit;
mod names;
mod spec;

use anyhow::{Context, Result, ensure};
use spec::{Relaxation, Spec};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The APIs by the names of their files in `specs/`.
const APIS: &[&str] = &["apprunner", "apron"];

/// A file that the generator owns.
pub(crate) struct Generated {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// Writes every generated file that is not up to date, and says which.
pub(crate) fn run(root: &Path) -> Result<()> {
    for file in generate(root)? {
        let name = file.path.strip_prefix(root).unwrap_or(&file.path).display();
        if std::fs::read_to_string(&file.path).is_ok_and(|old| old == file.text) {
            println!("{name} is up to date");
        } else {
            std::fs::write(&file.path, &file.text).with_context(|| format!("cannot write {name}"))?;
            println!("{name} written");
        }
    }
    Ok(())
}

/// What the generated files should hold.
pub(crate) fn generate(root: &Path) -> Result<Vec<Generated>> {
    let apis = APIS.iter().map(|api| generate_api(root, api).with_context(|| format!("specs/{api}.json")));
    apis.chain(std::iter::once(compatibility::page(root))).collect()
}

fn generate_api(root: &Path, api: &str) -> Result<Generated> {
    let specs = root.join("specs");
    let mut spec = Spec::parse(&std::fs::read_to_string(specs.join(format!("{api}.json")))?)?;
    let relaxed = specs.join(format!("{api}.relaxed.json"));
    if relaxed.exists() {
        let relaxations: Vec<Relaxation> = serde_json::from_str(&std::fs::read_to_string(relaxed)?)?;
        spec.relax(&relaxations)?;
    }
    let text = format(root, &emit::api(&spec, api)?)?;
    Ok(Generated { path: root.join(format!("crates/wire/src/generated/{api}.rs")), text })
}

/// The text as rustfmt writes it, so that `cargo fmt --check` and the check for staleness agree.
fn format(root: &Path, text: &str) -> Result<String> {
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run rustfmt")?;
    let mut stdin = rustfmt.stdin.take().context("rustfmt has no input")?;
    let input = text.to_owned();
    // Written from a thread: both pipes are smaller than the text.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = rustfmt.wait_with_output()?;
    writer.join().map_err(|_| anyhow::anyhow!("the writer to rustfmt panicked"))??;
    ensure!(output.status.success(), "rustfmt refused the generated text");
    Ok(String::from_utf8(output.stdout)?)
}
