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

    /// Applies the relaxations; one that names nothing, or changes nothing, is an error, so that the list
    /// stays true.
    pub(crate) fn relax(&mut self, relaxations: &[Relaxation]) -> Result<()> {
        for r in relaxations {
            let context = || format!("relaxation of {} {}", r.shape, r.rule);
            ensure!(!r.reason.is_empty(), "{}: has no reason", context());
            let shape = self.shapes.get_mut(&r.shape).with_context(context)?;
            let ours = || r.ours.clone();
            let changed = match r.rule.as_str() {
                "min" => replace(&mut shape.min, serde_json::from_value(ours()).with_context(context)?),
                "max" => replace(&mut shape.max, serde_json::from_value(ours()).with_context(context)?),
                "pattern" => {
                    replace(&mut shape.pattern, serde_json::from_value(ours()).with_context(context)?)
                }
                "enum" => {
                    let values: Option<Vec<String>> = serde_json::from_value(ours()).with_context(context)?;
                    replace(&mut shape.values, values.unwrap_or_default())
                }
                other => bail!("{}: there is no rule {other:?}", context()),
            };
            ensure!(changed, "{}: changes nothing", context());
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

fn replace<T: PartialEq>(slot: &mut T, with: T) -> bool {
    let changed = *slot != with;
    *slot = with;
    changed
}
