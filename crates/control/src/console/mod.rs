//! The console: three files that any browser may fetch, and a client of the API like any other.
//!
//! It owns no data and has no calls of its own. The page asks for an access key pair, keeps it in the storage of
//! its browser tab, signs every call there, and sends it to the listener that it came from; without a key it
//! shows nothing but a form. There are no cookies and no ambient rights of any kind, so a foreign page, or a
//! foreign name that resolves to this address, gains nothing: it has no key to sign with, whatever `Host` it
//! sends. What is left to fear is a foreign script inside the page, which the headers rule out: only these files
//! load, nothing runs inline, no text becomes markup, no other page may frame it.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::header::{X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};

/// Nothing by default; own script and style; calls to where the page came from; an icon inside the page. Trusted
/// types without a policy make every way from text to markup an error.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// One file of the console.
struct File {
    path: &'static str,
    media_type: &'static str,
    content: &'static str,
}

const FILES: [File; 3] = [
    File { path: "/", media_type: "text/html; charset=utf-8", content: include_str!("index.html") },
    File {
        path: "/console.js",
        media_type: "text/javascript; charset=utf-8",
        content: include_str!("console.js"),
    },
    File {
        path: "/console.css",
        media_type: "text/css; charset=utf-8",
        content: include_str!("console.css"),
    },
];

/// The answer to a request for the console; `None` for everything that is the API's to answer, all POST
/// requests to "/" among it. To HEAD the same is answered: the server leaves the body out.
pub(crate) fn answer(method: &Method, path: &str) -> Option<Response<Bytes>> {
    let file = FILES.iter().find(|file| file.path == path)?;
    if method == Method::GET || method == Method::HEAD {
        return Some(response(StatusCode::OK, file.media_type, file.content));
    }
    if path == "/" {
        return None;
    }
    let mut refused = response(
        StatusCode::METHOD_NOT_ALLOWED,
        "text/plain; charset=utf-8",
        "Only GET and HEAD are allowed here.\n",
    );
    refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Some(refused)
}

fn response(status: StatusCode, media_type: &'static str, content: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(content.as_bytes()));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, media_type),
        // The next version of the binary brings the next version of the page.
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (OPENER_POLICY, "same-origin"),
        (RESOURCE_POLICY, "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
