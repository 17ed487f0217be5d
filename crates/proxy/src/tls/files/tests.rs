use super::*;
use rcgen::generate_simple_self_signed;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of pairs that a test writes, and who looks at it.
struct Bench {
    directory: PathBuf,
    files: Files,
}

/// A certificate and its key in PEM.
struct Made {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
}

fn make(names: &[&str]) -> Made {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = generate_simple_self_signed(names).unwrap();
    let der = made.cert.der().clone();
    Made { certificate: made.cert.pem(), key: made.signing_key.serialize_pem(), der }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Bench {
    fn new() -> Bench {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("apron-files-{number}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let config = CertificateFiles { directory: Some(directory.clone()), pair: None };
        let files = Files::open(&config, provider()).unwrap();
        Bench { directory, files }
    }

    /// Beside it, then renamed: a file that is written again at once might look the same as before.
    fn write(&self, path: &str, text: &str) {
        let (path, beside) = (self.directory.join(path), self.directory.join(".new"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&beside, text).unwrap();
        fs::rename(beside, path).unwrap();
    }

    /// `NAME.pem` and `NAME.key`.
    fn put(&self, name: &str, made: &Made) {
        self.write(&format!("{name}.pem"), &made.certificate);
        self.write(&format!("{name}.key"), &made.key);
    }

    /// Looks, and publishes if there is news.
    fn look(&mut self) -> bool {
        let changed = self.files.look();
        if changed {
            self.files.publish();
        }
        changed
    }

    fn serves(&self, host: &str) -> Option<CertificateDer<'static>> {
        let held = self.files.held.borrow().clone();
        held.find(host).map(|certified| certified.cert[0].clone())
    }

    /// What is wrong with a pair, and whether that was said.
    fn problem(&self, certificate: &str) -> Option<(String, bool)> {
        let known = &self.files.known[&self.directory.join(certificate)];
        known.problem.as_ref().map(|problem| (problem.error.to_string(), problem.said))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn names_lead_to_pairs_and_exact_ones_win() {
    let mut bench = Bench::new();
    let (wide, exact, both) =
        (make(&["*.Example.com"]), make(&["www.example.com"]), make(&["a.test", "*.b.test"]));
    bench.put("wide", &wide);
    bench.write("exact/cert.pem", &exact.certificate);
    bench.write("exact/key.pem", &exact.key);
    bench.put("both.of.them", &both);
    // None of these is a pair.
    bench.write("notes.txt", "x");
    bench.write(".half/cert.pem", "x");
    bench.write("lonely.key", &wide.key);
    assert!(bench.look() && !bench.look());
    assert_eq!(bench.files.known.len(), 3);
    for (host, expect) in [
        ("www.example.com", Some(&exact)),
        ("shop.example.com", Some(&wide)),
        ("a.test", Some(&both)),
        ("c.b.test", Some(&both)),
        ("example.com", None),
        ("a.b.example.com", None),
        ("b.test", None),
        ("com", None),
        ("", None),
    ] {
        assert_eq!(bench.serves(host), expect.map(|made| made.der.clone()), "{host}");
    }
}

#[test]
fn of_two_pairs_for_one_name_the_newer_is_served() {
    let mut bench = Bench::new();
    let (older, newer) = (make(&["a.test"]), make(&["a.test"]));
    bench.put("z-older", &older);
    bench.put("a-newer", &newer);
    let file = File::options().write(true).open(bench.directory.join("z-older.pem")).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.set_modified(modified - Duration::from_secs(3600)).unwrap();
    assert!(bench.look());
    assert_eq!(bench.serves("a.test"), Some(newer.der));
}

#[test]
fn a_half_replaced_pair_keeps_the_old_one_and_is_said_once() {
    let mut bench = Bench::new();
    let (old, new) = (make(&["a.test"]), make(&["a.test", "b.test"]));
    bench.put("a", &old);
    assert!(bench.look());
    bench.write("a.pem", &new.certificate);
    assert!(!bench.look());
    assert!(!bench.problem("a.pem").unwrap().1, "it may be whole in a moment");
    assert!(!bench.look());
    let (text, said) = bench.problem("a.pem").unwrap();
    assert!(said && text.contains("a.key: "), "{text}");
    assert_eq!((bench.serves("a.test"), bench.serves("b.test")), (Some(old.der), None));
    bench.write("a.key", &new.key);
    assert!(bench.look());
    assert_eq!(bench.serves("a.test"), Some(new.der.clone()));
    assert_eq!(bench.serves("b.test"), Some(new.der));
    assert_eq!(bench.problem("a.pem"), None);
}

#[test]
fn what_cannot_be_used_says_why_and_holds_up_no_other() {
    let mut bench = Bench::new();
    let good = make(&["good.test"]);
    bench.put("good", &good);
    bench.put("nameless", &make(&["192.0.2.1"]));
    let (certificate, key) = (good.certificate.as_str(), good.key.as_str());
    let long = format!("{}{certificate}", "x".repeat(FILE_BYTES_MAX as usize));
    for (name, certificate, key) in [
        ("cut", &certificate[..certificate.len() / 2], key),
        ("empty", "", key),
        ("keyless", certificate, ""),
        ("long", long.as_str(), key),
        ("swapped", key, certificate),
    ] {
        bench.write(&format!("{name}.pem"), certificate);
        bench.write(&format!("{name}.key"), key);
    }
    bench.write("alone.pem", certificate);
    fs::create_dir_all(bench.directory.join("hollow")).unwrap();
    assert!(bench.look() && !bench.look());
    for (place, expect) in [
        ("cut.pem", "cut.pem: "),
        ("empty.pem", "empty.pem: it holds no certificate"),
        ("keyless.pem", "keyless.key: "),
        ("long.pem", "long.pem: it has more than"),
        ("swapped.pem", "swapped.pem: it holds no certificate"),
        ("nameless.pem", "nameless.pem: it names no host"),
        ("alone.pem", "alone.key: "),
        ("hollow/cert.pem", "cert.pem: "),
    ] {
        let (text, said) = bench.problem(place).unwrap();
        assert!(said && text.contains(expect), "{place}: {text}");
    }
    assert_eq!(bench.serves("good.test"), Some(good.der.clone()));
}

#[test]
fn a_pair_that_is_gone_for_one_look_is_served_and_for_two_is_not() {
    let mut bench = Bench::new();
    let made = make(&["a.test"]);
    bench.put("a", &made);
    assert!(bench.look());
    fs::remove_file(bench.directory.join("a.pem")).unwrap();
    assert!(!bench.look() && bench.serves("a.test").is_some());
    bench.put("a", &made);
    assert!(bench.look() && bench.serves("a.test").is_some());
    fs::remove_file(bench.directory.join("a.pem")).unwrap();
    assert!(!bench.look() && bench.look());
    assert_eq!(bench.serves("a.test"), None);
}

#[test]
fn a_link_that_leads_elsewhere_is_news() {
    let mut bench = Bench::new();
    let (first, second) = (make(&["a.test"]), make(&["a.test"]));
    for (name, made) in [(".first", &first), (".second", &second)] {
        bench.write(&format!("{name}/cert.pem"), &made.certificate);
        bench.write(&format!("{name}/key.pem"), &made.key);
    }
    let link = bench.directory.join("a.test");
    symlink(".first", &link).unwrap();
    assert!(bench.look());
    assert_eq!(bench.serves("a.test"), Some(first.der));
    fs::remove_file(&link).unwrap();
    symlink(".second", &link).unwrap();
    assert!(bench.look());
    assert_eq!(bench.serves("a.test"), Some(second.der));
}

#[test]
fn a_directory_may_come_later_and_may_be_away() {
    let mut bench = Bench::new();
    let made = make(&["a.test"]);
    let elsewhere = bench.directory.with_extension("elsewhere");
    fs::rename(&bench.directory, &elsewhere).unwrap();
    assert!(!bench.look() && !bench.files.said.is_empty());
    fs::rename(&elsewhere, &bench.directory).unwrap();
    bench.put("a", &made);
    assert!(bench.look() && bench.files.said.is_empty());
    fs::rename(&bench.directory, &elsewhere).unwrap();
    assert!(!bench.look() && !bench.look());
    fs::rename(&elsewhere, &bench.directory).unwrap();
    assert_eq!(bench.serves("a.test"), Some(made.der), "what was read stays");
}

#[test]
fn a_pair_that_ends_soon_is_said_once_and_a_new_one_again() {
    let mut bench = Bench::new();
    let lasting = |year: i32| {
        let mut params = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Made { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone() }
    };
    let soon = Moment::of(DAY * 365 * 60);
    let reminded = |bench: &mut Bench| {
        bench.look();
        bench.files.remind(&soon);
        bench.files.known[&bench.directory.join("a.pem")].reminded
    };
    bench.put("a", &lasting(2400));
    assert!(!reminded(&mut bench));
    let ended = lasting(2026);
    bench.put("a", &ended);
    assert!(reminded(&mut bench) && reminded(&mut bench));
    // It is served all the same: without it nothing would be.
    assert_eq!(bench.serves("a.test"), Some(ended.der));
    bench.put("a", &lasting(2401));
    assert!(!reminded(&mut bench));
}

#[test]
fn the_pair_for_all_hosts_has_to_be_there_and_may_be_replaced() {
    let bench = Bench::new();
    let (first, second) = (make(&["a.test"]), make(&["b.test"]));
    let (certificate, key) = (bench.directory.join("all.pem"), bench.directory.join("all.key"));
    let config = CertificateFiles { directory: None, pair: Some(PairFiles { certificate, key }) };
    let error = Files::open(&config, provider()).err().unwrap().to_string();
    assert!(error.contains("all.pem: "), "{error}");
    bench.put("all", &first);
    let mut files = Files::open(&config, provider()).unwrap();
    let held = files.subscribe();
    let served = || held.borrow().for_all().unwrap().cert[0].clone();
    assert_eq!(served(), first.der);
    assert!(held.borrow().find("a.test").is_none(), "it says nothing of its hosts");
    bench.write("all.pem", &second.certificate);
    assert!(!files.look());
    bench.write("all.key", &second.key);
    assert!(files.look());
    files.publish();
    assert_eq!(served(), second.der);
}

#[test]
fn who_looks_ends_when_nobody_wants_it() {
    let bench = Bench::new();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    drop(stop);
    let config = CertificateFiles { directory: Some(bench.directory.clone()), pair: None };
    Files::open(&config, provider()).unwrap().keep(&stopped);
}
