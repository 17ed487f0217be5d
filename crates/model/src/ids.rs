//! Typed names of things: an identifier of one kind cannot stand where another is wanted.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is; whoever reads it from outside validates first.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// 32 lower-case hex digits, the last part of a service's ARN.
    ServiceId
}
id! {
    /// 32 lower-case hex digits, as real App Runner operation ids are.
    OperationId
}
id! {
    /// 32 lower-case hex digits: one wished slot of a revision, and the container that fills it.
    InstanceId
}
id! {
    /// 32 lower-case hex digits: one build, named by the operation's draw so that a retry is the same build.
    BuildId
}
id! {
    /// 32 lower-case hex digits, the last part of a shared resource's ARN.
    ResourceId
}
id! {
    /// An OCI digest, `sha256:` and 64 hex digits.
    Digest
}

/// The id that ends an ARN.
pub fn id_of_arn(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// The number of a revision within its service, counted from 1.
pub type RevisionNumber = u32;

/// Orders everything that is pushed to another process. The epoch grows whenever the sender starts anew or
/// was restored; a receiver refuses what is older than what it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation {
    pub epoch: u64,
    pub counter: u64,
}
