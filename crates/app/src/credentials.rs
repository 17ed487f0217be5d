//! The root access key: made at the first start, kept in a file that the AWS CLI can read.

use apron_model::access::{self, KEY_RANDOM_BYTES};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// An access key. The secret has no Debug form, so that it cannot come into a log.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("{} has no [default] profile with aws_access_key_id and aws_secret_access_key", .0.display())]
    Malformed(PathBuf),
    #[error("cannot use {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Reads the root key of a data directory, or makes and stores one when there is none.
pub(crate) fn read_or_make(data_dir: &Path) -> Result<AccessKey, CredentialsError> {
    let path = data_dir.join("credentials");
    match read(&path) {
        Err(CredentialsError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let key = make().map_err(|source| CredentialsError::Io { path: path.clone(), source })?;
            write(&path, &key).map_err(|source| CredentialsError::Io { path, source })?;
            Ok(key)
        }
        other => other,
    }
}

/// Makes the root key of a backup that of a data directory.
pub(crate) fn restore(data_dir: &Path, text: &[u8]) -> Result<(), CredentialsError> {
    let path = data_dir.join("credentials");
    let key = std::str::from_utf8(text).ok().and_then(parse);
    let key = key.ok_or_else(|| CredentialsError::Malformed(path.clone()))?;
    write(&path, &key).map_err(|source| CredentialsError::Io { path, source })
}

/// Reads the `[default]` profile of a credentials file as the AWS CLI writes it.
pub(crate) fn read(path: &Path) -> Result<AccessKey, CredentialsError> {
    let text =
        fs::read_to_string(path).map_err(|source| CredentialsError::Io { path: path.to_owned(), source })?;
    parse(&text).ok_or_else(|| CredentialsError::Malformed(path.to_owned()))
}

fn parse(text: &str) -> Option<AccessKey> {
    let (mut in_default, mut id, mut secret) = (false, None, None);
    for line in text.lines().map(str::trim).filter(|l| !l.starts_with(['#', ';'])) {
        if line.starts_with('[') {
            in_default = line == "[default]";
        } else if let Some((name, value)) = line.split_once('=')
            && in_default
        {
            match name.trim() {
                "aws_access_key_id" => id = Some(value.trim().to_owned()),
                "aws_secret_access_key" => secret = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    Some(AccessKey { id: id.filter(|v| !v.is_empty())?, secret: secret.filter(|v| !v.is_empty())? })
}

fn make() -> io::Result<AccessKey> {
    let mut random = [0u8; KEY_RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
    let (id, secret) = access::new_key(&random);
    Ok(AccessKey { id, secret })
}

fn write(path: &Path, key: &AccessKey) -> io::Result<()> {
    let text = format!("[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n", key.id, key.secret);
    crate::file::replace(path, text.as_bytes(), 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::scratch::Scratch;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        let scratch = Scratch::new();
        let key = read_or_make(scratch.path()).unwrap();
        assert_eq!((key.id.len(), key.secret.len()), (20, 40));
        assert_eq!(read_or_make(scratch.path()).unwrap(), key);
        assert_eq!(fs::metadata(scratch.path().join("credentials")).unwrap().mode() & 0o777, 0o600);
        assert!(!format!("{key:?}").contains(&key.secret));
    }

    #[test]
    fn profiles_are_read_as_the_aws_cli_writes_them() {
        let text = "# c\n[other]\naws_access_key_id=X\n[default]\naws_access_key_id=A\n aws_secret_access_key = s=/+\n";
        assert_eq!(parse(text).unwrap().secret, "s=/+");
        assert_eq!(parse("[other]\naws_access_key_id=A\naws_secret_access_key=s\n"), None);
        assert_eq!(parse(""), None);
    }
}
