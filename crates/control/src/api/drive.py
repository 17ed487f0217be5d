"""Drives a served API with botocore, unchanged, and checks what comes back.

Arguments: endpoint, access key id, secret, path of specs/apron.json, a directory for botocore's models.
"""

import base64
import gzip
import io
import json
import os
import shutil
import sys
import tarfile
import time

try:
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import ClientError
except ImportError:
    sys.exit("python3 needs botocore for this test: pip install botocore")

endpoint, key, secret, spec, models = sys.argv[1:6]
os.makedirs(f"{models}/apron/2026-01-01", exist_ok=True)
shutil.copy(spec, f"{models}/apron/2026-01-01/service-2.json")
os.environ["AWS_DATA_PATH"] = models


def client(service, region="us-east-1", key=key, secret=secret):
    session = botocore.session.Session()
    return session.create_client(
        service,
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=40),
    )


aws = client("apprunner")
apron = client("apron")


def refused(code, part, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        said = error.response["Error"]
        assert said["Code"] == code, (said, code)
        assert part in said["Message"], (said, part)
        return
    raise AssertionError(f"{call} was not refused")


def wait(arn, status, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        service = aws.describe_service(ServiceArn=arn)["Service"]
        if service["Status"] != "OPERATION_IN_PROGRESS":
            assert service["Status"] == status, (service, apron.describe_status(ServiceArn=arn))
            return service
        time.sleep(0.02)
    raise AssertionError(f"{arn} is not {status}: {apron.describe_status(ServiceArn=arn)}")


def operation(arn, operation_id):
    rows = aws.list_operations(ServiceArn=arn)["OperationSummaryList"]
    return next(row for row in rows if row["Id"] == operation_id)


def image(name, **configuration):
    repository = {"ImageIdentifier": name, "ImageRepositoryType": "ECR"}
    if configuration:
        repository["ImageConfiguration"] = configuration
    return {"ImageRepository": repository}


def signatures():
    refused("UnrecognizedClientException", "", client("apprunner", key="AKIDOTHER").list_services)
    refused("InvalidSignatureException", "", client("apprunner", secret="wrong").list_services)
    assert aws.list_services()["ServiceSummaryList"] == []
    refused("InvalidSignatureException", "region", client("apprunner", region="EU-X").list_services)


def lifecycle():
    made = aws.create_service(
        ServiceName="shop",
        SourceConfiguration=image("good:1", Port="9000", StartCommand="serve", RuntimeEnvironmentVariables={"A": "1"}),
        InstanceConfiguration={"Cpu": "1 vCPU", "Memory": "2 GB"},
        Tags=[{"Key": "team", "Value": "blue"}],
    )
    service, first = made["Service"], made["OperationId"]
    arn = service["ServiceArn"]
    assert service["Status"] == "OPERATION_IN_PROGRESS"
    assert len(first) == 32 and len(service["ServiceId"]) == 32
    assert arn == f"arn:aws:apprunner:us-east-1:123456789012:service/shop/{service['ServiceId']}"
    label, _, host = service["ServiceUrl"].partition(".")
    assert len(label) == 10 and label.isalnum() and label == label.lower(), label
    assert host == "us-east-1.apron.localhost:8080", host
    assert operation(arn, first)["Type"] == "CREATE_SERVICE"
    assert service["InstanceConfiguration"] == {"Cpu": "1024", "Memory": "2048"}
    assert service["HealthCheckConfiguration"] == {
        "Protocol": "TCP", "Path": "/", "Interval": 5, "Timeout": 2, "HealthyThreshold": 1, "UnhealthyThreshold": 5}
    assert service["NetworkConfiguration"] == {
        "EgressConfiguration": {"EgressType": "DEFAULT"},
        "IngressConfiguration": {"IsPubliclyAccessible": True}, "IpAddressType": "IPV4"}
    scaling = service["AutoScalingConfigurationSummary"]
    assert scaling["AutoScalingConfigurationArn"].endswith(
        ":autoscalingconfiguration/DefaultConfiguration/1/00000000000000000000000000000001")
    assert scaling["AutoScalingConfigurationRevision"] == 1
    assert "EncryptionConfiguration" not in service and "DeletedAt" not in service
    assert abs(service["CreatedAt"].timestamp() - time.time()) < 60
    assert service["SourceConfiguration"]["AutoDeploymentsEnabled"] is True

    refused("InvalidRequestException", "Service with the provided name already exists: shop",
            aws.create_service, ServiceName="shop", SourceConfiguration=image("good:1"))
    service = wait(arn, "RUNNING")
    row = operation(arn, first)
    assert row["Status"] == "SUCCEEDED" and row["TargetArn"] == arn and "EndedAt" in row, row
    summary = aws.list_services()["ServiceSummaryList"]
    assert [row["ServiceName"] for row in summary] == ["shop"]
    assert summary[0]["ServiceUrl"] == service["ServiceUrl"]
    assert client("apprunner", region="eu-west-1").list_services()["ServiceSummaryList"] == []
    refused("ResourceNotFoundException", "", client("apprunner", region="eu-west-1").describe_service, ServiceArn=arn)

    # An update shows the new values at once and keeps what it leaves out.
    updated = aws.update_service(ServiceArn=arn, SourceConfiguration=image("good:2"),
                                 HealthCheckConfiguration={"Protocol": "HTTP", "Path": "/up"})
    shown = updated["Service"]["SourceConfiguration"]["ImageRepository"]
    assert shown["ImageIdentifier"] == "good:2"
    assert shown["ImageConfiguration"] == {
        "Port": "9000", "StartCommand": "serve", "RuntimeEnvironmentVariables": {"A": "1"}}
    assert updated["Service"]["Status"] == "OPERATION_IN_PROGRESS"
    service = wait(arn, "RUNNING")
    assert service["HealthCheckConfiguration"]["Protocol"] == "HTTP"
    refused("InvalidRequestException", "cannot be changed between", aws.update_service, ServiceArn=arn,
            SourceConfiguration={"CodeRepository": code_repository()})

    # A broken version rolls back, and everything says why.
    broken = aws.update_service(ServiceArn=arn, SourceConfiguration=image("bad:1"))
    service = wait(arn, "RUNNING")
    assert operation(arn, broken["OperationId"])["Status"] == "ROLLBACK_SUCCEEDED"
    assert service["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"] == "good:2"
    status = apron.describe_status(ServiceArn=arn)
    assert "'serve' does not exist" in status["Reason"], status
    active = [row for row in status["Revisions"] if row["State"] == "ACTIVE"]
    assert len(active) == 1 and active[0]["Instances"][0]["Health"] == "HEALTHY", status
    assert status["Url"] == "http://" + service["ServiceUrl"]
    log = deployment_log(arn, broken["OperationId"])
    assert any("exec serve: no such file" in line for line in log), log
    events = [line["Text"] for line in apron.get_logs(ServiceArn=arn, Stream="EVENTS", WaitSeconds=5)["Lines"]]
    assert any("exec serve: no such file" in line for line in events), events

    deployed = aws.start_deployment(ServiceArn=arn)["OperationId"]
    assert operation(arn, deployed)["Type"] == "START_DEPLOYMENT"
    wait(arn, "RUNNING")

    # A success takes the failure from the service, and not from the operation that failed.
    assert "Reason" not in apron.describe_status(ServiceArn=arn)
    why = apron.describe_operation(ServiceArn=arn, OperationId=broken["OperationId"])
    assert (why["Type"], why["Status"], why["Step"]) == ("UPDATE_SERVICE", "ROLLBACK_SUCCEEDED", "ended"), why
    assert why["Reason"] == "The start command 'serve' does not exist.", why
    assert why["LastLines"] == ["exec serve: no such file"], why
    assert why["StartedAt"] <= why["UpdatedAt"] == why["EndedAt"], why
    well = apron.describe_operation(ServiceArn=arn, OperationId=deployed)
    assert well["Status"] == "SUCCEEDED" and well["LastLines"] == [] and "Reason" not in well, well
    refused("ResourceNotFoundException", "no operation", apron.describe_operation,
            ServiceArn=arn, OperationId="0" * 32)

    # Pages of operations, newest first, each once, though more come meanwhile.
    page = aws.list_operations(ServiceArn=arn, MaxResults=2)
    seen = [row["Id"] for row in page["OperationSummaryList"]]
    assert seen[0] == deployed
    paused = aws.pause_service(ServiceArn=arn)
    assert paused["Service"]["Status"] == "OPERATION_IN_PROGRESS" and "OperationId" in paused
    while "NextToken" in page:
        page = aws.list_operations(ServiceArn=arn, MaxResults=2, NextToken=page["NextToken"])
        seen += [row["Id"] for row in page["OperationSummaryList"]]
    assert len(seen) == 4 and len(set(seen)) == 4 and seen[-1] == first, seen
    refused("InvalidRequestException", "NextToken", aws.list_operations, ServiceArn=arn, NextToken="x")

    wait(arn, "PAUSED")
    again = aws.pause_service(ServiceArn=arn)
    assert "OperationId" not in again and again["Service"]["Status"] == "PAUSED"
    refused("InvalidRequestException", "because it isn't in RUNNING state", aws.start_deployment, ServiceArn=arn)
    assert "OperationId" in aws.resume_service(ServiceArn=arn)
    wait(arn, "RUNNING")
    again = aws.resume_service(ServiceArn=arn)
    assert "OperationId" not in again and again["Service"]["Status"] == "RUNNING"

    tags(arn)
    gone = aws.delete_service(ServiceArn=arn)
    assert gone["Service"]["Status"] == "OPERATION_IN_PROGRESS"
    service = wait(arn, "DELETED")
    assert "DeletedAt" in service
    assert aws.list_services()["ServiceSummaryList"] == []
    refused("ResourceNotFoundException", "", aws.update_service, ServiceArn=arn)
    anew = aws.create_service(ServiceName="shop", SourceConfiguration=image("good:1"))["Service"]
    assert anew["ServiceUrl"] != service["ServiceUrl"]
    wait(anew["ServiceArn"], "RUNNING")
    aws.delete_service(ServiceArn=anew["ServiceArn"])
    wait(anew["ServiceArn"], "DELETED")


def tags(arn):
    pairs = lambda: {tag["Key"]: tag["Value"] for tag in aws.list_tags_for_resource(ResourceArn=arn)["Tags"]}
    assert pairs() == {"team": "blue"}
    aws.tag_resource(ResourceArn=arn, Tags=[{"Key": "team", "Value": "red"}, {"Key": "x", "Value": ""}])
    assert pairs() == {"team": "red", "x": ""}
    aws.untag_resource(ResourceArn=arn, TagKeys=["x", "never"])
    assert pairs() == {"team": "red"}
    refused("InvalidRequestException", "aws:", aws.tag_resource, ResourceArn=arn, Tags=[{"Key": "aws:x", "Value": ""}])
    refused("InvalidRequestException", "apron:config-merge", aws.tag_resource, ResourceArn=arn,
            Tags=[{"Key": "apron:unknown", "Value": ""}])


def deployment_log(arn, operation_id):
    lines, cursor = [], None
    while True:
        more = {"From": cursor} if cursor else {}
        page = apron.get_logs(ServiceArn=arn, Stream="DEPLOYMENT", OperationId=operation_id, WaitSeconds=5, MaxLines=3, **more)
        lines += [line["Text"] for line in page["Lines"]]
        cursor = page["Next"]
        if page["End"]:
            return lines


def code_repository(url="https://git.test/app.git", **configuration):
    return {
        "RepositoryUrl": url,
        "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"},
        "CodeConfiguration": configuration or {"ConfigurationSource": "REPOSITORY"},
    }


def code():
    made = aws.create_service(ServiceName="code", SourceConfiguration={"CodeRepository": code_repository()})
    arn = made["Service"]["ServiceArn"]
    source = made["Service"]["SourceConfiguration"]["CodeRepository"]
    assert source["SourceDirectory"] == "/"
    assert source["CodeConfiguration"] == {"ConfigurationSource": "REPOSITORY"}
    wait(arn, "RUNNING")
    revisions = apron.describe_status(ServiceArn=arn)["Revisions"]
    assert revisions[0]["Commit"] == "c0ffee", revisions
    updated = aws.update_service(ServiceArn=arn, SourceConfiguration={"CodeRepository": code_repository(
        ConfigurationSource="API", CodeConfigurationValues={"Runtime": "PYTHON_311", "BuildCommand": "true"})})
    values = updated["Service"]["SourceConfiguration"]["CodeRepository"]["CodeConfiguration"]["CodeConfigurationValues"]
    assert values == {"Runtime": "PYTHON_311", "BuildCommand": "true", "Port": "8080"}, values
    wait(arn, "RUNNING")
    refused("InvalidRequestException", "did you mean PYTHON_311?", aws.update_service, ServiceArn=arn,
            SourceConfiguration={"CodeRepository": code_repository(
                ConfigurationSource="API", CodeConfigurationValues={"Runtime": "PYTHON_312"})})
    aws.delete_service(ServiceArn=arn)
    wait(arn, "DELETED")


def busy():
    """A build that never ends holds its operation open, so that every other call meets it."""
    source = {"CodeRepository": code_repository("https://git.test/hangs.git")}
    made = aws.create_service(ServiceName="busy", SourceConfiguration=source)
    arn = made["Service"]["ServiceArn"]
    for done, call in (("updated", aws.update_service), ("paused", aws.pause_service),
                       ("resumed", aws.resume_service), ("deleted", aws.delete_service)):
        refused("InvalidStateException", f"Service cannot be {done} in the current state: OPERATION_IN_PROGRESS.",
                call, ServiceArn=arn)
    refused("InvalidRequestException",
            "Can't start a deployment on the specified service, because it isn't in RUNNING state",
            aws.start_deployment, ServiceArn=arn)
    status = apron.describe_status(ServiceArn=arn)
    assert status["Operation"]["Id"] == made["OperationId"], status
    aws.tag_resource(ResourceArn=arn, Tags=[{"Key": "while", "Value": "busy"}])


def failed_creation():
    arn = aws.create_service(ServiceName="sadly", SourceConfiguration=image("bad:1"))["Service"]["ServiceArn"]
    wait(arn, "CREATE_FAILED")
    assert [row["Status"] for row in aws.list_services()["ServiceSummaryList"]] == ["CREATE_FAILED"]
    refused("InvalidStateException", "CREATE_FAILED", aws.pause_service, ServiceArn=arn)
    aws.update_service(ServiceArn=arn, SourceConfiguration=image("good:1"))
    wait(arn, "RUNNING")
    aws.delete_service(ServiceArn=arn)
    wait(arn, "DELETED")


def many():
    names = [f"svc-{number}" for number in range(5)]
    arns = [aws.create_service(ServiceName=name, SourceConfiguration=image("good:1"))["Service"]["ServiceArn"] for name in names]
    for arn in arns:
        wait(arn, "RUNNING")
    seen, token = [], {}
    while True:
        page = aws.list_services(MaxResults=2, **token)
        seen += [row["ServiceName"] for row in page["ServiceSummaryList"]]
        if len(seen) == 2:
            # What goes between two pages, the token's own row included, makes no other row skip.
            aws.delete_service(ServiceArn=arns[1])
            wait(arns[1], "DELETED")
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert seen == names, seen
    for arn in arns[:1] + arns[2:]:
        aws.delete_service(ServiceArn=arn)
        wait(arn, "DELETED")


def refusals():
    create = lambda part, **more: refused(
        "InvalidRequestException", part, aws.create_service,
        **{"ServiceName": "nope", "SourceConfiguration": image("good:1"), **more})
    create("Valid pairs (Cpu: Memory): 256: 512, 1024;", InstanceConfiguration={"Cpu": "256", "Memory": "4096"})
    create("IsPubliclyAccessible=false is not supported yet",
           NetworkConfiguration={"IngressConfiguration": {"IsPubliclyAccessible": False}})
    create("EgressType=VPC is not supported yet", NetworkConfiguration={"EgressConfiguration": {
        "EgressType": "VPC", "VpcConnectorArn": "arn:aws:apprunner:us-east-1:123456789012:vpcconnector/a/1/b"}})
    create("KmsKey is not supported yet", EncryptionConfiguration={
        "KmsKey": "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"})
    create("No auto scaling configuration with the ARN", AutoScalingConfigurationArn=
           "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/mine/1/" + "0" * 32)
    create("ObservabilityEnabled=true is not supported yet", ObservabilityConfiguration={"ObservabilityEnabled": True})
    create("ObservabilityEnabled=true is not supported yet", ObservabilityConfiguration={
        "ObservabilityEnabled": False, "ObservabilityConfigurationArn":
        "arn:aws:apprunner:us-east-1:123456789012:observabilityconfiguration/a/1/b"})
    source = {"CodeRepository": code_repository(), "AuthenticationConfiguration": {
        "ConnectionArn": "arn:aws:apprunner:us-east-1:123456789012:connection/github/" + "0" * 32}}
    create("No connection with the ARN", SourceConfiguration=source)
    source = image("good:1")
    source["AuthenticationConfiguration"] = {"AccessRoleArn": "arn:aws:iam::1:user/not-a-role-at-all"}
    create("accessRoleArn", SourceConfiguration=source)
    create("instanceRoleArn", InstanceConfiguration={"InstanceRoleArn": "arn:aws:iam::123456789012:user/somebody"})
    create("RuntimeEnvironmentSecrets is not supported yet", SourceConfiguration=image(
        "good:1", RuntimeEnvironmentSecrets={"S": "arn:aws:ssm:us-east-1:123456789012:parameter/p"}))
    create("PORT is reserved", SourceConfiguration=image("good:1", RuntimeEnvironmentVariables={"PORT": "1"}))
    create("AWSAPPRUNNER", SourceConfiguration=image("good:1", RuntimeEnvironmentVariables={"AWSAPPRUNNER_X": "1"}))
    create("1 validation error detected", HealthCheckConfiguration={"Interval": 21})
    create("serviceName", ServiceName="bad name!")
    create("apron:unknown", Tags=[{"Key": "apron:unknown", "Value": "1"}])
    assert aws.list_services()["ServiceSummaryList"] == []
    missing = "arn:aws:apprunner:us-east-1:123456789012:service/shop/" + "0" * 32
    for call in (aws.describe_service, aws.update_service, aws.pause_service, aws.resume_service,
                 aws.delete_service, aws.start_deployment, aws.list_operations):
        refused("ResourceNotFoundException", missing, call, ServiceArn=missing)
    refused("ResourceNotFoundException", missing, aws.list_tags_for_resource, ResourceArn=missing)
    refused("InvalidRequestException", "ARN of a service", aws.describe_service,
            ServiceArn="arn:aws:apprunner:us-east-1:123456789012:connection/a/b")
    assert aws.list_connections()["ConnectionSummaryList"] == []


def uploads():
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    data = tar.getvalue()
    half = len(data) // 2
    upload = apron.create_upload(Kind="SOURCE")
    part = lambda offset, data, id=upload["UploadId"]: apron.put_upload_part(UploadId=id, Offset=offset, Data=data)
    assert part(0, data[:half])["Size"] == half
    refused("InvalidRequestException", f"{half} bytes have arrived", apron.put_upload_part,
            UploadId=upload["UploadId"], Offset=0, Data=data)
    assert part(half, data[half:])["Size"] == len(data)
    url = apron.complete_upload(UploadId=upload["UploadId"])["RepositoryUrl"]
    assert url.startswith("apron:source/sha256:"), url
    refused("ResourceNotFoundException", "upload", apron.complete_upload, UploadId=upload["UploadId"])

    upload = apron.create_upload(Kind="SOURCE")["UploadId"]
    part(0, b"no archive", id=upload)
    refused("InvalidRequestException", "not a gzip-compressed tar", apron.complete_upload, UploadId=upload)
    apron.abort_upload(UploadId=upload)
    big = apron.create_upload(Kind="SOURCE")["UploadId"]
    part(0, b"\0" * upload_part_max(), id=big)
    apron.abort_upload(UploadId=big)
    refused("ResourceNotFoundException", "upload", apron.abort_upload, UploadId=big)
    opened = []
    while len(opened) < 20:
        try:
            opened.append(apron.create_upload(Kind="SOURCE")["UploadId"])
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ServiceQuotaExceededException", error
            break
    assert len(opened) == 8, opened
    for upload in opened:
        apron.abort_upload(UploadId=upload)


def images():
    names = lambda: {row["Name"]: row for row in apron.list_images()["Images"]}
    assert set(names()) == {"good:1", "good:2", "bad:1"}, names()
    row = names()["good:2"]
    assert row["Origin"] == "IMPORTED" and row["Bytes"] > 0 and row["Digest"].startswith("sha256:"), row
    assert abs(row["UpdatedAt"].timestamp() - time.time()) < 60, row
    assert apron.delete_image(Name="good:2")["Digest"] == row["Digest"]
    assert set(names()) == {"good:1", "bad:1"}
    refused("ResourceNotFoundException", "'good:2'", apron.delete_image, Name="good:2")


def accepted_without_effect():
    """What tools send always is taken, shown, and said to have no effect."""
    role = "arn:aws:iam::123456789012:role/service-role/AppRunnerECRAccessRole"
    source = image("good:1")
    source["AutoDeploymentsEnabled"] = True
    source["AuthenticationConfiguration"] = {"AccessRoleArn": role}
    made = aws.create_service(ServiceName="roles", SourceConfiguration=source, InstanceConfiguration={"InstanceRoleArn": role})
    arn, shown = made["Service"]["ServiceArn"], made["Service"]
    assert shown["SourceConfiguration"]["AuthenticationConfiguration"] == {"AccessRoleArn": role}
    assert shown["SourceConfiguration"]["AutoDeploymentsEnabled"] is True
    assert shown["InstanceConfiguration"]["InstanceRoleArn"] == role
    wait(arn, "RUNNING")
    events = [line["Text"] for line in apron.get_logs(ServiceArn=arn, Stream="EVENTS", WaitSeconds=5)["Lines"]]
    warnings = [line for line in events if line.startswith("Warning: ")]
    assert [line.split(" ")[1] for line in warnings] == [
        "AutoDeploymentsEnabled", "AccessRoleArn", "InstanceRoleArn"], events

    # What leaves the source keeps the image, and says nothing twice.
    before = apron.describe_status(ServiceArn=arn)["Revisions"]
    kept = aws.update_service(ServiceArn=arn, InstanceConfiguration={"Cpu": "512", "Memory": "1024"})
    wait(arn, "RUNNING")
    log = deployment_log(arn, kept["OperationId"])
    assert any("the image of revision 1 is used again" in line for line in log), log
    assert not any("pulled" in line or "Warning" in line for line in log), log
    after = apron.describe_status(ServiceArn=arn)["Revisions"]
    assert [row["State"] for row in after if row["Number"] == 2] == ["ACTIVE"], after
    assert after[0]["Image"] == before[0]["Image"], (before, after)

    broken = aws.update_service(ServiceArn=arn, SourceConfiguration=image("bad:1"))
    wait(arn, "RUNNING")
    assert operation(arn, broken["OperationId"])["Status"] == "ROLLBACK_SUCCEEDED"
    states = {row["Number"]: row["State"] for row in apron.describe_status(ServiceArn=arn)["Revisions"]}
    assert states[3] == "FAILED" and states[2] == "ACTIVE", states
    aws.delete_service(ServiceArn=arn)
    wait(arn, "DELETED")


def verbs():
    arn = aws.create_service(ServiceName="verbs", SourceConfiguration=image("good:1"))["Service"]["ServiceArn"]
    wait(arn, "RUNNING")
    aws.update_service(ServiceArn=arn, SourceConfiguration=image("good:2"))
    wait(arn, "RUNNING")
    back = apron.rollback_service(ServiceArn=arn)
    assert back["Revision"] == 1, back
    service = wait(arn, "RUNNING")
    assert operation(arn, back["OperationId"])["Status"] == "SUCCEEDED"
    assert service["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"] == "good:1", service
    shown = aws.list_operations(ServiceArn=arn)["OperationSummaryList"][0]
    assert (shown["Id"], shown["Type"]) == (back["OperationId"], "UPDATE_SERVICE"), shown

    first = apron.list_revisions(ServiceArn=arn, MaxResults=1)
    assert [(row["Number"], row["State"]) for row in first["Revisions"]] == [(2, "PREVIOUS")] or \
        first["Revisions"][0]["State"] == "DRAINING", first
    rest = apron.list_revisions(ServiceArn=arn, NextToken=first["NextToken"])
    assert [(row["Number"], row["State"]) for row in rest["Revisions"]] == [(1, "ACTIVE")], rest
    assert "NextToken" not in rest, rest
    one = apron.describe_revision(ServiceArn=arn, Revision=1)
    assert one["Served"] and one["Configuration"]["ImageRepository"]["ImageIdentifier"] == "good:1", one
    assert one["Configuration"]["Memory"] == 2048 and one["Configuration"]["Port"] == 8080, one

    broken = aws.update_service(ServiceArn=arn, SourceConfiguration=image("bad:1"))
    wait(arn, "RUNNING")
    again = apron.retry_operation(ServiceArn=arn)["OperationId"]
    assert again != broken["OperationId"]
    wait(arn, "RUNNING")
    said = apron.describe_operation(ServiceArn=arn, OperationId=again)
    assert said["Status"] == "ROLLBACK_SUCCEEDED" and "does not exist" in said["Reason"], said
    refused("InvalidStateException", "no open operation", apron.cancel_operation, ServiceArn=arn)
    refused("InvalidStateException", "has ended", apron.cancel_operation, ServiceArn=arn, OperationId=again)
    refused("InvalidStateException", "it succeeded", apron.retry_operation, ServiceArn=arn, OperationId=back["OperationId"])
    refused("InvalidStateException", "the active revision already", apron.rollback_service, ServiceArn=arn, Revision=1)
    refused("ResourceNotFoundException", "no revision 99", apron.rollback_service, ServiceArn=arn, Revision=99)
    refused("ResourceNotFoundException", "no revision 99", apron.describe_revision, ServiceArn=arn, Revision=99)
    refused("InvalidRequestException", "NextToken", apron.list_revisions, ServiceArn=arn, NextToken="x")
    aws.delete_service(ServiceArn=arn)
    wait(arn, "DELETED")

    # What would hang is ended, and never speaks of a rollback.
    hangs = {"CodeRepository": code_repository("https://git.test/hangs.git")}
    arn = aws.create_service(ServiceName="hangs-on", SourceConfiguration=hangs)["Service"]["ServiceArn"]
    ended = apron.cancel_operation(ServiceArn=arn)
    wait(arn, "CREATE_FAILED")
    said = apron.describe_operation(ServiceArn=arn, OperationId=ended["OperationId"])
    assert (said["Status"], said["Reason"]) == ("FAILED", "Cancelled by a caller."), said
    assert not any("roll" in line.lower() for line in deployment_log(arn, ended["OperationId"]))
    aws.delete_service(ServiceArn=arn)
    wait(arn, "DELETED")


def upload_part_max():
    upload = apron.create_upload(Kind="SOURCE")
    apron.abort_upload(UploadId=upload["UploadId"])
    return upload["PartSizeMax"]


def access():
    made = apron.create_access_key(Name="viewer", Rights="READ_ONLY")
    viewer = {"key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}
    assert "viewer" not in made["AccessKeyId"] and len(made["SecretAccessKey"]) == 40, made["AccessKeyId"]
    assert client("apprunner", **viewer).list_services()["ServiceSummaryList"] is not None
    refused("AccessDeniedException", "is not authorized to perform: apprunner:CreateConnection on resource: *",
            client("apprunner", **viewer).create_connection, ConnectionName="conn", ProviderType="GITHUB")
    keys = apron.list_access_keys()["AccessKeys"]
    assert [(row["Name"], row["Rights"]) for row in keys] == [("root", "ADMIN"), ("viewer", "READ_ONLY")], keys
    assert apron.delete_access_key(AccessKeyId=made["AccessKeyId"])["AccessKey"] == keys[1]
    refused("UnrecognizedClientException", "", client("apprunner", **viewer).list_services)
    refused("InvalidRequestException", "cannot be deleted", apron.delete_access_key, AccessKeyId=key)
    # All that this script has done stands there, in as many pages as it takes; lines come beside the calls.
    names, page = [], {"Next": "0"}
    deadline = time.monotonic() + 20
    while not {"CreateAccessKey", "DeleteAccessKey"} <= set(names):
        assert time.monotonic() < deadline, names
        page = apron.get_audit_log(From=page["Next"], MaxLines=7, WaitSeconds=5)
        names += [json.loads(line["Text"]).get("operation") for line in page["Lines"]]


def platform():
    said = apron.describe_platform()
    assert said["ApiEndpoint"] == endpoint and said["AccountId"] == "123456789012", said
    assert said["AppsDomain"] == "apron.localhost" and said["Region"] == "us-east-1", said


for case in (signatures, platform, access, lifecycle, code, failed_creation, many, accepted_without_effect, verbs, refusals, uploads, images, busy):
    begun = time.monotonic()
    case()
    print(f"{case.__name__}: {time.monotonic() - begun:.2f} s")
print("all cases passed")
