use super::*;

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn reads_ours_and_leaves_others() {
    assert_eq!(read(&tags(&[("team", "blue")])), Ok(Extensions::default()));
    assert!(read(&tags(&[("apron:config-merge", "api")])).unwrap().instance.api_over_file);
    assert!(!read(&tags(&[("apron:config-merge", "file")])).unwrap().instance.api_over_file);
    assert!(read(&tags(&[("apron:deploy", "rolling")])).unwrap().rolling);
    assert!(!read(&tags(&[("apron:deploy", "all")])).unwrap().rolling);
    assert!(read(&tags(&[("apron:queue-operations", "true")])).unwrap().queue_operations);
    let all = [
        ("apron:cpu", "64"),
        ("apron:memory", "65536"),
        ("apron:env-merge", "true"),
        ("apron:health-check-grace-seconds", "0900"),
    ];
    let read = read(&tags(&all)).unwrap().instance;
    let expect = InstanceTags {
        startup_boost: None,
        api_over_file: false,
        env_merge: true,
        cpu_units: Some(64),
        memory_mib: Some(65_536),
        health_check_grace_s: 900,
    };
    assert_eq!(read, expect);
    let configured = InstanceSize { cpu_units: 1024, memory_mib: 2048 };
    assert_eq!(read.size(configured), InstanceSize { cpu_units: 64, memory_mib: 65_536 });
    let memory = InstanceTags { cpu_units: None, ..read }.size(configured);
    assert_eq!(memory, InstanceSize { cpu_units: 1024, memory_mib: 65_536 });
}

#[test]
fn idle_tags_say_how_far_and_when() {
    assert_eq!(idle(&tags(&[])), IdlePolicy::default());
    assert_eq!(idle(&tags(&[("apron:idle", "off")])).lowest, Rung::Active);
    let both = tags(&[("apron:idle", "freeze"), ("apron:idle-after-ms", "200/400/900000")]);
    assert_eq!(
        idle(&both),
        IdlePolicy { lowest: Rung::Frozen, after_ms: [200, 400, 900_000], ..IdlePolicy::default() }
    );
    assert_eq!(read(&both).unwrap().idle, idle(&both));
}

/// Requests come to the instances that such a figure brings, unless it is said that they are not to.
#[test]
fn who_scales_on_use_spreads_its_requests() {
    let check = |pairs: &[(&str, &str)], expect| {
        assert_eq!(policy(&tags(pairs)).0.balance, expect, "{pairs:?}");
        assert_eq!(read(&tags(pairs)).unwrap().policy.balance, expect, "{pairs:?}");
    };
    check(&[], Balance::Pack);
    check(&[("apron:scale-on", "cpu=70")], Balance::Spread);
    check(&[("apron:scale-on", "requests=70"), ("apron:balance", "pack")], Balance::Pack);
}

#[test]
fn figures_to_scale_on_may_be_several() {
    let of = |value| scale(&tags(&[("apron:scale-on", value)])).also;
    let none = Targets::default();
    assert_eq!(of("requests=50"), Targets { requests: Some(50), ..none });
    assert_eq!(of("memory=80  cpu=70"), Targets { cpu: Some(70), memory: Some(80), requests: None });
    for wrong in [
        "gpu=70",
        "cpu=70%",
        "cpu=0",
        "cpu=101",
        "requests=0",
        "requests=",
        "cpu",
        "50",
        "",
        " ",
        "cpu=1 cpu=2",
    ] {
        let refused = read(&tags(&[("apron:scale-on", wrong)])).unwrap_err().to_string();
        assert!(refused.ends_with("such as cpu=70 requests=50") && of(wrong) == none, "{refused}");
    }
}

#[test]
fn every_key_of_the_table_is_read_and_documented() {
    for key in KEYS {
        let value = match key.takes {
            Takes::Words(words) => words[0].to_owned(),
            Takes::Flag => "false".to_owned(),
            Takes::Number { min, .. } => min.to_string(),
            Takes::Addresses => "::1 10.0.0.0/8".to_owned(),
            Takes::Schedule => "0 7 * * * = 2".to_owned(),
            Takes::Targets => "requests=50 cpu=70".to_owned(),
            Takes::Times => "100/100/604800000".to_owned(),
        };
        assert!(read(&tags(&[(key.tag, &value)])).is_ok(), "{}", key.tag);
        assert!(key.tag.starts_with(PREFIX) && !key.says.is_empty());
    }
    assert!(KEYS.is_sorted_by_key(|key| key.tag));
}

#[test]
fn refuses_what_would_do_nothing() {
    let unknown = read(&tags(&[("apron:config-marge", "api")])).unwrap_err();
    assert!(unknown.to_string().contains("apron:config-merge"), "{unknown}");
    for (tag, value, says) in [
        ("apron:config-merge", "both", "one of: file, api"),
        ("apron:deploy", "one", "one of: all, rolling"),
        ("apron:max-size", "0", "a whole number from 1 to 1000"),
        ("apron:min-size-schedule", "0 7 * * 8 = 1", "such as * or 1-5 or */2 or 0,30"),
        ("apron:env-merge", "yes", "one of: true, false"),
        ("apron:idle", "stop", "one of: off, throttle, freeze, zero"),
        ("apron:idle-after-ms", "1000/30000", "such as 1000/30000/900000"),
        ("apron:idle-after-ms", "1000/30000/20000", "such as 1000/30000/900000"),
        ("apron:idle-after-ms", "99/30000/900000", "such as 1000/30000/900000"),
        ("apron:idle-after-ms", "1e3/30000/900000", "such as 1000/30000/900000"),
        ("apron:cpu", "63", "a whole number from 64 to 16384"),
        ("apron:cpu", "+64", "a whole number from 64 to 16384"),
        ("apron:memory", "65537", "a whole number from 64 to 65536"),
        ("apron:memory", "", "a whole number from 64 to 65536"),
        ("apron:health-check-grace-seconds", "3601", "a whole number from 0 to 3600"),
        ("apron:health-check-grace-seconds", "-1", "a whole number from 0 to 3600"),
        ("apron:https", "auto", "one of: redirect, serve, refuse"),
        ("apron:app-protocol", "h2", "one of: http1, h2c, https"),
        ("apron:request-timeout-seconds", "0", "a whole number from 1 to 3600"),
        ("apron:allow-addresses", "", "2001:db8::/32, separated by spaces"),
        ("apron:allow-addresses", "10.0.0.0/8,11.0.0.0/8", "2001:db8::/32, separated by spaces"),
        ("apron:deny-addresses", "10.0.0.1/8", "2001:db8::/32, separated by spaces"),
    ] {
        let error = read(&tags(&[(tag, value)])).unwrap_err().to_string();
        assert!(error.contains(tag) && error.ends_with(says), "{error}");
    }
}

/// A row may have a time that never comes, and its other tags change all the same.
#[test]
fn a_call_sets_no_time_that_never_comes() {
    let never = tags(&[("apron:min-size-schedule", "0 7 * * * = 2; 0 0 30 2 * = 1")]);
    let error = admit(&never, &tags(&[]), None).unwrap_err().to_string();
    let expect = "the tag 'apron:min-size-schedule' has a schedule in which '0 0 30 2 * = 1' never comes: no month of \
                  '2' has a day of '30'; name one up to 29";
    assert_eq!(error, expect);
    assert!(read(&never).is_ok() && scale(&never).least.is_some());
    let mut more = never.clone();
    more.insert("apron:max-size".to_owned(), "40".to_owned());
    assert_eq!(admit(&more, &never, None), Ok(()));
    assert_eq!((max_size(&more), max_size(&never)), (Some(40), None));
    assert!(admit(&tags(&[("apron:max-size", "0")]), &never, None).is_err());
}

#[test]
fn a_call_asks_for_no_more_instances_than_the_operator_allows() {
    let [most, least] = ["apron:max-size", "apron:min-size-schedule"];
    for (tag, value, quota, refused) in [
        (most, "1000", None, None),
        (most, "50", Some(50), None),
        (most, "51", Some(50), Some(51)),
        (least, "0 7 * * * = 1000", None, None),
        (least, "0 7 * * * = 3; 0 19 * * * = 6; 0 20 * * * = 1", Some(5), Some(6)),
    ] {
        let new = tags(&[(tag, value)]);
        let expect = refused.map(|asked| ExtensionError::Quota { tag, asked, most: quota.unwrap_or(0) });
        assert_eq!(admit(&new, &tags(&[]), quota).err(), expect, "{tag}={value}");
        assert_eq!(admit(&new, &new, quota), Ok(()), "it was there before the quota");
    }
    let error = ExtensionError::Quota { tag: most, asked: 51, most: 50 }.to_string();
    let expect = "the tag 'apron:max-size' asks for 51 instances, and a service may have 50: instances_per_service under \
                  [quotas] of the configuration file";
    assert_eq!(error, expect);
}

#[test]
fn what_tags_say_of_requests_is_read() {
    let all = [
        ("apron:access-log", "sampled"),
        ("apron:affinity", "cookie"),
        ("apron:allow-addresses", "10.0.0.0/8  2001:db8::/32"),
        ("apron:app-protocol", "h2c"),
        ("apron:balance", "spread"),
        ("apron:body-max-mib", "10"),
        ("apron:concurrency-hard", "80"),
        ("apron:deny-addresses", "10.0.1.9"),
        ("apron:hsts", "true"),
        ("apron:https", "refuse"),
        ("apron:rate-limit", "50"),
        ("apron:request-timeout", "total"),
        ("apron:request-timeout-seconds", "3600"),
        ("apron:stream-idle-seconds", "60"),
    ];
    let expect = RoutePolicy {
        app_protocol: AppProtocol::H2c,
        concurrency_hard: Some(80),
        request_timeout_s: 3_600,
        request_timeout_total: true,
        body_bytes_max: Some(10 * 1024 * 1024),
        https: HttpsPolicy::Refuse,
        hsts: true,
        access_log: AccessLog::Sampled,
        affinity: true,
        balance: Balance::Spread,
        requests_per_second_max: Some(50),
        allow: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        deny: vec!["10.0.1.9".parse().unwrap()],
        idle_timeout_s: 60,
    };
    assert_eq!(read(&tags(&all)).unwrap().policy, expect);
    assert_eq!(policy(&tags(&all)), (expect, Vec::new()));
    let plain = [
        ("apron:access-log", "off"),
        ("apron:affinity", "none"),
        ("apron:app-protocol", "http1"),
        ("apron:balance", "pack"),
        ("apron:hsts", "false"),
        ("apron:request-timeout", "each"),
    ];
    assert!(read(&tags(&plain)).unwrap().policy.is_default());
    let check = |word: &str, expect: HttpsPolicy| {
        assert_eq!(read(&tags(&[("apron:https", word)])).unwrap().policy.https, expect);
    };
    check("redirect", HttpsPolicy::Redirect);
    check("serve", HttpsPolicy::Serve);
    assert_eq!(read(&tags(&[("apron:access-log", "on")])).unwrap().policy.access_log, AccessLog::On);
    let https = read(&tags(&[("apron:app-protocol", "https")])).unwrap().policy;
    assert_eq!(https.app_protocol, AppProtocol::Https);
}

/// What a row says and cannot be understood; the calls would have refused it.
#[test]
fn a_damaged_tag_says_the_least_that_it_could() {
    let damaged = [
        ("apron:body-max-mib", "many"),
        ("apron:concurrency-hard", "0"),
        ("apron:hsts", "true"),
        ("apron:https", "never"),
        ("apron:rate-limit", "-1"),
        ("apron:request-timeout-seconds", "forever"),
        ("apron:of-a-later-release", "1"),
    ];
    let (read, wrong) = policy(&tags(&damaged));
    let expect = RoutePolicy {
        body_bytes_max: Some(1024 * 1024),
        concurrency_hard: Some(1),
        hsts: true,
        https: HttpsPolicy::Refuse,
        requests_per_second_max: Some(1),
        ..RoutePolicy::default()
    };
    assert_eq!((read, wrong.len()), (expect, 6));
    // A list that is understood does not open what the other one closes.
    for (bad, good) in
        [("apron:allow-addresses", "apron:deny-addresses"), ("apron:deny-addresses", "apron:allow-addresses")]
    {
        let (read, wrong) = policy(&tags(&[(bad, "10.0.0"), (good, "10.0.0.0/8")]));
        for address in ["10.0.0.1", "1.2.3.4", "::1"] {
            assert!(!read.admits(address.parse().unwrap()), "{bad} {address}");
        }
        assert!(wrong[0].to_string().contains(bad), "{wrong:?}");
    }
}
