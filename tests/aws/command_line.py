"""Every operation through the AWS CLI itself, unchanged, as people script it.

The CLI runs in one process that takes command after command: its start is nearly all that a command costs. Run as a
program, this file is that process.
"""

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

# Not from the harness: the CLI brings its own botocore, and must not find another one loaded.
APRON_MODEL = pathlib.Path(__file__).resolve().parents[2] / "specs/apron.json"
WAIT_S_MAX = 60
# What the CLI ends with when the service has refused a call.
REFUSED = 255
# Commands of `aws apprunner` whose answer was looked at.
CALLED = set()


def serve():
    """Reads a list of arguments a line, and answers each with status, output and complaints."""
    from awscli.clidriver import create_clidriver

    driver = create_clidriver()
    for line in sys.stdin:
        arguments = json.loads(line)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = driver.main(arguments)
            except SystemExit as ended:
                status = ended.code
        if arguments[0] == "configure":
            # It reads what it knows of services once.
            driver = create_clidriver()
        print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)


class Cli:
    def __init__(self, platform, home="/nonexistent"):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {
            "AWS_SHARED_CREDENTIALS_FILE": platform.credentials, "AWS_CONFIG_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1", "AWS_DEFAULT_REGION": platform.region,
            "AWS_ENDPOINT_URL_APPRUNNER": platform.endpoint, "AWS_ENDPOINT_URL_APRON": platform.endpoint,
            "AWS_PAGER": "", "HOME": home}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def run(self, *arguments, service="apprunner"):
        self.process.stdin.write(json.dumps([service, *arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __call__(self, *arguments, service="apprunner"):
        """The output of a command that must succeed, read as JSON where it is."""
        status, out, err = self.run(*arguments, service=service)
        assert status == 0 and not err, (arguments, status, out, err)
        if service == "apprunner":
            CALLED.add(arguments[0])
        return json.loads(out) if out.startswith(("{", "[")) else out.strip()

    def refused(self, code, operation, part, *arguments):
        status, out, err = self.run(*arguments)
        assert status == REFUSED and not out, (arguments, status, out, err)
        assert f"An error occurred ({code}) when calling the {operation} operation: " in err and part in err, err

    def settled(self, arn, status):
        deadline = time.monotonic() + WAIT_S_MAX
        while True:
            got = self("describe-service", "--service-arn", arn, "--query", "Service.Status", "--output", "text")
            if got != "OPERATION_IN_PROGRESS":
                assert got == status, (arn, got)
                return
            assert time.monotonic() < deadline, arn
            time.sleep(0.1)


def services(platform):
    with Cli(platform) as aws:
        source = json.dumps(platform.source())
        made = aws("create-service", "--service-name", "by-cli", "--source-configuration", source,
                   "--instance-configuration", "Cpu=256,Memory=512", "--tags", "Key=a,Value=b")
        arn, operation = made["Service"]["ServiceArn"], made["OperationId"]
        assert made["Service"]["Status"] == "OPERATION_IN_PROGRESS", made
        aws.settled(arn, "RUNNING")
        described = aws("describe-service", "--service-arn", arn)["Service"]
        assert described["InstanceConfiguration"] == {"Cpu": "256", "Memory": "512"}, described
        listed = aws("list-services", "--query", f"ServiceSummaryList[?ServiceArn=='{arn}'].ServiceName",
                     "--output", "text")
        assert listed == "by-cli", listed
        status = aws("list-operations", "--service-arn", arn, "--query",
                     f"OperationSummaryList[?Id=='{operation}'].Status", "--output", "text")
        assert status == "SUCCEEDED", status
        operation = aws("start-deployment", "--service-arn", arn)["OperationId"]
        aws.settled(arn, "RUNNING")
        page = aws("list-operations", "--service-arn", arn, "--max-results", "1")
        assert page["OperationSummaryList"][0]["Id"] == operation, page
        page = aws("list-operations", "--service-arn", arn, "--max-results", "1", "--next-token", page["NextToken"])
        assert page["OperationSummaryList"][0]["Type"] == "CREATE_SERVICE" and "NextToken" not in page, page
        updated = aws("update-service", "--service-arn", arn, "--health-check-configuration", "Protocol=HTTP,Path=/")
        assert updated["Service"]["HealthCheckConfiguration"]["Protocol"] == "HTTP", updated
        aws.settled(arn, "RUNNING")
        domains(aws, arn, described["ServiceUrl"].split(":")[0])
        ingress(aws, arn)
        for verb, state in (("pause", "PAUSED"), ("resume", "RUNNING")):
            assert "OperationId" in aws(f"{verb}-service", "--service-arn", arn)
            aws.settled(arn, state)
        aws.refused("InvalidRequestException", "CreateService",
                    "Service with the provided name already exists: by-cli",
                    "create-service", "--service-name", "by-cli", "--source-configuration", source)
        assert aws("tag-resource", "--resource-arn", arn, "--tags", "Key=c,Value=d") == ""
        assert aws("untag-resource", "--resource-arn", arn, "--tag-keys", "a") == ""
        tags = aws("list-tags-for-resource", "--resource-arn", arn)["Tags"]
        assert tags == [{"Key": "c", "Value": "d"}], tags
        assert aws("delete-service", "--service-arn", arn)["Service"]["Status"] == "OPERATION_IN_PROGRESS"
        aws.settled(arn, "DELETED")
        aws.refused("ResourceNotFoundException", "PauseService", arn, "pause-service", "--service-arn", arn)
        aws.refused("InvalidStateException", "PauseService",
                    "Service cannot be paused in the current state: OPERATION_IN_PROGRESS.",
                    "pause-service", "--service-arn", platform.create("busy-cli", "waits"))


def domains(aws, arn, host):
    named = ("--service-arn", arn, "--domain-name", "cli.example.com")
    made = aws("associate-custom-domain", *named, "--no-enable-www-subdomain")
    assert (made["DNSTarget"], made["CustomDomain"]["Status"]) == (host, "creating"), made
    rows = aws("describe-custom-domains", "--service-arn", arn)["CustomDomains"]
    assert [row["DomainName"] for row in rows] == ["cli.example.com"], rows
    assert aws("disassociate-custom-domain", *named)["CustomDomain"]["Status"] == "deleting"


def ingress(aws, arn):
    vpc = ("--ingress-vpc-configuration", "VpcId=vpc-0a1b2c3d4e5f60718,VpcEndpointId=vpce-0a1b2c3d4e5f60718")
    made = aws("create-vpc-ingress-connection", "--service-arn", arn, "--vpc-ingress-connection-name", "by-cli", *vpc)
    named = ("--vpc-ingress-connection-arn", made["VpcIngressConnection"]["VpcIngressConnectionArn"])
    for verb in ("describe", "update", "delete"):
        shown = aws(f"{verb}-vpc-ingress-connection", *named, *(vpc if verb == "update" else ()))
        assert shown["VpcIngressConnection"]["ServiceArn"] == arn, shown
        rows = aws("list-vpc-ingress-connections", "--filter", f"ServiceArn={arn}")["VpcIngressConnectionSummaryList"]
        assert len(rows) == (0 if verb == "delete" else 1), (verb, rows)


def resources(platform):
    """Made, found by the filter that scripts use, described, and removed."""
    with Cli(platform) as aws:
        made = aws("create-auto-scaling-configuration", "--auto-scaling-configuration-name", "cli-scale",
                   "--max-concurrency", "7", "--max-size", "2")["AutoScalingConfiguration"]
        found = aws("list-auto-scaling-configurations", "--auto-scaling-configuration-name", "cli-scale",
                    "--query", "AutoScalingConfigurationSummaryList[0].AutoScalingConfigurationArn", "--output", "text")
        assert found == made["AutoScalingConfigurationArn"], found
        named = ("--auto-scaling-configuration-arn", found)
        shown = aws("describe-auto-scaling-configuration", *named)["AutoScalingConfiguration"]
        assert shown["MaxConcurrency"] == 7 and shown["Status"] == "active", shown
        assert aws("list-services-for-auto-scaling-configuration", *named) == {"ServiceArnList": []}
        default = platform.arn("autoscalingconfiguration", "DefaultConfiguration")
        for chosen in (found, default):
            made = aws("update-default-auto-scaling-configuration", "--auto-scaling-configuration-arn", chosen)
            assert made["AutoScalingConfiguration"]["IsDefault"] is True, made
        deleted = aws("delete-auto-scaling-configuration", *named)["AutoScalingConfiguration"]
        assert deleted["Status"] == "inactive", deleted

        made = aws("create-observability-configuration", "--observability-configuration-name", "cli-watch",
                   "--trace-configuration", "Vendor=AWSXRAY")["ObservabilityConfiguration"]
        named = ("--observability-configuration-arn", made["ObservabilityConfigurationArn"])
        assert aws("describe-observability-configuration", *named)["ObservabilityConfiguration"] == made
        rows = aws("list-observability-configurations", "--observability-configuration-name", "cli-watch")
        assert len(rows["ObservabilityConfigurationSummaryList"]) == 1, rows
        deleted = aws("delete-observability-configuration", *named)["ObservabilityConfiguration"]
        assert deleted["Status"] == "INACTIVE", deleted

        made = aws("create-connection", "--connection-name", "cli-hub", "--provider-type", "GITHUB")["Connection"]
        state = aws("list-connections", "--connection-name", "cli-hub", "--query", "ConnectionSummaryList[0].Status",
                    "--output", "text")
        assert state == "PENDING_HANDSHAKE", state
        deleted = aws("delete-connection", "--connection-arn", made["ConnectionArn"])["Connection"]
        assert deleted["Status"] == "DELETED", deleted

        made = aws("create-vpc-connector", "--vpc-connector-name", "cli-vpc", "--subnets", "subnet-0a1b2c3d4e5f60718",
                   "--security-groups", "sg-0a1b2c3d4e5f60718")["VpcConnector"]
        named = ("--vpc-connector-arn", made["VpcConnectorArn"])
        assert aws("describe-vpc-connector", *named)["VpcConnector"] == made
        assert aws("list-vpc-connectors")["VpcConnectors"] == [made]
        assert aws("delete-vpc-connector", *named)["VpcConnector"]["Status"] == "INACTIVE"
        unknown = made["VpcConnectorArn"][:-1] + ("0" if made["VpcConnectorArn"][-1] == "1" else "1")
        aws.refused("ResourceNotFoundException", "DeleteVpcConnector", unknown, "delete-vpc-connector",
                    "--vpc-connector-arn", unknown)


def our_own_api(platform):
    """What AWS has no operation for, by the same CLI once it was given the model."""
    arn = platform.running("own-api")
    with tempfile.TemporaryDirectory(prefix="apron-cli-") as home, Cli(platform, home) as aws:
        aws("add-model", "--service-model", f"file://{APRON_MODEL}", service="configure")
        rows = aws("list-revisions", "--service-arn", arn, service="apron")["Revisions"]
        assert len(rows) == 1, rows
        status = aws("describe-status", "--service-arn", arn, "--query", "Status", "--output", "text", service="apron")
        assert status == "RUNNING", status
        state, _, err = aws.run("describe-status", "--service-arn", arn[:-32] + "0" * 32, service="apron")
        assert state != 0 and "(ResourceNotFoundException) when calling the DescribeStatus operation" in err, err
    platform.remove(arn)


CASES = [services, resources, our_own_api]

if __name__ == "__main__":
    serve()
