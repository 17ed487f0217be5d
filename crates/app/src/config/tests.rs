use super::*;

fn problems(text: &str) -> Vec<String> {
    file::parse(text).unwrap_err().iter().map(FileProblem::to_string).collect()
}

#[test]
fn an_empty_file_and_no_flags_give_the_documented_defaults() {
    assert_eq!(file::parse("").unwrap(), file::File::default());
    let settings = resolve(&Arguments::default()).unwrap();
    assert_eq!(settings.data_dir, PathBuf::from(DATA_DIR));
    assert_eq!(settings.api.to_string(), "127.0.0.1:7070");
    assert_eq!(settings.http, Apps::Preferred { port: 80, otherwise: 8080 });
    assert_eq!(settings.https, Apps::Preferred { port: 443, otherwise: 8443 });
}

#[test]
fn a_whole_file_is_read() {
    let file = file::parse(
        r#"
        api = "0.0.0.0:7071"
        http = "127.0.0.1:8081"
        https = "off"
        apps_domain = "apps.example.com"
        region = "eu-central-1"
        account_id = "000000000001"
        control_uid = 7001
        proxy_uid = 0x1b5a
        loops = 4
        drain_s = 5
        source_roots = ["/usr", "/etc"]
        [proxy]
        certificates = "/etc"
        [node]
        address_ranges = ["10.9.0.0/16"]
        pairs_ready = 3
        free_memory_min_mib = 256
        dns = ["192.0.2.53", "192.0.2.54:5353"]
        egress_allow = ["10.1.2.0/24"]
        runtimes = "/etc/apron/runtimes.toml"
        [registries]
        plain_http = ["registry.lan:5000"]
        credentials = "/etc/apron/docker.json"
        [registries.mirrors]
        "123456789012.dkr.ecr.us-east-1.amazonaws.com" = "registry.lan:5000/mirror"
        [build_environment]
        HTTPS_PROXY = "http://user:secret@proxy.lan"
        "#,
    )
    .unwrap();
    assert_eq!(file.https, Some(Listen::Off));
    assert_eq!(file.proxy_uid, Some(7002));
    assert_eq!(file.proxy.certificates, Some("/etc".into()));
    assert_eq!(file.node.dns[0].port(), 53);
    assert_eq!(file.registries.mirrors.len(), 1);
    assert_eq!(file.source_roots, [PathBuf::from("/usr"), PathBuf::from("/etc")]);
    assert_eq!(file.build_environment.0["HTTPS_PROXY"], "http://user:secret@proxy.lan");
    assert_eq!(format!("{:?}", file.build_environment), r#"{"HTTPS_PROXY"}"#);
}

#[test]
fn rates_of_calls_are_read_and_the_example_shows_what_they_and_quotas_are_anyway() {
    let file = file::parse("[throttling]\nwrites_burst = 7\n").unwrap();
    assert_eq!((file.throttling.writes.burst, file.throttling.reads), (7, Rates::default().reads));
    assert!(problems("[throttling]\nreads_per_second = 0")[0].contains("from 1 to"));
    assert!(problems("[throttling]\nreads = 5")[0].contains("unknown key 'throttling.reads'"));
    let example = include_str!("example.toml");
    let shown = &example[example.find("[throttling]").unwrap()..example.find("[registries]").unwrap()];
    let shown = file::parse(shown).unwrap();
    assert_eq!((shown.throttling, shown.quotas), (Rates::default(), Quotas::default()));
}

/// AWS's bounds no tag; the same number does that somebody has written.
#[test]
fn a_quota_of_instances_is_one_that_is_written() {
    let of = |text| file::parse(text).unwrap().quotas.instances_per_service;
    assert_eq!((of("[quotas]\nservices = 3"), of("[quotas]\ninstances_per_service = 25")), (None, Some(25)));
    assert!(problems("[quotas]\ninstances_per_service = 0")[0].contains("from 1 to 1000"));
}

#[test]
fn who_stands_before_the_proxy_is_read() {
    let file = file::parse(
        "[proxy]\ntrusted = [\"10.0.0.0/8\", \"::1\"]\nproxy_protocol = [\"10.0.0.5\"]\nvia = \"edge\"\n\
         connections_per_address_max = 50",
    )
    .unwrap();
    assert!(file.proxy.trusted[0].contains([10, 1, 1, 1].into()) && file.proxy.trusted.len() == 2);
    assert!(!file.proxy.proxy_protocol[0].contains([10, 0, 0, 6].into()));
    assert_eq!((file.proxy.via.as_deref(), file.proxy.connections_per_address_max), (Some("edge"), Some(50)));
    let found = problems(
        "[proxy]\ntrusted = [\"10.0.0.1/8\"]\nvia = \"two words\"\nconnections_per_address_max = 0\ntrust = 1",
    );
    assert_eq!(found.len(), 4, "{found:#?}");
    assert_eq!(
        found[0],
        "line 2, column 12: 'trusted' must be a list of addresses or networks like \"10.0.0.0/8\", not \"10.0.0.1/8\""
    );
    let example = include_str!("example.toml");
    // From here on, because the directory of certificates need not be on this machine.
    let shown = &example[example.find("trusted =").unwrap()..example.find("[throttling]").unwrap()];
    let shown = file::parse(&format!("[proxy]\n{shown}")).unwrap().proxy.connections_per_address_max;
    assert_eq!(shown, Some(apron_proxy::CONNECTIONS_PER_ADDRESS_MAX));
}

#[test]
fn all_problems_come_at_once_with_their_lines() {
    let found = problems(
        "api = 7070\nhtpp = \"off\"\nloops = 0\nregion = \"US East\"\n\n[node]\ndns = [\"here\"]\nrange = 1\n",
    );
    assert_eq!(found.len(), 6, "{found:#?}");
    assert_eq!(found[0], "line 1, column 7: 'api' must be an address like 127.0.0.1:7070, not 7070");
    assert!(
        found[1].starts_with("line 2, column 1: unknown key 'htpp'; known are api, http"),
        "{}",
        found[1]
    );
    assert_eq!(found[2], "line 3, column 9: 'loops' must be a whole number from 1 to 256, not 0");
    assert_eq!(found[3], "line 4, column 10: 'region': 'US East' is not a region like us-east-1");
    assert!(found[4].starts_with("line 7, column 8: 'dns' must be a list of addresses"), "{}", found[4]);
    assert!(found[5].starts_with("line 8, column 1: unknown key 'node.range'"), "{}", found[5]);
}

#[test]
fn broken_syntax_is_reported_with_its_line() {
    let found = problems("api = \"127.0.0.1:1\"\nhttp =\n");
    assert!(found[0].starts_with("line 2, column "), "{found:?}");
}

#[test]
fn root_and_equal_users_are_refused() {
    assert!(problems("control_uid = 0")[0].contains("from 1 to"));
    assert!(problems("control_uid = 5\nproxy_uid = 5")[0].contains("must differ"));
}

#[test]
fn a_flag_wins_and_nothing_to_serve_is_an_error() {
    let both_off = Arguments { http: Some(Listen::Off), https: Some(Listen::Off), ..Arguments::default() };
    assert!(resolve(&both_off).unwrap_err().to_string().contains("both off"));
    let missing = Arguments { config: Some("/nonexistent/apron.toml".into()), ..Arguments::default() };
    assert!(resolve(&missing).unwrap_err().to_string().contains("cannot read /nonexistent/apron.toml"));
    let domain = Arguments { apps_domain: Some("Apps.Example".into()), ..Arguments::default() };
    assert_eq!(resolve(&domain).unwrap().apps_domain, "apps.example");
    let region = Arguments { region: Some("nowhere land".into()), ..Arguments::default() };
    assert!(resolve(&region).unwrap_err().to_string().starts_with("--region"));
}

#[test]
fn source_roots_are_directories_with_absolute_paths() {
    for (wrong, expect) in [
        ("relative", " must be a list of absolute paths of directories, not \"relative\""),
        ("/nonexistent/x", ": /nonexistent/x: there is no such directory"),
        ("/etc/passwd", ": /etc/passwd: there is no such directory"),
    ] {
        let found = problems(&format!("source_roots = [\"/usr\",\"{wrong}\"]"));
        assert_eq!(found, [format!("line 1, column 24: 'source_roots'{expect}")]);
    }
    assert!(problems("source_roots = \"/usr\"")[0].contains("must be a list of absolute paths"));

    let flags = |roots: &[&str]| Arguments {
        source_roots: roots.iter().map(PathBuf::from).collect(),
        ..Arguments::default()
    };
    assert_eq!(resolve(&flags(&["/usr"])).unwrap().source_roots, [PathBuf::from("/usr")]);
    let error = resolve(&flags(&["/usr", "/nonexistent/x"])).unwrap_err().to_string();
    assert_eq!(error, "--source-root /nonexistent/x: there is no such directory");
}

#[test]
fn variables_of_builds_are_strings_with_fitting_names_and_never_shown() {
    let found = problems("[build_environment]\nA = 5\n\"B-C\" = \"secret\"\nD = \"secret\\u0000\"\n");
    assert_eq!(found.len(), 3, "{found:#?}");
    assert_eq!(
        found[0],
        "line 2, column 5: 'build_environment.A' must be a string, not a value of type integer"
    );
    assert!(found[1].starts_with("line 3, column 1: 'build_environment': 'B-C' cannot be"), "{}", found[1]);
    assert!(
        found[2].starts_with("line 4, column 5: 'build_environment.D' must have at most"),
        "{}",
        found[2]
    );
    assert!(!found.join("").contains("secret"), "{found:#?}");
    assert!(problems("build_environment = [1]")[0].contains("must be a table"));
    let many: String = (0..65).map(|n| format!("V{n} = \"\"\n")).collect();
    assert!(problems(&format!("[build_environment]\n{many}"))[0].contains("at most 64 variables"));
}

#[test]
fn files_are_named_by_absolute_paths() {
    for text in ["[node]\nruntimes = \"r.toml\"", "[registries]\ncredentials = \"docker.json\""] {
        assert!(problems(text)[0].contains("must be the absolute path of a file"), "{text}");
    }
}

#[test]
fn the_example_of_the_help_can_be_used() {
    let problems = file::parse(include_str!("example.toml")).err().unwrap_or_default();
    // Its directories need not be on this machine.
    let directory = |message: &str| message.contains("source_roots") || message.contains("certificates");
    assert!(problems.iter().all(|p| directory(&p.message)), "{problems:?}");
}

#[test]
fn certificates_lie_in_a_directory_with_an_absolute_path() {
    for (wrong, expect) in [
        ("certificates", " must be the absolute path of a directory, not \"certificates\""),
        ("/nonexistent/x", ": /nonexistent/x: there is no such directory"),
    ] {
        let found = problems(&format!("[proxy]\ncertificates = \"{wrong}\""));
        assert_eq!(found, [format!("line 2, column 16: 'certificates'{expect}")]);
    }
    assert!(problems("[proxy]\ncerts = \"/etc\"")[0].contains("unknown key 'proxy.certs'"));
}

#[test]
fn the_apps_domain_alone_is_the_flags_then_the_files_then_the_usual_one() {
    assert_eq!(resolve_apps_domain(None, None).unwrap(), APPS_DOMAIN);
    assert_eq!(resolve_apps_domain(None, Some("Apps.Example")).unwrap(), "apps.example");
    assert!(
        resolve_apps_domain(None, Some("no domain")).unwrap_err().to_string().starts_with("--apps-domain")
    );
    let missing = resolve_apps_domain(Some(Path::new("/nonexistent/apron.toml")), None);
    assert!(missing.unwrap_err().to_string().contains("cannot read /nonexistent/apron.toml"));
}

#[test]
fn a_database_is_read_and_its_password_never_shown() {
    let file = file::parse("database = \"postgres://a:geheim@localhost/b\"\n").unwrap();
    assert!(!format!("{file:?}").contains("geheim"));
    let arguments = Arguments {
        database: DatabaseFlags {
            database: Some("postgres://a:geheim@localhost/b".into()),
            ..Default::default()
        },
        ..Arguments::default()
    };
    let settings = resolve(&arguments).unwrap();
    assert!(settings.database.is_some() && !format!("{settings:?}{arguments:?}").contains("geheim"));
    let found = problems(
        "region = \"r\"\ndatabase = \"postgres://a:geheim@db.lan/b\"\ndatabase_password_file = \"x\"",
    );
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with(
            "line 2, column 12: 'database': the PostgreSQL server db.lan is not on this machine"
        )
    );
    assert!(!found.concat().contains("geheim"), "{found:#?}");
}

#[test]
fn the_data_directory_is_the_flags_then_the_variables_then_the_usual_one() {
    let flag = Path::new("/flag");
    for (flag, variable, expect) in [
        (Some(flag), Some("/variable"), "/flag"),
        (Some(flag), None, "/flag"),
        (None, Some("/variable"), "/variable"),
        (None, Some(""), DATA_DIR),
        (None, None, DATA_DIR),
    ] {
        assert_eq!(data_dir(flag, variable.map(OsString::from)), Path::new(expect), "{flag:?} {variable:?}");
    }
}
