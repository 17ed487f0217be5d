"""Makes and changes many services of one image in a few seconds, which a command for each would not.

usage: services.py < JSON
The environment says where the API is and with which key, as `apron env` prints it. The input has one of these:
  create  names of services, each of `image` with `cpu` and `memory`, as many at once as `at_once`; `tags` and `env`
          are those of each of them. Ends when all run.
  tag     names of services, which get `tags`
  scale   names of services, which get an auto scaling configuration with `concurrency` and `max_size`
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config

# For one service: a machine that starts many at once is slow with each.
CREATE_WAIT_S = 120
POLL_S = 0.1
TAGS_AT_ONCE = 8
client = boto3.client(
    "apprunner", config=Config(retries={"mode": "standard", "max_attempts": 10}, max_pool_connections=64)
)


def arns(names):
    """The ARN of each of these services."""
    found = {}
    token = None
    while True:
        page = client.list_services(MaxResults=20, **({"NextToken": token} if token else {}))
        found.update((service["ServiceName"], service["ServiceArn"]) for service in page["ServiceSummaryList"])
        token = page.get("NextToken")
        if not token:
            return [found[name] for name in names]


def tags(wanted):
    return [{"Key": key, "Value": value} for key, value in wanted["tags"].items()]


def create(name, wanted):
    """Creates a service and waits until it runs."""
    made = client.create_service(
        ServiceName=name,
        SourceConfiguration={
            "ImageRepository": {
                "ImageIdentifier": wanted["image"],
                "ImageRepositoryType": "ECR_PUBLIC",
                "ImageConfiguration": {"RuntimeEnvironmentVariables": wanted["env"]},
            },
            "AutoDeploymentsEnabled": False,
        },
        InstanceConfiguration={"Cpu": wanted["cpu"], "Memory": wanted["memory"]},
        Tags=tags(wanted),
    )["Service"]
    give_up = time.monotonic() + CREATE_WAIT_S
    status = made["Status"]
    while status == "OPERATION_IN_PROGRESS":
        if time.monotonic() > give_up:
            raise SystemExit(f"{name} is not created")
        time.sleep(POLL_S)
        status = client.describe_service(ServiceArn=made["ServiceArn"])["Service"]["Status"]
    if status != "RUNNING":
        raise SystemExit(f"{name} is {status}")


def scale(arn, wanted):
    """Gives a service another auto scaling configuration, and waits until it has it."""
    made = client.create_auto_scaling_configuration(
        AutoScalingConfigurationName="bench",
        MaxConcurrency=wanted["concurrency"],
        MinSize=1,
        MaxSize=wanted["max_size"],
    )["AutoScalingConfiguration"]["AutoScalingConfigurationArn"]
    client.update_service(ServiceArn=arn, AutoScalingConfigurationArn=made)
    give_up = time.monotonic() + CREATE_WAIT_S
    while client.describe_service(ServiceArn=arn)["Service"]["Status"] == "OPERATION_IN_PROGRESS":
        if time.monotonic() > give_up:
            raise SystemExit(f"{arn} is not updated")
        time.sleep(POLL_S)


def each(at_once, work, things):
    """Does the work for each of them; the first failure ends it."""
    with ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(work, thing) for thing in things]:
            done.result()


wanted = json.load(sys.stdin)
if "create" in wanted:
    each(wanted["at_once"], lambda name: create(name, wanted), wanted["create"])
elif "tag" in wanted:
    each(TAGS_AT_ONCE, lambda arn: client.tag_resource(ResourceArn=arn, Tags=tags(wanted)), arns(wanted["tag"]))
else:
    each(1, lambda arn: scale(arn, wanted), arns(wanted["scale"]))
