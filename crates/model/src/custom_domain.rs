//! Custom domains: host names of its owner's under which a service is to be reached.
//!
//! An association is recorded with the records that prove whose the domain is, and waits for them: certificates
//! for foreign names are not obtained yet, so none becomes active.

use crate::ids::ServiceId;
use crate::resource::Quotas;
use crate::time::WallTime;

/// One association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomDomain {
    pub service: ServiceId,
    /// Lower case; `*.example.com` for every name right below.
    pub domain: String,
    /// `www.` of it too.
    pub www: bool,
    /// 32 hex digits, from which its validation records are named.
    pub token: String,
    pub created_at: WallTime,
}

/// A DNS record that proves whose the domain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationRecord {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DomainError(String);

impl CustomDomain {
    /// The host names that it takes.
    pub fn hosts(&self) -> Vec<String> {
        let www = self.www.then(|| format!("www.{}", self.domain));
        std::iter::once(self.domain.clone()).chain(www).collect()
    }

    /// One CNAME record for each host name; a wildcard is proved by the name below which it stands.
    pub fn records(&self, apps_domain: &str) -> Vec<ValidationRecord> {
        let mut records = Vec::new();
        for (number, host) in self.hosts().iter().enumerate() {
            let host = host.strip_prefix("*.").unwrap_or(host);
            // Another token for each name, as certificate authorities have it.
            let token = format!("{}{number:x}", self.token.get(1..).unwrap_or_default());
            let zone = self.token.get(..10).unwrap_or_default();
            records.push(ValidationRecord {
                name: format!("_{token}.{host}."),
                value: format!("_{}.{zone}.validations.{apps_domain}.", self.token),
            });
        }
        records
    }
}

/// Checks a domain and says how it is kept. `www` as it was written: with none AWS takes `www.` too, which a
/// wildcard covers already.
///
/// # Errors
/// For what is no domain, what is the platform's own, and what is more than the quota.
pub fn associate(
    domain: &str,
    www: Option<bool>,
    held: u64,
    quotas: &Quotas,
    apps_domain: &str,
) -> Result<(String, bool), DomainError> {
    let refuse = |text: String| Err(DomainError(text));
    let lower = domain.to_ascii_lowercase();
    let wildcard = lower.starts_with("*.");
    let name = lower.strip_prefix("*.").unwrap_or(&lower);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    // DNS has 253 characters for a name, and `www.` may come before it.
    if lower.len() > 249 || !name.contains('.') || !name.split('.').all(label) {
        return refuse(format!(
            "DomainName '{domain}' is not the name of a domain: example.com, app.example.com or *.example.com is \
             expected."
        ));
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    // AWS takes a wildcard right below a registered domain alone, which under a country's may have three labels:
    // example.co.uk.
    let labels_max = if last.len() == 2 { 3 } else { 2 };
    if wildcard && name.split('.').count() > labels_max {
        return refuse(format!(
            "DomainName '{domain}' is a wildcard below a subdomain: only *.example.com, right below a root domain, can \
             be associated. Associate the names one by one."
        ));
    }
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return refuse(format!("DomainName '{domain}' is an address, not the name of a domain."));
    }
    // Its services have their names there.
    if name == apps_domain || name.ends_with(&format!(".{apps_domain}")) {
        return refuse(format!(
            "DomainName '{domain}' is below {apps_domain}, the domain of the platform itself."
        ));
    }
    if wildcard && www == Some(true) {
        return refuse(format!("DomainName '{domain}' covers www already: set EnableWWWSubdomain to false."));
    }
    if held >= quotas.custom_domains_per_service {
        return refuse(format!(
            "The service has {held} custom domains, which is the quota. Disassociate one, or raise it under [quotas] of the \
             configuration file."
        ));
    }
    Ok((lower, www.unwrap_or(!wildcard)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_as_aws_takes_them() {
        let quotas = Quotas { custom_domains_per_service: 2, ..Quotas::default() };
        let take =
            |domain: &str, www| associate(domain, www, 1, &quotas, "apron.test").map_err(|error| error.0);
        assert_eq!(take("Example.com", None), Ok(("example.com".to_owned(), true)));
        assert_eq!(take("app.example.com", Some(false)), Ok(("app.example.com".to_owned(), false)));
        assert_eq!(take("*.example.com", None), Ok(("*.example.com".to_owned(), false)));
        assert_eq!(take("*.example.co.uk", None), Ok(("*.example.co.uk".to_owned(), false)));
        for deep in ["*.a.b.example.com", "*.login.example.com", "*.a.example.co.uk"] {
            assert!(take(deep, None).unwrap_err().contains("right below a root domain"), "{deep}");
        }
        assert!(take("*.example.com", Some(true)).unwrap_err().contains("covers www already"));
        for wrong in [
            "",
            "com",
            "a..b",
            "-a.com",
            "login*.a.com",
            "a.*.com",
            "*.*.com",
            "a_b.com",
            ".com",
            "a.com.",
            "1.2.3.4",
            "apron.test",
            "web.apron.test",
            "*.apron.test",
        ] {
            assert!(take(wrong, None).is_err(), "{wrong}");
        }
        assert!(associate("a.com", None, 2, &quotas, "apron.test").unwrap_err().0.contains("quota"));
    }

    #[test]
    fn every_host_has_a_record_of_its_own() {
        let domain = CustomDomain {
            service: ServiceId::new("5".repeat(32)),
            domain: "example.com".to_owned(),
            www: true,
            token: "0123456789abcdef0123456789abcdef".to_owned(),
            created_at: WallTime(1),
        };
        let records = domain.records("apron.test");
        assert_eq!(records.len(), 2);
        assert!(records[0].name.starts_with('_') && records[0].name.ends_with(".example.com."));
        assert!(records[1].name.ends_with(".www.example.com.") && records[1].name != records[0].name);
        assert!(records[0].value.ends_with(".validations.apron.test."));
    }
}
