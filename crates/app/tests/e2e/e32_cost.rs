//! What services used is counted to the second, whoever is killed meanwhile, and told with what it would have cost. Needs root.

use crate::support::{Platform, eventually, http};
use apron_wire::apron::GetUsageRequest;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// A figure of `apron cost site`, in seconds.
fn seconds(shown: &str, what: &str) -> f64 {
    let line = shown.lines().find(|line| line.starts_with(what)).expect(shown);
    assert!(line.ends_with("-s"), "{line}");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect(shown)
}

#[test]
fn what_is_used_is_counted_and_priced() {
    let platform = Platform::start();
    platform.import("site:1", &[]);
    platform.run(&["deploy", "site:1", "--name", "site"]);
    let (arn, host) = (platform.arn("site"), platform.alias("site"));
    let reason = || platform.run(&["why-awake", "site"]);
    let get = |path: &str| {
        let answer = http::get(&platform.apps, &host, path).expect("an answer");
        assert_eq!(answer.status, 200, "{}\n{}", answer.head, answer.body);
    };
    platform.tag(&arn, "apron:idle", "off");
    eventually(MINUTE, "a reason", || match reason() {
        said if said.contains("apron:idle=off keeps it awake") => Ok(()),
        said => Err(said),
    });
    platform.tag(&arn, "apron:idle-after-ms", "200/400/600");
    platform.tag(&arn, "apron:idle", "zero");
    let usage = |platform: &Platform| -> [f64; 3] {
        let asked = GetUsageRequest { service_arn: Some(arn.clone()), ..GetUsageRequest::default() };
        // Control may just be coming back.
        let said = eventually(MINUTE, "the usage", || platform.call(&asked));
        let usage = &said.services[0].usage;
        [&usage.active_vcpu_seconds, &usage.provisioned_gb_seconds, &usage.asleep_gb_seconds]
            .map(|text| text.parse().expect("a number"))
    };
    eventually(MINUTE, "no process", || match reason() {
        said if said.contains(" asleep ") => Ok(()),
        said => Err(said),
    });
    std::thread::sleep(Duration::from_secs(2));
    let before = usage(&platform);
    let began = Instant::now();
    // While it is at work, all who could count it are killed, one after the other.
    std::thread::scope(|scope| {
        scope.spawn(|| get("/slow?9000"));
        std::thread::sleep(Duration::from_secs(1));
        assert!(reason().contains("It is handling one request."), "{}", reason());
        for role in ["control", "node", "control"] {
            platform.process(role).kill();
            std::thread::sleep(Duration::from_secs(2));
        }
    });
    let took = began.elapsed().as_secs_f64();
    eventually(MINUTE, "no process", || match reason() {
        said if said.contains(" asleep ") => Ok(()),
        said => Err(said),
    });
    std::thread::sleep(Duration::from_secs(3));
    let after = usage(&platform);
    let used: Vec<f64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
    // 1 vCPU and 2 GB; a started second is one, and each kill may cost one.
    assert!((used[0] - took).abs() <= 4.0, "{used:?} in {took} s");
    assert!(used[1] >= 2.0 * (took - 4.0) && used[1] <= 2.0 * (took + 6.0), "{used:?} in {took} s");
    assert!(used[2] >= 3.0, "{used:?}: it has slept since");

    let one = platform.run(&["cost", "site"]);
    assert!((seconds(&one, "active") - after[0]).abs() <= 1.0, "{one}\n{after:?}");
    for what in ["App Runner, CPU", "always on", "DAY", "prices of App Runner"] {
        assert!(one.contains(what), "{what}\n{one}");
    }
    platform.tag(&arn, "apron:cap-usd-month", "1");
    let all = platform.run(&["cost", "--since", "7d"]);
    assert!(all.contains("site ") && all.contains(" $1\n") && all.contains("\nall"), "{all}");
    for (since, expect) in [
        ("soon", "expected a date"),
        ("-1d", "'-1d' is no day"),
        ("2999-01-01", "--since 2999-01-01 lies in the future"),
    ] {
        let said = platform.refused(&["cost", "--since", since]);
        assert!(said.contains(expect), "{said}");
    }
    // What it has cost stays in the sums.
    platform.run(&["rm", "site"]);
    let all = platform.run(&["cost"]);
    assert!(all.contains("site (deleted) "), "{all}");
    let one = platform.run(&["cost", "site"]);
    assert!(one.contains("site (deleted)") && seconds(&one, "active") >= after[0] - 1.0, "{one}");
    assert!(platform.refused(&["cost", "nobody"]).contains("there is no service 'nobody'"));
}
