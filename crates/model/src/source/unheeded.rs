//! What is accepted because tools always send it, and has no effect yet: said once, where it was asked for.

use crate::service::{ServiceConfig, Source};

/// One sentence for each member that has no effect. With the configuration `before`, only for those that are
/// new in it.
pub fn unheeded(config: &ServiceConfig, before: Option<&ServiceConfig>) -> Vec<&'static str> {
    let watched = |config: &ServiceConfig| match &config.source {
        // An upload changes only by another upload.
        Source::Code(code) if code.repository_url.starts_with(super::UPLOAD_PREFIX) => false,
        Source::Code(_) | Source::Image(_) => config.auto_deployments,
    };
    let mut sentences = Vec::new();
    if watched(config) && !before.is_some_and(watched) {
        sentences.push(
            "AutoDeploymentsEnabled has no effect yet: a push starts no deployment. Use StartDeployment.",
        );
    }
    let is_new = |of: fn(&ServiceConfig) -> &Option<String>| {
        of(config).is_some() && before.is_none_or(|before| of(before) != of(config))
    };
    if is_new(|config| &config.access_role_arn) {
        sentences.push(
            "AccessRoleArn has no effect: images are pulled with the platform's own registry credentials.",
        );
    }
    if is_new(|config| &config.instance_role_arn) {
        sentences.push("InstanceRoleArn has no effect yet: instances are given no AWS credentials.");
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn each_is_said_when_it_is_new() {
        let mut config = fixture::code_config(true);
        let says = |config: &ServiceConfig, before: Option<&ServiceConfig>| -> Vec<&str> {
            unheeded(config, before).iter().filter_map(|text| text.split(' ').next()).collect()
        };
        assert_eq!(says(&config, None), Vec::<&str>::new());
        config.auto_deployments = true;
        config.access_role_arn = Some("a".to_owned());
        let before = config.clone();
        assert_eq!(says(&config, None), ["AutoDeploymentsEnabled", "AccessRoleArn"]);
        config.instance_role_arn = Some("b".to_owned());
        assert_eq!(says(&config, Some(&before)), ["InstanceRoleArn"]);
        config.access_role_arn = Some("c".to_owned());
        assert_eq!(says(&config, Some(&before)), ["AccessRoleArn", "InstanceRoleArn"]);
        let Source::Code(code) = &mut config.source else { panic!("code") };
        code.repository_url = format!("{}sha256:{}", crate::source::UPLOAD_PREFIX, "a".repeat(64));
        assert_eq!(says(&config, None), ["AccessRoleArn", "InstanceRoleArn"]);
    }
}
