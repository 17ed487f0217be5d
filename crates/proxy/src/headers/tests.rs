use super::*;
use http::Request;

fn parts(uri: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn one_host_and_only_one() {
    assert_eq!(host(&parts("/", &[("host", "a:80")])).unwrap(), b"a:80");
    assert_eq!(host(&parts("http://b/x", &[("host", "a")])).unwrap(), b"b");
    assert_eq!(host(&parts("/", &[])), None);
    assert_eq!(host(&parts("/", &[("host", "a"), ("host", "a")])), None);
    for (name, expect) in [("b", true), ("B.:80", true), ("a", false), ("", false)] {
        let mut parts = parts("http://b/x", &[("host", name)]);
        parts.version = Version::HTTP_2;
        assert_eq!(host(&parts), expect.then_some(b"b".as_slice()), "{name}");
    }
}

#[test]
fn what_concerns_one_connection_does_not_pass() {
    let mut parts = parts(
        "/",
        &[
            ("host", "a"),
            ("connection", "close, X-Private, Host, content-length"),
            ("connection", "x-second, X-Forwarded-For"),
            ("x-second", "1"),
            ("x-forwarded-for", "192.0.2.7"),
            ("content-length", "3"),
            ("x-private", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-connection", "x"),
            ("accept", "*/*"),
        ],
    );
    strip_connection_headers(&mut parts.headers);
    let mut left: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["accept", "content-length", "host", "x-forwarded-for"]);
}

#[test]
fn a_websocket_needs_both_headers_and_no_other_protocol_passes() {
    let check = |connection: &str, upgrade: &[&str], expect: bool| {
        let mut headers = vec![("connection", connection)];
        headers.extend(upgrade.iter().map(|protocol| ("upgrade", *protocol)));
        assert_eq!(wants_websocket(&parts("/", &headers)), expect, "{headers:?}");
    };
    check("keep-alive, Upgrade", &["websocket"], true);
    check("upgrade", &["WebSocket"], true);
    check("keep-alive", &["websocket"], false);
    check("upgrade", &[], false);
    check("upgrade, HTTP2-Settings", &["h2c"], false);
    check("upgrade", &["websocket, h2c"], false);
    check("upgrade", &["websocket", "h2c"], false);
}

#[test]
fn only_who_is_believed_says_where_a_request_came_from() {
    let names = [
        "x_forwarded_for",
        "x-forwarded_proto",
        "x_amzn_trace_id",
        "x_real_ip",
        "x-forwarded-ssl",
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "x_api_key",
        "a_b",
        "x-request-id",
        "forward",
    ];
    let given = names.map(|name| (name, "1"));
    let left = |trusted: bool| {
        let mut parts = parts("/", &given);
        strip_hearsay(&mut parts.headers, trusted);
        let mut left: Vec<String> = parts.headers.keys().map(|name| name.to_string()).collect();
        left.sort_unstable();
        left
    };
    assert_eq!(left(false), ["a_b", "forward", "x-request-id", "x_api_key"]);
    let believed = ["forwarded", "x-forwarded-for", "x-forwarded-ssl"];
    let expect = [&["a_b", "forward"][..], &believed, &["x-real-ip", "x-request-id", "x_api_key"]].concat();
    assert_eq!(left(true), expect);
}

#[test]
fn a_balancer_says_how_its_client_came() {
    for (said, expect) in [
        ("https", true),
        ("HTTPS", true),
        ("wss", true),
        ("https, http", true),
        ("http", false),
        ("http, https", false),
        ("httpss", false),
        ("", false),
    ] {
        assert_eq!(says_tls(said.as_bytes()), expect, "{said}");
    }
}

#[test]
fn a_length_is_said_once_and_in_digits() {
    let check = |lines: &[&str], expect: Result<Option<u64>, Cause>| {
        let lines: Vec<(&str, &str)> = lines.iter().map(|line| ("content-length", *line)).collect();
        assert_eq!(content_length(&parts("/", &lines).headers), expect, "{lines:?}");
    };
    check(&[], Ok(None));
    check(&["0"], Ok(Some(0)));
    check(&["17"], Ok(Some(17)));
    for wrong in [&["3", "3"][..], &["3", "4"], &["3, 3"], &["+3"], &[""], &["3 "], &["99999999999999999999"]]
    {
        check(wrong, Err(Cause::BadRequest));
    }
}

#[test]
fn targets_of_http_2_are_paths() {
    let check = |uri: &str, method: Method, version: Version, expect: Result<(), Cause>| {
        let mut parts = parts(uri, &[]);
        (parts.method, parts.version) = (method, version);
        assert_eq!(check_target(&parts), expect, "{uri}");
    };
    let wrong = Err(Cause::BadRequest);
    check("/a?b", Method::GET, Version::HTTP_2, Ok(()));
    check("*", Method::OPTIONS, Version::HTTP_2, Ok(()));
    check("*", Method::GET, Version::HTTP_2, wrong);
    check("http://a?b", Method::GET, Version::HTTP_2, wrong);
    check("http://a?b", Method::GET, Version::HTTP_11, Ok(()));
    check("/\u{e4}", Method::GET, Version::HTTP_2, wrong);
    check("/\u{e4}", Method::GET, Version::HTTP_11, wrong);
    let long = |length: usize| format!("/{}", "a".repeat(length - 1));
    check(&long(REQUEST_LINE_BYTES_MAX), Method::GET, Version::HTTP_2, Ok(()));
    check(&long(REQUEST_LINE_BYTES_MAX + 1), Method::GET, Version::HTTP_2, Err(Cause::UriTooLong));
}

#[test]
fn of_several_lines_the_first_one_passes() {
    let mut headers = parts("/", &[("a", "1"), ("a", "2"), ("b", "3")]).headers;
    for name in ["a", "b", "c"] {
        assert_eq!(keep_first(&mut headers, &HeaderName::from_static(name)), name != "c");
    }
    let left: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(left, [("a", "1"), ("b", "3")]);
}

#[test]
fn targets_become_origin_form() {
    let check = |uri: &str, method: Method, expect: &str| {
        assert_eq!(origin_form(&uri.parse().unwrap(), &method).to_string(), expect);
    };
    check("http://a/x?y", Method::GET, "/x?y");
    check("http://a", Method::GET, "/");
    check("http://a?y", Method::GET, "/?y");
}

#[test]
fn targets_become_absolute_for_http_2() {
    let check = |uri: &str, method: Method, expect: &str| {
        let host = HeaderValue::from_static("a.localhost:80");
        let uri = absolute_form(&uri.parse().unwrap(), &method, &host).unwrap();
        assert_eq!(
            (uri.authority().unwrap().as_str(), uri.path_and_query().unwrap().as_str()),
            ("a.localhost:80", expect)
        );
    };
    check("/x?y", Method::GET, "/x?y");
    check("http://b/x?y", Method::GET, "/x?y");
    check("http://b", Method::GET, "/");
    check("*", Method::OPTIONS, "*");
}

#[test]
fn the_stranger_is_the_last_who_is_not_trusted() {
    let trusted: Vec<Network> = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()).into();
    let check = |peer: &str, lines: &[&str], expect: &str| {
        let lines = lines.iter().map(|line| line.as_bytes());
        let stranger = stranger(peer.parse().unwrap(), &trusted, lines);
        assert_eq!(stranger, expect.parse::<IpAddr>().unwrap(), "{peer}");
    };
    check("1.1.1.1", &["2.2.2.2"], "1.1.1.1");
    check("10.0.0.1", &[], "10.0.0.1");
    check("10.0.0.1", &["2.2.2.2"], "2.2.2.2");
    check("10.0.0.1", &["9.9.9.9, 2.2.2.2"], "2.2.2.2");
    check("10.0.0.1", &["9.9.9.9, 2.2.2.2 ,10.1.1.1"], "2.2.2.2");
    check("10.0.0.1", &["9.9.9.9", "2.2.2.2, 10.1.1.1", "fd00::1"], "2.2.2.2");
    check("10.0.0.1", &["10.2.2.2"], "10.2.2.2");
    check("10.0.0.1", &["2.2.2.2:4711"], "2.2.2.2");
    check("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1");
    check("10.0.0.1", &["::ffff:2.2.2.2"], "2.2.2.2");
    check("10.0.0.1", &["2.2.2.2, unknown"], "10.0.0.1");
    check("10.0.0.1", &[""], "10.0.0.1");
}

#[test]
fn grpc_and_trailers_are_known_by_their_headers() {
    let grpc = |kind: &str| is_grpc(&parts("/", &[("content-type", kind)]).headers);
    assert!(grpc("application/grpc") && grpc("application/grpc+proto") && grpc("Application/gRPC-web"));
    assert!(!grpc("application/grp") && !grpc("application/json") && !is_grpc(&HeaderMap::new()));
    let trailers = |te: &str| takes_trailers(&parts("/", &[("te", te)]).headers);
    assert!(trailers("trailers") && trailers("gzip, Trailers"));
    assert!(!trailers("gzip") && !takes_trailers(&HeaderMap::new()));
}

#[test]
fn via_is_a_token() {
    let via = Via::new("edge-1").unwrap();
    assert_eq!(
        (via.of(Version::HTTP_11), via.of(Version::HTTP_2)),
        (&"1.1 edge-1".parse().unwrap(), &"2 edge-1".parse().unwrap())
    );
    for wrong in ["", "a b", "a,b", "a\r\nb", "ä"] {
        assert!(Via::new(wrong).is_none(), "{wrong:?}");
    }
}

#[test]
fn addresses_are_appended_and_cookies_joined() {
    let mut headers = parts(
        "/",
        &[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ],
    )
    .headers;
    assert_eq!(append(&headers, &HeaderValue::from_static("3.3.3.3")), "1.1.1.1, 2.2.2.2, 3.3.3.3");
    join_cookies(&mut headers);
    assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
}
