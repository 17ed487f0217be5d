"""What the cases share: clients of one platform, the API's model as an independent judge of answers, a signed
request whose body is whatever a case wants, and the record of what was asserted.

Only assertions are recorded: an operation counts as covered when a case looked at its answer, and an error of its
model when a case looked for exactly that error.
"""

import argparse
import configparser
import http.client
import json
import pathlib
import re
import threading
import time
import urllib.parse

import boto3
from botocore import xform_name
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

ROOT = pathlib.Path(__file__).resolve().parents[2]
ACCOUNT = "123456789012"
# A deployment of a small image takes well under a second; the rest is for a machine that does much else.
SETTLED_S_MAX = 60
# A connection that the server has closed is no answer: it is asked again, so often at most.
ATTEMPTS = 4
IN_PROGRESS = "OPERATION_IN_PROGRESS"
# What the platform under test has, by what it does: "exits" at once, "waits" for ever and never listens.
IMAGES = ("good", "other", "exits", "waits")


def load_model():
    """AWS's model with our relaxations laid over it."""
    model = json.loads((ROOT / "specs/apprunner.json").read_text())
    for relaxed in json.loads((ROOT / "specs/apprunner.relaxed.json").read_text()):
        shape = model["shapes"][relaxed["shape"]]
        assert shape.get(relaxed["rule"]) == relaxed["aws"], relaxed
        if relaxed["ours"] is None:
            del shape[relaxed["rule"]]
        else:
            shape[relaxed["rule"]] = relaxed["ours"]
    return model


MODEL = load_model()
SHAPES = MODEL["shapes"]
OPERATIONS = MODEL["operations"]
MESSAGE_CHARS_MAX = SHAPES["ErrorMessage"]["max"]


def errors_of(operation):
    return {error["shape"] for error in OPERATIONS[operation]["errors"]}


def judge(name, value, path=""):
    """Every way in which a value of an answer breaks its shape."""
    shape = SHAPES[name]
    kind = shape["type"]
    types = {"string": str, "integer": int, "boolean": bool, "list": list, "map": dict, "structure": dict,
             "timestamp": (int, float)}
    if not isinstance(value, types[kind]) or (kind == "integer" and isinstance(value, bool)):
        return [f"{path} is no {kind}: {value!r}"]
    broken = []
    size = value if kind == "integer" else len(value) if kind in ("string", "list", "map") else None
    if size is not None and not shape.get("min", size) <= size <= shape.get("max", size):
        broken.append(f"{path} is out of bounds: {value!r}")
    if kind == "string":
        pattern = shape.get("pattern", ".*")
        if pattern != ".*" and not re.fullmatch(pattern, value):
            broken.append(f"{path} does not match {pattern}: {value!r}")
        if value not in shape.get("enum", [value]):
            broken.append(f"{path} is none of {shape['enum']}: {value!r}")
    if kind == "list":
        for index, item in enumerate(value):
            broken += judge(shape["member"]["shape"], item, f"{path}[{index}]")
    if kind == "map":
        for key, item in value.items():
            broken += judge(shape["key"]["shape"], key, f"{path} key")
            broken += judge(shape["value"]["shape"], item, f"{path}.{key}")
    if kind == "structure":
        for missing in set(shape.get("required", [])) - set(value):
            broken.append(f"{path}.{missing} is missing")
        for member, item in value.items():
            if member not in shape["members"]:
                broken.append(f"{path}.{member} is not in the model")
            else:
                broken += judge(shape["members"][member]["shape"], item, f"{path}.{member}")
    return broken


class Record:
    """Outcomes that were asserted, by operation: "ok" or the name of an error."""

    def __init__(self):
        self.seen = {operation: set() for operation in OPERATIONS}
        self.lock = threading.Lock()
        self.assertions = 0

    def add(self, operation, outcome):
        with self.lock:
            self.seen[operation].add(outcome)
            self.assertions += 1


RECORD = Record()


class Raw:
    """Signed requests with a body of any bytes, over one connection that is kept."""

    def __init__(self, platform):
        self.platform = platform
        self.connection = None

    def send(self, target, body, *, headers=(), key=None, secret=None, when=None, sign=True, region=None,
             service="apprunner", method="POST"):
        """Gives the status, the headers and the body read as JSON."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        request = AWSRequest(method=method, url=self.platform.endpoint + "/", data=body)
        request.headers["Content-Type"] = "application/x-amz-json-1.0"
        if target is not None:
            request.headers["X-Amz-Target"] = target
        for name, value in headers:
            del request.headers[name]
            request.headers[name] = value
        if sign:
            credentials = Credentials(key or self.platform.key, secret or self.platform.secret)
            Signer(credentials, service, region or self.platform.region, when).add_auth(request)
        sent = dict(request.headers.items())
        for attempt in range(ATTEMPTS):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.platform.host, timeout=60)
            try:
                try:
                    self.connection.request(method, "/", body=body, headers=sent)
                except BrokenPipeError:
                    # Refused before all of it was read: the answer is there.
                    pass
                answer = self.connection.getresponse()
                text = answer.read()
                return answer.status, answer.headers, json.loads(text)
            except (ConnectionError, http.client.RemoteDisconnected):
                # The server closes a connection that is idle for long.
                self.connection.close()
                self.connection = None
                if attempt == ATTEMPTS - 1:
                    raise

    def refused(self, status, code, part, target, body, **options):
        got, headers, answer = self.send(target, body, **options)
        assert (got, answer.get("__type")) == (status, code), (target, got, answer)
        assert part in answer["Message"], (target, part, answer)
        assert headers["Content-Type"] == "application/x-amz-json-1.0", headers.items()
        assert re.fullmatch(r"[0-9a-f-]{36}", headers["x-amzn-RequestId"]), headers.items()
        assert set(answer) == {"__type", "Message"}, answer
        assert 0 < len(answer["Message"]) <= MESSAGE_CHARS_MAX, answer
        return answer["Message"]


class Signer(SigV4Auth):
    """Signs as of another time, if there is one."""

    def __init__(self, credentials, service, region, when):
        super().__init__(credentials, service, region)
        self.when = when

    def _modify_request_before_signing(self, request):
        if self.when is not None:
            request.context["timestamp"] = self.when.strftime("%Y%m%dT%H%M%SZ")
        super()._modify_request_before_signing(request)


class Platform:
    """A running platform as one region shows it, and what the cases need of it. A region is a name space of its own:
    cases in another one meet none of its rows and quotas."""

    def __init__(self, region, endpoint, credentials, database, images):
        self.region = region
        self.endpoint = endpoint
        self.host = urllib.parse.urlsplit(endpoint).netloc
        self.credentials = credentials
        parsed = configparser.ConfigParser()
        parsed.read(credentials)
        profile = parsed["default"]
        self.key, self.secret = profile["aws_access_key_id"], profile["aws_secret_access_key"]
        self.database = database
        self.images = images
        self.aws = self.client()
        self.raw = Raw(self)

    def elsewhere(self, region):
        return Platform(region, self.endpoint, self.credentials, self.database, self.images)

    def client(self, region=None, key=None, secret=None, attempts=1):
        config = Config(
            retries={"total_max_attempts": attempts, "mode": "standard"}, read_timeout=60, max_pool_connections=20)
        session = boto3.session.Session(
            aws_access_key_id=key or self.key, aws_secret_access_key=secret or self.secret,
            region_name=region or self.region)
        client = session.client("apprunner", endpoint_url=self.endpoint, config=config)
        client.meta.events.register("before-parse.apprunner.*", judged)
        return client

    def arn(self, kind, *parts):
        return f"arn:aws:apprunner:{self.region}:{ACCOUNT}:{kind}/{'/'.join(parts)}"

    def good(self, operation, client=None, **arguments):
        """The answer of a call that must succeed."""
        answer = getattr(client or self.aws, xform_name(operation))(**arguments)
        metadata = answer.pop("ResponseMetadata")
        assert metadata["HTTPStatusCode"] == 200, metadata
        RECORD.add(operation, "ok")
        return answer

    def refused(self, operation, code, part="", client=None, **arguments):
        """The message of a call that must be refused with exactly this error."""
        try:
            answer = getattr(client or self.aws, xform_name(operation))(**arguments)
        except ClientError as error:
            said = error.response["Error"]
            assert said["Code"] == code and part in said["Message"], (operation, arguments, said, code, part)
            assert 0 < len(said["Message"]) <= MESSAGE_CHARS_MAX, (operation, arguments, said)
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            modelled = SHAPES.get(code, {})
            assert status == (500 if modelled.get("fault") else 400 if modelled else status), (status, said)
            if modelled:
                # The SDK makes a class of its own of every modelled error; scripts catch those.
                assert type(error).__name__ == code, type(error)
                assert code in errors_of(operation), f"{operation} does not model {code}"
            RECORD.add(operation, code)
            return said["Message"]
        raise AssertionError(f"{operation} {arguments} was not refused: {answer}")

    def pages(self, operation, result, size, **arguments):
        """All rows of a list, page by page, to the page without a token."""
        rows, token = [], {}
        for _ in range(200):
            page = self.good(operation, MaxResults=size, **arguments, **token)
            assert len(page[result]) <= size, page
            rows += page[result]
            if "NextToken" not in page:
                return rows
            assert page["NextToken"], "an empty token makes clients ask for ever"
            assert page[result], "a page with a token is empty"
            token = {"NextToken": page["NextToken"]}
        raise AssertionError(f"{operation} has no last page")

    def paged(self, operation, result, size, **arguments):
        """Pages of this size hold what the whole list holds; a strange token is refused."""
        whole = self.good(operation, **arguments)
        assert "NextToken" not in whole, whole
        rows = self.pages(operation, result, size, **arguments)
        assert rows == whole[result], (operation, rows, whole)
        assert len(rows) > size, f"{operation}: {len(rows)} rows are one page, nothing was tried"
        self.refused(operation, INVALID, "NextToken", NextToken="x", **arguments)
        return rows

    def settled(self, arn, status, seconds=SETTLED_S_MAX):
        """The service once no operation is open, which must have this status."""
        deadline = time.monotonic() + seconds
        while True:
            service = self.good("DescribeService", ServiceArn=arn)["Service"]
            if service["Status"] != IN_PROGRESS:
                assert service["Status"] == status, service
                return service
            assert time.monotonic() < deadline, f"{arn} did not settle in {seconds} s: {service}"
            time.sleep(0.03)

    def operation(self, arn, operation_id):
        rows = self.good("ListOperations", ServiceArn=arn)["OperationSummaryList"]
        return next(row for row in rows if row["Id"] == operation_id)

    def source(self, image="good", **configuration):
        repository = {"ImageIdentifier": self.images[image], "ImageRepositoryType": "ECR"}
        if configuration:
            repository["ImageConfiguration"] = configuration
        return {"ImageRepository": repository, "AutoDeploymentsEnabled": False}

    def create(self, name, image="good", **more):
        """A service that is being created; its ARN."""
        made = self.good("CreateService", ServiceName=name, SourceConfiguration=self.source(image), **more)
        return made["Service"]["ServiceArn"]

    def running(self, name, **more):
        arn = self.create(name, **more)
        self.settled(arn, "RUNNING")
        return arn

    def remove(self, *arns):
        for arn in arns:
            self.good("DeleteService", ServiceArn=arn)
        for arn in arns:
            self.settled(arn, "DELETED")


def options(description):
    """What every program here is told of the platform under test."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--endpoint", required=True, help="http://HOST:PORT of the API")
    parser.add_argument("--credentials", required=True, help="a file as the AWS CLI reads it")
    parser.add_argument("--database", required=True, help="the platform's SQLite file, for a fault")
    for image in IMAGES:
        parser.add_argument(f"--{image}", required=True, metavar="IMAGE")
    return parser


def platform(given, region):
    images = {image: getattr(given, image) for image in IMAGES}
    return Platform(region, given.endpoint, given.credentials, given.database, images)


def judged(operation_model, response_dict, **_):
    """Holds every answer against the model as it came: the SDK leaves out what it does not know."""
    if response_dict["status_code"] == 200:
        broken = judge(operation_model.output_shape.name, json.loads(response_dict["body"]), operation_model.name)
        assert not broken, broken


def hexadecimal(text, length=32):
    return re.fullmatch(rf"[0-9a-f]{{{length}}}", text) is not None


def recent(moment):
    """A time of an answer is one of now: seconds, not milliseconds, and of this zone."""
    return abs(moment.timestamp() - time.time()) < 600


def fresh(made, member, prefix):
    """The ARN of what was made just now, which has an id of its own, and what is shown beside it and the time."""
    named = made[member]
    before, _, identifier = named.rpartition("/")
    assert before == prefix and hexadecimal(identifier), named
    assert recent(made["CreatedAt"]), made
    return named, {name: made[name] for name in made if name not in (member, "CreatedAt")}


UNKNOWN_ID = "0" * 31 + "7"
INVALID, MISSING = "InvalidRequestException", "ResourceNotFoundException"
QUOTA, STATE = "ServiceQuotaExceededException", "InvalidStateException"
