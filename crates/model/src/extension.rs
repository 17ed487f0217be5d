//! What AWS's API has no field for: tags with the prefix `apron:`. One typed table defines every key.
//!
//! A key acts in one of two ways, as the table says. Some are read whenever they matter and act at once. The others
//! say what an instance is: they are read while a revision is made, are recorded in it, and stay with it however the
//! tags change. An unknown key is refused, so that a misspelt one does not silently do nothing.

use crate::instance::InstanceSize;
use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Every tag of ours begins with this.
pub const PREFIX: &str = "apron:";

/// One key of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The tag's key, with the prefix.
    pub tag: &'static str,
    pub takes: Takes,
    pub acts: Acts,
    pub says: &'static str,
}

/// Which values a key may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Words(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A decimal number, both ends included.
    Number {
        min: u32,
        max: u32,
    },
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Takes::Words(words) => write!(f, "one of: {}", words.join(", ")),
            Takes::Flag => f.write_str("one of: true, false"),
            Takes::Number { min, max } => write!(f, "a whole number from {min} to {max}"),
        }
    }
}

/// When a key acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acts {
    AtOnce,
    /// With the next revision, and recorded in it.
    NextRevision,
    /// With the next revision that is built, and recorded in it: one that uses an image again keeps what it was
    /// built with.
    NextBuild,
}

pub const CONFIG_MERGE: Key = Key {
    tag: "apron:config-merge",
    takes: Takes::Words(&["file", "api"]),
    acts: Acts::NextBuild,
    says: "whose variables and port win when the source has an apprunner.yaml: the file's, as on AWS, or the API's",
};

pub const ENV_MERGE: Key = Key {
    tag: "apron:env-merge",
    takes: Takes::Flag,
    acts: Acts::NextBuild,
    says: "variables of apprunner.yaml and of the API together; of one that both have, apron:config-merge says whose \
           wins, the file's unless it is api",
};

pub const CPU: Key = Key {
    tag: "apron:cpu",
    takes: Takes::Number { min: limits::CPU_UNITS_MIN, max: limits::CPU_UNITS_MAX },
    acts: Acts::NextRevision,
    says: "CPU units of an instance, 1024 to a core, instead of the configuration's",
};

pub const MEMORY: Key = Key {
    tag: "apron:memory",
    takes: Takes::Number { min: limits::MEMORY_MIB_MIN, max: limits::MEMORY_MIB_MAX },
    acts: Acts::NextRevision,
    says: "MiB of memory of an instance, instead of the configuration's",
};

pub const DEPLOY: Key = Key {
    tag: "apron:deploy",
    takes: Takes::Words(&["all", "rolling"]),
    acts: Acts::AtOnce,
    says: "how a deployment replaces instances: all, a whole second set and then one switch, or rolling, one by one",
};

pub const HEALTH_CHECK_GRACE: Key = Key {
    tag: "apron:health-check-grace-seconds",
    takes: Takes::Number { min: 0, max: limits::HEALTH_CHECK_GRACE_S_MAX },
    acts: Acts::NextRevision,
    says: "seconds in which failing checks of a new instance do not count, for slow starters",
};

pub const QUEUE_OPERATIONS: Key = Key {
    tag: "apron:queue-operations",
    takes: Takes::Flag,
    acts: Acts::AtOnce,
    says: "an operation that is asked for while another is open waits for its turn instead of being refused",
};

pub const KEYS: &[Key] =
    &[CONFIG_MERGE, CPU, DEPLOY, ENV_MERGE, HEALTH_CHECK_GRACE, MEMORY, QUEUE_OPERATIONS];

/// The tags of a service, read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// What the next revision records.
    pub instance: InstanceTags,
    pub queue_operations: bool,
    /// Deployments replace instances one by one.
    pub rolling: bool,
}

/// What the tags say of an instance; part of the revision that is made while they say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceTags {
    /// Lay the variables and the port of the API over those of `apprunner.yaml`.
    pub api_over_file: bool,
    /// Use the variables of both, also where the file's win.
    pub env_merge: bool,
    pub cpu_units: Option<u32>,
    pub memory_mib: Option<u32>,
    pub health_check_grace_s: u32,
}

impl InstanceTags {
    /// What an instance gets whose configuration says `configured`.
    pub fn size(&self, configured: InstanceSize) -> InstanceSize {
        InstanceSize {
            cpu_units: self.cpu_units.unwrap_or(configured.cpu_units),
            memory_mib: self.memory_mib.unwrap_or(configured.memory_mib),
        }
    }

    /// Failing checks count from this long after an instance was wished.
    pub fn health_check_grace(&self) -> Duration {
        Duration::from_secs(u64::from(self.health_check_grace_s))
    }

    /// These tags for a revision that uses the image of one with the tags `built`.
    pub fn upon(self, built: InstanceTags) -> InstanceTags {
        InstanceTags { api_over_file: built.api_over_file, env_merge: built.env_merge, ..self }
    }
}

/// A tag of ours that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    #[error("the tag '{tag}' is not known; known are: {known}")]
    Unknown { tag: String, known: String },
    #[error("the tag '{tag}' has the value '{value}'; it takes {takes}")]
    Value { tag: String, value: String, takes: Takes },
}

/// One value as its key takes it.
#[derive(Clone, Copy)]
enum Value<'a> {
    Word(&'a str),
    Flag(bool),
    Number(u32),
}

/// A key of ours, or one that was meant to be: keys of tags have a case, and who writes another does not mean another.
pub fn is_ours(tag: &str) -> bool {
    tag.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Reads all tags of ours; others are none of our business.
///
/// # Errors
/// The first of ours that is unknown or has a value that it does not take.
pub fn read(tags: &BTreeMap<String, String>) -> Result<Extensions, ExtensionError> {
    let mut extensions = Extensions::default();
    let instance = &mut extensions.instance;
    for (tag, text) in tags.iter().filter(|(tag, _)| is_ours(tag)) {
        let Some(key) = KEYS.iter().find(|key| key.tag == tag) else {
            let known = KEYS.iter().map(|key| key.tag).collect::<Vec<_>>().join(", ");
            return Err(ExtensionError::Unknown { tag: tag.clone(), known });
        };
        let Some(value) = value(key.takes, text) else {
            let (tag, value) = (tag.clone(), text.clone());
            return Err(ExtensionError::Value { tag, value, takes: key.takes });
        };
        match value {
            Value::Word(word) if *key == CONFIG_MERGE => instance.api_over_file = word == "api",
            Value::Word(word) if *key == DEPLOY => extensions.rolling = word == "rolling",
            Value::Flag(flag) if *key == ENV_MERGE => instance.env_merge = flag,
            Value::Flag(flag) if *key == QUEUE_OPERATIONS => extensions.queue_operations = flag,
            Value::Number(units) if *key == CPU => instance.cpu_units = Some(units),
            Value::Number(mib) if *key == MEMORY => instance.memory_mib = Some(mib),
            Value::Number(seconds) if *key == HEALTH_CHECK_GRACE => instance.health_check_grace_s = seconds,
            Value::Word(_) | Value::Flag(_) | Value::Number(_) => {
                unreachable!("the table has a key that nobody reads: {tag}")
            }
        }
    }
    Ok(extensions)
}

fn value(takes: Takes, text: &str) -> Option<Value<'_>> {
    match takes {
        Takes::Words(words) => words.contains(&text).then_some(Value::Word(text)),
        Takes::Flag => text.parse().ok().map(Value::Flag),
        // A sign is no digit, though Rust would take it.
        Takes::Number { min, max } if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok().filter(|number| (min..=max).contains(number)).map(Value::Number)
        }
        Takes::Number { .. } => None,
    }
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
        assert!(read(&tags(&[("apron:config-merge", "api")])).unwrap().instance.api_over_file);
        assert!(!read(&tags(&[("apron:config-merge", "file")])).unwrap().instance.api_over_file);
        assert!(read(&tags(&[("apron:deploy", "rolling")])).unwrap().rolling);
        assert!(!read(&tags(&[("apron:deploy", "all")])).unwrap().rolling);
        assert!(read(&tags(&[("apron:queue-operations", "true")])).unwrap().queue_operations);
        let all = [
            ("apron:cpu", "64"),
            ("apron:memory", "65536"),
            ("apron:env-merge", "true"),
            ("apron:health-check-grace-seconds", "0900"),
        ];
        let read = read(&tags(&all)).unwrap().instance;
        let expect = InstanceTags {
            api_over_file: false,
            env_merge: true,
            cpu_units: Some(64),
            memory_mib: Some(65_536),
            health_check_grace_s: 900,
        };
        assert_eq!(read, expect);
        let configured = InstanceSize { cpu_units: 1024, memory_mib: 2048 };
        assert_eq!(read.size(configured), InstanceSize { cpu_units: 64, memory_mib: 65_536 });
        let memory = InstanceTags { cpu_units: None, ..read }.size(configured);
        assert_eq!(memory, InstanceSize { cpu_units: 1024, memory_mib: 65_536 });
    }

    #[test]
    fn every_key_of_the_table_is_read_and_documented() {
        for key in KEYS {
            let value = match key.takes {
                Takes::Words(words) => words[0].to_owned(),
                Takes::Flag => "false".to_owned(),
                Takes::Number { min, .. } => min.to_string(),
            };
            assert!(read(&tags(&[(key.tag, &value)])).is_ok(), "{}", key.tag);
            assert!(key.tag.starts_with(PREFIX) && !key.says.is_empty());
        }
        assert!(KEYS.is_sorted_by_key(|key| key.tag));
    }

    #[test]
    fn refuses_what_would_do_nothing() {
        let unknown = read(&tags(&[("apron:config-marge", "api")])).unwrap_err();
        assert!(unknown.to_string().contains("apron:config-merge"), "{unknown}");
        for (tag, value, says) in [
            ("apron:config-merge", "both", "one of: file, api"),
            ("apron:deploy", "one", "one of: all, rolling"),
            ("apron:env-merge", "yes", "one of: true, false"),
            ("apron:cpu", "63", "a whole number from 64 to 16384"),
            ("apron:cpu", "+64", "a whole number from 64 to 16384"),
            ("apron:memory", "65537", "a whole number from 64 to 65536"),
            ("apron:memory", "", "a whole number from 64 to 65536"),
            ("apron:health-check-grace-seconds", "3601", "a whole number from 0 to 3600"),
            ("apron:health-check-grace-seconds", "-1", "a whole number from 0 to 3600"),
        ] {
            let error = read(&tags(&[(tag, value)])).unwrap_err().to_string();
            assert!(error.contains(tag) && error.ends_with(says), "{error}");
        }
    }
}
