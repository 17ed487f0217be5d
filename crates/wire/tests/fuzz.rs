//! Requests with changes by dice, before anybody knows who sent them. Part of the long list.

#[path = "../../model/tests/support/mutate.rs"]
mod mutate;

use apron_wire::sigv4::{Credentials, Presented, SecretKey, sign};
use apron_wire::{Call, apprunner, apron, detect, json, parameters};
use bytes::Bytes;
use http::Request;

const NOW_S: u64 = 1_700_000_000;

/// What is read is written again and read as the same.
fn check<C: Call>(body: &[u8]) {
    let _ = parameters::shown(C::shape(), body);
    let Ok(read) = json::decode::<C>(body) else { return };
    let written = serde_json::to_vec(&read).unwrap();
    let again = json::decode::<C>(&written).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(&again).unwrap());
}

#[test]
#[ignore = "long: the long list runs it"]
fn bodies() {
    let corpus: [&[u8]; 4] = [
        br#"{"ServiceName":"web","SourceConfiguration":{"CodeRepository":{"RepositoryUrl":"https://git.test/a.git",
            "SourceCodeVersion":{"Type":"BRANCH","Value":"main"},"CodeConfiguration":{"ConfigurationSource":"API",
            "CodeConfigurationValues":{"Runtime":"PYTHON_311","BuildCommand":"a","StartCommand":"b","Port":"8000",
            "RuntimeEnvironmentVariables":{"A":"1"}}}},"AutoDeploymentsEnabled":false},"InstanceConfiguration":
            {"Cpu":"1 vCPU","Memory":"2 GB"},"Tags":[{"Key":"a","Value":"b"}],"HealthCheckConfiguration":
            {"Protocol":"HTTP","Path":"/","Interval":5,"Timeout":2,"HealthyThreshold":1,"UnhealthyThreshold":5}}"#,
        br#"{"ServiceName":"web","SourceConfiguration":{"ImageRepository":{"ImageIdentifier":"a/b:c",
            "ImageRepositoryType":"ECR_PUBLIC","ImageConfiguration":{"Port":"80"}}}}"#,
        br#"{"UploadId":"0123456789abcdef0123456789abcdef","Offset":0,"Data":"AAAA"}"#,
        br#"{"MaxResults":20,"NextToken":"abc"}"#,
    ];
    let words = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\u0000",
        "\\ud800",
        "null",
        "true",
        "1e400",
        "-0",
        "1.5",
        "99999999999999999999",
        "\"ServiceName\":",
        "\"Tags\":",
        "\"Key\":",
        "[[[[[[[[",
        "{\"a\":{\"a\":",
        "\0",
        "=",
    ];
    mutate::fuzz(&corpus, &words, |body| {
        check::<apprunner::CreateServiceRequest>(body);
        check::<apprunner::UpdateServiceRequest>(body);
        check::<apprunner::ListServicesRequest>(body);
        check::<apprunner::TagResourceRequest>(body);
        check::<apron::PutUploadPartRequest>(body);
        check::<apron::GetLogsRequest>(body);
    });
}

/// A request as lines: method and target, then headers. `None`: HTTP itself would refuse it.
fn request(text: &[u8]) -> Option<Request<Bytes>> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::builder().method(first.next()?).uri(first.next()?);
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        request = request.header(parts.next()?, parts.next()?);
    }
    request.body(Bytes::from_static(b"{}")).ok()
}

/// The same request, presigned: its signature stands in the query.
const PRESIGNED: &str = "POST /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20231114%2Fus-east-1%2F\
    apprunner%2Faws4_request&X-Amz-Date=20231114T221320Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=\
    0000000000000000000000000000000000000000000000000000000000000000\nhost:a.test";

#[test]
#[ignore = "long: the long list runs it"]
fn signatures() {
    let mut signed = request(b"POST /\nhost:a.test\nx-amz-target:AppRunner.ListServices").unwrap();
    let credentials =
        Credentials { access_key_id: "AKID".to_owned(), secret: SecretKey::new("right"), token: None };
    sign(&mut signed, &credentials, "us-east-1", "apprunner", NOW_S).unwrap();
    let mut text = "POST /".to_owned();
    for (name, value) in signed.headers() {
        text += &format!("\n{name}:{}", value.to_str().unwrap());
    }
    let verify = |text: &[u8], secret: &str| {
        let request = request(text)?;
        let _ = detect(request.method(), request.uri().path(), request.headers());
        let (head, body) = request.into_parts();
        let presented = Presented::read(&head).ok()?;
        presented.verify(&SecretKey::new(secret), body, "apprunner", NOW_S).ok()
    };
    assert!(verify(text.as_bytes(), "right").is_some(), "the unchanged one is right");
    let words = [
        "AWS4-HMAC-SHA256 ",
        "Credential=",
        "SignedHeaders=",
        "Signature=",
        ", ",
        "/",
        ";",
        "host",
        "x-amz-date",
        "aws4_request",
        "20231114",
        "T221320Z",
        "%",
        "%2",
        "%00",
        "+",
        "&",
        "=",
        "?",
        "UNSIGNED-PAYLOAD",
        "\n",
        ":",
        "x-amz-content-sha256:",
        "authorization:",
        "\t",
        "ä",
    ];
    mutate::fuzz(&[text.as_bytes(), PRESIGNED.as_bytes()], &words, |text| {
        // Reading must end, with whatever result; but nothing is ever signed with a secret that did not sign it.
        assert!(verify(text, "wrong").is_none());
    });
}

/// A body in chunks, under a signature that says so and nothing of the chunks.
#[test]
#[ignore = "long: the long list runs it"]
fn chunks() {
    let mut head = request(
        b"POST /\nhost:a.test\ncontent-encoding:aws-chunked\nx-amz-decoded-content-length:5\n\
          x-amz-trailer:x-amz-checksum-crc32\nx-amz-content-sha256:STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    )
    .unwrap();
    let secret = SecretKey::new("right");
    let credentials = Credentials { access_key_id: "AKID".to_owned(), secret: secret.clone(), token: None };
    sign(&mut head, &credentials, "us-east-1", "apprunner", NOW_S).unwrap();
    let (head, _) = head.into_parts();
    let decoded = |body: &[u8]| {
        let presented = Presented::read(&head).unwrap();
        let verified = presented.verify(&secret, Bytes::copy_from_slice(body), "apprunner", NOW_S);
        verified.map(|(_, body)| body)
    };
    let whole = b"3\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:hYfEFA==\r\n\r\n";
    assert_eq!(decoded(whole).unwrap(), "abcde");
    let words = [
        "\r\n",
        "\r",
        "\n",
        "0",
        "f",
        "ffffffff",
        ";chunk-signature=",
        ":",
        "x-amz-trailer-signature:",
        "\0",
    ];
    mutate::fuzz(&[whole], &words, |body| match decoded(body) {
        Ok(data) => assert_eq!(data.len(), 5),
        Err(error) => assert_eq!((error.code.as_ref(), error.status), ("SerializationException", 400)),
    });
}
