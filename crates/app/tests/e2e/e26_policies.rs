//! Tags that say how a service is reached, seen from outside: each is set on a running service and acts. Needs root.

use crate::support::http::{self, Answer};
use crate::support::observed::sample;
use crate::support::{Platform, eventually};
use std::process::Command;
use std::time::{Duration, Instant};

/// From a tag to the proxy that has it.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A deployed service and where it is.
struct Site {
    platform: Platform,
    arn: String,
    host: String,
}

impl Site {
    fn start(env: &[(&str, &str)]) -> Site {
        let platform = Platform::start();
        platform.import("site:1", env);
        platform.run(&["deploy", "site:1", "--name", "site"]);
        let (arn, host) = (platform.arn("site"), platform.alias("site"));
        Site { platform, arn, host }
    }

    fn tag(&self, key: &str, value: &str) {
        self.platform.tag(&self.arn, key, value);
    }

    fn get(&self, path: &str) -> Answer {
        http::get(&self.platform.apps, &self.host, path).expect("an answer")
    }

    /// Sets a tag, and asks for this path until it is answered so.
    fn tagged(&self, key: &str, value: &str, path: &str, status: u16) -> Answer {
        self.tag(key, value);
        eventually(AT_ONCE, &format!("{status} by {key}={value}"), || {
            let answer = self.get(path);
            if answer.status == status {
                Ok(answer)
            } else {
                Err(format!("{}\n{}", answer.head, answer.body))
            }
        })
    }

    /// What curl writes for a URL of this service, whichever port it names.
    fn curl(&self, options: &[&str], url: &str) -> String {
        let authority = self.platform.data.join("proxy/tls/ca.pem");
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"])
            .args(["--connect-to", &format!("{}::127.0.0.1:", self.host), "--cacert"])
            .arg(authority)
            .args(options)
            .arg(url)
            .output()
            .expect("curl is installed: run scripts/test, which installs it");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{options:?} {url}: {err}{out}");
        out.into_owned()
    }
}

fn header(answer: &Answer, name: &str) -> String {
    let mut lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.unwrap_or_else(|| panic!("no {name} in\n{}", answer.head)).1.to_owned()
}

fn cause(answer: &Answer) -> String {
    header(answer, "x-apron-cause")
}

#[test]
fn an_application_that_speaks_http2_only() {
    let site = Site::start(&[("MODE", "h2c"), ("TEXT", "by HTTP/2")]);
    let untold = site.get("/");
    assert_eq!(untold.status, 502, "{}", untold.head);
    let told = site.tagged("apron:app-protocol", "h2c", "/", 200);
    assert_eq!(told.body, "by HTTP/2");
    let url = format!("http://{}:{}/", site.host, port(&site.platform.apps));
    for (option, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let said = site.curl(&[option, "--write-out", " %{http_version} %{http_code}"], &url);
        assert_eq!(said, format!("by HTTP/2 {version} 200"));
    }
    let sent =
        site.curl(&["--http2-prior-knowledge", "--data", "a body", "--write-out", " %{http_code}"], &url);
    assert_eq!(sent, "by HTTP/2 200");
    let back = site.tagged("apron:app-protocol", "http1", "/", 502);
    assert!(["closed_before_response", "bad_response"].contains(&cause(&back).as_str()), "{}", back.head);
}

#[test]
fn whether_a_request_may_come_without_tls() {
    let site = Site::start(&[]);
    let secure = {
        let listed = site.platform.aws(&["list-services"]);
        let url = listed["ServiceSummaryList"][0]["ServiceUrl"].as_str().expect("a URL").to_owned();
        format!("https://{}:{}", site.host, port(&url))
    };
    let by_tls = || site.curl(&["--include"], &format!("{secure}/env?a=b")).to_ascii_lowercase();
    assert_eq!(site.get("/").status, 200, "on the local domain both ways lead in");

    let sent = site.tagged("apron:https", "redirect", "/env?a=b", 308);
    assert_eq!(header(&sent, "location"), format!("{secure}/env?a=b"));
    let plain = format!("http://{}:{}/headers", site.host, port(&site.platform.apps));
    let followed = site.curl(&["--location", "--data", "kept"], &plain).to_ascii_lowercase();
    assert!(
        followed.contains("x-forwarded-proto: https") && followed.contains("content-length: 4"),
        "{followed}"
    );

    let refused = site.tagged("apron:https", "refuse", "/", 403);
    assert_eq!(cause(&refused), "https_required");
    assert!(by_tls().contains(" 200"));

    site.tagged("apron:https", "serve", "/", 200);
    assert!(!by_tls().contains("strict-transport-security"));
    site.tag("apron:hsts", "true");
    eventually(AT_ONCE, "browsers are told", || {
        let head = by_tls();
        if head.contains("strict-transport-security: max-age=31536000") { Ok(()) } else { Err(head) }
    });
    let head = site.get("/").head.to_ascii_lowercase();
    assert!(!head.contains("strict-transport-security"), "nobody may say it without TLS: {head}");
}

#[test]
fn who_may_ask_and_what_is_written_of_it() {
    let site = Site::start(&[("TEXT", "hello")]);
    let log = site.platform.data.join("proxy/access.log");
    site.get("/unseen");
    assert!(!log.exists(), "nobody asked for a log");
    site.tag("apron:access-log", "on");
    // Which request is the first to be written is not known.
    let mut asked = 0;
    eventually(AT_ONCE, "a log", || {
        site.get(&format!("/perhaps{asked}"));
        asked += 1;
        if log.exists() { Ok(()) } else { Err("there is none".to_owned()) }
    });
    site.get("/seen?password=secret");
    let line = site.platform.logged("/seen");
    let shows = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}")).to_owned();
    assert_eq!(
        (shows("service"), shows("method"), shows("client")),
        ("site".into(), "GET".into(), "127.0.0.1".into())
    );
    assert_eq!((&line["status"], &line["revision"], &line["sent"]), (&200.into(), &1.into(), &5.into()));
    assert!(site.arn.ends_with(&shows("service_id")) && shows("instance").len() == 32, "{line}");
    assert!(line["total_ms"].as_f64() > Some(0.0) && line.get("cause").is_none(), "{line}");

    let refused = site.tagged("apron:allow-addresses", "203.0.113.0/24 2001:db8::/32", "/", 403);
    assert_eq!(cause(&refused), "address_refused");
    site.get("/shut");
    let line = site.platform.logged("/shut");
    assert_eq!((&line["status"], &line["cause"]), (&403.into(), &"address_refused".into()), "{line}");
    assert!(line.get("instance").is_none(), "{line}");
    site.tagged("apron:allow-addresses", "203.0.113.0/24 127.0.0.0/8", "/", 200);
    site.tagged("apron:deny-addresses", "127.0.0.1", "/", 403);
    site.tagged("apron:deny-addresses", "203.0.113.7", "/", 200);

    let text = std::fs::read_to_string(&log).expect("the log");
    assert!(!text.contains("secret") && !text.contains("unseen"), "{text}");
    let metrics = site.platform.metrics();
    let count = |name: &str, labels: &str| sample(&metrics, name, &format!("service=\"site\",{labels}"));
    let of = site.arn.rsplit('/').next().expect("an id");
    let id = format!("service_id=\"{of}\"");
    assert!(count("apron_proxy_requests_total", &format!("{id},class=\"2xx\"")) >= Some(4.0), "{metrics}");
    assert!(count("apron_proxy_requests_total", &format!("{id},class=\"4xx\"")) >= Some(3.0), "{metrics}");
    let refused = count("apron_proxy_failures_total", &format!("{id},cause=\"address_refused\""));
    assert!(refused >= Some(3.0), "{metrics}");
    assert!(count("apron_proxy_request_seconds_count", &id) >= Some(7.0), "{metrics}");
    assert_eq!(sample(&metrics, "apron_proxy_services", ""), Some(1.0), "{metrics}");
}

/// The application says of each request how many it had then.
#[test]
fn one_at_a_time_and_the_others_in_line() {
    const TOGETHER: usize = 4;
    const EACH: Duration = Duration::from_millis(200);
    let site = Site::start(&[]);
    site.tagged("apron:access-log", "on", "/", 200);
    let together = || {
        let path = format!("/busy?{}", EACH.as_millis());
        let begun = Instant::now();
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..TOGETHER).map(|_| scope.spawn(|| site.get(&path))).collect();
            asking.into_iter().map(|one| one.join().expect("a client")).collect()
        });
        for answer in &answers {
            assert_eq!(answer.status, 200, "{}\n{}", answer.head, answer.body);
        }
        let most = answers.iter().map(|answer| answer.body.parse::<usize>().expect("a number")).max();
        (most.expect("some"), begun.elapsed())
    };
    let (most, _) = together();
    assert!(most > 1, "they came one by one without a limit");
    // A line would bring more instances.
    site.tag("apron:max-size", "1");
    site.tag("apron:concurrency-hard", "1");
    eventually(AT_ONCE, "one at a time", || {
        let (most, took) = together();
        if most > 1 {
            return Err(format!("{most} at a time"));
        }
        assert!(took >= EACH * TOGETHER as u32, "{took:?}");
        Ok(())
    });
    let metrics = site.platform.metrics();
    let waited = sample(&metrics, "apron_proxy_queue_seconds_count", "service=\"site\"");
    assert!(waited >= Some(TOGETHER as f64 - 1.0), "{metrics}");
    // All but one wait for those before them.
    let expect = EACH.as_millis() as f64 * (TOGETHER as f64 - 1.5);
    eventually(AT_ONCE, "a line of the last in line", || {
        let log = std::fs::read_to_string(site.platform.data.join("proxy/access.log"));
        let log = log.map_err(|error| error.to_string())?;
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let longest = lines.filter_map(|line| line["queued_ms"].as_f64()).fold(0.0, f64::max);
        if longest >= expect { Ok(()) } else { Err(log) }
    });
}

/// Of `host:port`.
fn port(address: &str) -> &str {
    address.rsplit_once(':').expect("a port").1
}
