use super::*;

#[test]
fn hosts_are_mapped() {
    let host = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    let mirrors = BTreeMap::from([(host.to_owned(), "localhost:5000/team/".to_owned())]);
    assert_eq!(mapped(&format!("{host}/web:1"), &mirrors), "localhost:5000/team/web:1");
    assert_eq!(mapped("nginx", &mirrors), "nginx");
    assert_eq!(mapped("other/web", &mirrors), "other/web");
}

#[test]
fn which_references_name_a_registry() {
    for reference in ["ghcr.io/team/web", "localhost:5000/web:1", "10.0.0.1/web", "registry:80/web"] {
        assert!(names_a_registry(reference), "{reference}");
    }
    for reference in ["web", "web:1", "team/web:1", "localhost/web", "web:1.2"] {
        assert!(!names_a_registry(reference), "{reference}");
    }
}

/// A pull may move between threads.
#[allow(dead_code, clippy::extra_unused_lifetimes)]
fn futures_are_send(registry: &Registry, content: &Content) {
    fn check(_: impl Send) {}
    check(registry.pull("web", content));
    check(registry.obtain("web", content));
    check(registry.resolve("web"));
    let (registry, content) = (registry.clone(), content.clone());
    check(async move { registry.obtain(&String::from("web"), &content).await });
}

#[test]
fn what_passes_and_what_does_not() {
    let _provider = Registry::new(RegistryConfig::default());
    let session = Session {
        client: Client::default(),
        auth: RegistryAuth::Anonymous,
        reference: "example.com/web:1".parse().unwrap(),
        text: "example.com/web:1".to_owned(),
        registry: "example.com".to_owned(),
    };
    let url = String::new();
    let server = |code| OciDistributionError::ServerError { code, url: url.clone(), message: url.clone() };
    let envelope = |code: &str| OciDistributionError::RegistryError {
        envelope: serde_json::from_str(&format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#)).unwrap(),
        url: url.clone(),
    };
    let token = |text: &str| OciDistributionError::AuthenticationFailure(text.to_owned());
    let io = |kind| OciDistributionError::IoError(std::io::Error::from(kind));
    for error in [
        server(401),
        server(403),
        server(404),
        server(400),
        envelope("MANIFEST_UNKNOWN"),
        envelope("NAME_UNKNOWN"),
        envelope("DENIED"),
        envelope("UNSUPPORTED"),
        token(r#"{"errors":[{"code":"DENIED"}]}"#),
        token(r#"{"details":"incorrect username or password"}"#),
        token(""),
        OciDistributionError::UnauthorizedError { url: url.clone() },
    ] {
        let text = error.to_string();
        let error = session.error(error);
        assert!(error.permanent() && error.to_string().contains("example.com"), "{text}: {error}");
    }
    for error in [
        server(429),
        server(500),
        server(503),
        envelope("TOOMANYREQUESTS"),
        token("<html>502 Bad Gateway</html>"),
        token(r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#),
        io(std::io::ErrorKind::ConnectionRefused),
        io(std::io::ErrorKind::TimedOut),
    ] {
        let text = error.to_string();
        let error = session.error(error);
        assert!(!error.permanent() && error.to_string().contains("example.com"), "{text}: {error}");
    }
    let full = ContentError::DiskFull(PathBuf::from("store"));
    assert!(!session.content(full).permanent());
    assert!(session.other_platform("linux/s390x".to_owned()).permanent());
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    assert!(!session.broken(&reset).permanent());
    let other =
        DigestError::VerificationError { expected: "sha256:a".to_owned(), actual: "sha256:b".to_owned() };
    assert!(session.broken(&std::io::Error::other(other)).permanent());
}

#[test]
fn loopback_is_spoken_to_in_plain() {
    for registry in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.8.8", "[::1]:5000"] {
        assert!(is_loopback(registry), "{registry}");
    }
    for registry in ["docker.io", "10.0.0.1:5000", "localhost.example.com"] {
        assert!(!is_loopback(registry), "{registry}");
    }
}

#[test]
fn names_as_docker_reads_them() {
    let check = |text: &str, registry: &str, repository: &str, tag: Option<&str>| {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.registry(), registry, "{text}");
        assert_eq!(reference.repository(), repository, "{text}");
        assert_eq!(reference.tag(), tag, "{text}");
    };
    check("nginx", "docker.io", "library/nginx", Some("latest"));
    check("team/web:2", "docker.io", "team/web", Some("2"));
    check("ghcr.io/team/web", "ghcr.io", "team/web", Some("latest"));
    check("localhost:5000/web:1", "localhost:5000", "web", Some("1"));
}
