//! The same bytes to this proxy and to nginx, before applications that remember what they were asked: what both pass
//! on must be the same requests. Where one of them refuses what the other passes on, the reason stands here.

mod agree;
mod answers;
mod cases;
mod wider;
mod world;

use crate::mutate;
use agree::agree;
use cases::cases;
use world::World;

const HOST: &str = "app.localhost";

#[test]
#[ignore = "long: the long list runs it"]
fn nginx_reads_the_same_requests() {
    let world = World::new();
    let mut wrong = Vec::new();
    for (text, expect) in cases() {
        let [ours, theirs] = world.send(text.as_bytes(), expect.is_refusal());
        if let Err(reason) = expect.check(&ours, &theirs) {
            let text = format!("{text:?}");
            wrong.push(format!("{text:.200}: {expect:?}, {reason}\n  here {ours:?}\n  nginx {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What requests are made of.
pub(crate) const WORDS: [&str; 23] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "0\r\n\r\n",
    "Host: app.localhost\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding",
    "Content-Length",
    "chunked",
    "Connection: keep-alive\r\n",
    "GET /behind HTTP/1.1\r\nHost: app.localhost\r\n\r\n",
    "http://app.localhost",
    "HTTP/1.0",
    "\r\n\r\n",
    "\u{b}",
    "_",
];

#[test]
#[ignore = "long: the long list runs it"]
fn nginx_reads_the_same_requests_changed_by_dice() {
    let world = World::new();
    let texts: Vec<String> = cases().map(|(text, _)| text).collect();
    let corpus: Vec<&[u8]> = texts.iter().map(String::as_bytes).filter(|text| !text.is_empty()).collect();
    mutate::fuzz(&corpus, &WORDS, |text| {
        let [ours, theirs] = world.send(text, false);
        if let Err(why) = agree(&world, text, &ours, &theirs) {
            panic!("{why}\n  here {ours:?}\n  nginx {theirs:?}");
        }
    });
}
