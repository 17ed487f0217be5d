//! The part of the distribution API that reads: manifests and blobs by HTTP, with a token where one is asked for.
//!
//! Every answer is read up to a limit of its own, and nothing of a wrong one is told to anybody: it may come from
//! where the registry has sent us.

use super::addresses::{Allowed, Forbidden};
use super::credentials::Credentials;
use super::reference::Reference;
use super::trust;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// As browsers do.
const REDIRECTS_MAX: usize = 10;
/// Tokens with the rights of a large organisation have some ten kilobytes.
const TOKEN_BYTES_MAX: usize = 256 * 1024;

/// Why there is no answer that could be used.
#[derive(Debug)]
pub(super) enum Failure {
    /// The registry's own.
    Status(StatusCode),
    /// Of the service for tokens.
    TokenStatus(StatusCode),
    /// The registry wants credentials that we do not have.
    Unauthorized,
    /// The network, or something on the way that is broken; it may be better later.
    Unreachable(String),
    /// What an answer says cannot be accepted.
    Refused(String),
}

impl Failure {
    /// Of a request or of reading its answer.
    fn of(error: &reqwest::Error) -> Failure {
        if error.is_redirect() || forbidden(error) {
            return Failure::Refused(innermost(error));
        }
        // The outermost text names only the URL; the innermost says what happened.
        Failure::Unreachable(innermost(error))
    }
}

/// Speaks to one registry about one repository.
pub(super) struct Client {
    http: reqwest::Client,
    allowed: Allowed,
    /// With the repository's path.
    base: Url,
    scope: String,
    credentials: Credentials,
    /// What the registry was content with last.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Client {
    /// `plain`: without TLS.
    pub(super) async fn new(
        reference: &Reference,
        plain: bool,
        credentials: Credentials,
    ) -> Result<Client, Failure> {
        let host = reference.host();
        let allowed = Allowed::of(host, plain).await.map_err(|e| Failure::Unreachable(e.to_string()))?;
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{host}/v2/{}/", reference.repository))
            .map_err(|e| Failure::Refused(e.to_string()))?;
        let redirects = allowed.clone();
        let policy = Policy::custom(move |attempt| {
            if attempt.previous().len() > REDIRECTS_MAX {
                return attempt.error(format!("more than {REDIRECTS_MAX} redirects"));
            }
            match redirects.check(attempt.url()) {
                Ok(()) => attempt.follow(),
                Err(forbidden) => attempt.error(forbidden),
            }
        });
        let http = reqwest::Client::builder()
            .user_agent(concat!("apron/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .referer(false)
            // One that stands between would do the looking up of names.
            .no_proxy()
            .dns_resolver(allowed.clone())
            .redirect(policy)
            .tls_backend_preconfigured(trust::tls().map_err(|e| Failure::Refused(e.to_string()))?)
            .build()
            .map_err(|e| Failure::Refused(innermost(&e)))?;
        let authorization = match &credentials {
            Credentials::Token(token) => Some(header(&format!("Bearer {token}"))?),
            Credentials::Password { .. } | Credentials::Anonymous => None,
        };
        Ok(Client {
            http,
            allowed,
            base,
            scope: format!("repository:{}:pull", reference.repository),
            credentials,
            authorization: Mutex::new(authorization),
        })
    }

    /// The answer to `manifests/<tag or digest>` or `blobs/<digest>`, with a status of success.
    pub(super) async fn get(&self, path: &str, accept: &str) -> Result<Response, Failure> {
        let url = self.base.join(path).map_err(|e| Failure::Refused(e.to_string()))?;
        let known = self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let mut response = self.send(url.clone(), accept, known).await?;
        // Where the registry has sent us, its credentials are not wanted.
        if response.status() == StatusCode::UNAUTHORIZED && response.url().origin() == url.origin() {
            let challenges = challenges(response.headers());
            drop(response);
            let authorization = self.authorize(&challenges).await?;
            *self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                Some(authorization.clone());
            response = self.send(url, accept, Some(authorization)).await?;
        }
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(Failure::Status(status)),
        }
    }

    async fn send(
        &self,
        url: Url,
        accept: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut request = self.http.get(url).header(ACCEPT, accept);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await.map_err(|e| Failure::of(&e))
    }

    /// What the registry asks for by one of its challenges.
    async fn authorize(&self, challenges: &[Challenge]) -> Result<HeaderValue, Failure> {
        let of = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        if let Some(bearer) = of("bearer") {
            return self.token(bearer).await;
        }
        match (of("basic"), &self.credentials) {
            (Some(_), Credentials::Password { user, password }) => basic(user, password),
            _ => Err(Failure::Unauthorized),
        }
    }

    /// A token from the service that the registry names.
    async fn token(&self, challenge: &Challenge) -> Result<HeaderValue, Failure> {
        #[derive(serde::Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let refused = |reason: &str| Failure::Refused(format!("its service for tokens: {reason}"));
        if let Credentials::Token(_) = self.credentials {
            // The one that we have was not taken.
            return Err(Failure::Unauthorized);
        }
        let realm =
            challenge.parameters.get("realm").ok_or_else(|| refused("it does not say where it is"))?;
        let mut url = Url::parse(realm).map_err(|_| refused("its address is none"))?;
        self.allowed.check(&url).map_err(|forbidden| refused(&forbidden.to_string()))?;
        if let Some(service) = challenge.parameters.get("service") {
            url.query_pairs_mut().append_pair("service", service);
        }
        url.query_pairs_mut().append_pair("scope", &self.scope);
        let authorization = match &self.credentials {
            Credentials::Password { user, password } => Some(basic(user, password)?),
            Credentials::Token(_) | Credentials::Anonymous => None,
        };
        let response = self.send(url, "application/json", authorization).await?;
        if !response.status().is_success() {
            return Err(Failure::TokenStatus(response.status()));
        }
        let bytes = read(response, TOKEN_BYTES_MAX).await?;
        let answer: Option<Answer> = serde_json::from_slice(&bytes).ok();
        let token = answer.and_then(|answer| answer.token.or(answer.access_token));
        // A page of something that stands before the service and is broken.
        let none = || Failure::Unreachable("its service for tokens answered without a token".to_owned());
        header(&format!("Bearer {}", token.ok_or_else(none)?))
    }
}

/// All of an answer that may have so many bytes.
pub(super) async fn read(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let too_large = || Failure::Refused(format!("its answer has more than {} KiB", bytes_max >> 10));
    if response.content_length().is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|e| Failure::of(&e))? {
        if bytes.len() + piece.len() > bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// The next piece of an answer.
pub(super) async fn piece(response: &mut Response) -> Result<Option<bytes::Bytes>, Failure> {
    response.chunk().await.map_err(|e| Failure::of(&e))
}

/// A way in that a registry offers, e.g. `Bearer realm="https://…",service="…"`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    /// In lower case, as the parameters' names.
    scheme: String,
    parameters: BTreeMap<String, String>,
}

fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(challenges_in).collect()
}

/// One header may hold several, and commas stand between parameters as between challenges: a word is a parameter's
/// name when `=` follows.
fn challenges_in(text: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=', '"']).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        if word.is_empty() {
            return found;
        }
        let Some(value) = behind.trim_start().strip_prefix('=') else {
            found.push(Challenge { scheme: word.to_ascii_lowercase(), ..Challenge::default() });
            rest = behind;
            continue;
        };
        let value = value.trim_start();
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = value.find([' ', '\t', ',']).unwrap_or(value.len());
                (value[..end].to_owned(), &value[end..])
            }
        };
        if let Some(challenge) = found.last_mut() {
            challenge.parameters.insert(word.to_ascii_lowercase(), value);
        }
        rest = behind;
    }
}

/// Up to the closing quote, and what follows it.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, Failure> {
    header(&format!("Basic {}", super::credentials::to_base64(format!("{user}:{password}").as_bytes())))
}

fn header(text: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Failure::Refused("its token or our password cannot stand in a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether somewhere among the causes is that we may not go there.
fn forbidden(e: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(e);
    while let Some(inner) = cause {
        if inner.is::<Forbidden>() {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// The last cause.
fn innermost(e: &(dyn std::error::Error + 'static)) -> String {
    let mut inner = e;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_as_registries_write_them() {
        let one = challenges_in(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a:b:pull,push""#,
        );
        assert_eq!((one.len(), one[0].scheme.as_str()), (1, "bearer"));
        assert_eq!(one[0].parameters["realm"], "https://auth.docker.io/token");
        assert_eq!(one[0].parameters["scope"], "a:b:pull,push");
        let two = challenges_in(r#"BASIC Realm="a \"b\"", bearer realm=x , service = y"#);
        assert_eq!(two.iter().map(|c| c.scheme.as_str()).collect::<Vec<_>>(), ["basic", "bearer"]);
        assert_eq!(two[0].parameters["realm"], "a \"b\"");
        assert_eq!(two[1].parameters["service"], "y");
        for odd in ["", "=", "\"", "Bearer realm=\"x", "a=b", "Bearer \"", ",,,", "Bearer realm=\"x\\"] {
            challenges_in(odd);
        }
    }
}
