use super::apps::{CERTIFICATE_DAYS, CERTIFICATES_MAX, RENEW_DAYS, certificate};
use super::authority::Authority;
use super::*;
use crate::config::{StaticRoute, Tls, static_table};
use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory of its own, a table of services in several regions, and a clock that a test turns.
struct Bench {
    directory: PathBuf,
    config: Tls,
    day: Arc<AtomicU64>,
    tables: Arc<Tables>,
}

const DOMAIN: &str = "apron.localhost";

impl Bench {
    fn new(name: &str, hosts: &[&str]) -> Bench {
        let directory = std::env::temp_dir().join(format!("apron-tls-{name}-{}", std::process::id()));
        let (apps_domain, regions) = (DOMAIN.into(), vec!["us-east-1".into()]);
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

    fn now(&self) -> Duration {
        DAY * self.day.load(Ordering::Relaxed) as u32
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.join(name)).unwrap()
    }

    /// Does a client that trusts the authority take this certificate today, for this host?
    fn takes(&self, certificate: &CertifiedKey, host: &str) -> bool {
        let (own, further) = certificate.cert.split_first().unwrap();
        self.takes_chain(own, further, host)
    }

    fn takes_chain(&self, own: &CertificateDer<'_>, further: &[CertificateDer<'_>], host: &str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.directory.join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        let today = UnixTime::since_unix_epoch(self.now());
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
    let authority = bench.read("ca.pem");
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
    assert_eq!(bench.read("ca.pem"), authority);
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

/// Whoever has the authority's key signs what they like; no client takes what is beyond the apps domain.
#[test]
fn nothing_but_the_apps_domain_can_be_signed_for() {
    let bench = Bench::new("bounded", &[]);
    bench.open();
    let key = KeyPair::generate().unwrap();
    let authority =
        Authority::open(&bench.directory, DOMAIN, bench.now(), || panic!("the kept one will do")).unwrap();
    let check = |names: &[&str], host: &str, expect: bool| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (signed, _) = certificate(names.clone(), "signed", &key, &authority, bench.now()).unwrap();
        assert_eq!(bench.takes_chain(signed.der(), &[], host), expect, "{names:?} for {host}");
    };
    check(&["web.apron.localhost"], "web.apron.localhost", true);
    check(&[DOMAIN, "*.apron.localhost"], DOMAIN, true);
    check(&["example.com"], "example.com", false);
    check(&["*.localhost"], "apron.localhost", false);
    check(&["notapron.localhost"], "notapron.localhost", false);
    check(&["apron.localhost.example.com"], "apron.localhost.example.com", false);
    check(&["127.0.0.1"], "127.0.0.1", false);
    check(&["::1"], "::1", false);
    // One name of several is enough.
    check(&["web.apron.localhost", "example.com"], "web.apron.localhost", false);
    check(&["web.apron.localhost", "127.0.0.1"], "web.apron.localhost", false);
}

/// Not even by way of another authority.
#[test]
fn an_authority_that_it_signs_is_bounded_too() {
    let bench = Bench::new("further", &[]);
    bench.open();
    let authority = Authority::open(&bench.directory, DOMAIN, bench.now(), || Ok(())).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = name("between");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let between_key = KeyPair::generate().unwrap();
    let between = params.signed_by(&between_key, &authority.0).unwrap();
    let issuer = Authority(rcgen::Issuer::new(params, between_key));
    let key = KeyPair::generate().unwrap();
    let names = vec!["example.com".to_owned()];
    let (signed, _) = certificate(names, "signed", &key, &issuer, bench.now()).unwrap();
    assert!(!bench.takes_chain(signed.der(), &[between.der().clone()], "example.com"));
}

#[test]
fn an_authority_that_is_not_bounded_to_the_domain_is_made_anew() {
    let mut bench = Bench::new("anew", &[HOME]);
    // Of an earlier release: able to sign for everything.
    std::fs::create_dir_all(&bench.directory).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let unbounded = params.self_signed(&key).unwrap().pem();
    let write = |name: &str, text: &str| std::fs::write(bench.directory.join(name), text).unwrap();
    write("ca.pem", &unbounded);
    write("ca.key", &key.serialize_pem());
    let expected = Err(AuthorityError::NotBounded { domain: DOMAIN.to_owned() });
    assert_eq!(check_authority(unbounded.as_bytes(), DOMAIN), expected);
    assert!(bench.takes(&bench.open().of(Some(HOME)).unwrap(), HOME));
    let bounded = bench.read("ca.pem");
    assert_eq!(check_authority(&bounded, DOMAIN), Ok(()));

    // Another key, as a crash between the two writes leaves it, and damage.
    for (name, text) in [("ca.key", key.serialize_pem()), ("ca.pem", String::new())] {
        let before = bench.read("ca.pem");
        std::fs::write(bench.directory.join(name), text).unwrap();
        assert!(bench.takes(&bench.open().of(Some(HOME)).unwrap(), HOME), "{name}");
        assert_ne!(bench.read("ca.pem"), before, "{name}");
    }

    // Of another domain: what it signed is made anew with it.
    let before = bench.read("apps.pem");
    bench.config.apps_domain = "apps.example.com".into();
    assert!(bench.takes(&bench.open().of(None).unwrap(), "web.apps.example.com"));
    assert_ne!(bench.read("apps.pem"), before);
    assert_eq!(check_authority(&bench.read("ca.pem"), "apps.example.com"), Ok(()));
    assert_eq!(check_authority(&bench.read("ca.pem"), DOMAIN), expected);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(bench.directory.join("ca.key")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_is_no_authority_is_not_taken_for_one() {
    let bench = Bench::new("others", &[HOME]);
    bench.open();
    let (authority, apps) = (bench.read("ca.pem"), bench.read("apps.pem"));
    assert_eq!(check_authority(&authority, DOMAIN), Ok(()));
    assert!(matches!(check_authority(&apps, DOMAIN), Err(AuthorityError::NotBounded { .. })));
    for more in [[&apps[..], &authority].concat(), [&authority[..], &apps].concat(), Vec::new(), vec![0xff]] {
        assert_eq!(check_authority(&more, DOMAIN), Err(AuthorityError::NotOneCertificate));
    }
    assert!(matches!(check_authority(&authority, "äpps.example"), Err(AuthorityError::Make(_))));
}
