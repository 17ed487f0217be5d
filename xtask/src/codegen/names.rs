//! AWS's names as Rust names.

/// `VpcDNSTargets` as `vpc_dns_targets`, `EnableWWWSubdomain` as `enable_www_subdomain`.
pub(crate) fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).map(|b| chars[b]);
        let after = chars.get(i + 1);
        // A word begins at a capital after a small letter, and at the last capital of a run.
        let begins = c.is_uppercase()
            && before.is_some_and(|b| !b.is_uppercase() || after.is_some_and(|a| a.is_lowercase()));
        if begins {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// A member's field name: a keyword is escaped.
pub(crate) fn field(name: &str) -> String {
    let snake = snake(name);
    if matches!(snake.as_str(), "type" | "ref" | "move" | "use" | "match") {
        format!("r#{snake}")
    } else {
        snake
    }
}

/// `START_DEPLOYMENT`, `active` and `AWSXRAY` as enum variants.
pub(crate) fn variant(value: &str) -> String {
    value.split(['_', '-']).map(capitalised).collect()
}

/// A shape's name as a static's.
pub(crate) fn screaming(name: &str) -> String {
    snake(name).to_uppercase()
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(chars.flat_map(char::to_lowercase)).collect()
    })
}

/// What serde's `PascalCase` makes of a field name; where it differs from AWS's name, the field is renamed.
pub(crate) fn pascal(field: &str) -> String {
    field.trim_start_matches("r#").split('_').map(capitalised).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (aws, rust) in [
            ("ServiceName", "service_name"),
            ("DNSTarget", "dns_target"),
            ("VpcDNSTargets", "vpc_dns_targets"),
            ("EnableWWWSubdomain", "enable_www_subdomain"),
            ("UUID", "uuid"),
            ("ASConfigMaxSize", "as_config_max_size"),
        ] {
            assert_eq!(snake(aws), rust);
        }
        assert_eq!(field("Type"), "r#type");
        assert_eq!((variant("DUAL_STACK"), variant("active")), ("DualStack".into(), "Active".into()));
        assert_eq!(pascal("dns_target"), "DnsTarget");
    }
}
