use super::*;

#[test]
fn three_files_are_answered_and_nothing_else() {
    for (path, media_type) in
        [("/", "text/html"), ("/console.js", "text/javascript"), ("/console.css", "text/css")]
    {
        for method in [Method::GET, Method::HEAD] {
            let response = answer(&method, path).unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{method} {path}");
            let said = response.headers()[CONTENT_TYPE].to_str().unwrap();
            assert!(said.starts_with(media_type), "{path}: {said}");
            assert!(!response.body().is_empty(), "{path}");
        }
    }
    for path in ["/index.html", "/console.js/", "//", "/favicon.ico", "/console"] {
        assert!(answer(&Method::GET, path).is_none(), "{path}");
    }
}

#[test]
fn calls_go_on_to_the_api_and_files_take_no_other_method() {
    for method in [Method::POST, Method::PUT, Method::OPTIONS, Method::DELETE] {
        assert!(answer(&method, "/").is_none(), "{method}");
        let refused = answer(&method, "/console.js").unwrap();
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(refused.headers()[ALLOW], "GET, HEAD");
    }
}

#[test]
fn every_answer_says_what_a_browser_may_do_with_it() {
    for (method, path) in [(Method::GET, "/"), (Method::GET, "/console.js"), (Method::PUT, "/console.css")] {
        let response = answer(&method, path).unwrap();
        let header = |name: HeaderName| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header(CACHE_CONTROL), "no-store");
        assert_eq!(header(X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(header(X_FRAME_OPTIONS), "DENY");
        assert_eq!(header(REFERRER_POLICY), "no-referrer");
        let policy = header(CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}

/// What the policy forbids would silently not work; what it relies on must not creep in.
#[test]
fn the_files_keep_to_the_policy() {
    let [page, script, style] = FILES.map(|file| file.content);
    for inline in [" style=", " onclick=", " onload=", "<style", "javascript:"] {
        assert!(!page.contains(inline), "{inline} in the page");
    }
    assert_eq!(page.matches("<script").count(), 1);
    assert!(page.contains(r#"<script type="module" src="/console.js"></script>"#));
    for sink in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "localStorage",
    ] {
        assert!(!script.contains(sink), "{sink} in the script");
    }
    for (name, content) in [("page", page), ("script", script), ("style", style)] {
        let foreign = content.match_indices("://").count();
        // The name space of the icon's SVG, and loopback in the advice for a page that cannot sign.
        assert_eq!(
            content.matches("://www.w3.org/").count() + content.matches("://127.0.0.1").count(),
            foreign,
            "{name}"
        );
    }
    assert!(!style.contains("@import") && !style.contains("url("), "the style loads something");
}
