//! Credentials as Docker keeps them: one file, an entry for each registry.

use super::RegistryError;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};
use std::collections::BTreeMap;
use std::path::Path;

/// How a registry is told who we are.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    Anonymous,
    Password {
        user: String,
        password: String,
    },
    /// For the registry itself.
    Token(String),
}

/// What Docker's configuration says of this registry; anonymous when it says nothing.
pub(super) fn credentials(path: &Path, registry: &str) -> Result<Credentials, RegistryError> {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default)]
        auths: BTreeMap<String, Entry>,
    }
    #[derive(Default, serde::Deserialize)]
    struct Entry {
        auth: Option<String>,
        username: Option<String>,
        password: Option<String>,
        registrytoken: Option<String>,
    }
    let fail = |reason: String| RegistryError::Credentials { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
    // The text of a parse error could hold a secret, so only the place is said.
    let file: File = serde_json::from_slice(&text)
        .map_err(|e| fail(format!("not valid JSON at line {}, column {}", e.line(), e.column())))?;
    // Docker writes its own registry under the name of its first API.
    let names = match registry {
        super::reference::DOCKER_HUB => {
            vec![
                "https://index.docker.io/v1/".to_owned(),
                "docker.io".to_owned(),
                "index.docker.io".to_owned(),
            ]
        }
        other => vec![other.to_owned(), format!("https://{other}"), format!("http://{other}")],
    };
    let Some(entry) = names.iter().find_map(|name| file.auths.get(name)) else {
        return Ok(Credentials::Anonymous);
    };
    if let Some(token) = &entry.registrytoken {
        return Ok(Credentials::Token(token.clone()));
    }
    if let (Some(username), Some(password)) = (&entry.username, &entry.password) {
        return Ok(Credentials::Password { user: username.clone(), password: password.clone() });
    }
    let Some(auth) = &entry.auth else { return Ok(Credentials::Anonymous) };
    let decoded = BASE64.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) => {
            Ok(Credentials::Password { user: user.to_owned(), password: password.to_owned() })
        }
        None => Err(fail(format!("the entry for {registry} is not the base64 of user:password"))),
    }
}

/// As Docker writes it, which some leave the padding away from.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn to_base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_credentials() {
        assert_eq!(BASE64.decode("dXNlcjpwYXNz").unwrap(), b"user:pass");
        assert_eq!(BASE64.decode("dTpwdw==").unwrap(), b"u:pw");
        assert_eq!(BASE64.decode("dTpwdw").unwrap(), b"u:pw");
        assert!(BASE64.decode("d!").is_err());
        assert_eq!(to_base64(b"u:pw"), "dTpwdw==");
    }
}
