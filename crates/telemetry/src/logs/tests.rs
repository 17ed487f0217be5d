use super::*;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

const TIGHT: Limits =
    Limits { segment_bytes_max: 400, segments_max: 3, deployments_max: 2, audit_segments_max: 5 };

struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("apron-logs-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
    fn logs(&self) -> Logs {
        Logs::open(&self.0, TIGHT).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn application() -> Stream {
    Stream::Application(ServiceId::new("s1"))
}

fn texts(page: &Page) -> Vec<&str> {
    page.lines.iter().map(|l| l.text.as_str()).collect()
}

fn append(logs: &Logs, stream: &Stream, text: &str) {
    logs.append(stream, WallTime(5), "i1", [text]).unwrap();
}

#[test]
fn lines_come_back_in_order_and_pages_join() {
    let dir = Directory::new();
    let logs = dir.logs();
    for n in 0..10 {
        append(&logs, &application(), &format!("line {n}"));
    }
    let first = logs.read(&application(), Cursor::START, 4).unwrap();
    assert_eq!(texts(&first), ["line 0", "line 1", "line 2", "line 3"]);
    assert!(first.more);
    let second = logs.read(&application(), first.next, 100).unwrap();
    assert_eq!(second.lines.len(), 6);
    assert_eq!((second.next, second.dropped, second.more, second.end), (Cursor(10), 0, false, false));
    assert_eq!(logs.tail(&application(), 3).unwrap(), Cursor(7));
}

#[test]
fn rotation_keeps_numbers_and_says_what_is_gone() {
    let dir = Directory::new();
    let logs = dir.logs();
    for n in 0..200 {
        append(&logs, &application(), &format!("line {n}"));
    }
    let page = logs.read(&application(), Cursor(10), 1000).unwrap();
    assert_eq!(page.next, Cursor(200));
    assert_eq!(page.dropped + page.lines.len() as u64, 190);
    assert_eq!(page.lines[0].text, format!("line {}", 10 + page.dropped));
    let files = fs::read_dir(dir.0.join("s1/application")).unwrap();
    let sizes: Vec<u64> = files.map(|f| f.unwrap().metadata().unwrap().len()).collect();
    assert!(sizes.len() <= 3 && sizes.iter().all(|s| *s <= 400), "{sizes:?}");
}

#[test]
fn each_share_of_the_audit_log_has_a_bound_of_its_own() {
    let dir = Directory::new();
    let logs = dir.logs();
    let (changes, others) = (Stream::Audit(Share::Changes), Stream::Audit(Share::Others));
    append(&logs, &changes, "made");
    for n in 0..200 {
        append(&logs, &others, &format!("line {n}"));
    }
    logs.remove_service(&ServiceId::new("audit")).unwrap();
    assert_eq!(texts(&logs.read(&changes, Cursor::START, 1000).unwrap()), ["made"]);
    let page = logs.read(&others, Cursor::START, 1000).unwrap();
    assert_eq!((page.next, page.lines[0].text.as_str()), (Cursor(200), &*format!("line {}", page.dropped)));
    let files = fs::read_dir(dir.0.join("audit-others.log")).unwrap();
    assert_eq!(files.count(), 5);
}

#[test]
fn one_large_batch_stays_within_the_bounds() {
    let dir = Directory::new();
    let logs = dir.logs();
    logs.append(&application(), WallTime(1), "i", (0..500).map(|n| format!("{n}"))).unwrap();
    let page = logs.read(&application(), Cursor::START, 1000).unwrap();
    assert_eq!(page.next, Cursor(500));
    assert!(page.dropped > 400);
    assert_eq!(page.lines.last().unwrap().text, "499");
}

#[test]
fn a_torn_end_is_cut_and_numbering_goes_on() {
    for tail in [&b"{\"a\":5,\"s\":\"i"[..], b"\0\0\0\0\0\0", b"\0\0\0\n\0\n", b"\n"] {
        let dir = Directory::new();
        let logs = dir.logs();
        append(&logs, &application(), "one");
        append(&logs, &application(), "two");
        drop(logs);
        let path = dir.0.join("s1/application/00000000000000000000.log");
        fs::OpenOptions::new().append(true).open(path).unwrap().write_all(tail).unwrap();
        let logs = dir.logs();
        append(&logs, &application(), "three");
        let page = logs.read(&application(), Cursor::START, 10).unwrap();
        assert_eq!(texts(&page), ["one", "two", "three"], "after {tail:?}");
        assert_eq!(page.next, Cursor(3));
    }
}

#[test]
fn an_end_outlives_a_restart() {
    let dir = Directory::new();
    let stream = Stream::Deployment(ServiceId::new("s1"), OperationId::new("o1"));
    let logs = dir.logs();
    append(&logs, &stream, "built");
    assert!(!logs.read(&stream, Cursor::START, 10).unwrap().end);
    logs.end(&stream).unwrap();
    logs.end(&stream).unwrap();
    drop(logs);
    let logs = dir.logs();
    assert!(logs.read(&stream, Cursor::START, 10).unwrap().end);
    assert!(!logs.read(&stream, Cursor::START, 0).unwrap().end);
}

#[test]
fn deployments_of_a_service_are_bounded() {
    let dir = Directory::new();
    let logs = dir.logs();
    let stream = |n: u32| Stream::Deployment(ServiceId::new("s1"), OperationId::new(format!("o{n}")));
    for n in 0..4 {
        append(&logs, &stream(n), "x");
        std::thread::sleep(Duration::from_millis(15));
    }
    let kept: Vec<u32> =
        (0..4).filter(|n| !logs.read(&stream(*n), Cursor::START, 1).unwrap().lines.is_empty()).collect();
    assert_eq!(kept, [2, 3]);
}

#[test]
fn a_removed_service_has_no_lines_and_ids_cannot_leave_the_directory() {
    let dir = Directory::new();
    let logs = dir.logs();
    append(&logs, &application(), "x");
    logs.remove_service(&ServiceId::new("s1")).unwrap();
    logs.remove_service(&ServiceId::new("s1")).unwrap();
    assert!(!dir.0.join("s1").exists());
    assert!(logs.read(&application(), Cursor::START, 10).unwrap().lines.is_empty());
    for id in ["..", "", "a/b", "x\0"] {
        let stream = Stream::Events(ServiceId::new(id));
        assert!(matches!(logs.read(&stream, Cursor::START, 1), Err(LogError::BadName(_))), "{id:?}");
        assert!(matches!(logs.remove_service(&ServiceId::new(id)), Err(LogError::BadName(_))));
    }
}

#[test]
fn readers_and_a_writer_at_once_see_every_line_once() {
    let dir = Directory::new();
    let logs = Logs::open(&dir.0, Limits { segment_bytes_max: 2000, ..Limits::STANDARD }).unwrap();
    let writer = {
        let logs = logs.clone();
        std::thread::spawn(move || {
            for n in 0..2000 {
                append(&logs, &application(), &n.to_string());
            }
            logs.end(&application()).unwrap();
        })
    };
    let (mut cursor, mut seen) = (Cursor::START, 0);
    loop {
        let page = logs.read(&application(), cursor, 50).unwrap();
        seen += page.dropped;
        for line in &page.lines {
            assert_eq!(line.text, seen.to_string());
            seen += 1;
        }
        assert_eq!(page.next, Cursor(seen));
        cursor = page.next;
        if page.end {
            break;
        }
    }
    assert_eq!(seen, 2000);
    writer.join().unwrap();
}

#[tokio::test]
async fn waiting_ends_with_a_line_with_the_end_or_with_time() {
    let dir = Directory::new();
    let logs = dir.logs();
    let short = Duration::from_millis(20);
    assert!(!logs.wait(&application(), Cursor::START, short).await.unwrap());
    let other = logs.clone();
    let waiting = tokio::spawn(async move {
        other.wait(&application(), Cursor::START, Duration::from_secs(10)).await.unwrap()
    });
    tokio::time::sleep(short).await;
    append(&logs, &application(), "now");
    assert!(waiting.await.unwrap());
    assert!(!logs.wait(&application(), Cursor(1), short).await.unwrap());
    logs.end(&application()).unwrap();
    assert!(logs.wait(&application(), Cursor(1), short).await.unwrap());
}
