//! The proxies that are measured, each with one worker. They keep connections on both sides, say the client's address
//! and protocol, and log nothing. Only ours and Envoy number requests: the others are as people run them.

use super::super::process::{self, Directory};
use super::certificate::Files;
use super::{HOST, Tools};
use anyhow::Result;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub(super) const APRON: &str = "apron";
pub(super) const NGINX: &str = "nginx";
pub(super) const HAPROXY: &str = "haproxy";
pub(super) const ENVOY: &str = "envoy";

/// A proxy as it is started: from `address` to the origin.
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    pub(super) address: SocketAddr,
    /// Where our own proxy tells what it counted.
    pub(super) admin: Option<PathBuf>,
}

/// What clients speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Front {
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 over TLS.
    Http2,
}

impl Front {
    pub(in crate::bench) fn secure(self) -> bool {
        self != Front::Http
    }
}

/// Our proxy from `listen` to `origin`.
pub(super) fn arguments(origin: SocketAddr, listen: SocketAddr, loops: u32) -> Vec<String> {
    let (route, listen, loops) = (format!("{HOST}={origin}"), listen.to_string(), loops.to_string());
    ["proxy", "--static-route", &route, "--http", &listen, "--loops", &loops].map(str::to_owned).into()
}

/// Those that this machine has and that can speak so, ours first.
pub(super) fn all(
    directory: &Directory,
    tools: &Tools,
    origin: SocketAddr,
    front: Front,
    files: &Files,
) -> Result<Vec<Subject>> {
    let mut all = Vec::new();
    all.extend(apron(directory, tools, origin, front, files)?);
    all.push(nginx(directory, origin, front, files)?);
    all.push(haproxy(directory, origin, front, files)?);
    if let Some(program) = &tools.envoy {
        all.push(envoy(directory, program, origin, front, files)?);
    }
    Ok(all)
}

/// None: this `apron proxy` has no HTTPS.
pub(super) fn apron(
    directory: &Directory,
    tools: &Tools,
    origin: SocketAddr,
    front: Front,
    files: &Files,
) -> Result<Option<Subject>> {
    if front.secure() && !tools.has("--https") {
        return Ok(None);
    }
    let http = process::free_address()?;
    let mut arguments = arguments(origin, http, 1);
    let mut add = |flag: &str, value: &str| arguments.extend([flag.to_owned(), value.to_owned()]);
    let mut address = http;
    if front.secure() {
        address = process::free_address()?;
        add("--https", &address.to_string());
        add("--cert", &files.certificate);
        add("--key", &files.key);
    }
    let admin = tools.has("--admin").then(|| directory.0.join("admin.sock"));
    if let Some(path) = &admin {
        add("--admin", &path.display().to_string());
    }
    Ok(Some(Subject { name: APRON, program: tools.apron.clone(), arguments, address, admin }))
}

pub(super) fn nginx(
    directory: &Directory,
    origin: SocketAddr,
    front: Front,
    files: &Files,
) -> Result<Subject> {
    let address = process::free_address()?;
    let root = directory.0.display();
    let listen = match front {
        Front::Http => "",
        Front::Https => " ssl",
        Front::Http2 => " ssl http2",
    };
    let tls = match front.secure() {
        false => String::new(),
        true => format!(
            "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on;",
            files.certificate, files.key
        ),
    };
    let conf = directory.write(
        "nginx.conf",
        &format!(
            "worker_processes 1; daemon off; pid {root}/nginx.pid; error_log /dev/null;
             events {{ worker_connections 16384; }}
             http {{
               access_log off; keepalive_requests 100000000;
               upstream origin {{ server {origin}; keepalive 512; keepalive_requests 100000000; }}
               server {{
                 listen {address}{listen} backlog=4096; {tls}
                 location / {{
                   proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
                   proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                   proxy_set_header X-Forwarded-Proto $scheme;
                   proxy_pass http://origin;
                 }}
               }}
             }}\n"
        ),
    )?;
    Ok(subject(NGINX, "nginx", vec!["-c".into(), conf], address))
}

fn haproxy(directory: &Directory, origin: SocketAddr, front: Front, files: &Files) -> Result<Subject> {
    let address = process::free_address()?;
    let bind = match front {
        Front::Http => String::new(),
        Front::Https => format!(" ssl crt {} ssl-min-ver TLSv1.2", files.both),
        Front::Http2 => format!(" ssl crt {} ssl-min-ver TLSv1.2 alpn h2,http/1.1", files.both),
    };
    let scheme = if front.secure() { "https" } else { "http" };
    let conf = directory.write(
        "haproxy.cfg",
        &format!(
            "global\n  nbthread 1\n  maxconn 8192\n\
             defaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 5s\n  \
             option forwardfor\n  http-reuse always\n\
             frontend front\n  bind {address}{bind}\n  http-request set-header X-Forwarded-Proto {scheme}\n  \
             default_backend back\n\
             backend back\n  server origin {origin}\n"
        ),
    )?;
    Ok(subject(HAPROXY, "haproxy", vec!["-f".into(), conf], address))
}

/// It makes X-Request-Id and X-Forwarded-Proto by itself, and X-Forwarded-For with `use_remote_address`.
fn envoy(
    directory: &Directory,
    program: &Path,
    origin: SocketAddr,
    front: Front,
    files: &Files,
) -> Result<Subject> {
    let address = process::free_address()?;
    let tls = match front.secure() {
        false => String::new(),
        true => {
            let protocol = if front == Front::Http2 { "h2" } else { "http/1.1" };
            format!(
                "
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [\"{protocol}\"]
            tls_certificates:
            - {{certificate_chain: {{filename: {}}}, private_key: {{filename: {}}}}}",
                files.certificate, files.key
            )
        }
    };
    let endpoint = format!(
        "{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}}}",
        origin.ip(),
        origin.port()
    );
    let conf = directory.write(
        "envoy.yaml",
        &format!(
            "static_resources:
  listeners:
  - address: {{socket_address: {{address: {}, port_value: {}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          use_remote_address: true
          route_config:
            virtual_hosts:
            - {{name: all, domains: [\"*\"], routes: [{{match: {{prefix: \"/\"}}, route: {{cluster: back}}}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}{tls}
  clusters:
  - name: back
    type: STATIC
    load_assignment: {{cluster_name: back, endpoints: [{{lb_endpoints: [{endpoint}]}}]}}
",
            address.ip(),
            address.port()
        ),
    )?;
    let arguments =
        ["-c", &conf, "--concurrency", "1", "-l", "off", "--disable-hot-restart"].map(str::to_owned);
    Ok(subject(ENVOY, &program.display().to_string(), arguments.into(), address))
}

fn subject(name: &'static str, program: &str, arguments: Vec<String>, address: SocketAddr) -> Subject {
    Subject { name, program: program.to_owned(), arguments, address, admin: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_proxy_is_told_where_to_listen_and_where_the_origin_is() {
        let directory = Directory::new("subjects").unwrap();
        let file = |name: &str| directory.0.join(name).display().to_string();
        let files = Files { certificate: file("c.pem"), key: file("k.pem"), both: file("b.pem") };
        let help = "--https --admin".to_owned();
        let tools = Tools { apron: "apron".into(), help, envoy: Some("envoy".into()) };
        let origin = "127.0.0.1:9".parse().unwrap();
        for front in [Front::Http, Front::Https, Front::Http2] {
            let subjects = all(&directory, &tools, origin, front, &files).unwrap();
            assert_eq!(subjects.iter().map(|s| s.name).collect::<Vec<_>>(), [APRON, NGINX, HAPROXY, ENVOY]);
            for subject in subjects {
                let written = subject.arguments.iter().filter(|word| word.starts_with(&file("")));
                let mut text: String =
                    written.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
                text += &subject.arguments.join(" ");
                let count = |sought: char| text.chars().filter(|found| *found == sought).count();
                assert_eq!(count('{'), count('}'), "{text}");
                for address in [subject.address, origin] {
                    let apart = format!("address: {}, port_value: {}", address.ip(), address.port());
                    assert!(text.contains(&address.to_string()) || text.contains(&apart), "{text}");
                }
                let key = [&files.key, &files.both].into_iter().any(|path| text.contains(path.as_str()));
                assert_eq!(key, front.secure(), "{text}");
            }
        }
        let plain = Tools { help: String::new(), ..tools };
        assert!(apron(&directory, &plain, origin, Front::Https, &files).unwrap().is_none());
        assert!(apron(&directory, &plain, origin, Front::Http, &files).unwrap().unwrap().admin.is_none());
    }
}
