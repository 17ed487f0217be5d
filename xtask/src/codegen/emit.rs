//! The Rust text of one API.

use super::names::{field, pascal, screaming, variant};
use super::spec::{Shape, Spec};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Doc comments are wrapped here; rustfmt leaves them as they are.
const DOC_WIDTH: usize = 106;

/// The whole generated module, not yet formatted.
pub(crate) fn api(spec: &Spec, api: &str) -> Result<String> {
    let inputs: Vec<&str> = spec.operations.values().map(|o| o.input.shape.as_str()).collect();
    let outputs = spec.operations.values().map(|o| o.output.shape.as_str());
    let asked = spec.reachable(inputs.iter().copied())?;
    let used = spec.reachable(inputs.iter().copied().chain(outputs))?;
    ensure!(inputs.iter().collect::<BTreeSet<_>>().len() == inputs.len(), "two operations share an input");
    for (name, operation) in &spec.operations {
        // The check of inputs answers this one.
        let refuses = operation.errors.iter().any(|e| e.shape == "InvalidRequestException");
        ensure!(refuses, "{name} does not model InvalidRequestException");
    }

    let mut body = String::new();
    operations(spec, &mut body)?;
    errors(spec, &mut body)?;
    for name in &used {
        let shape = spec.shape(name)?;
        match shape.kind.as_str() {
            "structure" => structure(spec, name, shape, asked.contains(name), &mut body)?,
            "string" if !shape.values.is_empty() => enumeration(name, shape, &mut body)?,
            _ => {}
        }
    }
    calls(spec, &mut body)?;
    test_support(spec, &mut body)?;
    writeln!(
        body,
        "/// What inputs and outputs must look like; `crate::shape` checks it.\nmod shapes {{\nuse super::*;\n"
    )?;
    let mut members = BTreeSet::new();
    for name in &used {
        let shape = spec.shape(name)?;
        members.extend(shape.members.0.iter().map(|(_, member)| member.shape.as_str()));
        members.extend(shape.member.iter().map(|member| member.shape.as_str()));
    }
    for name in &used {
        let shape = spec.shape(name)?;
        let rules = rules(spec, shape).with_context(|| format!("shape {name}"))?;
        let (kind, constructor) =
            if shape.kind == "string" { ("Text", "Text ") } else { ("Shape", "Shape::") };
        writeln!(body, "pub(super) static {}: {kind} = {constructor}{rules};", screaming(name))?;
        // The keys and values of maps stand there as texts; where a shape is wanted, one refers to the text.
        if members.contains(name) && shape.kind == "string" {
            let text = screaming(name);
            writeln!(body, "static {text}_SHAPE: Shape = Shape::Text(&{text});")?;
        }
    }
    writeln!(body, "}}")?;

    let mut out = String::new();
    let m = &spec.metadata;
    writeln!(out, "//! {} {}: shapes, operations and errors.", m.service_full_name, m.api_version)?;
    writeln!(out, "//!\n//! Written by `cargo xtask codegen` from `specs/{api}.json`; do not edit.")?;
    writeln!(out, "//! Members have the names and the meaning of that API's reference.")?;
    out.push_str(&imports(&body));
    writeln!(out, "\n/// What stands before the dot in `X-Amz-Target`.")?;
    writeln!(out, "pub const TARGET_PREFIX: &str = {:?};", m.target_prefix)?;
    writeln!(out, "/// The service name that signatures carry.")?;
    writeln!(out, "pub const SIGNING_NAME: &str = {:?};\n", m.signing_name)?;

    out.push_str(&body);
    Ok(out)
}

/// The `use` lines that the body needs.
fn imports(body: &str) -> String {
    let used = |names: &[&'static str], marks: &[&str]| {
        let used: Vec<&str> =
            names.iter().zip(marks).filter(|(_, mark)| body.contains(*mark)).map(|(name, _)| *name).collect();
        used.join(", ")
    };
    let shapes = used(
        &["Integer", "Length", "Member", "Pattern", "Shape", "Text"],
        &["(Integer {", "Length {", "Member {", "Pattern::", "Shape::", "Text {"],
    );
    let values = used(&["Blob", "Hidden"], &[": Blob,", "Hidden"]);
    let map = if body.contains("BTreeMap<") { "use std::collections::BTreeMap;\n" } else { "" };
    format!(
        "\nuse crate::shape::{{{shapes}}};\nuse crate::value::{{{values}}};\nuse crate::{{Call, Error}};\n\
         use serde::{{Deserialize, Serialize}};\n{map}use std::fmt;\n"
    )
}

fn operations(spec: &Spec, out: &mut String) -> Result<()> {
    writeln!(out, "/// Every operation of this API.")?;
    writeln!(
        out,
        "#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\npub enum Operation {{"
    )?;
    for (name, operation) in &spec.operations {
        doc(&operation.documentation, out)?;
        writeln!(out, "{name},")?;
    }
    writeln!(
        out,
        "}}\n\nimpl Operation {{\n/// All of them, by name.\npub const ALL: &'static [Operation] = &["
    )?;
    for name in spec.operations.keys() {
        writeln!(out, "Operation::{name},")?;
    }
    writeln!(
        out,
        "];\n\n/// As it stands in `X-Amz-Target` after the dot.\npub fn name(self) -> &'static str {{\nmatch self {{"
    )?;
    for name in spec.operations.keys() {
        writeln!(out, "Operation::{name} => {name:?},")?;
    }
    writeln!(
        out,
        "}}\n}}\n\n/// The operation of exactly this name.\npub fn parse(name: &str) -> Option<Operation> {{\nmatch name {{"
    )?;
    for name in spec.operations.keys() {
        writeln!(out, "{name:?} => Some(Operation::{name}),")?;
    }
    writeln!(out, "_ => None,\n}}\n}}\n\n/// The errors that the model lets this operation answer.")?;
    writeln!(out, "pub fn errors(self) -> &'static [ErrorType] {{\nmatch self {{")?;
    for (name, operation) in &spec.operations {
        let errors: Vec<String> =
            operation.errors.iter().map(|e| format!("ErrorType::{}", error_variant(&e.shape))).collect();
        writeln!(out, "Operation::{name} => &[{}],", errors.join(", "))?;
    }
    writeln!(out, "}}\n}}\n\n/// What its input must look like.")?;
    writeln!(out, "pub fn input_shape(self) -> &'static Shape {{\nmatch self {{")?;
    for (name, operation) in &spec.operations {
        writeln!(out, "Operation::{name} => <{} as Call>::shape(),", operation.input.shape)?;
    }
    writeln!(out, "}}\n}}\n}}\n")?;
    writeln!(
        out,
        "impl fmt::Display for Operation {{\nfn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {{\nf.write_str(self.name())\n}}\n}}\n"
    )?;
    Ok(())
}

fn errors(spec: &Spec, out: &mut String) -> Result<()> {
    let all: Vec<(&String, &Shape)> = spec.shapes.iter().filter(|(_, s)| s.exception).collect();
    writeln!(
        out,
        "/// The errors of this API.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]"
    )?;
    writeln!(out, "pub enum ErrorType {{")?;
    for (name, _) in &all {
        writeln!(out, "{},", error_variant(name))?;
    }
    writeln!(
        out,
        "}}\n\nimpl ErrorType {{\n/// `__type` on the wire.\npub fn name(self) -> &'static str {{\nmatch self {{"
    )?;
    for (name, _) in &all {
        writeln!(out, "ErrorType::{} => {name:?},", error_variant(name))?;
    }
    writeln!(
        out,
        "}}\n}}\n\n/// The error of exactly this name.\npub fn parse(name: &str) -> Option<ErrorType> {{\nmatch name {{"
    )?;
    for (name, _) in &all {
        writeln!(out, "{name:?} => Some(ErrorType::{}),", error_variant(name))?;
    }
    writeln!(
        out,
        "_ => None,\n}}\n}}\n\n/// HTTP status: 500 where the fault is the server's.\npub fn status(self) -> u16 {{\nmatch self {{"
    )?;
    for (name, shape) in &all {
        writeln!(out, "ErrorType::{} => {},", error_variant(name), if shape.fault { 500 } else { 400 })?;
    }
    writeln!(out, "}}\n}}\n\n/// The error of this type with a message for the caller.")?;
    writeln!(
        out,
        "pub fn with(self, message: impl Into<String>) -> Error {{\nError::new(self.name(), self.status(), message)\n}}\n}}\n"
    )?;
    Ok(())
}

fn structure(spec: &Spec, name: &str, shape: &Shape, is_input: bool, out: &mut String) -> Result<()> {
    let mut secret = false;
    for (_, member) in &shape.members.0 {
        secret |= spec.is_sensitive(&member.shape)?;
    }
    let debug = if secret { "" } else { "Debug, " };
    // A value without a required member may start from nothing; one with some has `new`.
    let default = if shape.required.is_empty() { "Default, " } else { "" };
    doc(&shape.documentation, out)?;
    writeln!(out, "#[derive(Clone, {debug}{default}PartialEq, Serialize, Deserialize)]")?;
    writeln!(out, "#[serde(rename_all = \"PascalCase\")]\npub struct {name} {{")?;
    for (member, reference) in &shape.members.0 {
        let field = field(member);
        let kind = rust_type(spec, &reference.shape)?;
        doc(&reference.documentation, out)?;
        let rename = if pascal(&field) == *member { String::new() } else { format!("rename = {member:?}") };
        if shape.required.contains(member) {
            if !rename.is_empty() {
                writeln!(out, "#[serde({rename})]")?;
            }
            writeln!(out, "pub {field}: {kind},")?;
        } else {
            let comma = if rename.is_empty() { "" } else { ", " };
            writeln!(out, "#[serde({rename}{comma}skip_serializing_if = \"Option::is_none\")]")?;
            writeln!(out, "pub {field}: Option<{kind}>,")?;
        }
    }
    writeln!(out, "}}\n")?;
    if secret {
        writeln!(
            out,
            "impl fmt::Debug for {name} {{\nfn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {{"
        )?;
        writeln!(out, "f.debug_struct({name:?})")?;
        for (member, reference) in &shape.members.0 {
            let field = field(member);
            let shown = match (spec.is_sensitive(&reference.shape)?, shape.required.contains(member)) {
                (false, _) => format!("&self.{field}"),
                (true, true) => "&Hidden".to_owned(),
                (true, false) => format!("&self.{field}.as_ref().map(|_| Hidden)"),
            };
            writeln!(out, ".field({:?}, {shown})", field.trim_start_matches("r#"))?;
        }
        writeln!(out, ".finish()\n}}\n}}\n")?;
    }
    if is_input && !shape.required.is_empty() && shape.required.len() < shape.members.0.len() {
        constructor(spec, name, shape, out)?;
    }
    Ok(())
}

/// `new` takes what is required and leaves the rest out. Only for what inputs are made of: an output is
/// spelled out, so that no member of it is forgotten.
fn constructor(spec: &Spec, name: &str, shape: &Shape, out: &mut String) -> Result<()> {
    let (mut arguments, mut fields) = (String::new(), String::new());
    for (member, reference) in &shape.members.0 {
        let field = field(member);
        if !shape.required.contains(member) {
            write!(fields, "{field}: None, ")?;
            continue;
        }
        let kind = rust_type(spec, &reference.shape)?;
        if kind == "String" {
            write!(arguments, "{field}: impl Into<String>, ")?;
            write!(fields, "{field}: {field}.into(), ")?;
        } else {
            write!(arguments, "{field}: {kind}, ")?;
            write!(fields, "{field}, ")?;
        }
    }
    writeln!(out, "impl {name} {{\n/// With the required members; every other one is absent.")?;
    writeln!(out, "pub fn new({arguments}) -> Self {{\n{name} {{ {fields} }}\n}}\n}}\n")?;
    Ok(())
}

fn enumeration(name: &str, shape: &Shape, out: &mut String) -> Result<()> {
    let derives = "Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize";
    doc(&shape.documentation, out)?;
    writeln!(out, "#[derive({derives})]\npub enum {name} {{")?;
    for value in &shape.values {
        writeln!(out, "#[serde(rename = {value:?})]\n{},", variant(value))?;
    }
    writeln!(
        out,
        "}}\n\nimpl {name} {{\n/// As it stands on the wire.\npub fn as_str(self) -> &'static str {{\nmatch self {{"
    )?;
    for value in &shape.values {
        writeln!(out, "{name}::{} => {value:?},", variant(value))?;
    }
    writeln!(
        out,
        "}}\n}}\n\n/// The value of exactly this text.\npub fn parse(text: &str) -> Option<{name}> {{\nmatch text {{"
    )?;
    for value in &shape.values {
        writeln!(out, "{value:?} => Some({name}::{}),", variant(value))?;
    }
    writeln!(out, "_ => None,\n}}\n}}\n}}\n")?;
    writeln!(
        out,
        "impl fmt::Display for {name} {{\nfn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {{\nf.write_str(self.as_str())\n}}\n}}\n"
    )?;
    Ok(())
}

fn calls(spec: &Spec, out: &mut String) -> Result<()> {
    for (name, operation) in &spec.operations {
        let (input, output) = (&operation.input.shape, &operation.output.shape);
        let target = format!("{}.{name}", spec.metadata.target_prefix);
        writeln!(
            out,
            "impl Call for {input} {{\ntype Output = {output};\nconst TARGET: &'static str = {target:?};"
        )?;
        writeln!(out, "const SIGNING_NAME: &'static str = SIGNING_NAME;")?;
        writeln!(out, "fn shape() -> &'static Shape {{\n&shapes::{}\n}}", screaming(input))?;
        writeln!(out, "fn output_shape() -> &'static Shape {{\n&shapes::{}\n}}", screaming(output))?;
        writeln!(out, "fn models(error: &str) -> bool {{")?;
        writeln!(
            out,
            "ErrorType::parse(error).is_none_or(|error| Operation::{name}.errors().contains(&error))\n}}\n}}\n"
        )?;
    }
    Ok(())
}

/// For the tests that go over every operation.
fn test_support(spec: &Spec, out: &mut String) -> Result<()> {
    writeln!(out, "#[cfg(test)]\nimpl Operation {{")?;
    writeln!(out, "/// What its output must look like.")?;
    writeln!(out, "pub(crate) fn output_shape(self) -> &'static Shape {{\nmatch self {{")?;
    for (name, operation) in &spec.operations {
        writeln!(out, "Operation::{name} => <{} as Call>::output_shape(),", operation.input.shape)?;
    }
    writeln!(out, "}}\n}}\n")?;
    writeln!(out, "/// Reads a body as its input and writes that again.")?;
    writeln!(out, "pub(crate) fn reread(self, body: &[u8]) -> Result<serde_json::Value, Error> {{")?;
    writeln!(out, "fn reread<C: Call>(body: &[u8]) -> Result<serde_json::Value, Error> {{")?;
    writeln!(out, "crate::json::decode::<C>(body).map(|input| serde_json::to_value(input).unwrap())\n}}")?;
    writeln!(out, "match self {{")?;
    for (name, operation) in &spec.operations {
        writeln!(out, "Operation::{name} => reread::<{}>(body),", operation.input.shape)?;
    }
    writeln!(out, "}}\n}}\n\n/// Reads a body as its output and writes that again.")?;
    writeln!(out, "pub(crate) fn reread_output(self, body: serde_json::Value) -> serde_json::Value {{")?;
    writeln!(out, "fn reread<C: Call>(body: serde_json::Value) -> serde_json::Value {{")?;
    writeln!(out, "let output: C::Output = serde_json::from_value(body).unwrap();")?;
    writeln!(out, "serde_json::to_value(output).unwrap()\n}}\nmatch self {{")?;
    for (name, operation) in &spec.operations {
        writeln!(out, "Operation::{name} => reread::<{}>(body),", operation.input.shape)?;
    }
    writeln!(out, "}}\n}}\n}}\n")?;
    Ok(())
}

/// The Rust type of a value of this shape.
fn rust_type(spec: &Spec, name: &str) -> Result<String> {
    let shape = spec.shape(name)?;
    let inner = |reference: &Option<super::spec::Reference>| -> Result<String> {
        rust_type(
            spec,
            &reference.as_ref().with_context(|| format!("shape {name} has no inner shape"))?.shape,
        )
    };
    Ok(match shape.kind.as_str() {
        "structure" => name.to_owned(),
        "string" if shape.values.is_empty() => "String".to_owned(),
        "string" => name.to_owned(),
        "integer" => "i32".to_owned(),
        "long" => "i64".to_owned(),
        "boolean" => "bool".to_owned(),
        "timestamp" => "f64".to_owned(),
        "blob" => "Blob".to_owned(),
        "list" => format!("Vec<{}>", inner(&shape.member)?),
        "map" => format!("BTreeMap<String, {}>", inner(&shape.value)?),
        other => bail!("shape {name} has the type {other}, which is not generated"),
    })
}

/// The initialiser of a shape's static, without the name of its type.
fn rules(spec: &Spec, shape: &Shape) -> Result<String> {
    let length = || -> Result<String> {
        let max = shape.max.map(usize::try_from).transpose()?;
        Ok(format!("Length {{ min: {}, max: {max:?} }}", usize::try_from(shape.min.unwrap_or(0))?))
    };
    let reference = |name: &str| -> Result<String> {
        let suffix = if spec.shape(name)?.kind == "string" { "_SHAPE" } else { "" };
        Ok(format!("&{}{suffix}", screaming(name)))
    };
    // What is hidden from logs is what the rules say; no other kind has a place for the word.
    ensure!(
        !shape.sensitive || matches!(shape.kind.as_str(), "string" | "blob"),
        "only strings and blobs may be sensitive"
    );
    Ok(match shape.kind.as_str() {
        "boolean" => "Boolean".to_owned(),
        "timestamp" => "Timestamp".to_owned(),
        "integer" | "long" => {
            let long = shape.kind == "long";
            format!("Integer(Integer {{ long: {long}, min: {:?}, max: {:?} }})", shape.min, shape.max)
        }
        "string" => format!(
            "{{ length: {}, pattern: {}, values: &{:?}, sensitive: {} }}",
            length()?,
            pattern(shape)?,
            shape.values,
            shape.sensitive
        ),
        "blob" => format!("Blob {{ bytes: {}, sensitive: {} }}", length()?, shape.sensitive),
        "list" => {
            let member = &shape.member.as_ref().context("a list without members")?.shape;
            format!("List {{ member: {}, length: {} }}", reference(member)?, length()?)
        }
        "map" => {
            let key = &shape.key.as_ref().context("a map without keys")?.shape;
            let value = &shape.value.as_ref().context("a map without values")?.shape;
            for name in [key, value] {
                ensure!(spec.shape(name)?.kind == "string", "only maps of strings are generated");
            }
            format!("Map {{ key: &{}, value: &{}, length: {} }}", screaming(key), screaming(value), length()?)
        }
        "structure" => {
            let mut members = String::new();
            for (name, member) in &shape.members.0 {
                let required = shape.required.contains(name);
                let shape = reference(&member.shape)?;
                write!(members, "Member {{ name: {name:?}, required: {required}, shape: {shape} }}, ")?;
            }
            format!("Structure(&[{members}])")
        }
        other => bail!("the type {other} is not generated"),
    })
}

/// The expression of a string's pattern. `.*` says nothing but "no line end", which AWS does not mean: values
/// of environment variables have several lines.
fn pattern(shape: &Shape) -> Result<String> {
    let Some(source) = shape.pattern.as_deref().filter(|p| *p != ".*") else { return Ok("None".to_owned()) };
    let (prefix, body) = match source.strip_prefix("^(?!").and_then(|rest| rest.split_once(')')) {
        Some((prefix, body)) => (Some(prefix), body),
        None => (None, source),
    };
    ensure!(!body.contains("(?!"), "only a look-ahead at the beginning is generated");
    ensure!(
        prefix.is_none_or(|p| p.chars().all(|c| c.is_ascii_alphanumeric() || c == ':')),
        "only a literal look-ahead is generated"
    );
    regex_lite::Regex::new(&format!("^(?:{body})$")).with_context(|| format!("pattern {source}"))?;
    Ok(format!("Some(Pattern::new({source:?}, {prefix:?}, {body:?}))"))
}

/// The doc comment, where the model has one: AWS's models are used without their prose.
fn doc(text: &Option<String>, out: &mut String) -> Result<()> {
    if let Some(text) = text {
        let mut line = "///".to_owned();
        for word in text.split_whitespace() {
            if line.len() + 1 + word.len() > DOC_WIDTH {
                writeln!(out, "{line}")?;
                line = "///".to_owned();
            }
            line.push(' ');
            line.push_str(word);
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn error_variant(exception: &str) -> &str {
    exception.strip_suffix("Exception").unwrap_or(exception)
}
