//! Until when a certificate is valid: the one thing that whoever serves it should know before its clients do. All else in
//! it is for them to judge.

use crate::wall::Iso8601;
use std::time::Duration;

const SEQUENCE: u8 = 0x30;
/// The version, which may be left out.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Date and time of day in digits alone, as a certificate has them: what is later is greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(String);

impl Moment {
    pub(super) fn of(since_1970: Duration) -> Moment {
        let text = Iso8601(since_1970).to_string();
        Moment(text.chars().filter(char::is_ascii_digit).take(14).collect())
    }

    /// The last moment of this certificate. None: it is none, or has a form that clients do not read either.
    pub(super) fn end_of(certificate: &[u8]) -> Option<Moment> {
        let (SEQUENCE, certificate, _) = element(certificate)? else { return None };
        let (SEQUENCE, mut fields, _) = element(certificate)? else { return None };
        if fields.first() == Some(&VERSION) {
            fields = element(fields)?.2;
        }
        // Serial number, algorithm, issuer.
        for _ in 0..3 {
            fields = element(fields)?.2;
        }
        let (SEQUENCE, validity, _) = element(fields)? else { return None };
        let (_, _, rest) = element(validity)?;
        let (kind, text, _) = element(rest)?;
        let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
        let century = match kind {
            // Of two digits, by RFC 5280 §4.1.2.5.1.
            UTC_TIME if digits < "50" => "20",
            UTC_TIME => "19",
            GENERALIZED_TIME => "",
            _ => return None,
        };
        let whole = format!("{century}{digits}");
        (whole.len() == 14 && whole.bytes().all(|byte| byte.is_ascii_digit())).then_some(Moment(whole))
    }

    /// `2026-11-22`.
    pub(super) fn day(&self) -> String {
        let (year, rest) = self.0.split_at(4);
        format!("{year}-{}-{}", &rest[..2], &rest[2..4])
    }
}

/// Kind and content of what bytes of DER begin with, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // More than three digits are 16 MiB.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*kind, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn until(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 3, 7);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_both_forms_of_a_time() {
        for year in [1999, 2026, 2049, 2050, 2126] {
            let end = Moment::end_of(&until(year)).unwrap();
            assert_eq!(
                (end.0.as_str(), end.day().as_str()),
                (&*format!("{year}0307000000"), &*format!("{year}-03-07"))
            );
        }
        let now = Moment::of(Duration::from_secs(1_795_347_650));
        assert_eq!(now.0, "20261122114050");
        assert!(Moment::end_of(&until(2026)).unwrap() < now && now < Moment::end_of(&until(2027)).unwrap());
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let whole = until(2026);
        for length in 0..whole.len() {
            assert_eq!(Moment::end_of(&whole[..length]), None, "{length}");
        }
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0xff;
            // Whatever it gives, it gives something.
            let _ = Moment::end_of(&changed);
        }
    }
}
