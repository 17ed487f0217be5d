//! Cancel, roll back, repeat, wait for a turn, and give way to a person: as callers see it, down to the world.

use super::rig::*;
use apron_compute::sim::{Behaviour, BuildScript};
use apron_model::ids::{OperationId, ServiceId};
use apron_model::instance::Fault;
use apron_model::operation::{self, Call, Called, Operation, OperationStatus};
use apron_model::service::*;
use apron_telemetry::Stream;
use serde_json::{Value, json};

const PUSH: Call = Call::StartDeployment { automatic: true };

fn arn(id: &ServiceId) -> String {
    format!("arn:aws:apprunner:us-east-1:{}:service/web/{id}", crate::bench::ACCOUNT)
}

/// A call of either API on the service that it is about, with further members.
async fn ask(rig: &Rig, id: &ServiceId, operation: &str, more: Value) -> Result<Value, String> {
    let mut input = json!({ "ServiceArn": arn(id) });
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rig.call(operation, input).await.map_err(|error| format!("{}: {}", error.code, error.message))
}

fn operation_id(answer: &Value) -> OperationId {
    OperationId::new(answer["OperationId"].as_str().expect("an operation"))
}

/// What no caller can ask for.
async fn push(rig: &Rig, id: &ServiceId) -> Called {
    let mut draw = rig.control.platform.draw();
    let now = draw.wall;
    let called = rig.store.service_call(id, now, |standing| operation::call(standing, &PUSH, &mut draw));
    called.await.unwrap().unwrap().unwrap()
}

async fn running(rig: &mut Rig) -> ServiceId {
    let (id, create) = rig.create("web", config(GOOD)).await;
    rig.settle(&create).await;
    id
}

async fn row(rig: &Rig, id: &OperationId) -> Operation {
    rig.store.operation_get(id).await.unwrap().unwrap()
}

fn reason(operation: Operation) -> String {
    operation.fault.expect("a reason").reason
}

fn url(url: &str) -> Value {
    json!({ "SourceConfiguration": { "CodeRepository": {
        "RepositoryUrl": url,
        "SourceCodeVersion": { "Type": "BRANCH", "Value": "main" },
    } } })
}

#[tokio::test]
async fn a_build_that_is_cancelled_ends_and_is_not_waited_for() {
    let bench = Bench::new();
    bench.world.script(BAD, BuildScript::Hangs);
    let mut rig = bench.start().await;
    let (id, create) = rig.create("web", config(BAD)).await;
    rig.round().await;
    assert_eq!(bench.world.hanging(), 1);
    let answer = ask(&rig, &id, "CancelOperation", json!({})).await.unwrap();
    assert_eq!(operation_id(&answer), create);
    assert_eq!(answer["Status"], "IN_PROGRESS");
    let ended = rig.settle(&create).await;
    assert_eq!((ended.status, reason(ended)), (OperationStatus::Failed, "Cancelled by a caller.".to_owned()));
    assert_eq!(bench.world.hanging(), 0, "the build was called off");
    assert_eq!(status(&rig.service(&id).await), Status::CreateFailed);
    let lines = [rig.events(&id), rig.lines(&Stream::Deployment(id.clone(), create.clone()))].concat();
    assert!(!lines.iter().any(|line| line.to_ascii_lowercase().contains("roll")), "{lines:?}");
    let refused = ask(&rig, &id, "CancelOperation", json!({})).await.unwrap_err();
    assert!(refused.starts_with("InvalidStateException"), "{refused}");
    let other = json!({ "OperationId": "0".repeat(32) });
    assert!(ask(&rig, &id, "CancelOperation", other).await.unwrap_err().starts_with("ResourceNotFound"));

    // It can be repeated, put right, or deleted.
    bench.world.script(BAD, BuildScript::Makes(outcome(image("c"))));
    let retry = operation_id(&ask(&rig, &id, "RetryOperation", json!({})).await.unwrap());
    assert_eq!(rig.settle(&retry).await.status, OperationStatus::Succeeded);
    assert_eq!(status(&rig.service(&id).await), Status::Running);
    let refused = ask(&rig, &id, "RetryOperation", json!({})).await.unwrap_err();
    assert!(refused.contains("it succeeded"), "{refused}");
    let first = json!({ "OperationId": create.as_str() });
    let again = operation_id(&ask(&rig, &id, "RetryOperation", first).await.unwrap());
    assert_eq!(rig.settle(&again).await.status, OperationStatus::Succeeded);
}

#[tokio::test]
async fn a_rollback_builds_nothing_and_shows_what_it_went_back_to() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let id = running(&mut rig).await;
    let update = operation_id(&ask(&rig, &id, "UpdateService", url(BETTER)).await.unwrap());
    rig.settle(&update).await;
    let builds = bench.world.counts().2;
    let answer = ask(&rig, &id, "RollbackService", json!({})).await.unwrap();
    assert_eq!(answer["Revision"], 1);
    let rollback = operation_id(&answer);
    assert_eq!(rig.settle(&rollback).await.status, OperationStatus::Succeeded);
    assert_eq!(bench.world.counts().2, builds);
    let service = rig.service(&id).await;
    assert_eq!((service.active, service.config), (Some(1), config(GOOD)));
    assert!(bench.world.specs().iter().all(|spec| spec.image == image("a") && spec.revision == 1));
    let listed = ask(&rig, &id, "ListOperations", json!({ "MaxResults": 1 })).await.unwrap();
    assert_eq!(listed["OperationSummaryList"][0]["Type"], "UPDATE_SERVICE");

    let first = ask(&rig, &id, "ListRevisions", json!({ "MaxResults": 1 })).await.unwrap();
    assert_eq!(
        (&first["Revisions"][0]["Number"], &first["Revisions"][0]["State"]),
        (&json!(2), &json!("PREVIOUS"))
    );
    let rest = json!({ "NextToken": first["NextToken"] });
    let rest = ask(&rig, &id, "ListRevisions", rest).await.unwrap();
    assert_eq!((&rest["Revisions"][0]["Number"], rest.get("NextToken")), (&json!(1), None));
    let one = ask(&rig, &id, "DescribeRevision", json!({ "Revision": 1 })).await.unwrap();
    assert_eq!(
        (&one["State"], &one["Served"], &one["Commit"]),
        (&json!("ACTIVE"), &json!(true), &json!("c0ffee"))
    );
    let configuration = &one["Configuration"];
    assert_eq!(configuration["CodeRepository"]["RepositoryUrl"], GOOD);
    assert_eq!((&configuration["Port"], &configuration["Memory"]), (&json!(8000), &json!(2048)));
    for (revision, says) in [(1, "is the active revision"), (7, "no revision 7")] {
        let refused = ask(&rig, &id, "RollbackService", json!({ "Revision": revision })).await.unwrap_err();
        assert!(refused.contains(says), "{refused}");
    }
    // One whose image was removed by hand is no way back.
    let digest = image("b");
    std::fs::remove_file(rig.control.platform.content.blob_path(&digest).unwrap()).unwrap();
    let refused = ask(&rig, &id, "RollbackService", json!({})).await.unwrap_err();
    assert!(refused.contains("its image is gone"), "{refused}");
}

#[tokio::test]
async fn a_deployment_that_is_rolled_back_is_called_so_everywhere() {
    let bench = Bench::new();
    bench.world.behave(&image("c"), Behaviour::Exits { code: 1, last_lines: Vec::new() });
    let mut rig = bench.start().await;
    let id = running(&mut rig).await;
    let update = operation_id(&ask(&rig, &id, "UpdateService", url(BAD)).await.unwrap());
    rig.settle(&update).await;
    let described = json!({ "OperationId": update.as_str() });
    let described = ask(&rig, &id, "DescribeOperation", described).await.unwrap();
    assert_eq!(described["Status"], "ROLLBACK_SUCCEEDED");
    assert!(described["Reason"].as_str().unwrap().contains("Container exit code: 1"));
    let log = rig.lines(&Stream::Deployment(id.clone(), update));
    assert!(log.iter().any(|line| line.contains("Container exit code: 1")), "{log:?}");
    assert!(log.iter().any(|line| line == "[AppRunner] Rolled back: revision 1 goes on serving."), "{log:?}");
}

#[tokio::test]
async fn a_failed_resume_leaves_it_paused_and_is_mended_by_an_update() {
    let bench = Bench::new();
    bench.world.script(BAD, BuildScript::Fails(Fault::permanent("line 3: 'run' is missing")));
    let mut rig = bench.start().await;
    let id = running(&mut rig).await;
    let pause = operation_id(&ask(&rig, &id, "PauseService", json!({})).await.unwrap());
    rig.settle(&pause).await;
    assert_eq!(ask(&rig, &id, "PauseService", json!({})).await.unwrap().get("OperationId"), None);
    let update = operation_id(&ask(&rig, &id, "UpdateService", url(BAD)).await.unwrap());
    rig.settle(&update).await;
    let resume = operation_id(&ask(&rig, &id, "ResumeService", json!({})).await.unwrap());
    let ended = rig.settle(&resume).await;
    assert_eq!(
        (ended.status, reason(ended)),
        (OperationStatus::Failed, "line 3: 'run' is missing".to_owned())
    );
    let service = rig.service(&id).await;
    assert_eq!(
        (status(&service), service.last_failure.as_deref()),
        (Status::Paused, Some("line 3: 'run' is missing"))
    );
    let update = operation_id(&ask(&rig, &id, "UpdateService", url(BETTER)).await.unwrap());
    rig.settle(&update).await;
    let resume = operation_id(&ask(&rig, &id, "ResumeService", json!({})).await.unwrap());
    assert_eq!(rig.settle(&resume).await.status, OperationStatus::Succeeded);
    assert_eq!(ask(&rig, &id, "ResumeService", json!({})).await.unwrap().get("OperationId"), None);
    assert!(bench.world.specs().iter().all(|spec| spec.image == image("b")));
}

#[tokio::test]
async fn what_waits_has_its_turn_without_a_gap_and_through_a_kill() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let id = running(&mut rig).await;
    let tag =
        json!({ "ResourceArn": arn(&id), "Tags": [{ "Key": "apron:queue-operations", "Value": "true" }] });
    rig.call("TagResource", tag).await.unwrap();
    let mut asked = Vec::new();
    for (call, more) in [
        ("UpdateService", url(BETTER)),
        ("PauseService", json!({})),
        ("StartDeployment", json!({})),
        ("ResumeService", json!({})),
        ("UpdateService", json!({ "InstanceConfiguration": { "Cpu": "256", "Memory": "512" } })),
    ] {
        asked.push(operation_id(&ask(&rig, &id, call, more).await.unwrap()));
    }
    assert_eq!(row(&rig, &asked[4]).await.status, OperationStatus::Pending);
    // A kill in the middle loses nobody's turn.
    for _ in 0..6 {
        rig.round().await;
    }
    drop(rig);
    let mut rig = bench.start().await;
    let last = asked[4].clone();
    for _ in 0..400 {
        rig.round().await;
        if row(&rig, &last).await.status.is_ended() {
            break;
        }
        assert_eq!(status(&rig.service(&id).await), Status::OperationInProgress, "no gap between two turns");
    }
    let mut ends = Vec::new();
    for id in &asked {
        ends.push(row(&rig, id).await.status);
    }
    use OperationStatus::{Failed, Succeeded};
    assert_eq!(ends, [Succeeded, Succeeded, Failed, Succeeded, Succeeded]);
    assert!(reason(row(&rig, &asked[2]).await).contains("isn't in RUNNING state"));
    rig.settle(&last).await;
    let service = rig.service(&id).await;
    assert_eq!((status(&service), service.config.size.cpu_units), (Status::Running, 256));
    assert!(bench.world.specs().iter().all(|spec| spec.image == image("b") && spec.size.memory_mib == 512));
    let log = rig.lines(&Stream::Deployment(id.clone(), asked[2].clone()));
    assert!(log.iter().any(|line| line.contains("did not begin")), "{log:?}");
}

/// An image is pushed, and the pipeline that pushed it calls StartDeployment at once.
#[tokio::test]
async fn a_push_followed_at_once_by_a_deployment_is_one_deployment() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let id = running(&mut rig).await;
    let builds = bench.world.counts().2;
    bench.world.script(GOOD, BuildScript::Makes(outcome(image("b"))));
    rig.store.service_source_seen_put(&id, image("b").as_str()).await.unwrap();
    let pushed = push(&rig, &id).await.operation.unwrap();
    assert!(row(&rig, &pushed).await.automatic);
    let answer = ask(&rig, &id, "StartDeployment", json!({})).await.unwrap();
    assert_eq!(operation_id(&answer), pushed);
    assert!(!row(&rig, &pushed).await.automatic, "somebody waits for it");
    assert_eq!(rig.settle(&pushed).await.status, OperationStatus::Succeeded);
    assert_eq!(bench.world.counts().2, builds + 1);
    assert!(bench.world.specs().iter().all(|spec| spec.image == image("b")));
}

/// While the pushed version is being brought up, a person wants something else.
#[tokio::test]
async fn a_push_never_refuses_a_person() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let id = running(&mut rig).await;
    bench.world.script(GOOD, BuildScript::Makes(outcome(image("c"))));
    bench.world.behave(&image("c"), Behaviour::Silent { hint: None });
    rig.store.service_source_seen_put(&id, image("c").as_str()).await.unwrap();
    let pushed = push(&rig, &id).await.operation.unwrap();
    for _ in 0..8 {
        rig.round().await;
    }
    // By now the source has moved on.
    bench.world.script(GOOD, BuildScript::Makes(outcome(image("b"))));
    rig.store.service_source_seen_put(&id, image("b").as_str()).await.unwrap();
    let wanted = json!({ "InstanceConfiguration": { "Cpu": "256", "Memory": "512" } });
    let update = operation_id(&ask(&rig, &id, "UpdateService", wanted).await.unwrap());
    assert_ne!(update, pushed);
    let refused = ask(&rig, &id, "PauseService", json!({})).await.unwrap_err();
    assert!(refused.contains("OPERATION_IN_PROGRESS"), "a person is before: {refused}");
    assert_eq!(rig.settle(&update).await.status, OperationStatus::Succeeded);
    let superseded = row(&rig, &pushed).await;
    assert_eq!(superseded.status, OperationStatus::RollbackSucceeded);
    assert_eq!(reason(superseded), "Superseded by UpdateService.");
    let specs = bench.world.specs();
    assert!(specs.iter().all(|spec| spec.image == image("b") && spec.size.cpu_units == 256), "{specs:?}");
}

#[tokio::test]
async fn a_vpc_ingress_connection_and_the_deletion_of_its_service_exclude_each_other() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let id = running(&mut rig).await;
    let endpoint = json!({ "VpcIngressConnectionName": "inward", "IngressVpcConfiguration": {
        "VpcId": "vpc-0a1b2c3d4e5f60718", "VpcEndpointId": "vpce-0a1b2c3d4e5f60718" } });
    let made = ask(&rig, &id, "CreateVpcIngressConnection", endpoint.clone()).await.unwrap();
    let named = &made["VpcIngressConnection"]["VpcIngressConnectionArn"];
    let refused = ask(&rig, &id, "DeleteService", json!({})).await.unwrap_err();
    let expect = format!(
        "InvalidRequestException: The service has the VPC ingress connection {}. Delete that first.",
        named.as_str().unwrap()
    );
    assert_eq!(refused, expect);
    rig.call("DeleteVpcIngressConnection", json!({ "VpcIngressConnectionArn": named })).await.unwrap();
    let delete = operation_id(&ask(&rig, &id, "DeleteService", json!({})).await.unwrap());
    let refused = ask(&rig, &id, "CreateVpcIngressConnection", endpoint.clone()).await.unwrap_err();
    let expect = "InvalidStateException: A VPC ingress connection cannot be made for a service in the current state: \
                  OPERATION_IN_PROGRESS.";
    assert_eq!(refused, expect);
    rig.settle(&delete).await;
    // The operation models no ResourceNotFoundException.
    let refused = ask(&rig, &id, "CreateVpcIngressConnection", endpoint).await.unwrap_err();
    assert!(
        refused.starts_with("InvalidRequestException: Service with the provided ARN is not found"),
        "{refused}"
    );
}

/// Without a deployment: in the table that the tag's own change makes.
#[tokio::test]
async fn what_tags_say_of_requests_is_in_the_next_table() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let id = running(&mut rig).await;
    let admits = || {
        let table = bench.proxy.lock().unwrap().clone().expect("a table");
        table.services[0].policy.admits("10.0.0.1".parse().unwrap())
    };
    assert!(admits());
    let networks = json!([{ "Key": "apron:deny-addresses", "Value": "10.0.0.0/8 2001:db8::/32" }]);
    rig.call("TagResource", json!({ "ResourceArn": arn(&id), "Tags": networks })).await.unwrap();
    rig.round().await;
    assert!(!admits());
    let keys = json!(["apron:deny-addresses"]);
    rig.call("UntagResource", json!({ "ResourceArn": arn(&id), "TagKeys": keys })).await.unwrap();
    rig.round().await;
    assert!(admits());
    assert_eq!(rig.service(&id).await.active, Some(1));
}

/// It is a mistake of whoever sets it. A row that has one hinders nothing.
#[tokio::test]
async fn a_schedule_that_never_comes_is_refused() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let id = running(&mut rig).await;
    let (tag, never) = ("apron:min-size-schedule", "0 0 30 2 * = 3");
    let tags =
        |key: &str, value: &str| json!({ "ResourceArn": arn(&id), "Tags": [{ "Key": key, "Value": value }] });
    let refused = rig.call("TagResource", tags(tag, never)).await.unwrap_err();
    assert_eq!(refused.code, "InvalidRequestException");
    assert!(refused.message.contains("'0 0 30 2 * = 3' never comes"), "{refused}");
    let written = rig.store.service_act(&id, |row| {
        row.tags.insert(tag.to_owned(), never.to_owned());
        Ok::<(), ()>(())
    });
    written.await.unwrap().unwrap().unwrap();
    rig.call("TagResource", tags("apron:balance", "spread")).await.unwrap();
    let update = operation_id(&ask(&rig, &id, "UpdateService", url(BETTER)).await.unwrap());
    assert_eq!(rig.settle(&update).await.status, OperationStatus::Succeeded);
}

#[tokio::test]
async fn a_tag_beyond_the_quota_of_instances_is_refused() {
    let bench = Bench::new();
    let mut rig = bench.start().await;
    let id = running(&mut rig).await;
    let tags =
        |key: &str, value: &str| json!({ "ResourceArn": arn(&id), "Tags": [{ "Key": key, "Value": value }] });
    rig.call("TagResource", tags("apron:max-size", "1000")).await.unwrap();
    rig.allow(5);
    for (key, value) in [("apron:max-size", "6"), ("apron:min-size-schedule", "0 7 * * * = 6")] {
        let refused = rig.call("TagResource", tags(key, value)).await.unwrap_err();
        assert_eq!(refused.code, "InvalidRequestException");
        let says = format!("'{key}' asks for 6 instances, and a service may have 5: instances_per_service");
        assert!(refused.message.contains(&says), "{refused}");
    }
    // One that was there before hinders no other, and can be taken back.
    rig.call("TagResource", tags("apron:min-size-schedule", "0 7 * * * = 5")).await.unwrap();
    rig.call("TagResource", tags("apron:max-size", "5")).await.unwrap();
}
