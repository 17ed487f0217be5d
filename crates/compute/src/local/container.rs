//! One container: its namespaces, mounts, limits and first process, and how it is begun, found again and ended.
//! What it is for, an instance or a step of a build, it does not know.

pub mod ahead;
pub mod alive;
pub mod cgroup;
mod create;
pub mod launch;
pub(crate) mod mounts;
pub mod pair;
mod program;
pub mod rootfs;
mod seccomp;
