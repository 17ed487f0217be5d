//! Prometheus metrics, on a unix socket that this machine's administrators may open: `GET /metrics`.
//!
//! A scrape is written in pieces, family by family, over the services of the table of that moment; a service that had
//! no request yet has no lines. It has a thread of its own: neither the loops nor the link wait for whoever reads.

use crate::observe::{BOUNDS_US, CLASSES, Common, Times, Totals};
use crate::reply::Cause;
use crate::route::{Service, Snapshot};
use crate::tables::Tables;
use apron_model::ids::Generation;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::fmt::Write;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Scrapers at a time; a further one waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 8;
/// From the connection to the last byte. Prometheus itself gives up after ten.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(5);
/// A request's head; hyper takes no less.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Lines are handed over in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;
/// After a failed accept: a pause instead of a hot loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The user's and the group's.
const MODE: u32 = 0o660;

/// The thread that answers.
pub(crate) struct Admin {
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Listens at the path, also where an earlier proxy does: whoever opens it from now on comes here.
pub(crate) fn start(path: &Path, tables: &Arc<Tables>, common: &Arc<Common>) -> io::Result<Admin> {
    let listener = listen(path)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (end, ended) = oneshot::channel();
    let (tables, common) = (tables.clone(), common.clone());
    let thread = thread::Builder::new().name("admin".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                answered = accept(listener, &tables, &common) => {
                    let Err(error) = answered;
                    tracing::warn!(%error, "nobody is told the metrics");
                }
                _ = ended => {}
            }
        });
    })?;
    Ok(Admin { end, thread })
}

impl Admin {
    pub(crate) fn stop(self) {
        drop(self.end);
        // A thread that panicked has said so on stderr.
        let _ = self.thread.join();
    }
}

/// Made beside the path and renamed into place: there is a socket at any instant, and never one with other rights. The
/// name carries the process id, because during a takeover there are two proxies.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a socket is there"));
    }
    let new = path.with_extension(format!("{}.new", std::process::id()));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    fs::set_permissions(&new, Permissions::from_mode(MODE))?;
    fs::rename(&new, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn accept(
    listener: UnixListener,
    tables: &Arc<Tables>,
    common: &Arc<Common>,
) -> io::Result<Infallible> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    // Ends with this future, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(timeout(CONNECTION_TIME_MAX, serve(stream, tables.clone(), common.clone())));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the admin socket");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request and its answer.
async fn serve(stream: UnixStream, tables: Arc<Tables>, common: Arc<Common>) {
    let service = service_fn(move |request| {
        let response = answer(&request, tables.snapshot(), common.clone());
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder.keep_alive(false).max_buf_size(HEAD_BYTES_MAX);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "connection to the admin socket ended");
    }
}

fn answer(request: &Request<Incoming>, snapshot: Arc<Snapshot>, common: Arc<Common>) -> Response<Exposition> {
    let status = match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET) => StatusCode::OK,
        ("/metrics", _) => StatusCode::METHOD_NOT_ALLOWED,
        _ => StatusCode::NOT_FOUND,
    };
    let place = if status == StatusCode::OK { Place::Process } else { Place::End };
    let mut response = Response::new(Exposition { snapshot, services: Vec::new(), common, place });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

/// One scrape on its way.
struct Exposition {
    snapshot: Arc<Snapshot>,
    /// Those of the snapshot, in one order for all families; from the first line on.
    services: Vec<Arc<Service>>,
    common: Arc<Common>,
    place: Place,
}

/// What is to be written next.
#[derive(Clone, Copy)]
enum Place {
    Process,
    /// The lines of one service in one family, by their numbers.
    Service {
        family: usize,
        service: usize,
    },
    End,
}

impl Body for Exposition {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.piece();
        let piece = (!piece.is_empty()).then(|| Ok(Frame::data(Bytes::from(piece))));
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.place, Place::End)
    }
}

impl Exposition {
    /// The next lines; empty at the end.
    fn piece(&mut self) -> String {
        let mut out = String::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
        while out.len() < PIECE_BYTES {
            self.place = match self.place {
                Place::Process => {
                    self.services = self.snapshot.services().cloned().collect();
                    process(&mut out, self.services.len(), self.snapshot.generation, &self.common);
                    Place::Service { family: 0, service: 0 }
                }
                Place::Service { family, service } => {
                    self.service(&mut out, &FAMILIES[family], service);
                    if service + 1 < self.services.len() {
                        Place::Service { family, service: service + 1 }
                    } else if family + 1 < FAMILIES.len() {
                        Place::Service { family: family + 1, service: 0 }
                    } else {
                        Place::End
                    }
                }
                Place::End => break,
            };
        }
        out
    }

    fn service(&self, out: &mut String, family: &Family, number: usize) {
        if number == 0 {
            head(out, family.name, family.kind, family.help);
        }
        let Some(service) = self.services.get(number) else { return };
        if let Some(totals) = service.counts.totals() {
            (family.lines)(out, family.name, &labels(service), &totals);
        }
    }
}

/// What belongs to no service.
fn process(out: &mut String, services: usize, generation: Generation, common: &Common) {
    let dropped = common.lines_dropped.load(Ordering::Relaxed);
    for (name, kind, help, value) in [
        ("apron_proxy_services", "gauge", "Services of the route table.", services as u64),
        ("apron_proxy_table_epoch", "gauge", "Epoch of the route table.", generation.epoch),
        (
            "apron_proxy_table_counter",
            "gauge",
            "Counter of the route table in its epoch.",
            generation.counter,
        ),
        ("apron_proxy_access_log_dropped_total", "counter", "Lines that the access log lost.", dropped),
    ] {
        head(out, name, kind, help);
        line(out, format_args!("{name} {value}"));
    }
    let name = "apron_proxy_connections";
    head(out, name, "gauge", "Open connections of clients, tunnels and listening sockets, by event loop.");
    for (number, open) in common.connections.iter().enumerate() {
        line(out, format_args!("{name}{{loop=\"{number}\"}} {}", open.load(Ordering::Relaxed)));
    }
    let name = "apron_proxy_unrouted_failures_total";
    head(out, name, "counter", "Requests that found no service, by cause.");
    for (cause, count) in by_cause(&common.unrouted.totals().unwrap_or_default()) {
        line(out, format_args!("{name}{{cause=\"{cause}\"}} {count}"));
    }
}

/// Lines of one name, which must stand together.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    /// Writes those of one service, whose labels come without braces.
    lines: fn(&mut String, &str, &str, &Totals),
}

static FAMILIES: [Family; 7] = [
    Family {
        name: "apron_proxy_requests_total",
        kind: "counter",
        help: "Requests that ended, by the class of their status.",
        lines: |out, name, labels, totals| {
            for class in (0..CLASSES).filter(|class| totals.classes[*class] > 0) {
                let count = totals.classes[class];
                line(out, format_args!("{name}{{{labels},class=\"{}xx\"}} {count}", class + 1));
            }
        },
    },
    Family {
        name: "apron_proxy_failures_total",
        kind: "counter",
        help: "Requests that failed, by cause.",
        lines: |out, name, labels, totals| {
            for (cause, count) in by_cause(totals) {
                line(out, format_args!("{name}{{{labels},cause=\"{cause}\"}} {count}"));
            }
        },
    },
    Family {
        name: "apron_proxy_request_seconds",
        kind: "histogram",
        help: "Time of a request from its head to the end of its answer, or to the answer that began a tunnel.",
        lines: |out, name, labels, totals| histogram(out, name, labels, &totals.time),
    },
    Family {
        name: "apron_proxy_queue_seconds",
        kind: "histogram",
        help: "Time for which requests waited for an instance, of those that did.",
        lines: |out, name, labels, totals| histogram(out, name, labels, &totals.queue),
    },
    Family {
        name: "apron_proxy_received_bytes_total",
        kind: "counter",
        help: "Bytes of the bodies of requests.",
        lines: |out, name, labels, totals| {
            line(out, format_args!("{name}{{{labels}}} {}", totals.received));
        },
    },
    Family {
        name: "apron_proxy_sent_bytes_total",
        kind: "counter",
        help: "Bytes of the bodies of answers.",
        lines: |out, name, labels, totals| line(out, format_args!("{name}{{{labels}}} {}", totals.sent)),
    },
    Family {
        name: "apron_proxy_requests_in_flight",
        kind: "gauge",
        help: "Requests that have not ended, tunnels included.",
        lines: |out, name, labels, totals| {
            line(out, format_args!("{name}{{{labels}}} {}", totals.in_flight()));
        },
    },
];

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = writeln!(out, "{text}");
}

fn by_cause(totals: &Totals) -> impl Iterator<Item = (&'static str, u64)> {
    let causes = Cause::ALL.into_iter().zip(totals.causes);
    causes.filter(|(_, count)| *count > 0).map(|(cause, count)| (cause.code(), count))
}

/// Nothing where nothing was measured.
fn histogram(out: &mut String, name: &str, labels: &str, times: &Times) {
    let count = times.count();
    if count == 0 {
        return;
    }
    let mut so_far = 0;
    for (bound_us, bucket) in BOUNDS_US.iter().zip(times.buckets) {
        so_far += bucket;
        let bound = Seconds(*bound_us);
        line(out, format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {so_far}"));
    }
    line(out, format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {count}"));
    line(out, format_args!("{name}_sum{{{labels}}} {}", Seconds(times.sum_us)));
    line(out, format_args!("{name}_count{{{labels}}} {count}"));
}

/// Microseconds, written as seconds.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0 as f64 / 1e6)
    }
}

fn labels(service: &Service) -> String {
    format!("service=\"{}\",service_id=\"{}\"", escaped(&service.name), escaped(service.id.as_str()))
}

/// As the format wants it of a label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Instances;
    use crate::config::static_table;
    use crate::observe::Observer;
    use crate::route::Host;
    use http_body_util::BodyExt;
    use std::io::{Read, Write as _};
    use std::os::unix::net::UnixStream as Client;

    /// A table of so many services, of which each has had the requests that its number says, up to three.
    fn snapshot(services: usize) -> Arc<Snapshot> {
        let routes: Vec<_> =
            (0..services).map(|n| format!("s{n}.localhost=127.0.0.1:1").parse().unwrap()).collect();
        let snapshot = Snapshot::build(&static_table(&routes), &mut Instances::default());
        let observer = Observer::new(0, Arc::new(Common::new(1)), None);
        for number in 0..services {
            let host = Host::parse(format!("s{number}.localhost").as_bytes()).unwrap();
            let service = snapshot.find(&host).unwrap();
            for _ in 0..number.min(3) {
                observer.count(service, 200, Duration::from_millis(2));
            }
        }
        Arc::new(snapshot)
    }

    async fn scrape(snapshot: Arc<Snapshot>) -> (String, usize) {
        let common = Arc::new(Common::new(1));
        let mut body = Exposition { snapshot, services: Vec::new(), common, place: Place::Process };
        let (mut text, mut longest) = (String::new(), 0);
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            longest = longest.max(piece.len());
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        assert!(body.is_end_stream());
        (text, longest)
    }

    #[tokio::test]
    async fn the_lines_of_a_name_stand_together_and_say_what_was_counted() {
        let (text, _) = scrape(snapshot(3)).await;
        let of = |service: usize| format!("{{service=\"s{service}.localhost\",service_id=\"{service:032x}\"");
        for expect in [
            "apron_proxy_services 3\n".to_owned(),
            "# TYPE apron_proxy_request_seconds histogram\n".to_owned(),
            format!("apron_proxy_requests_total{},class=\"2xx\"}} 2\n", of(2)),
            format!("apron_proxy_request_seconds_bucket{},le=\"0.001\"}} 0\n", of(2)),
            format!("apron_proxy_request_seconds_bucket{},le=\"0.0025\"}} 2\n", of(2)),
            format!("apron_proxy_request_seconds_bucket{},le=\"120\"}} 2\n", of(2)),
            format!("apron_proxy_request_seconds_bucket{},le=\"+Inf\"}} 2\n", of(2)),
            format!("apron_proxy_request_seconds_sum{}}} 0.004\n", of(2)),
            format!("apron_proxy_request_seconds_count{}}} 2\n", of(2)),
            format!("apron_proxy_requests_in_flight{}}} 0\n", of(1)),
        ] {
            assert!(text.contains(&expect), "{expect} in {text}");
        }
        assert!(!text.contains("s0.localhost"), "it had no request");
        assert!(!text.contains("apron_proxy_queue_seconds_"), "nobody waited");
        // Each name is announced once, and its lines follow it.
        let mut seen = Vec::new();
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(rest) => seen.push(rest.split(' ').next().unwrap()),
                None if line.starts_with('#') => {}
                None => assert!(line.starts_with(seen.last().unwrap()), "{line}"),
            }
        }
        let announced = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), announced);
    }

    #[tokio::test]
    async fn many_services_come_in_pieces() {
        let (text, longest) = scrape(snapshot(400)).await;
        assert!(text.len() > 4 * PIECE_BYTES && longest < PIECE_BYTES + 8 * 1024, "{} {longest}", text.len());
        assert_eq!(text.matches("apron_proxy_sent_bytes_total{").count(), 399);
        let (text, _) = scrape(Arc::new(Snapshot::unknown())).await;
        assert_eq!(text.matches("# TYPE ").count(), FAMILIES.len() + 6);
    }

    #[test]
    fn names_cannot_break_out_of_a_label() {
        assert_eq!(escaped("a\"} 1\n\\"), "a\\\"} 1\\n\\\\");
    }

    #[test]
    fn a_second_proxy_takes_the_socket_over_and_others_are_kept_out() {
        let path = std::env::temp_dir().join(format!("apron-admin-{}.sock", std::process::id()));
        let ask = |text: &str| {
            let mut client = Client::connect(&path).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client.write_all(text.as_bytes()).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            answer
        };
        let tables = Arc::new(Tables::new(1));
        let first = start(&path, &tables, &Arc::new(Common::new(1))).unwrap();
        let second = start(&path, &tables, &Arc::new(Common::new(2))).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        first.stop();
        let answer = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("apron_proxy_connections{loop=\"1\"} 0\n"), "{answer}");
        assert!(ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(ask("POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 405 "));
        second.stop();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "notes").unwrap();
        assert!(start(&path, &tables, &Arc::new(Common::new(1))).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes");
        fs::remove_file(&path).unwrap();
    }
}
