//! Credentials as Docker keeps them: one file, an entry for each registry.

use super::RegistryError;
use oci_client::secrets::RegistryAuth;
use std::collections::BTreeMap;
use std::path::Path;

/// What Docker's configuration says of this registry; anonymous when it says nothing.
pub(super) fn credentials(path: &Path, registry: &str) -> Result<RegistryAuth, RegistryError> {
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
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => {
            vec![
                "https://index.docker.io/v1/".to_owned(),
                "docker.io".to_owned(),
                "index.docker.io".to_owned(),
            ]
        }
        other => vec![other.to_owned(), format!("https://{other}"), format!("http://{other}")],
    };
    let Some(entry) = names.iter().find_map(|name| file.auths.get(name)) else {
        return Ok(RegistryAuth::Anonymous);
    };
    if let Some(token) = &entry.registrytoken {
        return Ok(RegistryAuth::Bearer(token.clone()));
    }
    if let (Some(username), Some(password)) = (&entry.username, &entry.password) {
        return Ok(RegistryAuth::Basic(username.clone(), password.clone()));
    }
    let Some(auth) = &entry.auth else { return Ok(RegistryAuth::Anonymous) };
    let decoded = base64(auth).and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((username, password)) => Ok(RegistryAuth::Basic(username.to_owned(), password.to_owned())),
        None => Err(fail(format!("the entry for {registry} is not the base64 of user:password"))),
    }
}

/// Standard base64, padding optional.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.trim().trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_credentials() {
        assert_eq!(base64("dXNlcjpwYXNz").unwrap(), b"user:pass");
        assert_eq!(base64("dTpw").unwrap(), b"u:p");
        assert_eq!(base64("dTpwdw==").unwrap(), b"u:pw");
        assert!(base64("d!").is_none());
    }
}
