//! Source or tag to digest: the content store and what fills it.
//!
//! Everything that enters is named by its digest and verified on the way in. Whatever reads untrusted bytes
//! beyond hashing them (tar members, compressed streams) does so in a child process of its own, see `unpack`.

pub mod archive;
pub mod content;
pub mod helper;
pub mod manifest;
pub mod pack;
pub mod process;
pub mod registry;
pub mod room;
pub mod runtimes;
mod stream;
mod tarball;
pub mod tree;
pub mod unpack;
