//! A scratch directory that goes away, and small tars.

#[allow(dead_code)]
pub(crate) mod server;

use apron_images::helper::Helper;
use apron_images::process::Cancel;
use apron_images::unpack::Bounds;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use tar::{Builder, EntryType, Header};

pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("apron-images-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[allow(dead_code)]
pub(crate) fn helper() -> Helper {
    Helper { program: PathBuf::from(env!("CARGO_BIN_EXE_unpack-child")), arguments: Vec::new() }
}

/// Nobody cancels.
#[allow(dead_code)]
pub(crate) fn bounds() -> Bounds {
    Bounds::until(&Cancel::new())
}

/// A tar put together member by member, with names that a careful writer would refuse.
pub(crate) struct Tar(Builder<Vec<u8>>);

#[allow(dead_code)]
impl Tar {
    pub(crate) fn new() -> Tar {
        Tar(Builder::new(Vec::new()))
    }

    pub(crate) fn member(
        mut self,
        kind: EntryType,
        name: &str,
        owner: (u64, u64),
        mode: u32,
        data: &[u8],
    ) -> Tar {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_mtime(1_700_000_000);
        header.set_size(data.len() as u64);
        if name.len() < 100 {
            // Past the library's own checks.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            self.0.append(&header, data).unwrap();
        } else {
            self.0.append_data(&mut header, name, data).unwrap();
        }
        self
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Tar {
        self.member(EntryType::Regular, name, (0, 0), 0o644, data)
    }

    pub(crate) fn directory(self, name: &str) -> Tar {
        self.member(EntryType::Directory, name, (0, 0), 0o755, b"")
    }

    pub(crate) fn link(mut self, kind: EntryType, name: &str, target: &str) -> Tar {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.append(&header, &b""[..]).unwrap();
        self
    }

    pub(crate) fn attribute(mut self, name: &str, value: &[u8]) -> Tar {
        self.0.append_pax_extensions([(name, value)]).unwrap();
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}
