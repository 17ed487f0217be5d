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
    let asked = Asked { text: "example.com/web:1".to_owned(), registry: "example.com".to_owned() };
    let status = |code: u16| reqwest::StatusCode::from_u16(code).unwrap();
    let permanent = [400, 401, 403, 404].map(|code| Failure::Status(status(code)));
    let tokens = [400, 401, 403, 404].map(|code| Failure::TokenStatus(status(code)));
    let refused = [Failure::Unauthorized, Failure::Refused("x".to_owned())];
    for failure in permanent.into_iter().chain(tokens).chain(refused) {
        let text = format!("{failure:?}");
        let error = asked.error(failure);
        assert!(error.permanent() && error.to_string().contains("example.com"), "{text}: {error}");
    }
    let passing = [408, 429, 500, 503].map(|code| Failure::Status(status(code)));
    let tokens = [408, 429, 500, 502].map(|code| Failure::TokenStatus(status(code)));
    for failure in passing.into_iter().chain(tokens).chain([Failure::Unreachable("x".to_owned())]) {
        let text = format!("{failure:?}");
        let error = asked.error(failure);
        assert!(!error.permanent() && error.to_string().contains("example.com"), "{text}: {error}");
    }
    assert!(!asked.content(ContentError::DiskFull(PathBuf::from("store"))).permanent());
    assert!(asked.other_platform("linux/s390x".to_owned()).permanent());
    let (expected, actual) = (Digest::new("sha256:a"), Digest::new("sha256:b"));
    assert!(asked.content(ContentError::Mismatch { expected, actual }).permanent());
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
