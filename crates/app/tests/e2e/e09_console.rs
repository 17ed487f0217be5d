//! The console in a real browser: sign in, look, pause and resume, read logs; hostile text stays text.
//! Needs root and Debian's package chromium.

use crate::support::browser::Browser;
use crate::support::{Platform, http, image};

/// The value of a key in the platform's credentials file.
fn credential(platform: &Platform, name: &str) -> String {
    let text = std::fs::read_to_string(platform.data.join("credentials")).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in the credentials")).trim().to_owned()
}

#[test]
fn the_page_is_served_beside_the_api() {
    let platform = Platform::start();
    let request = |method: &str, path: &str| {
        let text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", platform.api);
        http::request(&platform.api, &text).unwrap()
    };
    let page = request("GET", "/");
    assert_eq!(page.status, 200);
    assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
    assert!(page.head.to_ascii_lowercase().contains("content-security-policy: default-src 'none'"));
    let head = request("HEAD", "/");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains(&format!("content-length: {}", page.body.len())), "{}", head.head);
    assert_eq!(request("GET", "/console.js").status, 200);
    assert_eq!(request("PUT", "/console.css").status, 405);
    // All else is still the API's to answer, and it wants a signature.
    assert!(request("POST", "/").body.contains("UnknownOperationException"));
    assert!(request("GET", "/console").body.contains("UnknownOperationException"));
}

#[test]
#[ignore = "needs the package chromium, which is as large as all else that the tests install"]
fn a_person_looks_and_acts() {
    let platform = Platform::start();
    let dir = platform.scratch("image");
    let archive = image::archive(&dir, "web:1", &[]);
    platform.run(&["image", "import", archive.to_str().unwrap()]);
    platform.run(&["deploy", "web:1", "--name", "web"]);
    // The reason of this failure, and the log lines about it, carry markup.
    let markup = "/<img src=x onerror=document.title=1>";
    let broken = image::archive_of(&dir, "broken:1", &[], "amd64", &[markup]);
    platform.run(&["image", "import", broken.to_str().unwrap()]);
    platform.refused(&["deploy", "broken:1", "--name", "broken"]);

    let mut browser = Browser::open(&platform.scratch("browser"), &format!("http://{}/", platform.api));
    let signs_in = |browser: &mut Browser, secret: &str| {
        browser.waits_for("document.querySelector('form.card input[name=id]') !== null");
        let id = credential(&platform, "aws_access_key_id");
        let fields = serde_json::json!({ "id": id, "secret": secret });
        browser.value(&format!(
            "for (const [k, v] of Object.entries({fields})) document.querySelector(`form.card [name=${{k}}]`).value = v"
        ));
        browser.clicks("form.card", "Open");
    };
    signs_in(&mut browser, "wrong");
    browser.shows("InvalidSignatureException");
    assert_eq!(browser.value("sessionStorage.length"), 0, "a refused key is not kept");
    // The browser itself notes the refusal.
    browser.complaints();
    signs_in(&mut browser, &credential(&platform, "aws_secret_access_key"));

    browser.shows("web");
    browser.shows("Create failed");
    browser.clicks("main", "web");
    browser.shows("Revision 1");
    browser.shows("Healthy");
    browser.shows("Create service");
    http::get(&platform.apps, &platform.alias("web"), "/print").unwrap();
    browser.shows("a line of output");
    browser.clicks("#operations", "log");
    browser.shows("Deployment log, complete.");

    // Cancelled means untouched.
    browser.clicks("#summary", "Pause");
    browser.clicks("dialog", "Cancel");
    browser.waits_for("!document.querySelector('dialog').open");
    assert_eq!(http::get(&platform.apps, &platform.alias("web"), "/").unwrap().status, 200);
    browser.clicks("#summary", "Pause");
    browser.clicks("dialog", "Pause");
    browser.shows("Paused");
    assert_eq!(http::get(&platform.apps, &platform.alias("web"), "/").unwrap().status, 503);
    browser.clicks("#summary", "Resume");
    browser.clicks("dialog", "Resume");
    browser.waits_for("document.querySelector('#summary .state')?.textContent === 'Running'");
    assert_eq!(http::get(&platform.apps, &platform.alias("web"), "/").unwrap().status, 200);

    // Signed in over a reload of the tab; hostile text is shown as it is.
    browser.command("Page.reload", serde_json::json!({}));
    browser.clicks("main", "All services");
    browser.clicks("main", "broken");
    browser.shows("<img src=x onerror=");
    browser.clicks("#streams", "Events");
    browser.waits_for("document.querySelector('#log').textContent.includes('<img src=x')");
    assert_eq!(browser.value("document.querySelectorAll('main img').length"), 0);
    assert_eq!(browser.value("document.title"), "broken · Apron");

    browser.clicks("header", "Forget key");
    browser.waits_for("document.querySelector('form.card') !== null && sessionStorage.length === 0");
    assert_eq!(browser.complaints(), Vec::<String>::new(), "the page complained");
}
