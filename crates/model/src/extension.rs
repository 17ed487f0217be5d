//! What AWS's API has no field for: tags with the prefix `apron:`. One typed table defines every key.
//!
//! A tag acts when it is next read: keys that change what an instance is are read while a revision is made, and
//! are thereby part of it. An unknown key is refused, so that a misspelt one does not silently do nothing.

use std::collections::BTreeMap;

/// Every tag of ours begins with this.
pub const PREFIX: &str = "apron:";

/// One key of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The tag's key, with the prefix.
    pub tag: &'static str,
    pub values: &'static [&'static str],
    pub says: &'static str,
}

pub const CONFIG_MERGE: Key = Key {
    tag: "apron:config-merge",
    values: &["file", "api"],
    says: "whose variables and port win when the source has an apprunner.yaml: the file's, as on AWS, or the API's",
};

pub const KEYS: &[Key] = &[CONFIG_MERGE];

/// The tags of a service, read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Lay the variables and the port of the API over those of `apprunner.yaml`.
    pub api_over_file: bool,
}

/// A tag of ours that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    #[error("the tag '{tag}' is not known; known are: {known}")]
    Unknown { tag: String, known: String },
    #[error("the tag '{tag}' has the value '{value}'; it takes one of: {allowed}")]
    Value { tag: String, value: String, allowed: String },
}

/// Reads all tags of ours; others are none of our business.
pub fn read(tags: &BTreeMap<String, String>) -> Result<Extensions, ExtensionError> {
    let mut extensions = Extensions::default();
    for (tag, value) in tags.iter().filter(|(tag, _)| tag.starts_with(PREFIX)) {
        let Some(key) = KEYS.iter().find(|key| key.tag == tag) else {
            let known = KEYS.iter().map(|key| key.tag).collect::<Vec<_>>().join(", ");
            return Err(ExtensionError::Unknown { tag: tag.clone(), known });
        };
        if !key.values.contains(&value.as_str()) {
            let allowed = key.values.join(", ");
            return Err(ExtensionError::Value { tag: tag.clone(), value: value.clone(), allowed });
        }
        if *key == CONFIG_MERGE {
            extensions.api_over_file = value == "api";
        }
    }
    Ok(extensions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn reads_ours_and_leaves_others() {
        assert_eq!(read(&tags(&[("team", "blue")])), Ok(Extensions::default()));
        assert!(read(&tags(&[("apron:config-merge", "api")])).unwrap().api_over_file);
        assert!(!read(&tags(&[("apron:config-merge", "file")])).unwrap().api_over_file);
    }

    #[test]
    fn refuses_what_would_do_nothing() {
        let unknown = read(&tags(&[("apron:config-marge", "api")])).unwrap_err();
        assert!(unknown.to_string().contains("apron:config-merge"), "{unknown}");
        let value = read(&tags(&[("apron:config-merge", "both")])).unwrap_err();
        assert!(value.to_string().contains("file, api"), "{value}");
    }
}
