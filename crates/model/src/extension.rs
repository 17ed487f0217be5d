//! What AWS's API has no field for: tags with the prefix `apron:`. One typed table defines every key.
//!
//! A key acts in one of two ways, as the table says. Some are read whenever they matter and act at once. The others
//! say what an instance is: they are read while a revision is made, are recorded in it, and stay with it however the
//! tags change. An unknown key is refused, so that a misspelt one does not silently do nothing.

pub mod keys;
#[cfg(test)]
mod tests;

pub use keys::{CONFIG_MERGE, KEYS};

use crate::idle::{IdlePolicy, Rung};
use crate::instance::InstanceSize;
use crate::limits;
use crate::routes::{AccessLog, AppProtocol, Balance, HttpsPolicy, Network, RoutePolicy};
use crate::scaling::Targets;
use crate::schedule::{self, Schedule, ScheduleError};
use keys::{
    ACCESS_LOG, AFFINITY, ALLOW_ADDRESSES, APP_PROTOCOL, BALANCE, BODY_MAX, BOOST, CAP, CONCURRENCY_HARD,
    CPU, DENY_ADDRESSES, DEPLOY, ENV_MERGE, HEALTH_CHECK_GRACE, HSTS, HTTPS, IDLE, IDLE_AFTER, MAX_SIZE,
    MEMORY, MIN_SIZE_SCHEDULE, QUEUE_OPERATIONS, RATE_LIMIT, REQUEST_TIMEOUT, REQUEST_TIMEOUT_S, SCALE_ON,
    STREAM_IDLE,
};
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
    /// One or more addresses or networks, separated by spaces.
    Addresses,
    /// Times of cron, each with a number.
    Schedule,
    /// Figures to scale on, each at most once: `requests=50 cpu=70`.
    Targets,
    /// Three lengths of time in milliseconds, each no shorter than the one before.
    Times,
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Takes::Words(words) => write!(f, "one of: {}", words.join(", ")),
            Takes::Flag => f.write_str("one of: true, false"),
            Takes::Number { min, max } => write!(f, "a whole number from {min} to {max}"),
            Takes::Addresses => {
                f.write_str("addresses or networks such as 10.0.0.0/8 or 2001:db8::/32, separated by spaces")
            }
            Takes::Schedule => {
                f.write_str("times of cron, each with a number, such as 0 7 * * 1-5 = 3; 0 19 * * 1-5 = 1")
            }
            Takes::Targets => write!(
                f,
                "one or more of cpu=N and memory=N, percent from 1 to 100, and requests=N, a second, from 1 to {}, such as \
                 cpu=70 requests=50",
                limits::SCALE_ON_REQUESTS_MAX
            ),
            Takes::Times => write!(
                f,
                "three times in milliseconds, none shorter than the one before, from {} to {}, such as 1000/30000/900000",
                limits::IDLE_AFTER_MS_MIN,
                limits::IDLE_AFTER_MS_MAX
            ),
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

/// The tags of a service, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// What the next revision records.
    pub instance: InstanceTags,
    pub queue_operations: bool,
    /// Deployments replace instances one by one.
    pub rolling: bool,
    /// What proxies are told.
    pub policy: RoutePolicy,
    pub scale: ScaleTags,
    /// What becomes of instances that have nothing to do.
    pub idle: IdlePolicy,
    /// What it may cost in a month, in dollars.
    pub cap_usd_month: Option<u32>,
}

/// What the tags say of how many instances there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScaleTags {
    /// Instead of MaxSize.
    pub max_size: Option<u32>,
    /// Beside MinSize.
    pub least: Option<Schedule>,
    /// Requests that an instance gets at a time at most.
    pub concurrency_hard: Option<u32>,
    /// What an instance is meant for, beside requests at a time.
    pub also: Targets,
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
    /// None: `STARTUP_BOOST`.
    pub startup_boost: Option<u32>,
}

/// So many times its CPU an instance has until it is healthy: most programs do more at their start than ever later.
pub const STARTUP_BOOST: u32 = 2;

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
    #[error("the tag '{tag}' has a schedule in which {error}")]
    Schedule { tag: String, error: ScheduleError },
    #[error(
        "the tag '{tag}' asks for {asked} instances, and a service may have {most}: instances_per_service under [quotas] of \
         the configuration file"
    )]
    Quota { tag: &'static str, asked: u32, most: u32 },
}

/// One value as its key takes it.
enum Value<'a> {
    Word(&'a str),
    Flag(bool),
    Number(u32),
    Addresses(Vec<Network>),
    Schedule(Schedule),
    Times([u64; 3]),
    Targets(Targets),
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
    for (tag, text) in ours(tags) {
        let (key, value) = parse(tag, text)?;
        extensions.take(key, value);
    }
    extensions.balance(tags);
    Ok(extensions)
}

/// Checks what a call is to put in place of the tags from before.
///
/// # Errors
/// As `read`; and, of tags that change, for a schedule with a time that never comes and for more instances than the operator
/// allows. Rows may have both all the same.
pub fn admit(
    tags: &BTreeMap<String, String>,
    before: &BTreeMap<String, String>,
    instances_max: Option<u32>,
) -> Result<(), ExtensionError> {
    let said = read(tags)?.scale;
    let new = |tag: &str| tags.get(tag).filter(|text| before.get(tag) != Some(*text));
    let least = MIN_SIZE_SCHEDULE.tag;
    if let Some(text) = new(least) {
        schedule::check(text).map_err(|error| ExtensionError::Schedule { tag: least.to_owned(), error })?;
    }
    let asked = [(MAX_SIZE.tag, said.max_size), (least, said.least.as_ref().map(Schedule::most))];
    for (tag, asked) in asked {
        if let (Some(asked), Some(most)) = (asked, instances_max)
            && asked > most
            && new(tag).is_some()
        {
            return Err(ExtensionError::Quota { tag, asked, most });
        }
    }
    Ok(())
}

/// What the tags say to proxies, and what of them cannot be understood. Calls refuse such tags; a row may have them all
/// the same. One that was to keep somebody out, or to keep something small, then does so for everybody.
pub fn policy(tags: &BTreeMap<String, String>) -> (RoutePolicy, Vec<ExtensionError>) {
    let mut extensions = Extensions::default();
    let mut wrong = Vec::new();
    for (tag, text) in ours(tags) {
        match parse(tag, text) {
            Ok((key, value)) => extensions.take(key, value),
            Err(error) => wrong.push(error),
        }
    }
    extensions.balance(tags);
    // When all others are read, so that none of them opens again what one closes.
    for error in &wrong {
        if let ExtensionError::Value { tag, .. } = error {
            close(&mut extensions.policy, tag);
        }
    }
    (extensions.policy, wrong)
}

/// What the tags say of how many instances there are. One that cannot be understood, which calls refuse, says nothing.
pub fn scale(tags: &BTreeMap<String, String>) -> ScaleTags {
    only(tags, &[MAX_SIZE, MIN_SIZE_SCHEDULE, CONCURRENCY_HARD, SCALE_ON]).scale
}

/// What they say instead of MaxSize; likewise.
pub fn max_size(tags: &BTreeMap<String, String>) -> Option<u32> {
    only(tags, &[MAX_SIZE]).scale.max_size
}

/// What the tags say of instances that have nothing to do; likewise.
pub fn idle(tags: &BTreeMap<String, String>) -> IdlePolicy {
    only(tags, &[IDLE, IDLE_AFTER]).idle
}

/// What the service may cost in a month, in dollars; likewise.
pub fn cap_usd_month(tags: &BTreeMap<String, String>) -> Option<u32> {
    only(tags, &[CAP]).cap_usd_month
}

fn only(tags: &BTreeMap<String, String>, keys: &[Key]) -> Extensions {
    let mut extensions = Extensions::default();
    for key in keys {
        if let Some(Ok((key, value))) = tags.get(key.tag).map(|text| parse(key.tag, text)) {
            extensions.take(key, value);
        }
    }
    extensions
}

fn ours(tags: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    tags.iter().filter(|(tag, _)| is_ours(tag))
}

fn parse<'a>(tag: &str, text: &'a str) -> Result<(Key, Value<'a>), ExtensionError> {
    let Some(key) = KEYS.iter().find(|key| key.tag == tag) else {
        let known = KEYS.iter().map(|key| key.tag).collect::<Vec<_>>().join(", ");
        return Err(ExtensionError::Unknown { tag: tag.to_owned(), known });
    };
    if key.takes == Takes::Schedule {
        let schedule = text.parse().map_err(|error| ExtensionError::Schedule { tag: tag.to_owned(), error });
        return Ok((*key, Value::Schedule(schedule?)));
    }
    match value(key.takes, text) {
        Some(value) => Ok((*key, value)),
        None => Err(ExtensionError::Value { tag: tag.to_owned(), value: text.to_owned(), takes: key.takes }),
    }
}

fn value(takes: Takes, text: &str) -> Option<Value<'_>> {
    match takes {
        Takes::Words(words) => words.contains(&text).then_some(Value::Word(text)),
        Takes::Flag => text.parse().ok().map(Value::Flag),
        // A sign is no digit, though Rust would take it.
        Takes::Number { min, max } if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok().filter(|number| (min..=max).contains(number)).map(Value::Number)
        }
        // A schedule has more to say of what is wrong with it.
        Takes::Number { .. } | Takes::Schedule => None,
        Takes::Targets => targets(text).map(Value::Targets),
        Takes::Times => {
            let whole =
                |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok());
            let times: Option<Vec<u64>> = text.split('/').map(|one| whole(one).flatten()).collect();
            let times: [u64; 3] = times?.try_into().ok()?;
            let bounds = limits::IDLE_AFTER_MS_MIN..=limits::IDLE_AFTER_MS_MAX;
            let fits = times.is_sorted() && times.iter().all(|ms| bounds.contains(ms));
            fits.then_some(Value::Times(times))
        }
        // None at all would be a list that allows nobody, or denies nobody: neither is worth a tag.
        Takes::Addresses => {
            let networks = text.split_ascii_whitespace().map(str::parse).collect::<Result<Vec<Network>, _>>();
            networks.ok().filter(|networks| !networks.is_empty()).map(Value::Addresses)
        }
    }
}

fn targets(text: &str) -> Option<Targets> {
    let mut targets = Targets::default();
    for word in text.split_ascii_whitespace() {
        let (name, number) = word.split_once('=')?;
        let (target, max) = match name {
            "requests" => (&mut targets.requests, limits::SCALE_ON_REQUESTS_MAX),
            "cpu" => (&mut targets.cpu, 100),
            "memory" => (&mut targets.memory, 100),
            _ => return None,
        };
        let Some(Value::Number(number)) = value(Takes::Number { min: 1, max }, number) else { return None };
        if target.replace(number).is_some() {
            return None;
        }
    }
    (targets != Targets::default()).then_some(targets)
}

impl Extensions {
    /// Instances that come because of what others use are to have a part of that: left alone until those have MaxConcurrency
    /// requests at a time, they would help nobody.
    fn balance(&mut self, tags: &BTreeMap<String, String>) {
        if self.scale.also != Targets::default() && !tags.contains_key(BALANCE.tag) {
            self.policy.balance = Balance::Spread;
        }
    }

    fn take(&mut self, key: Key, value: Value<'_>) {
        let instance = &mut self.instance;
        match value {
            Value::Word(word) if key == CONFIG_MERGE => instance.api_over_file = word == "api",
            Value::Word(word) if key == DEPLOY => self.rolling = word == "rolling",
            Value::Flag(flag) if key == ENV_MERGE => instance.env_merge = flag,
            Value::Flag(flag) if key == QUEUE_OPERATIONS => self.queue_operations = flag,
            Value::Number(units) if key == CPU => instance.cpu_units = Some(units),
            Value::Number(mib) if key == MEMORY => instance.memory_mib = Some(mib),
            Value::Number(seconds) if key == HEALTH_CHECK_GRACE => instance.health_check_grace_s = seconds,
            Value::Number(times) if key == BOOST => instance.startup_boost = Some(times),
            Value::Targets(targets) => self.scale.also = targets,
            Value::Number(usd) if key == CAP => self.cap_usd_month = Some(usd),
            Value::Number(instances) if key == MAX_SIZE => self.scale.max_size = Some(instances),
            Value::Word(word) if key == IDLE => {
                self.idle.lowest = match word {
                    "off" => Rung::Active,
                    "freeze" => Rung::Frozen,
                    "zero" => Rung::Zero,
                    _ => Rung::Throttled,
                }
            }
            Value::Times(after_ms) if key == IDLE_AFTER => self.idle.after_ms = after_ms,
            Value::Schedule(schedule) if key == MIN_SIZE_SCHEDULE => self.scale.least = Some(schedule),
            Value::Number(requests) if key == CONCURRENCY_HARD => {
                self.policy.concurrency_hard = Some(requests);
                self.scale.concurrency_hard = Some(requests);
            }
            value => take_policy(&mut self.policy, key, value),
        }
    }
}

fn take_policy(policy: &mut RoutePolicy, key: Key, value: Value<'_>) {
    match value {
        Value::Word(word) if key == APP_PROTOCOL => {
            policy.app_protocol = match word {
                "h2c" => AppProtocol::H2c,
                "https" => AppProtocol::Https,
                _ => AppProtocol::Http1,
            }
        }
        Value::Word(word) if key == HTTPS => {
            policy.https = match word {
                "redirect" => HttpsPolicy::Redirect,
                "serve" => HttpsPolicy::Serve,
                _ => HttpsPolicy::Refuse,
            }
        }
        Value::Word(word) if key == ACCESS_LOG => {
            policy.access_log = match word {
                "on" => AccessLog::On,
                "sampled" => AccessLog::Sampled,
                _ => AccessLog::Off,
            }
        }
        Value::Word(word) if key == BALANCE => {
            policy.balance = if word == "spread" { Balance::Spread } else { Balance::Pack }
        }
        Value::Word(word) if key == AFFINITY => policy.affinity = word == "cookie",
        Value::Word(word) if key == REQUEST_TIMEOUT => policy.request_timeout_total = word == "total",
        Value::Flag(flag) if key == HSTS => policy.hsts = flag,
        Value::Number(seconds) if key == REQUEST_TIMEOUT_S => policy.request_timeout_s = seconds,
        Value::Number(mib) if key == BODY_MAX => policy.body_bytes_max = Some(u64::from(mib) << 20),
        Value::Number(requests) if key == RATE_LIMIT => policy.requests_per_second_max = Some(requests),
        Value::Number(seconds) if key == STREAM_IDLE => policy.idle_timeout_s = seconds,
        Value::Addresses(networks) if key == ALLOW_ADDRESSES => policy.allow = networks,
        Value::Addresses(networks) if key == DENY_ADDRESSES => policy.deny = networks,
        Value::Word(_)
        | Value::Flag(_)
        | Value::Number(_)
        | Value::Addresses(_)
        | Value::Targets(_)
        | Value::Schedule(_)
        | Value::Times(_) => {
            unreachable!("the table has a key that nobody reads: {}", key.tag)
        }
    }
}

/// A tag whose value is not understood says the least that it could say.
fn close(policy: &mut RoutePolicy, tag: &str) {
    if tag == ALLOW_ADDRESSES.tag || tag == DENY_ADDRESSES.tag {
        policy.close();
    } else if tag == HTTPS.tag {
        policy.https = HttpsPolicy::Refuse;
    } else if tag == RATE_LIMIT.tag {
        policy.requests_per_second_max = Some(1);
    } else if tag == BODY_MAX.tag {
        policy.body_bytes_max = Some(1 << 20);
    } else if tag == CONCURRENCY_HARD.tag {
        policy.concurrency_hard = Some(1);
    }
}
