//! One client's requests to one instance, by a cookie, for a service that asks for it.
//!
//! The cookie names an instance by a number that says nothing about it. It is a wish: an instance that is gone,
//! failing or full is not waited for, and the client gets the cookie of the one that answered instead.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

const NAME: &[u8] = b"apron-affinity=";

/// The instance that the request wishes for.
pub(crate) fn wanted(headers: &HeaderMap) -> Option<u64> {
    headers.get_all(COOKIE).iter().find_map(|cookies| tag(cookies.as_bytes()))
}

/// The value of a Set-Cookie for the instance of this tag. It lives as long as the browser's session, and scripts of
/// the page do not see it.
pub(crate) fn cookie(tag: u64, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("apron-affinity={tag:016x}; Path=/; HttpOnly; SameSite=Lax{secure}");
    // Hex digits and these words are always a valid header value.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// Of the cookies in one Cookie header.
fn tag(cookies: &[u8]) -> Option<u64> {
    let digits = cookies.split(|byte| *byte == b';').find_map(|pair| pair.trim_ascii().strip_prefix(NAME))?;
    let valid = digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| valid)?;
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cookies: &str, expect: Option<u64>) {
        assert_eq!(tag(cookies.as_bytes()), expect, "{cookies}");
    }

    #[test]
    fn the_cookie_is_found_among_others_or_ignored() {
        check("apron-affinity=00000000000000ff", Some(255));
        check("a=b; apron-affinity=ffffffffffffffff; c=d", Some(u64::MAX));
        check("a=b;apron-affinity=0000000000000001", Some(1));
        check("", None);
        check("apron-affinity=", None);
        check("apron-affinity=ff", None);
        check("apron-affinity=+0000000000000ff", None);
        check("x-apron-affinity=00000000000000ff", None);
        check("apron-affinity=00000000000000fg", None);
    }

    #[test]
    fn what_is_set_is_understood() {
        for (number, secure) in [(0, false), (u64::MAX, true), (0x1234, true)] {
            let value = cookie(number, secure);
            let text = value.to_str().unwrap();
            assert_eq!(text.ends_with("; Secure"), secure);
            assert_eq!(tag(text.as_bytes()), Some(number));
        }
    }
}
