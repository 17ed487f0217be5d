//! The generated part of `docs/compatibility.md`: where we take or answer more than AWS's model, from
//! `specs/apprunner.relaxed.json`; and the check that its table names every operation.

use super::Generated;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;

const BEGIN: &str =
    "<!-- written by `cargo xtask codegen` from specs/apprunner.relaxed.json; do not edit -->\n";
const END: &str = "<!-- end -->\n";
/// A pattern in a table must stay readable.
const CELL_CHARS_MAX: usize = 80;

/// The page as it should be.
///
/// # Errors
/// When it has no place for the table, or its own table lacks an operation.
pub(super) fn page(root: &Path) -> Result<Generated> {
    let path = root.join("docs/compatibility.md");
    let text = std::fs::read_to_string(&path).context("docs/compatibility.md")?;
    let (before, rest) =
        text.split_once(BEGIN).context("docs/compatibility.md has no place for the relaxations")?;
    let (_, after) = rest.split_once(END).context("the relaxations in docs/compatibility.md have no end")?;
    let read = |name: &str| -> Result<Value> {
        let file = root.join("specs").join(name);
        Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?)
    };
    let spec = read("apprunner.json")?;
    for operation in spec["operations"].as_object().context("specs/apprunner.json has no operations")?.keys()
    {
        let rows = text.matches(&format!("\n| {operation} |")).count();
        ensure!(rows == 1, "docs/compatibility.md has {rows} rows for {operation}; it must have one");
    }
    let relaxed = read("apprunner.relaxed.json")?;
    let mut table = String::from("| shape | rule | AWS | here | why |\n|---|---|---|---|---|\n");
    for one in relaxed.as_array().context("specs/apprunner.relaxed.json is no list")? {
        let cell = |key: &str| shown(&one[key]);
        let (shape, rule) = (cell("shape"), cell("rule"));
        table.push_str(&format!(
            "| {shape} | {rule} | {} | {} | {} |\n",
            cell("aws"),
            cell("ours"),
            one["reason"].as_str().context("a relaxation has no reason")?
        ));
    }
    Ok(Generated { text: format!("{before}{BEGIN}{table}{END}{after}"), path })
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => return "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let short: String = text.chars().take(CELL_CHARS_MAX).collect();
    let more = if short.len() < text.len() { " …" } else { "" };
    // A pipe ends a cell, also within backticks.
    format!("`{}`{more}", short.replace('|', "\\|"))
}
