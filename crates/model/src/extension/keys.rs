//! The table of keys, each with what it takes and when it acts.

use super::{Acts, Key, Takes};
use crate::limits;
use crate::schedule::INSTANCES_MAX;

/// All of them, in the order of their names.
pub const KEYS: &[Key] = &[
    ACCESS_LOG,
    AFFINITY,
    ALLOW_ADDRESSES,
    APP_PROTOCOL,
    BALANCE,
    BODY_MAX,
    CAP,
    CONCURRENCY_HARD,
    CONFIG_MERGE,
    CPU,
    DENY_ADDRESSES,
    DEPLOY,
    ENV_MERGE,
    HEALTH_CHECK_GRACE,
    HSTS,
    HTTPS,
    IDLE,
    IDLE_AFTER,
    MAX_SIZE,
    MEMORY,
    MIN_SIZE_SCHEDULE,
    QUEUE_OPERATIONS,
    RATE_LIMIT,
    REQUEST_TIMEOUT,
    REQUEST_TIMEOUT_S,
    SCALE_ON,
    BOOST,
    STREAM_IDLE,
];

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

pub const MAX_SIZE: Key = Key {
    tag: "apron:max-size",
    takes: Takes::Number { min: 1, max: INSTANCES_MAX },
    acts: Acts::AtOnce,
    says: "instances that there may be at most, instead of MaxSize, which AWS ends at 25",
};

pub const MIN_SIZE_SCHEDULE: Key = Key {
    tag: "apron:min-size-schedule",
    takes: Takes::Schedule,
    acts: Acts::AtOnce,
    says: "instances that there are at least by the clock, never fewer than MinSize and never more than MaxSize; UTC",
};

pub const IDLE: Key = Key {
    tag: "apron:idle",
    takes: Takes::Words(&["off", "throttle", "freeze", "zero"]),
    acts: Acts::AtOnce,
    says: "what becomes of an instance without requests, after what comes before it: nothing, a sixtieth of its CPU, as \
           on App Runner, frozen until the next one, or no process at all until then",
};

pub const SCALE_ON: Key = Key {
    tag: "apron:scale-on",
    takes: Takes::Targets,
    acts: Acts::AtOnce,
    says: "what an instance is meant for, beside requests at a time: percent of its CPU, of its memory, requests in a second",
};

pub const BOOST: Key = Key {
    tag: "apron:startup-boost",
    takes: Takes::Number { min: 1, max: 8 },
    acts: Acts::NextRevision,
    says: "so many times its CPU an instance has until it is healthy, else 2",
};

pub const CAP: Key = Key {
    tag: "apron:cap-usd-month",
    takes: Takes::Number { min: 1, max: 1_000_000 },
    acts: Acts::AtOnce,
    says: "US dollars of a calendar month, at App Runner's prices: from nine tenths of it on no further instances are started, from all of it on they have a sixtieth of their CPU",
};

pub const IDLE_AFTER: Key = Key {
    tag: "apron:idle-after-ms",
    takes: Takes::Times,
    acts: Acts::AtOnce,
    says: "milliseconds without a request after which an instance is throttled, frozen and stopped",
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

pub const APP_PROTOCOL: Key = Key {
    tag: "apron:app-protocol",
    takes: Takes::Words(&["http1", "h2c", "https"]),
    acts: Acts::AtOnce,
    says: "what the application speaks: HTTP/1.1, HTTP/2 without TLS, which gRPC needs, or HTTP/1.1 over TLS",
};

pub const CONCURRENCY_HARD: Key = Key {
    tag: "apron:concurrency-hard",
    takes: Takes::Number { min: 1, max: limits::CONCURRENCY_HARD_MAX },
    acts: Acts::AtOnce,
    says: "requests that an instance gets at a time at most, also in a burst; without it twice MaxConcurrency",
};

pub const REQUEST_TIMEOUT_S: Key = Key {
    tag: "apron:request-timeout-seconds",
    takes: Takes::Number { min: 1, max: limits::REQUEST_TIMEOUT_S_MAX },
    acts: Acts::AtOnce,
    says: "seconds for the head of an answer, then for each further byte; 120 without it",
};

pub const REQUEST_TIMEOUT: Key = Key {
    tag: "apron:request-timeout",
    takes: Takes::Words(&["total", "each"]),
    acts: Acts::AtOnce,
    says: "whether the time-out is for the whole request, as on App Runner, or for each wait",
};

pub const BODY_MAX: Key = Key {
    tag: "apron:body-max-mib",
    takes: Takes::Number { min: 1, max: limits::REQUEST_BODY_MIB_MAX },
    acts: Acts::AtOnce,
    says: "MiB of a request's body, beyond which it is refused; without it as much as comes",
};

pub const HTTPS: Key = Key {
    tag: "apron:https",
    takes: Takes::Words(&["redirect", "serve", "refuse"]),
    acts: Acts::AtOnce,
    says: "what a request without TLS gets; without it a redirect where clients trust the host's certificate",
};

pub const HSTS: Key = Key {
    tag: "apron:hsts",
    takes: Takes::Flag,
    acts: Acts::AtOnce,
    says: "answers over TLS tell browsers to come by TLS only",
};

pub const ACCESS_LOG: Key = Key {
    tag: "apron:access-log",
    takes: Takes::Words(&["off", "sampled", "on"]),
    acts: Acts::AtOnce,
    says: "which requests leave a line in the proxy's log: none, those that fail and few others, or all",
};

pub const AFFINITY: Key = Key {
    tag: "apron:affinity",
    takes: Takes::Words(&["cookie", "none"]),
    acts: Acts::AtOnce,
    says: "whether a cookie keeps a client at the instance that answered it first",
};

pub const BALANCE: Key = Key {
    tag: "apron:balance",
    takes: Takes::Words(&["pack", "spread"]),
    acts: Acts::AtOnce,
    says: "whether idle instances are left alone while others have room, or all get alike",
};

pub const RATE_LIMIT: Key = Key {
    tag: "apron:rate-limit",
    takes: Takes::Number { min: 1, max: limits::REQUESTS_PER_SECOND_MAX },
    acts: Acts::AtOnce,
    says: "requests in a second that one client address may make",
};

pub const ALLOW_ADDRESSES: Key = Key {
    tag: "apron:allow-addresses",
    takes: Takes::Addresses,
    acts: Acts::AtOnce,
    says: "only clients with one of these addresses are answered",
};

pub const DENY_ADDRESSES: Key = Key {
    tag: "apron:deny-addresses",
    takes: Takes::Addresses,
    acts: Acts::AtOnce,
    says: "clients with one of these addresses are not answered, whatever else allows them",
};

pub const STREAM_IDLE: Key = Key {
    tag: "apron:stream-idle-seconds",
    takes: Takes::Number { min: 1, max: limits::STREAM_IDLE_S_MAX },
    acts: Acts::AtOnce,
    says: "seconds without a byte after which a WebSocket or a gRPC stream ends; 3600 without it",
};
