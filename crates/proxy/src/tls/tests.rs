use super::*;
use crate::config::{StaticRoute, static_table};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory of its own, a table of services in several regions, and a clock that a test turns.
struct Bench {
    directory: PathBuf,
    config: Tls,
    day: Arc<AtomicU64>,
    tables: Arc<Tables>,
}

impl Bench {
    fn new(name: &str, hosts: &[&str]) -> Bench {
        let directory = std::env::temp_dir().join(format!("apron-tls-{name}-{}", std::process::id()));
        let (apps_domain, regions) = ("apron.localhost".into(), vec!["us-east-1".into()]);
        let config = Tls { directory: directory.clone(), apps_domain, regions };
        let routes: Vec<StaticRoute> =
            hosts.iter().map(|host| format!("{host}=127.0.0.1:1").parse().unwrap()).collect();
        let tables = Arc::new(Tables::new(1));
        tables.apply(static_table(&routes)).unwrap();
        Bench { directory, config, day: Arc::new(AtomicU64::new(20_000)), tables }
    }

    fn open(&self) -> Certificates {
        let day = self.day.clone();
        let clock = Box::new(move || DAY * day.load(Ordering::Relaxed) as u32);
        Certificates::open(&self.config, self.tables.clone(), clock).unwrap()
    }

    /// Does a client that trusts the authority take this certificate today, for this host?
    fn takes(&self, certificate: &CertifiedKey, host: &str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.directory.join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        let today = UnixTime::since_unix_epoch(DAY * self.day.load(Ordering::Relaxed) as u32);
        let (own, further) = certificate.cert.split_first().unwrap();
        let host = ServerName::try_from(host).unwrap();
        verifier.verify_server_cert(own, further, &host, &[], today).is_ok()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

const HOME: &str = "a.us-east-1.apron.localhost";
const ABROAD: &str = "b.eu-west-1.apron.localhost";

#[test]
fn each_region_of_the_table_has_a_certificate() {
    let bench = Bench::new("regions", &[HOME, ABROAD, "web.apron.localhost", "b.eu-west-1.other.test"]);
    let certificates = bench.open();
    for host in [HOME, ABROAD, "web.apron.localhost", "B.EU-West-1.apron.localhost."] {
        let certificate = certificates.of(Some(host)).unwrap();
        assert!(bench.takes(&certificate, host.trim_end_matches('.')), "{host}");
    }
    let common = certificates.of(None).unwrap();
    assert!(Arc::ptr_eq(&common, &certificates.of(Some(HOME)).unwrap()));
    let abroad = certificates.of(Some(ABROAD)).unwrap();
    assert!(!Arc::ptr_eq(&common, &abroad));
    assert!(Arc::ptr_eq(&abroad, &certificates.of(Some(ABROAD)).unwrap()), "it is made once");
    for unknown in
        ["x.eu-west-1.apron.localhost", "b.eu-west-2.apron.localhost", "b.eu-west-1.other.test", "::"]
    {
        assert!(Arc::ptr_eq(&common, &certificates.of(Some(unknown)).unwrap()), "{unknown}");
    }
}

#[test]
fn certificates_are_made_anew_in_time_and_the_authority_stays() {
    let bench = Bench::new("renewal", &[HOME, ABROAD]);
    let certificates = bench.open();
    let authority = std::fs::read(bench.directory.join("ca.pem")).unwrap();
    for host in [HOME, ABROAD] {
        let begun = bench.day.load(Ordering::Relaxed);
        let first = certificates.of(Some(host)).unwrap();
        bench.day.store(begun + 2 * u64::from(RENEW_DAYS), Ordering::Relaxed);
        assert!(Arc::ptr_eq(&first, &certificates.of(Some(host)).unwrap()), "{host}");
        bench.day.store(begun + 2 * u64::from(RENEW_DAYS) + 1, Ordering::Relaxed);
        assert!(!Arc::ptr_eq(&first, &certificates.of(Some(host)).unwrap()), "{host}");
        bench.day.store(begun + u64::from(CERTIFICATE_DAYS) + 1, Ordering::Relaxed);
        assert!(
            !bench.takes(&first, host) && bench.takes(&certificates.of(Some(host)).unwrap(), host),
            "{host}"
        );
    }
    let reopened = bench.open();
    assert!(bench.takes(&reopened.of(Some(HOME)).unwrap(), HOME));
    assert_eq!(std::fs::read(bench.directory.join("ca.pem")).unwrap(), authority);
}

#[test]
fn a_certificate_of_a_clock_that_was_ahead_is_made_anew() {
    let bench = Bench::new("ahead", &[HOME]);
    let _authority = bench.open();
    bench.day.fetch_add(500, Ordering::Relaxed);
    let certificates = bench.open();
    let ahead = certificates.of(Some(HOME)).unwrap();
    bench.day.fetch_sub(100, Ordering::Relaxed);
    assert!(!bench.takes(&ahead, HOME) && bench.takes(&certificates.of(Some(HOME)).unwrap(), HOME));
}

#[test]
fn the_number_of_certificates_is_bounded() {
    let hosts: Vec<String> = (0..=CERTIFICATES_MAX).map(|n| format!("a.r{n}.apron.localhost")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let bench = Bench::new("bound", &hosts);
    let certificates = bench.open();
    for host in hosts {
        assert!(bench.takes(&certificates.of(Some(host)).unwrap(), host), "{host}");
    }
    assert_eq!(certificates.held.lock().unwrap().len(), CERTIFICATES_MAX);
}
