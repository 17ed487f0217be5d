"""Terraform with the AWS provider, unchanged, against a running platform: every aws_apprunner_* resource is
applied, planned again without a change, updated, imported into an empty state and destroyed.

The provider is taken from a mirror of this machine: APRON_TF_MIRROR, or a well-known place. Where there is none, or no
terraform, one line that begins with "SKIPPED: " says so.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import Platform  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
MIRRORS = ["/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins",
           os.path.expanduser("~/.terraform.d/plugins")]
PROVIDER = "registry.terraform.io/hashicorp/aws"
# One has no import: a deployment is an event.
NOT_IMPORTED = "aws_apprunner_deployment"
COMMAND_S_MAX = 600


def mirror():
    named = os.environ.get("APRON_TF_MIRROR")
    places = [named] if named else MIRRORS
    return next((place for place in places if pathlib.Path(place, PROVIDER).is_dir()), None)


class Terraform:
    """One directory with a state of its own."""

    def __init__(self, directory, mirror, variables):
        self.directory = directory
        directory.mkdir()
        settings = directory / "terraform.rc"
        settings.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        self.environment = kept | {
            "TF_CLI_CONFIG_FILE": str(settings), "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1",
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
        self.set(**variables)

    def set(self, **variables):
        self.environment |= {f"TF_VAR_{name}": str(value) for name, value in variables.items()}

    def run(self, *arguments, status=(0,)):
        ended = subprocess.run(["terraform", *arguments], cwd=self.directory, env=self.environment, text=True,
                               stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_S_MAX)
        assert ended.returncode in status, f"terraform {arguments}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        print(f"terraform {' '.join(arguments)}: ok", flush=True)
        return ended

    def start(self, text):
        (self.directory / "main.tf").write_text(text)
        self.run("init", "-input=false", "-no-color")

    def apply(self):
        return self.run("apply", "-auto-approve", "-input=false", "-no-color").stdout

    def unchanged(self):
        """A plan that finds nothing to do; status 2 would say that it does."""
        self.run("plan", "-detailed-exitcode", "-input=false", "-no-color")

    def resources(self):
        listed = self.run("state", "list").stdout.split()
        return sorted(name for name in listed if not name.startswith("data."))


def kinds_of_provider(terraform):
    """What the provider itself has, so that a resource that it gains is missed here."""
    schema = json.loads(terraform.run("providers", "schema", "-json").stdout)
    resources = schema["provider_schemas"][PROVIDER]["resource_schemas"]
    return {name for name in resources if name.startswith("aws_apprunner_")}


def without(text, kind):
    """The configuration without the block of this kind and what refers to it."""
    lines, skipping = [], False
    for line in text.splitlines():
        if line.startswith(f'resource "{kind}"'):
            skipping = True
        if not skipping and kind not in line:
            lines.append(line)
        if line == "}":
            skipping = False
    return "\n".join(lines) + "\n"


def everything(platform, image, directory, mirror):
    text = (HERE / "main.tf").read_text()
    terraform = Terraform(directory / "work", mirror, {
        "endpoint": platform.endpoint, "access_key": platform.key, "secret_key": platform.secret, "image": image,
        "memory": "0.5 GB", "greeting": "one", "max_size": 2})
    terraform.start(text)
    terraform.apply()
    try:
        kinds = {name.split(".")[0] for name in terraform.resources()}
        assert kinds == kinds_of_provider(terraform), kinds ^ kinds_of_provider(terraform)
        terraform.unchanged()
        service = platform.good("ListServices")["ServiceSummaryList"][0]
        assert (service["ServiceName"], service["Status"]) == ("tf-web", "RUNNING"), service
        updates(platform, terraform, service["ServiceArn"])
        imports(terraform, directory, mirror, text)
    finally:
        # A default cannot be deleted, and the provider does not put back the one of before.
        platform.good("UpdateDefaultAutoScalingConfiguration",
                      AutoScalingConfigurationArn=platform.arn("autoscalingconfiguration", "DefaultConfiguration"))
        destroyed = terraform.run("destroy", "-auto-approve", "-input=false", "-no-color", status=(0, 1))
    assert destroyed.returncode == 0, f"{destroyed.stdout}\n{destroyed.stderr}"
    assert terraform.resources() == []
    assert platform.good("ListServices")["ServiceSummaryList"] == []
    for operation, rows in (("ListConnections", "ConnectionSummaryList"), ("ListVpcConnectors", "VpcConnectors"),
                            ("ListVpcIngressConnections", "VpcIngressConnectionSummaryList")):
        assert platform.good(operation)[rows] == [], operation
    names = [row["AutoScalingConfigurationName"]
             for row in platform.good("ListAutoScalingConfigurations")["AutoScalingConfigurationSummaryList"]]
    assert names == ["DefaultConfiguration"], names


def updates(platform, terraform, service):
    terraform.set(memory="1 GB", greeting="two", max_size=3)
    said = terraform.apply()
    # The scaling configuration and the choice of the default are made anew, all else is changed in place.
    assert "2 added" in said and "2 destroyed" in said, said
    shown = platform.good("DescribeService", ServiceArn=service)["Service"]
    assert shown["Status"] == "RUNNING" and shown["InstanceConfiguration"]["Memory"] == "1024", shown
    variables = shown["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"]["RuntimeEnvironmentVariables"]
    assert variables == {"GREETING": "two"}, shown
    assert "/tf-scale/2/" in shown["AutoScalingConfigurationSummary"]["AutoScalingConfigurationArn"], shown
    tags = platform.good("ListTagsForResource", ResourceArn=service)["Tags"]
    assert tags == [{"Key": "greeting", "Value": "two"}], tags
    terraform.unchanged()


def imports(terraform, directory, mirror, text):
    """The same configuration with an empty state takes over what is there and changes nothing."""
    ids = json.loads(terraform.run("output", "-json", "ids").stdout)
    blocks = "".join(f'import {{\n  to = {name}\n  id = "{identifier}"\n}}\n' for name, identifier in ids.items())
    other = Terraform(directory / "import", mirror, {})
    other.environment |= {name: value for name, value in terraform.environment.items() if name.startswith("TF_VAR_")}
    other.start(without(text, NOT_IMPORTED) + blocks)
    said = other.apply()
    assert f"{len(ids)} imported, 0 added, 0 changed, 0 destroyed" in said, said
    assert other.resources() == [name for name in terraform.resources() if not name.startswith(NOT_IMPORTED)]
    other.unchanged()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--credentials", required=True)
    parser.add_argument("--image", required=True, help="a name that the provider takes for one of ECR")
    given = parser.parse_args()
    place = mirror()
    if shutil.which("terraform") is None or place is None:
        missing = f"provider mirror with {PROVIDER} (APRON_TF_MIRROR)"
        what = "terraform" if shutil.which("terraform") is None else missing
        print(f"SKIPPED: Terraform over every aws_apprunner_* resource: there is no {what} on this machine")
        return
    platform = Platform("us-east-1", given.endpoint, given.credentials, None, {})
    with tempfile.TemporaryDirectory(prefix="apron-terraform-") as directory:
        everything(platform, given.image, pathlib.Path(directory), place)
    print("all resources applied, updated, imported and destroyed")


if __name__ == "__main__":
    main()
