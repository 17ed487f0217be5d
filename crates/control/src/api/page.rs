//! Lists in pages. A token says behind which row the next page begins, by values of that row which never change:
//! rows may come and go between two pages and none that stays is skipped or shown twice.

use super::failure;
use apron_model::ids::ServiceId;
use apron_model::time::WallTime;
use apron_store::{ServiceCursor, ServiceSummary};
use apron_wire::Error;
use std::str::FromStr;

/// Rows of one page when the caller names no number. AWS answers everything at once; this many are everything
/// that fits a platform of one machine, and a longer list still goes on by its token.
pub(super) const ALL: u32 = 1_000;

/// The page's size from `MaxResults`, which the decoder has checked against the model.
pub(super) fn size(max_results: Option<i32>) -> u32 {
    max_results.and_then(|max| u32::try_from(max).ok()).map_or(ALL, |max| max.clamp(1, ALL))
}

/// The page that the first `size` rows are, and the token of the next one. One row more than is shown tells whether
/// there is one.
pub(super) fn cut<T>(
    mut rows: Vec<T>,
    size: u32,
    token: impl FnOnce(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let more = rows.len() > size as usize;
    rows.truncate(size as usize);
    let next = rows.last().filter(|_| more).map(token);
    (rows, next)
}

/// A token of these parts; `kind` keeps a token of one list out of another.
pub(super) fn token(kind: &str, parts: &[&str]) -> String {
    let mut text = format!("{kind}1");
    for part in parts {
        text.push('.');
        text.push_str(part);
    }
    hex(&text)
}

/// Text as lower-case hex digits: the form of a token, and of a part that may have dots.
pub(super) fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Undoes `hex`; none for what it never gave.
pub(super) fn unhex(digits: &str) -> Option<String> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect();
    String::from_utf8(bytes?).ok()
}

/// The `N` parts of a token of this kind.
pub(super) fn parse<const N: usize>(kind: &str, token: &str) -> Result<[String; N], Error> {
    if token.len() > 1024 {
        return Err(refused());
    }
    let text = unhex(token).ok_or_else(refused)?;
    let rest = text.strip_prefix(&format!("{kind}1.")).ok_or_else(refused)?;
    let parts: Vec<String> = rest.split('.').map(str::to_owned).collect();
    parts.try_into().map_err(|_| refused())
}

/// A part of a token that is a number.
pub(super) fn number<N: FromStr>(part: &str) -> Result<N, Error> {
    part.parse().map_err(|_| refused())
}

/// What no token of this operation is.
pub(super) fn refused() -> Error {
    failure::invalid("NextToken is not valid.")
}

/// The token of a list of services that ends with this one.
pub(super) fn service_token(kind: &str, last: &ServiceSummary) -> String {
    token(kind, &[&last.created_at.0.to_string(), last.id.as_str()])
}

/// Where a list of services goes on.
pub(super) fn service_cursor(kind: &str, token: &str) -> Result<ServiceCursor, Error> {
    let [created_at, id] = parse(kind, token)?;
    Ok(ServiceCursor { created_at: WallTime(number(&created_at)?), id: ServiceId::new(id) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_strange_ones_do_not() {
        let made = token("s", &["12", "ab"]);
        assert_eq!(parse::<2>("s", &made).unwrap(), ["12", "ab"]);
        assert!(parse::<2>("o", &made).is_err());
        assert!(parse::<1>("s", &made).is_err());
        for strange in ["", "x", "zz", "é", "7", &"0".repeat(2000)] {
            assert!(parse::<2>("s", strange).is_err(), "{strange}");
        }
        assert_eq!((size(None), size(Some(3)), size(Some(-1))), (ALL, 3, ALL));
    }

    #[test]
    fn one_row_more_than_is_shown_tells_of_the_next_page() {
        let cut = |rows: &[u8]| cut(rows.to_vec(), 2, u8::to_string);
        assert_eq!(cut(&[]), (vec![], None));
        assert_eq!(cut(&[1, 2]), (vec![1, 2], None));
        assert_eq!(cut(&[1, 2, 3]), (vec![1, 2], Some("2".to_owned())));
    }
}
