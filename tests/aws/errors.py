"""Every error that each operation models, provoked; `errors.json` is the table.

There an operation has a well-formed `input`, which gives InternalServiceErrorException while the database is away,
and for each other error what is laid over that input and what the message then says, or why it cannot be provoked.
Names in `${}` are those of `known` and `world`. As a program this hands the rows to a command that calls by another
SDK, first those of a platform that works and then those of one at fault: it gets a file with a row a line, which is
operation, error, region, words of the message and the input as JSON, between tabs.
"""

import json
import pathlib
import string
import subprocess
import tempfile

from botocore import xform_name

import harness
from faults import without_tables
from harness import ACCOUNT, MESSAGE_CHARS_MAX, OPERATIONS, UNKNOWN_ID, errors_of

TEXT = pathlib.Path(__file__).with_name("errors.json").read_text()
FAULT, QUOTA = "InternalServiceErrorException", "ServiceQuotaExceededException"
# Here nothing more may be made.
FULL = "ca-west-1"
# Above every quota of the platform under test.
MADE_MAX = 20
COMMAND_S_MAX = 120


def known(platform):
    """Names that stand for nothing. The image is found out to be missing by a deployment, so that no program runs."""
    arn = f"arn:aws:apprunner:{platform.region}:{ACCOUNT}:"
    nobody = f"{arn}service/none/{UNKNOWN_ID}"
    missing = platform.images["good"].rpartition(":")[0] + ":none"
    return {"arn": arn, "id": UNKNOWN_ID, "image": missing, "busy": nobody, "deleted": nobody, "inward": nobody}


def table(names):
    return json.loads(string.Template(TEXT).substitute(names))


def world(platform):
    """A service in work, a deleted one, and a region that is full, in which one has no VPC ingress connection."""
    names = known(platform)
    busy = platform.create("busy", "waits")
    source = table(names)["CreateService"]["input"]["SourceConfiguration"]
    made = platform.good("CreateService", ServiceName="deleted", SourceConfiguration=source)
    deleted = made["Service"]["ServiceArn"]
    full = platform.elsewhere(FULL)
    services = [made["Service"]["ServiceArn"] for made in fill(full, "CreateService", lambda number: {
        "ServiceName": f"full-{number}", "SourceConfiguration": source})]
    for operation, rows in table(names).items():
        if QUOTA in rows and operation not in ("CreateService", "CreateVpcIngressConnection"):
            name = next(member for member in rows["input"] if member.endswith("Name"))
            fill(full, operation, lambda number, name=name, given=rows["input"]: given | {name: f"full-{number}"})
    given = table(names)["CreateVpcIngressConnection"]["input"]
    made = fill(full, "CreateVpcIngressConnection", lambda number: given | {
        "VpcIngressConnectionName": f"full-{number}", "ServiceArn": services[number]})
    platform.settled(deleted, "CREATE_FAILED")
    platform.remove(deleted)
    return names | {"busy": busy, "deleted": deleted, "inward": services[len(made)]}


def fill(platform, operation, given):
    """Makes things until the quota refuses one; `given` makes an input of a number. Gives the answers."""
    made = []
    while len(made) < MADE_MAX:
        try:
            made.append(getattr(platform.aws, xform_name(operation))(**given(len(made))))
        except platform.aws.exceptions.ServiceQuotaExceededException:
            return made
    raise AssertionError(f"{operation} has no quota")


def refusals(platform, names):
    """Rows of the table for a platform that works: operation, error, region, words, input."""
    for operation, rows in table(names).items():
        for error, row in rows.items():
            if error != "input" and "cannot" not in row:
                region = FULL if error == QUOTA else platform.region
                yield operation, error, region, row["says"], rows["input"] | row.get("with", {})


def failures(platform, names):
    """The same for one whose database is away."""
    for operation, rows in table(names).items():
        yield operation, FAULT, platform.region, "", rows["input"]


def not_provoked():
    """The errors that no call can provoke here, each with its reason."""
    rows = json.loads(TEXT).items()
    return {(operation, error): row["cannot"] for operation, errors in rows for error, row in errors.items()
            if "cannot" in row}


def the_table_is_the_model(_):
    rows = json.loads(TEXT)
    assert list(rows) == sorted(OPERATIONS), set(rows) ^ set(OPERATIONS)
    for operation, errors in rows.items():
        assert set(errors) - {"input"} | {FAULT} == errors_of(operation), operation


def every_modelled_error(platform):
    names = world(platform)
    clients = {region: platform.client(region) for region in (platform.region, FULL)}
    for operation, error, region, words, given in refusals(platform, names):
        platform.refused(operation, error, words, client=clients[region], **given)


def long_messages_are_cut(platform):
    """An ARN may be longer than the message in which it stands."""
    tried = 0
    for operation, error, _, words, given in refusals(platform, known(platform)):
        if "/none/" in words:
            long = json.loads(json.dumps(given).replace("/none/", f"/{'n' * 880}/"))
            message = platform.raw.refused(400, error, "", f"AppRunner.{operation}", long)
            assert len(message) == MESSAGE_CHARS_MAX, message
            tried += 1
    assert tried > 20, tried


def every_operation_without_its_tables(platform):
    service = platform.running("before-the-fault")
    with without_tables(platform.database):
        for operation, error, _, words, given in failures(platform, known(platform)):
            message = platform.refused(operation, error, words, **given)
            assert "sql" not in message.lower() and "table" not in message.lower(), message
    platform.settled(service, "RUNNING")
    platform.good("StartDeployment", ServiceArn=service)
    platform.settled(service, "RUNNING")
    platform.remove(service)


def called(command, rows):
    """Runs the command over these rows; gives their number."""
    lines = ["\t".join([*row[:-1], json.dumps(row[-1])]) for row in rows]
    with tempfile.NamedTemporaryFile("w", prefix="apron-errors-", suffix=".tsv") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        said = subprocess.run([*command, file.name], timeout=COMMAND_S_MAX, check=True, text=True,
                              stdout=subprocess.PIPE).stdout
    assert said.strip() == f"{len(lines)} refusals", said
    return len(lines)


def main():
    parser = harness.options(__doc__)
    parser.add_argument("command", nargs="+", help="after --, a program that takes the file as its last argument")
    given = parser.parse_args()
    platform = harness.platform(given, "ca-central-1")
    count = called(given.command, refusals(platform, world(platform)))
    with without_tables(platform.database):
        count += called(given.command, failures(platform, known(platform)))
    print(f"{count} errors of {len(OPERATIONS)} operations")


CASES = [the_table_is_the_model, every_modelled_error, long_messages_are_cut]
AFTER = [every_operation_without_its_tables]

if __name__ == "__main__":
    main()
