use super::*;

fn draw() -> Draw {
    Draw::new(Timestamp(5), WallTime(7), 1, 1)
}

fn scaling(min_size: u32, max_size: u32) -> Body {
    Body::AutoScalingConfiguration(AutoScaling { min_size, max_size, ..AutoScaling::default() })
}

fn connection() -> Body {
    Body::Connection(Connection { provider: "GITHUB".to_owned(), completed: false })
}

fn new(name: &str, body: Body) -> New {
    New { region: "r".to_owned(), name: name.to_owned(), tags: Vec::new(), body }
}

/// `count` revisions of a name, as a transaction reads them.
fn siblings(name: &str, body: &Body, count: u32) -> Siblings {
    let mut siblings = Siblings { known: Vec::new(), names: u64::from(count > 0) };
    for _ in 0..count {
        let resource = create(new(name, body.clone()), &siblings, &Quotas::default(), &mut draw()).unwrap();
        for known in &mut siblings.known {
            known.latest = false;
        }
        siblings.known.push(Known { resource, latest: true, in_use: false, is_default: false });
    }
    siblings
}

fn selector(kind: Kind, name: &str, revision: Option<u32>) -> Selector {
    Selector { kind, name: name.to_owned(), revision, id: None }
}

#[test]
fn revisions_count_up_and_never_come_again() {
    let mut all = siblings("high", &scaling(1, 2), 3);
    assert_eq!(all.known.iter().map(|known| known.resource.revision).collect::<Vec<_>>(), [1, 2, 3]);
    let by_name = selector(Kind::AutoScalingConfiguration, "high", None);
    assert_eq!(all.find(&by_name).unwrap().resource.revision, 3);
    let deleted = delete(&all, &by_name, false, "arn", &draw()).unwrap();
    assert_eq!((deleted[0].revision, deleted[0].deleted_at), (3, Some(WallTime(7))));
    all.known[2] = Known { resource: deleted[0].clone(), latest: false, in_use: false, is_default: false };
    all.known[1].latest = true;
    assert_eq!(all.find(&by_name).unwrap().resource.revision, 2);
    let third = selector(Kind::AutoScalingConfiguration, "high", Some(3));
    assert!(all.find(&third).is_none(), "a deleted one is found by its id alone");
    let by_id = Selector { id: Some(deleted[0].id.clone()), ..third };
    assert!(all.find(&by_id).is_some());
    let next = create(new("high", scaling(1, 2)), &all, &Quotas::default(), &mut draw()).unwrap();
    assert_eq!(next.revision, 4);
}

#[test]
fn names_and_revisions_have_quotas() {
    let quotas = Quotas { auto_scaling_configurations: 1, auto_scaling_revisions: 2, ..Quotas::default() };
    let two = siblings("high", &scaling(1, 2), 2);
    let refused = create(new("high", scaling(1, 2)), &two, &quotas, &mut draw()).unwrap_err();
    assert!(matches!(&refused, ResourceError::Quota(text) if text.contains("2 revisions")), "{refused}");
    let other = Siblings { known: Vec::new(), names: 1 };
    let refused = create(new("low", scaling(1, 2)), &other, &quotas, &mut draw()).unwrap_err();
    assert!(matches!(refused, ResourceError::Quota(_)), "{refused}");
    assert!(
        create(new("high", scaling(1, 2)), &siblings("high", &scaling(1, 2), 1), &quotas, &mut draw())
            .is_ok()
    );
}

#[test]
fn what_is_not_revised_has_one_of_a_name() {
    let one = siblings("git", &connection(), 1);
    let refused = create(new("git", connection()), &one, &Quotas::default(), &mut draw()).unwrap_err();
    assert_eq!(refused.to_string(), "A connection named git exists already.");
    let mut gone = one.clone();
    gone.known[0].resource.deleted_at = Some(WallTime(1));
    let again = create(new("git", connection()), &gone, &Quotas::default(), &mut draw()).unwrap();
    assert_eq!(again.revision, 1);
}

#[test]
fn what_is_used_or_the_default_stays() {
    let mut all = siblings("high", &scaling(1, 2), 2);
    let by_name = selector(Kind::AutoScalingConfiguration, "high", None);
    assert_eq!(delete(&all, &by_name, true, "arn", &draw()).unwrap().len(), 2);
    all.known[0].in_use = true;
    let refused = delete(&all, &by_name, true, "arn", &draw()).unwrap_err();
    assert!(refused.to_string().contains("high/1 is used by a service"), "{refused}");
    assert!(delete(&all, &by_name, false, "arn", &draw()).is_ok(), "the latest is not");
    all.known[1].is_default = true;
    let refused = delete(&all, &by_name, false, "arn", &draw()).unwrap_err();
    assert!(refused.to_string().contains("default of this region"), "{refused}");
    let exact = selector(Kind::AutoScalingConfiguration, "high", Some(1));
    assert!(matches!(delete(&all, &exact, true, "arn", &draw()), Err(ResourceError::Invalid(_))));
    let unknown = selector(Kind::AutoScalingConfiguration, "high", Some(9));
    assert!(matches!(delete(&all, &unknown, false, "arn", &draw()), Err(ResourceError::NotFound(_))));
}

#[test]
fn bodies_are_checked() {
    let quotas = Quotas::default();
    let check = |body: Body| body.check(&quotas).map_err(|error| error.to_string());
    assert!(check(scaling(3, 2)).unwrap_err().contains("MinSize 3 is more than MaxSize 2"));
    assert!(check(scaling(1, 26)).unwrap_err().contains("quota"));
    assert_eq!(check(scaling(0, 1)), Ok(()));
    let quotas = Quotas { instances_per_service: Some(40), ..quotas };
    let most = |max_size| scaling(1, max_size).check(&quotas);
    assert!(most(40).is_ok() && most(41).unwrap_err().to_string().contains("may have: 40"));
    let connector = |subnets: &[&str], groups: &[&str]| {
        let own = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        check(Body::VpcConnector(VpcConnector { subnets: own(subnets), security_groups: own(groups) }))
    };
    assert_eq!(connector(&["subnet-1"], &["sg-1"]), Ok(()));
    assert!(connector(&[], &[]).unwrap_err().contains("at least one"));
    assert!(connector(&["subnet-1", "subnet-1"], &[]).unwrap_err().contains("twice"));
    assert!(connector(&["net"], &[]).unwrap_err().contains("begins with subnet-"));
}

#[test]
fn built_in_ones_are_as_on_aws() {
    let [scaling, observability] = built_in("r");
    assert_eq!(scaling.kind(), Kind::AutoScalingConfiguration);
    let known = Known { resource: scaling, latest: true, in_use: false, is_default: true };
    let used = scaling_of(&known, "arn".to_owned()).unwrap();
    assert_eq!((used.max_concurrency, used.min_size, used.max_size), (100, 1, 25));
    let known = Known { resource: observability, latest: true, in_use: false, is_default: false };
    let all = Siblings { known: vec![known], names: 1 };
    let by_name = selector(Kind::ObservabilityConfiguration, BUILT_IN_NAME, None);
    assert!(delete(&all, &by_name, false, "arn", &draw()).unwrap_err().to_string().contains("built in"));
    let traces = Body::ObservabilityConfiguration { traces: true };
    assert!(create(new(BUILT_IN_NAME, traces), &all, &Quotas::default(), &mut draw()).is_err());
}
