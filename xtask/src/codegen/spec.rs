//! An API model as AWS writes it, read from JSON, with Apron's relaxations applied.

use anyhow::{Context, Result, bail, ensure};
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

#[derive(Deserialize)]
pub(crate) struct Spec {
    pub(crate) metadata: Metadata,
    pub(crate) operations: BTreeMap<String, Operation>,
    pub(crate) shapes: BTreeMap<String, Shape>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) api_version: String,
    pub(crate) json_version: String,
    pub(crate) service_full_name: String,
    pub(crate) signing_name: String,
    pub(crate) target_prefix: String,
}

#[derive(Deserialize)]
pub(crate) struct Operation {
    pub(crate) documentation: Option<String>,
    pub(crate) input: Reference,
    pub(crate) output: Reference,
    pub(crate) errors: Vec<Reference>,
}

#[derive(Deserialize)]
pub(crate) struct Reference {
    pub(crate) shape: String,
    pub(crate) documentation: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Shape {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) documentation: Option<String>,
    #[serde(default)]
    pub(crate) members: Ordered<Reference>,
    #[serde(default)]
    pub(crate) required: BTreeSet<String>,
    pub(crate) member: Option<Reference>,
    pub(crate) key: Option<Reference>,
    pub(crate) value: Option<Reference>,
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
    pub(crate) pattern: Option<String>,
    #[serde(rename = "enum", default)]
    pub(crate) values: Vec<String>,
    #[serde(default)]
    pub(crate) sensitive: bool,
    #[serde(default)]
    pub(crate) exception: bool,
    #[serde(default)]
    pub(crate) fault: bool,
}

/// A JSON object in the order of the file: members are checked and printed as the model lists them.
pub(crate) struct Ordered<T>(pub Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Ordered(Vec::new())
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for Entries<T> {
            type Value = Ordered<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Ordered<T>, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        from.deserialize_map(Entries(PhantomData))
    }
}

/// One place where Apron differs from AWS's model on purpose.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Relaxation {
    pub(crate) shape: String,
    /// `min`, `max`, `pattern` or `enum`.
    pub(crate) rule: String,
    /// The rule as AWS's model has it; null where ours stands in for another rule of the shape, which is lifted.
    #[serde(default)]
    pub(crate) aws: Value,
    /// The rule's new value; null removes it.
    pub(crate) ours: Value,
    pub(crate) reason: String,
}

impl Spec {
    pub(crate) fn parse(text: &str) -> Result<Spec> {
        let spec: Spec = serde_json::from_str(text).context("not an API model")?;
        ensure!(spec.metadata.json_version == "1.0", "only the JSON 1.0 protocol is generated");
        Ok(spec)
    }

    /// Applies the relaxations. One that names nothing of the model, tells AWS's rule wrongly or changes nothing is an
    /// error, so that the list stays true.
    pub(crate) fn relax(&mut self, relaxations: &[Relaxation]) -> Result<()> {
        for r in relaxations {
            let context = || format!("relaxation of {} {}", r.shape, r.rule);
            ensure!(!r.reason.is_empty(), "{}: has no reason", context());
            let shape = self.shapes.get_mut(&r.shape).with_context(context)?;
            let theirs = shape.rule(&r.rule).with_context(context)?;
            ensure!(r.aws == theirs, "{}: \"aws\" must say what AWS's model does: {theirs}", context());
            let lifted = |other: &Relaxation| other.shape == r.shape && !other.aws.is_null();
            let stands_in = r.aws.is_null() && relaxations.iter().any(lifted);
            ensure!(!r.aws.is_null() || stands_in, "{}: AWS has no such rule to relax", context());
            ensure!(r.ours != r.aws, "{}: changes nothing", context());
            shape.set_rule(&r.rule, r.ours.clone()).with_context(context)?;
        }
        Ok(())
    }

    pub(crate) fn shape(&self, name: &str) -> Result<&Shape> {
        self.shapes.get(name).with_context(|| format!("the model has no shape {name}"))
    }

    /// Every shape that the given ones reach, themselves included.
    pub(crate) fn reachable<'a>(&'a self, from: impl Iterator<Item = &'a str>) -> Result<BTreeSet<&'a str>> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = from.collect();
        while let Some(name) = open.pop() {
            if seen.insert(name) {
                let shape = self.shape(name)?;
                open.extend(shape.members.0.iter().map(|(_, member)| member.shape.as_str()));
                let inner = [&shape.member, &shape.key, &shape.value];
                open.extend(inner.into_iter().flatten().map(|reference| reference.shape.as_str()));
            }
        }
        Ok(seen)
    }

    /// Whether a value of this shape must not be printed.
    pub(crate) fn is_sensitive(&self, name: &str) -> Result<bool> {
        let shape = self.shape(name)?;
        let mut sensitive = shape.sensitive;
        for reference in [&shape.member, &shape.key, &shape.value].into_iter().flatten() {
            // A list of structures prints through their own Debug.
            sensitive |= self.shape(&reference.shape)?.sensitive;
        }
        Ok(sensitive)
    }
}

impl Shape {
    /// The rule of this name as the model has it; null where it has none.
    fn rule(&self, name: &str) -> Result<Value> {
        Ok(match name {
            "min" => self.min.into(),
            "max" => self.max.into(),
            "pattern" => self.pattern.clone().into(),
            "enum" if self.values.is_empty() => Value::Null,
            "enum" => self.values.clone().into(),
            other => bail!("there is no rule {other:?}"),
        })
    }

    fn set_rule(&mut self, name: &str, value: Value) -> Result<()> {
        match name {
            "min" => self.min = serde_json::from_value(value)?,
            "max" => self.max = serde_json::from_value(value)?,
            "pattern" => self.pattern = serde_json::from_value(value)?,
            "enum" => self.values = serde_json::from_value::<Option<_>>(value)?.unwrap_or_default(),
            other => bail!("there is no rule {other:?}"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What applying this list to a small model says, if it is refused.
    fn refused(relaxations: &str) -> Option<String> {
        let model = r#"{
            "metadata": {"apiVersion": "1", "jsonVersion": "1.0", "serviceFullName": "S", "signingName": "s",
                "targetPrefix": "S"},
            "operations": {},
            "shapes": {
                "Name": {"type": "string", "min": 4, "max": 40, "pattern": "[a-z]+"},
                "Kind": {"type": "string", "enum": ["A", "B"]}
            }
        }"#;
        let relaxations: Vec<Relaxation> = serde_json::from_str(relaxations).unwrap();
        let refused = Spec::parse(model).unwrap().relax(&relaxations).err()?;
        Some(format!("{refused:#}"))
    }

    #[test]
    fn a_relaxation_is_about_a_rule_that_aws_has() {
        for accepted in [
            r#"[{"shape": "Name", "rule": "min", "aws": 4, "ours": 1, "reason": "r"}]"#,
            r#"[{"shape": "Name", "rule": "pattern", "aws": "[a-z]+", "ours": null, "reason": "r"}]"#,
            r#"[{"shape": "Kind", "rule": "enum", "aws": ["A", "B"], "ours": ["A"], "reason": "r"}]"#,
            r#"[{"shape": "Kind", "rule": "enum", "aws": ["A", "B"], "ours": null, "reason": "r"},
                {"shape": "Kind", "rule": "pattern", "aws": null, "ours": "[A-Z]", "reason": "r"}]"#,
        ] {
            assert_eq!(refused(accepted), None, "{accepted}");
        }
        for (list, says) in [
            (
                r#"[{"shape": "None", "rule": "min", "aws": 4, "ours": 1, "reason": "r"}]"#,
                "relaxation of None",
            ),
            (
                r#"[{"shape": "Name", "rule": "size", "aws": 4, "ours": 1, "reason": "r"}]"#,
                "no rule \"size\"",
            ),
            (r#"[{"shape": "Name", "rule": "min", "aws": 3, "ours": 1, "reason": "r"}]"#, "does: 4"),
            (r#"[{"shape": "Name", "rule": "min", "ours": 1, "reason": "r"}]"#, "does: 4"),
            (r#"[{"shape": "Name", "rule": "min", "aws": 4, "ours": 4, "reason": "r"}]"#, "changes nothing"),
            (r#"[{"shape": "Name", "rule": "min", "aws": 4, "ours": 1, "reason": ""}]"#, "no reason"),
            (
                r#"[{"shape": "Name", "rule": "min", "aws": 4, "ours": "1", "reason": "r"}]"#,
                "relaxation of Name",
            ),
            (
                r#"[{"shape": "Kind", "rule": "pattern", "aws": null, "ours": "[A-Z]", "reason": "r"}]"#,
                "no such rule",
            ),
        ] {
            let refused = refused(list).unwrap_or_else(|| panic!("{list} is accepted"));
            assert!(refused.contains(says), "{list}: {refused}");
        }
    }

    /// The list that the generator, the check of answers and the page on compatibility share.
    #[test]
    fn every_relaxation_of_app_runner_is_about_a_rule_that_aws_has() {
        let specs = concat!(env!("CARGO_MANIFEST_DIR"), "/../specs");
        let read = |name: &str| std::fs::read_to_string(format!("{specs}/{name}")).unwrap();
        let relaxations: Vec<Relaxation> = serde_json::from_str(&read("apprunner.relaxed.json")).unwrap();
        Spec::parse(&read("apprunner.json")).unwrap().relax(&relaxations).unwrap();
    }
}
