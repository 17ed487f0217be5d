//! openssl's client and testssl.sh, which know of TLS what is old and what is broken.

use super::{HOST, Program, World, both, repository};
use crate::support::Origin;
use apron_model::routes::RoutePolicy;

/// One request over TLS, with what openssl says about it.
fn s_client(world: &World, arguments: &[&str]) -> std::process::Output {
    let address = world.front.https.to_string();
    Program::debian("openssl", "openssl")
        .args(&["s_client", "-connect", &address, "-servername", HOST, "-verify_hostname", HOST])
        .args(&["-CAfile", world.authority(), "-verify_return_error", "-ign_eof"])
        .args(arguments)
        .input(&format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"))
        .run()
}

#[test]
fn openssl_speaks_both_versions_and_goes_on_with_its_sessions() {
    let origin = Origin::named("served");
    let world = World::plain(&origin);
    let session = world.directory.file("session");
    let session = session.to_str().unwrap();
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let first = both(&s_client(&world, &[flag, "-alpn", "h2c,http/1.1", "-sess_out", session]));
        for what in [
            &format!("New, {version}, Cipher is "),
            "Verification: OK",
            "ALPN protocol: http/1.1",
            "HTTP/1.1 200 OK",
            "served",
        ] {
            assert!(first.contains(what), "{what}: {first}");
        }
        // Whichever loop takes the next connection.
        for _ in 0..4 {
            let again = both(&s_client(&world, &[flag, "-sess_in", session]));
            assert!(again.contains(&format!("Reused, {version}, Cipher is ")), "{again}");
            assert!(again.contains("HTTP/1.1 200 OK"), "{again}");
        }
        // Data before the handshake's end could be sent a second time by anyone.
        assert!(!first.contains("Max Early Data: ") || first.contains("Max Early Data: 0"), "{first}");
    }
    let h2 = both(&s_client(&world, &["-alpn", "h2,http/1.1"]));
    assert!(h2.contains("ALPN protocol: h2\n"), "{h2}");
    let none = s_client(&world, &["-alpn", "spdy/3"]);
    assert!(!both(&none).contains("HTTP/1.1 200"), "{}", both(&none));
}

#[test]
fn openssl_gets_nothing_that_is_old_or_weak() {
    let origin = Origin::named("served");
    let world = World::plain(&origin);
    for arguments in [
        &["-tls1", "-cipher", "ALL@SECLEVEL=0"][..],
        &["-tls1_1", "-cipher", "ALL@SECLEVEL=0"],
        // Without forward secrecy, without authentication, with CBC, and with what nobody takes any more.
        &["-tls1_2", "-cipher", "kRSA@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "aNULL@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA@SECLEVEL=0"],
        &["-tls1_2", "-cipher", "DHE@SECLEVEL=0"],
        &["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"],
        &["-tls1_3", "-groups", "secp521r1"],
    ] {
        let output = s_client(&world, arguments);
        let text = both(&output);
        assert!(!output.status.success() && text.contains("alert"), "{arguments:?}: {text}");
        assert!(!text.contains("HTTP/1.1 200"), "{arguments:?}: {text}");
    }
}

/// Its best grade needs strict transport security, for half a year at least.
#[test]
#[ignore = "long: testssl.sh tries everything that was ever wrong with TLS: minutes"]
fn testssl_grades_it_a_plus() {
    let origin = Origin::named("served");
    let policy = RoutePolicy { hsts: true, ..RoutePolicy::default() };
    let world = World::new(&[(HOST, origin.address, policy)]);
    // Grades came with version 3.2, which is Debian 13's, and it needs nothing else of that.
    let root = repository().join("target/testssl");
    let program = root.join("usr/bin/testssl");
    let report = world.directory.file("report.json");
    let url = format!("https://{HOST}:{}/", world.front.https.port());
    let mut program = Program::new(
        program.to_str().unwrap(),
        600,
        "scripts/test --all, which unpacks testssl.sh of Debian 13 into target/testssl",
    )
    .args(&["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1"])
    .args(&["--add-ca", world.authority(), "--jsonfile", report.to_str().unwrap(), &url]);
    program.command.env("TESTSSL_INSTALL_DIR", root.join("etc/testssl"));
    program.command.current_dir(&world.directory.0);
    let text = both(&program.run());
    let report = std::fs::read(&report).unwrap_or_else(|error| panic!("{error}: {text}"));
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&report).unwrap();
    let grade = findings.iter().find(|finding| finding["id"] == "overall_grade");
    assert_eq!(grade.map(|finding| &finding["finding"]), Some(&"A+".into()), "{text}");
    let wrong: Vec<_> = findings
        .iter()
        .filter(|finding| {
            matches!(finding["severity"].as_str(), Some("MEDIUM" | "HIGH" | "CRITICAL" | "FATAL"))
        })
        // An authority of this machine tells nobody what it took back.
        .filter(|finding| finding["id"] != "cert_revocation")
        // Which other headers keep a browser from harm is the application's to say.
        .filter(|finding| finding["id"] != "security_headers")
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
