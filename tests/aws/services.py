"""Services, their operations and their tags: the whole life, every refusal, and the words that tools look for."""

import time

from harness import IN_PROGRESS, INVALID, MISSING, QUOTA, STATE, UNKNOWN_ID, hexadecimal, recent

# By the configuration of the platform under test.
SERVICES_MAX = 8
OF_ONE_SERVICE = ["DescribeService", "DeleteService", "PauseService", "ResumeService", "StartDeployment",
                  "UpdateService", "ListOperations"]


def a_whole_life(platform):
    made = platform.good(
        "CreateService", ServiceName="life",
        SourceConfiguration=platform.source(Port="8080", RuntimeEnvironmentVariables={"A": "1"}),
        InstanceConfiguration={"Cpu": "0.25 vCPU", "Memory": "0.5 GB"}, Tags=[{"Key": "team", "Value": "blue"}])
    service, first = made["Service"], made["OperationId"]
    arn = service["ServiceArn"]
    # The answer is that of a service in work, with every default written out: tools read without looking.
    assert service["Status"] == IN_PROGRESS and hexadecimal(first) and hexadecimal(service["ServiceId"])
    assert arn == platform.arn("service", "life", service["ServiceId"])
    assert len(arn.split(":", 5)[5].split("/")) == 3
    label, _, host = service["ServiceUrl"].partition(".")
    assert len(label) == 10 and label.isalnum() and label == label.lower(), service
    assert host.startswith(f"{platform.region}.") and "://" not in service["ServiceUrl"], service
    assert service["InstanceConfiguration"] == {"Cpu": "256", "Memory": "512"}, service
    assert service["HealthCheckConfiguration"] == {
        "Protocol": "TCP", "Path": "/", "Interval": 5, "Timeout": 2, "HealthyThreshold": 1, "UnhealthyThreshold": 5}
    assert service["NetworkConfiguration"] == {
        "EgressConfiguration": {"EgressType": "DEFAULT"}, "IngressConfiguration": {"IsPubliclyAccessible": True},
        "IpAddressType": "IPV4"}, service
    # Shown when it was written, and Terraform sees no difference when it was not.
    assert "ObservabilityConfiguration" not in service, service
    summary = service["AutoScalingConfigurationSummary"]
    assert summary["AutoScalingConfigurationArn"] == platform.arn(
        "autoscalingconfiguration", "DefaultConfiguration", "1", "0" * 31 + "1"), summary
    assert (summary["AutoScalingConfigurationName"], summary["AutoScalingConfigurationRevision"]) == (
        "DefaultConfiguration", 1)
    assert service["SourceConfiguration"] == platform.source(
        Port="8080", RuntimeEnvironmentVariables={"A": "1"}), service
    assert recent(service["CreatedAt"]) and service["CreatedAt"] == service["UpdatedAt"] and "DeletedAt" not in service
    # The operation is there before the call has answered: some tools take a missing one as the end.
    row = platform.operation(arn, first)
    assert row["Type"] == "CREATE_SERVICE" and row["TargetArn"] == arn and recent(row["StartedAt"]), row
    described = platform.settled(arn, "RUNNING")
    assert described["ServiceUrl"] == service["ServiceUrl"]
    row = platform.operation(arn, first)
    assert row["Status"] == "SUCCEEDED" and row["EndedAt"] >= row["StartedAt"], row
    listed = [row for row in platform.good("ListServices")["ServiceSummaryList"] if row["ServiceArn"] == arn]
    assert listed == [{name: described[name] for name in (
        "ServiceName", "ServiceId", "ServiceArn", "ServiceUrl", "CreatedAt", "UpdatedAt", "Status")}], listed
    tags(platform, arn, {"team": "blue"})
    updates(platform, arn)
    deployments(platform, arn)
    pause_and_resume(platform, arn, service["ServiceUrl"])
    deletion(platform, arn)


def updates(platform, arn):
    updated = platform.good("UpdateService", ServiceArn=arn, SourceConfiguration=platform.source("other"),
                            InstanceConfiguration={"Cpu": "1 vCPU", "Memory": "2 GB"},
                            HealthCheckConfiguration={"Protocol": "HTTP", "Path": "/up"})
    service = updated["Service"]
    # The new values at once, and what was left out as it was.
    assert service["Status"] == IN_PROGRESS and hexadecimal(updated["OperationId"])
    image = service["SourceConfiguration"]["ImageRepository"]
    assert image["ImageIdentifier"] == platform.images["other"], image
    assert image["ImageConfiguration"] == {"Port": "8080", "RuntimeEnvironmentVariables": {"A": "1"}}, image
    assert service["InstanceConfiguration"] == {"Cpu": "1024", "Memory": "2048"}, service
    check = service["HealthCheckConfiguration"]
    assert (check["Protocol"], check["Path"], check["Interval"]) == ("HTTP", "/up", 5), check
    platform.settled(arn, "RUNNING")
    assert platform.operation(arn, updated["OperationId"])["Type"] == "UPDATE_SERVICE"
    # A part of a part, and nothing at all.
    platform.good("UpdateService", ServiceArn=arn, InstanceConfiguration={"Cpu": "512", "Memory": "1024"})
    service = platform.settled(arn, "RUNNING")
    assert service["InstanceConfiguration"] == {"Cpu": "512", "Memory": "1024"}, service
    assert service["HealthCheckConfiguration"]["Path"] == "/up", service
    platform.good("UpdateService", ServiceArn=arn, ObservabilityConfiguration={"ObservabilityEnabled": False})
    assert platform.settled(arn, "RUNNING")["ObservabilityConfiguration"] == {"ObservabilityEnabled": False}
    platform.good("UpdateService", ServiceArn=arn)
    assert platform.settled(arn, "RUNNING")["ObservabilityConfiguration"] == {"ObservabilityEnabled": False}
    # A version that ends at its start: the old one stays, the operation says so.
    broken = platform.good("UpdateService", ServiceArn=arn, SourceConfiguration=platform.source("exits"))
    service = platform.settled(arn, "RUNNING")
    assert service["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"] == platform.images["other"]
    assert platform.operation(arn, broken["OperationId"])["Status"] == "ROLLBACK_SUCCEEDED"


def deployments(platform, arn):
    operation = platform.good("StartDeployment", ServiceArn=arn)["OperationId"]
    row = platform.operation(arn, operation)
    assert row["Type"] == "START_DEPLOYMENT" and "Status" in row, row
    platform.settled(arn, "RUNNING")
    assert platform.operation(arn, operation)["Status"] == "SUCCEEDED"
    rows = platform.paged("ListOperations", "OperationSummaryList", 2, ServiceArn=arn)
    assert rows[0]["Id"] == operation and rows[-1]["Type"] == "CREATE_SERVICE", rows
    started = [row["StartedAt"] for row in rows]
    assert started == sorted(started, reverse=True) and len({row["Id"] for row in rows}) == len(rows), rows


def pause_and_resume(platform, arn, url):
    paused = platform.good("PauseService", ServiceArn=arn)
    assert paused["Service"]["Status"] == IN_PROGRESS and hexadecimal(paused["OperationId"])
    service = platform.settled(arn, "PAUSED")
    assert service["ServiceUrl"] == url
    again = platform.good("PauseService", ServiceArn=arn)
    assert "OperationId" not in again and again["Service"]["Status"] == "PAUSED", again
    platform.refused("StartDeployment", INVALID,
                     "Can't start a deployment on the specified service, because it isn't in RUNNING state",
                     ServiceArn=arn)
    # Stored, for the next resume.
    platform.good("UpdateService", ServiceArn=arn, SourceConfiguration=platform.source("good"))
    service = platform.settled(arn, "PAUSED")
    assert service["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"] == platform.images["good"]
    resumed = platform.good("ResumeService", ServiceArn=arn)
    assert resumed["Service"]["Status"] == IN_PROGRESS and hexadecimal(resumed["OperationId"])
    service = platform.settled(arn, "RUNNING")
    assert service["ServiceUrl"] == url
    again = platform.good("ResumeService", ServiceArn=arn)
    assert "OperationId" not in again and again["Service"]["Status"] == "RUNNING", again
    kinds = {row["Type"] for row in platform.good("ListOperations", ServiceArn=arn)["OperationSummaryList"]}
    assert {"PAUSE_SERVICE", "RESUME_SERVICE"} <= kinds, kinds


def deletion(platform, arn):
    deleted = platform.good("DeleteService", ServiceArn=arn)
    assert deleted["Service"]["Status"] == IN_PROGRESS and hexadecimal(deleted["OperationId"])
    service = platform.settled(arn, "DELETED")
    # It stays describable for a while, is in no list, and its name is free.
    assert service["DeletedAt"] >= service["CreatedAt"]
    rows = platform.good("ListServices")["ServiceSummaryList"]
    assert arn not in [row["ServiceArn"] for row in rows]
    assert platform.operation(arn, deleted["OperationId"])["Type"] == "DELETE_SERVICE"
    for operation in ("UpdateService", "PauseService", "ResumeService", "DeleteService"):
        platform.refused(operation, MISSING, arn, ServiceArn=arn)
    anew = platform.running("life")
    assert anew != arn
    platform.remove(anew)


def tags(platform, arn, before):
    def pairs():
        listed = platform.good("ListTagsForResource", ResourceArn=arn)["Tags"]
        return {tag["Key"]: tag["Value"] for tag in listed}

    assert pairs() == before
    platform.good("TagResource", ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
    platform.good("TagResource", ResourceArn=arn, Tags=[{"Key": "a", "Value": "2"}])
    assert pairs() == before | {"a": "2", "b": ""}
    platform.good("UntagResource", ResourceArn=arn, TagKeys=["a", "b", "never"])
    assert pairs() == before
    platform.refused("TagResource", INVALID, "", ResourceArn=arn, Tags=[{"Key": "apron:nonsense", "Value": "1"}])
    many = [{"Key": f"k{number}", "Value": "v"} for number in range(51)]
    platform.refused("TagResource", INVALID, "50", ResourceArn=arn, Tags=many)
    assert pairs() == before


def unknown_services(platform):
    gone = platform.arn("service", "gone", UNKNOWN_ID)
    for operation in OF_ONE_SERVICE:
        platform.refused(operation, MISSING, gone, ServiceArn=gone)
        for wrong in ("arn:aws:apprunner:us-east-1:123456789012:service/web",
                      platform.arn("connection", "web", UNKNOWN_ID)):
            platform.refused(operation, INVALID, "", ServiceArn=wrong)
    for operation, more in (("ListTagsForResource", {}), ("TagResource", {"Tags": [{"Key": "a", "Value": "b"}]}),
                            ("UntagResource", {"TagKeys": ["a"]})):
        platform.refused(operation, MISSING, "", ResourceArn=gone, **more)
        platform.refused(operation, INVALID, "", ResourceArn=platform.arn("bucket", "a"), **more)


def refused_inputs(platform):
    source = platform.source()

    def create(part, **more):
        given = {"ServiceName": "nope", "SourceConfiguration": source} | more
        platform.refused("CreateService", INVALID, part, **given)

    code = {"RepositoryUrl": "https://git.test/a.git", "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"}}
    create("", SourceConfiguration={})
    create("", SourceConfiguration=source | {"CodeRepository": code})
    # The eleven pairs; any other is answered with the list.
    create("1024", InstanceConfiguration={"Cpu": "1 vCPU", "Memory": "12 GB"})
    create("1024", InstanceConfiguration={"Cpu": "256", "Memory": "2048"})
    create("Interval", HealthCheckConfiguration={"Interval": 1, "Timeout": 2})
    create("", SourceConfiguration=platform.source(Port="0"))
    create("", SourceConfiguration=platform.source(Port="many"))
    create("PORT", SourceConfiguration=platform.source(RuntimeEnvironmentVariables={"PORT": "1"}))
    create("AWSAPPRUNNER", SourceConfiguration=platform.source(RuntimeEnvironmentVariables={"AWSAPPRUNNER_X": "1"}))
    # A feature that nothing acts on is refused where it would be used, never taken and ignored.
    create("", EncryptionConfiguration={
        "KmsKey": "arn:aws:kms:us-east-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"})
    create("", SourceConfiguration=platform.source(
        RuntimeEnvironmentSecrets={"K": "arn:aws:secretsmanager:us-east-1:123456789012:secret:a"}))
    create("", NetworkConfiguration={"EgressConfiguration": {"EgressType": "VPC"}})
    create("", AutoScalingConfigurationArn=platform.arn("autoscalingconfiguration", "none", "1", UNKNOWN_ID))
    create("", AutoScalingConfigurationArn=platform.arn("service", "a", UNKNOWN_ID))
    rows = platform.good("ListServices")["ServiceSummaryList"]
    assert "nope" not in [row["ServiceName"] for row in rows]


def a_name_is_taken_once(platform):
    arn = platform.create("taken")
    platform.refused("CreateService", INVALID, "Service with the provided name already exists: taken",
                     ServiceName="taken", SourceConfiguration=platform.source())
    platform.settled(arn, "RUNNING")
    platform.refused("CreateService", INVALID, "Service with the provided name already exists: taken",
                     ServiceName="taken", SourceConfiguration=platform.source())
    platform.refused("UpdateService", INVALID, "", ServiceArn=arn, SourceConfiguration={"CodeRepository": {
        "RepositoryUrl": "https://git.test/a.git", "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"}}})
    platform.refused("UpdateService", INVALID, "", ServiceArn=arn, InstanceConfiguration={"Cpu": "4096"})
    platform.remove(arn)


def what_tools_send(platform):
    """Terraform always asks for automatic deployments, the deploy action writes sizes in its own way."""
    source = platform.source() | {"AutoDeploymentsEnabled": True}
    source["ImageRepository"]["ImageRepositoryType"] = "ECR_PUBLIC"
    source["AuthenticationConfiguration"] = {"AccessRoleArn": "arn:aws:iam::123456789012:role/service-role/access"}
    role = "arn:aws:iam::123456789012:role/instance"
    made = platform.good(
        "CreateService", ServiceName="tools", SourceConfiguration=source,
        InstanceConfiguration={"Cpu": "0.25 vCPU", "Memory": "0.5 GB", "InstanceRoleArn": role})["Service"]
    assert made["SourceConfiguration"]["AutoDeploymentsEnabled"] is True, made
    assert made["SourceConfiguration"]["AuthenticationConfiguration"] == source["AuthenticationConfiguration"], made
    platform.settled(made["ServiceArn"], "RUNNING")
    # A part of the configuration: the rest stays.
    updated = platform.good("UpdateService", ServiceArn=made["ServiceArn"], InstanceConfiguration={"Memory": "1 GB"})
    assert updated["Service"]["InstanceConfiguration"] == {
        "Cpu": "256", "Memory": "1024", "InstanceRoleArn": role}, updated
    platform.settled(made["ServiceArn"], "RUNNING")
    platform.remove(made["ServiceArn"])


def a_service_in_work_refuses(platform):
    """An application that never listens keeps its deployment open."""
    arn = platform.create("busy", "waits")
    for operation, done in (("UpdateService", "updated"), ("PauseService", "paused"), ("ResumeService", "resumed"),
                            ("DeleteService", "deleted")):
        platform.refused(operation, STATE, f"Service cannot be {done} in the current state: {IN_PROGRESS}.",
                         ServiceArn=arn)
    platform.refused("StartDeployment", INVALID,
                     "Can't start a deployment on the specified service, because it isn't in RUNNING state",
                     ServiceArn=arn)
    # Tags have nothing to do with it.
    tags(platform, arn, {})
    row = platform.good("ListOperations", ServiceArn=arn)["OperationSummaryList"][0]
    assert row["Status"] in ("PENDING", "IN_PROGRESS") and "EndedAt" not in row, row


def a_creation_that_fails(platform):
    arn = platform.create("sadly", "exits")
    platform.settled(arn, "CREATE_FAILED")
    rows = platform.good("ListServices")["ServiceSummaryList"]
    # Tools find it there and mend or delete it.
    assert [row["Status"] for row in rows if row["ServiceArn"] == arn] == ["CREATE_FAILED"], rows
    row = platform.good("ListOperations", ServiceArn=arn)["OperationSummaryList"][0]
    assert (row["Type"], row["Status"]) == ("CREATE_SERVICE", "FAILED"), row
    for operation, done in (("PauseService", "paused"), ("ResumeService", "resumed")):
        platform.refused(operation, STATE, f"Service cannot be {done} in the current state: CREATE_FAILED.",
                         ServiceArn=arn)
    platform.refused("StartDeployment", INVALID, "because it isn't in RUNNING state", ServiceArn=arn)
    platform.good("UpdateService", ServiceArn=arn, SourceConfiguration=platform.source())
    platform.settled(arn, "RUNNING")
    platform.remove(arn)
    arn = platform.create("sadly", "exits")
    platform.settled(arn, "CREATE_FAILED")
    platform.remove(arn)


def lists_while_things_change(platform):
    arns = [platform.create(f"list-{number}") for number in range(4)]
    for each in arns:
        platform.settled(each, "RUNNING")
    platform.paged("ListServices", "ServiceSummaryList", 2)
    page = platform.good("ListServices", MaxResults=1)
    seen = [row["ServiceArn"] for row in page["ServiceSummaryList"]]
    platform.remove(arns[1])
    while "NextToken" in page:
        page = platform.good("ListServices", MaxResults=1, NextToken=page["NextToken"])
        seen += [row["ServiceArn"] for row in page["ServiceSummaryList"]]
    assert len(seen) == len(set(seen)) and {arns[0], arns[2], arns[3]} <= set(seen), seen
    platform.remove(arns[0], arns[2], arns[3])


def waits_of_scripts(platform):
    """The two loops that scripts and the deploy action are made of: there are no waiters for this service."""
    made = platform.good("CreateService", ServiceName="script", SourceConfiguration=platform.source())
    arn, operation = made["Service"]["ServiceArn"], made["OperationId"]
    deadline = time.monotonic() + 60
    while platform.aws.describe_service(ServiceArn=arn)["Service"]["Status"] == IN_PROGRESS:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    rows = platform.aws.list_operations(ServiceArn=arn)["OperationSummaryList"]
    assert [row["Status"] for row in rows if row["Id"] == operation] == ["SUCCEEDED"], rows
    platform.remove(arn)


def quota(platform):
    """In a region of its own: what others make must not count."""
    arns = [platform.create(f"many-{number}") for number in range(SERVICES_MAX)]
    platform.refused("CreateService", QUOTA, "", ServiceName="one-more",
                     SourceConfiguration=platform.source())
    for arn in arns:
        platform.settled(arn, "RUNNING")
    platform.paged("ListServices", "ServiceSummaryList", 3)
    platform.remove(arns[0])
    arns[0] = platform.running("one-more")
    platform.remove(*arns)


CASES = [a_whole_life, unknown_services, refused_inputs, a_name_is_taken_once, what_tools_send,
         a_service_in_work_refuses, a_creation_that_fails, lists_while_things_change, waits_of_scripts]
