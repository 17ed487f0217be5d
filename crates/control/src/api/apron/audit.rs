//! GetAuditLog: who called what. Only keys with all rights come here.
//!
//! Its two shares are read as one log, in the order of time. A cursor is a place in each, as in `17.2038`.

use super::logs;
use crate::api::call::Context;
use crate::api::poll::Poll;
use apron_telemetry::{Cursor, Line, Page, Share, Stream};
use apron_wire::Error;
use apron_wire::apron::{GetAuditLogRequest, GetAuditLogResponse};

const SHARES: [Stream; 2] = [Stream::Audit(Share::Changes), Stream::Audit(Share::Others)];

pub(super) async fn get(
    context: Context<'_>,
    input: GetAuditLogRequest,
    poll: Poll,
) -> Result<GetAuditLogResponse, Error> {
    let from = cursors(input.from.as_deref())?;
    let asked = logs::Asked { wait_s: input.wait_seconds, lines: input.max_lines };
    let mut read = read(context, from, asked.max()).await?;
    if read.lines.is_empty() && !asked.wait().is_zero() {
        let logs = &context.platform.logs;
        let news = async {
            tokio::select! {
                news = logs.wait(&SHARES[0], from[0], asked.wait()) => news,
                news = logs.wait(&SHARES[1], from[1], asked.wait()) => news,
            }
        };
        if poll.wait(news).await? {
            read = self::read(context, from, asked.max()).await?;
        }
    }
    let [changes, others] = read.next;
    Ok(GetAuditLogResponse {
        lines: logs::lines(read.lines, read.dropped),
        next: format!("{changes}.{others}"),
    })
}

/// The place in each share. A cursor of a version that had one share alone names a place in the first.
fn cursors(from: Option<&str>) -> Result<[Cursor; 2], Error> {
    let Some(from) = from else { return Ok([Cursor::START; 2]) };
    let (changes, others) = from.split_once('.').unwrap_or((from, "0"));
    Ok([logs::cursor(changes)?, logs::cursor(others)?])
}

/// Lines of both shares.
#[derive(Debug, PartialEq, Eq)]
struct Both {
    lines: Vec<Line>,
    next: [Cursor; 2],
    dropped: u64,
}

async fn read(context: Context<'_>, from: [Cursor; 2], max: usize) -> Result<Both, Error> {
    let logs = &context.platform.logs;
    let changes = logs::read(logs, &SHARES[0], from[0], max).await?;
    let others = logs::read(logs, &SHARES[1], from[1], max).await?;
    Ok(merged([changes, others], max))
}

/// The oldest lines of two pages, each in its own order. Where a page that is not its share's last is used up, what
/// comes next in time is not known.
fn merged(pages: [Page; 2], max: usize) -> Both {
    let dropped = pages[0].dropped + pages[1].dropped;
    let more = [pages[0].more, pages[1].more];
    let mut next = [0, 1].map(|share| pages[share].next.0 - pages[share].lines.len() as u64);
    let mut shares = pages.map(|page| page.lines.into_iter().peekable());
    let mut lines = Vec::new();
    while lines.len() < max {
        let [changes, others] = &mut shares;
        let share = match (changes.peek(), others.peek()) {
            (Some(change), Some(other)) => usize::from(other.at < change.at),
            (Some(_), None) if !more[1] => 0,
            (None, Some(_)) if !more[0] => 1,
            _ => break,
        };
        lines.extend(shares[share].next());
        next[share] += 1;
    }
    Both { lines, next: next.map(Cursor), dropped }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apron_model::time::WallTime;

    fn page(next: u64, times: &[u64], dropped: u64, more: bool) -> Page {
        let line = |at: &u64| Line { at: WallTime(*at), source: String::new(), text: String::new() };
        Page { lines: times.iter().map(line).collect(), next: Cursor(next), dropped, more, end: false }
    }

    fn check(pages: [Page; 2], max: usize, times: &[u64], next: [u64; 2]) {
        let both = merged(pages, max);
        assert_eq!(both.lines.iter().map(|line| line.at.0).collect::<Vec<_>>(), times);
        assert_eq!((both.next, both.dropped), (next.map(Cursor), 3));
    }

    #[test]
    fn shares_are_read_as_one_and_no_line_is_passed_over() {
        let changes = || page(12, &[1, 5], 3, false);
        let others = || page(103, &[1, 4, 9], 0, false);
        check([changes(), others()], 9, &[1, 1, 4, 5, 9], [12, 103]);
        check([changes(), others()], 3, &[1, 1, 4], [11, 102]);
        check([changes(), page(100, &[], 0, false)], 9, &[1, 5], [12, 100]);
        // What follows 5 among the changes may be older than 9.
        check([page(12, &[1, 5], 3, true), others()], 9, &[1, 1, 4, 5], [12, 102]);
        // A clock that was set back leaves the order of each share alone.
        check([page(12, &[8, 2], 3, false), others()], 9, &[1, 4, 8, 2, 9], [12, 103]);
    }

    #[test]
    fn a_cursor_is_a_place_in_each_share() {
        assert_eq!(cursors(None).unwrap(), [Cursor(0), Cursor(0)]);
        assert_eq!(cursors(Some("7.40")).unwrap(), [Cursor(7), Cursor(40)]);
        assert_eq!(cursors(Some("7")).unwrap(), [Cursor(7), Cursor(0)]);
        for strange in ["", ".", "7.", "7.x", "7.4.0", "-1.0"] {
            assert_eq!(cursors(Some(strange)).unwrap_err().code, "InvalidRequestException", "{strange}");
        }
    }
}
