//! Whether the two proxies mean the same, answer by answer: requests that both pass on are the same ones, and where
//! one of both stops, it refused: nginx for a reason that we know, and we with a word.

use super::wider;
use super::world::{Done, Seen, World, says_no};
use std::time::Duration;

/// How long a connection may stay whose client has ended.
const TIME_MAX: Duration = Duration::from_secs(5);

/// What became of one request.
#[derive(Clone, Copy)]
enum Fate {
    Passed,
    /// There is nobody by that name.
    Nobody,
    Refused,
    /// It did not come, or not whole.
    Nothing,
}
use Fate::{Nobody, Nothing, Passed, Refused};

impl Fate {
    fn of(done: &Done, number: usize) -> Fate {
        match done.answers.get(number).map(|answer| answer.status) {
            Some(200) => Passed,
            Some(404) => Nobody,
            Some(_) => Refused,
            // An answer in HTTP/0.9, to what it takes for such a request.
            None if done.unread.is_some() => Refused,
            None => Nothing,
        }
    }
}

pub(super) fn agree(world: &World, text: &[u8], ours: &Done, theirs: &Done) -> Result<(), String> {
    check(ours)?;
    let (mut our_seen, mut their_seen) = (ours.seen.iter(), theirs.seen.iter());
    for number in 0.. {
        match (Fate::of(ours, number), Fate::of(theirs, number)) {
            (Passed, Passed) if same(our_seen.next(), their_seen.next()) => {}
            (Nobody, Nobody) => {}
            (Passed, Refused | Nothing) => {
                let more = our_seen.next().ok_or("an answer without a request")?;
                known(text, more)?;
                // nginx refuses this method alone, and may read on behind it.
                let goes_on = theirs.answers.get(number).is_some_and(|answer| !answer.closes);
                if more.method != "TRACE" || !goes_on {
                    return Ok(());
                }
            }
            (Refused, _) | (Nothing, Nothing) => return Ok(()),
            // Whose it is is asked before what it is.
            (Nobody, Refused) => return Ok(()),
            (Nothing, _) if may_end(text, ours) => return Ok(()),
            (Nothing, Refused) => return finished(world, text, ours),
            (Nobody, Nothing) if wider::ends_early(text) => return Ok(()),
            _ => return Err(format!("at request {number}")),
        }
    }
    Ok(())
}

fn same(ours: Option<&Seen>, theirs: Option<&Seen>) -> bool {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return false };
    let known = match (ours.target.as_str(), theirs.target.as_str()) {
        // Behind an authority nginx leaves a query out that is empty.
        ("/?", "/") => true,
        ("*", "/") => wider::asks_server(ours),
        _ => false,
    };
    let target = if known { &ours.target } else { &theirs.target };
    *ours == Seen { target: target.clone(), ..theirs.clone() }
}

/// What no client may meet, whatever it sends.
fn check(ours: &Done) -> Result<(), String> {
    if let Some(unread) = &ours.unread {
        return Err(format!("no answer is {unread}"));
    }
    if !ours.ended || ours.took > TIME_MAX {
        return Err("the connection does not end, or late".to_owned());
    }
    let passed = ours.answers.iter().filter(|answer| answer.status == 200).count();
    if passed != ours.seen.len() {
        return Err(format!("{passed} answers to {} requests", ours.seen.len()));
    }
    for (number, answer) in ours.answers.iter().enumerate() {
        let last = number + 1 == ours.answers.len();
        match answer.status {
            200 | 404 if last || !answer.closes => {}
            status if says_no(status) && last && answer.closes => {}
            _ => return Err(format!("{answer:?} as answer {number}")),
        }
    }
    Ok(())
}

fn known(text: &[u8], more: &Seen) -> Result<(), String> {
    match wider::reason(text, more) {
        Some(_) => Ok(()),
        None => Err(format!("nginx does not pass {more:?} on, and nobody knows why")),
    }
}

/// We may end a connection without refusing anything, and nginx go on.
fn may_end(text: &[u8], ours: &Done) -> bool {
    let Some(last) = ours.answers.last() else { return false };
    // Behind a request for nobody that has a body, nothing is read.
    last.closes && (last.status == 404 || wider::ends_late(text))
}

/// nginx refuses some requests before their end: once they have ended, we do too, or we know why we do not.
fn finished(world: &World, text: &[u8], before: &Done) -> Result<(), String> {
    // The end of a head, and more than enough of a body.
    const REST: u64 = 64 * 1024;
    let whole = [text, b"\r\n\r\n", &[b'x'; REST as usize]].concat();
    let [ours, theirs] = world.send(&whole, false);
    check(&ours)?;
    match (ours.seen.get(before.seen.len()), Fate::of(&ours, before.answers.len())) {
        (Some(more), _) => known(&whole, more),
        (None, Refused | Nobody) => Ok(()),
        (None, Nothing) if wider::ends_late(text) || wider::promises_more(text, REST) => Ok(()),
        (None, Passed | Nothing) => {
            Err(format!("nginx refuses what we end without a word; finished:\n  {ours:?}\n  {theirs:?}"))
        }
    }
}
