"""What every call has in common, whatever its operation: targets, bodies, signatures, limits, load."""

import datetime
import http.client
import json
import socket
import threading
import time

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from harness import ACCOUNT, UNKNOWN_ID, Raw

LIST = "AppRunner.ListServices"
BODY_BYTES_MAX = 2 * 1024 * 1024
# Of a call that only reads.
READING_BODY_BYTES_MAX = 64 * 1024
PAUSE = "AppRunner.PauseService"
# So many bodies of more than a few kilobytes are read at once from an address whose signatures can only be compared
# once they are there, as boto3's; the next one waits ten seconds at most.
LARGE_BODIES_MAX = 2
SKEW_S_MAX = 15 * 60
# More calls in turn than a key's bucket holds.
CALLS_AT_ONCE = 50
BURSTS_MAX = 200
TRIES_MAX = 20


def unknown_operations(platform):
    raw = platform.raw
    for target in ("AppRunner.GetService", "AppRunner.", "AppRunner", "Apprunner.ListServices",
                   "DynamoDB_20120810.ListTables", "AppRunner.listServices"):
        raw.refused(400, "UnknownOperationException", "", target, {})
    raw.refused(400, "UnknownOperationException", "X-Amz-Target", None, {})
    raw.refused(400, "UnknownOperationException", "POST", LIST, b"", method="PUT")


def malformed_bodies(platform):
    raw = platform.raw
    for body in (b"{", b"nonsense", b'{"MaxResults": }', b"\xff\xfe", b'{"NextToken": "\\ud800"}', b"[]", b"7", b"null",
                 b"{} {}", b"[" * 10_000, b'{"a":' * 200 + b"1" + b"}" * 200):
        raw.refused(400, "SerializationException", "", LIST, body)
    raw.refused(400, "SerializationException", "x-amz-json-1.0", LIST, {}, headers=[("Content-Type", "text/plain")])
    # What AWS takes: no body at all, members that nobody knows, a null for what is optional, version 1.1.
    for body in (b"", b"{}", b" {\n} ", {"Unknown": {"a": [1]}}, {"NextToken": None, "MaxResults": None}):
        status, _, answer = raw.send(LIST, body)
        assert status == 200 and "ServiceSummaryList" in answer, answer
    status, headers, _ = raw.send(LIST, {}, headers=[("Content-Type", "application/x-amz-json-1.1")])
    assert status == 200 and headers["x-amzn-RequestId"]


def signatures(platform):
    raw, now = platform.raw, datetime.datetime.now(datetime.timezone.utc)
    raw.refused(400, "MissingAuthenticationTokenException", "", LIST, {}, sign=False)
    raw.refused(400, "InvalidSignatureException", "", LIST, {}, secret="wrong")
    raw.refused(400, "UnrecognizedClientException", "", LIST, {}, key="AKIAIOSFODNN7EXAMPLE")
    raw.refused(400, "InvalidSignatureException", "", LIST, {}, service="s3")
    for seconds in (-SKEW_S_MAX - 60, SKEW_S_MAX + 60):
        when = now + datetime.timedelta(seconds=seconds)
        message = raw.refused(400, "InvalidSignatureException", "Signature", LIST, {}, when=when)
        # SDKs tell a skewed clock from these words and correct themselves.
        assert ("expired" if seconds < 0 else "not yet current") in message, message
    for seconds in (-SKEW_S_MAX + 60, SKEW_S_MAX - 60):
        status, _, _ = raw.send(LIST, {}, when=now + datetime.timedelta(seconds=seconds))
        assert status == 200, seconds
    raw.refused(400, "IncompleteSignatureException", "", LIST, {}, sign=False,
                headers=[("Authorization", "AWS4-HMAC-SHA256 Credential=AKIA/20260101/r/apprunner/aws4_request")])
    # The same errors as classes and codes of the SDK.
    for client, code in ((platform.client(secret="wrong"), "InvalidSignatureException"),
                         (platform.client(key="AKIAIOSFODNN7EXAMPLE"), "UnrecognizedClientException")):
        platform.refused("ListServices", code, client=client)


def a_changed_body_is_refused(platform):
    request = AWSRequest(method="POST", url=platform.endpoint + "/", data=b"{}", headers={
        "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": LIST})
    SigV4Auth(Credentials(platform.key, platform.secret), "apprunner", platform.region).add_auth(request)
    connection = http.client.HTTPConnection(platform.host, timeout=30)
    connection.request("POST", "/", body=b'{"MaxResults": 1}', headers=dict(request.headers.items()))
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert answer["__type"] == "InvalidSignatureException", answer


def presigned(platform):
    request = AWSRequest(method="POST", url=platform.endpoint + "/", data=b"{}", headers={
        "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": LIST})
    credentials = Credentials(platform.key, platform.secret)
    SigV4QueryAuth(credentials, "apprunner", platform.region, expires=60).add_auth(request)
    connection = http.client.HTTPConnection(platform.host, timeout=30)
    path = request.url.removeprefix(platform.endpoint)
    # What the body had is in the query now, and the signature is of none.
    connection.request("POST", path, headers=dict(request.headers.items()))
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 200, text


def a_body_that_is_too_large(platform):
    raw = Raw(platform)
    for target, member, most in [(PAUSE, b"ServiceArn", BODY_BYTES_MAX), (LIST, b"NextToken", READING_BODY_BYTES_MAX)]:
        body = b'{"' + member + b'": "' + b"x" * most + b'"}'
        raw.refused(413, "RequestEntityTooLargeException", str(most), target, body)
        # One that fits is read to its end, and judged.
        body = b'{"' + member + b'": "' + b"x" * (most - 50) + b'"}'
        name = member.decode()
        raw.refused(400, "InvalidRequestException", name[0].lower() + name[1:], target, body)


def too_much_at_once(platform):
    """The answer to one request too many is what SDKs take as a reason to wait and try again."""
    body = b"{}" + b" " * 100_000
    request = AWSRequest(method="POST", url=platform.endpoint + "/", data=body, headers={
        "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": PAUSE})
    SigV4Auth(Credentials(platform.key, platform.secret), "apprunner", platform.region).add_auth(request)
    head = dict(request.headers.items()) | {"Content-Length": str(len(body))}
    holders = []
    end = threading.Event()

    def hold():
        connection = http.client.HTTPConnection(platform.host, timeout=60)
        connection.putrequest("POST", "/")
        for name, value in head.items():
            connection.putheader(name, value)
        connection.endheaders()
        sent = 0
        # A byte now and then, or the server would give the place to somebody else.
        while not end.wait(0.5):
            connection.send(body[sent:sent + 1])
            sent += 1
        connection.send(body[sent:])
        holders.append(connection.getresponse().status)
        connection.close()

    threads = [threading.Thread(target=hold) for _ in range(LARGE_BODIES_MAX)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    raw = Raw(platform)
    began = time.monotonic()
    try:
        raw.refused(503, "ServiceUnavailable", "Try again", PAUSE, body)
        assert time.monotonic() - began < 20
    finally:
        end.set()
        for thread in threads:
            thread.join()
    # It lacks what it must have, which is told once it was read.
    assert holders == [400] * LARGE_BODIES_MAX, holders
    assert raw.send(PAUSE, body)[0] == 400


class Greedy:
    """Sends one signed request again and again without waiting for its answers."""

    def __init__(self, platform, key, secret):
        # It lacks what it must have, so that nothing comes of it but one more call.
        request = AWSRequest(method="POST", url=platform.endpoint + "/", data=b"{}", headers={
            "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": PAUSE})
        SigV4Auth(Credentials(key, secret), "apprunner", platform.region).add_auth(request)
        lines = [f"{name}: {value}" for name, value in request.headers.items()]
        head = ["POST / HTTP/1.1", f"Host: {platform.host}", "Content-Length: 2", *lines, "", "{}"]
        self.request = "\r\n".join(head).encode()
        host, port = platform.host.rsplit(":", 1)
        self.address = host, int(port)

    def go_on(self):
        """Until it is told that it calls too often."""
        with socket.create_connection(self.address, timeout=60) as connection:
            for _ in range(BURSTS_MAX):
                connection.sendall(self.request * CALLS_AT_ONCE)
                answers = b""
                while answers.count(b"HTTP/1.1 ") < CALLS_AT_ONCE or not answers.endswith(b"}"):
                    part = connection.recv(1 << 20)
                    assert part, answers
                    answers += part
                if b"ThrottlingException" in answers:
                    return
        raise AssertionError(f"{BURSTS_MAX * CALLS_AT_ONCE} calls were taken")


def a_key_that_calls_too_often(platform):
    raw, made = platform.raw, []

    def key(name):
        status, _, answer = raw.send("Apron.CreateAccessKey", {"Name": name, "Rights": "ADMIN"}, service="apron")
        assert status == 200, answer
        made.append(answer["AccessKeyId"])
        return {"key": answer["AccessKeyId"], "secret": answer["SecretAccessKey"]}

    tags = {"ResourceArn": platform.good("CreateConnection", ConnectionName="throttled", ProviderType="GITHUB")[
        "Connection"]["ConnectionArn"], "Tags": [{"Key": "a", "Value": "b"}]}
    try:
        greedy, modest = key("greedy"), key("modest")
        hasty, patient = platform.client(**greedy), platform.client(**greedy, attempts=8)
        burst = Greedy(platform, **greedy)

        def met(call, greed_s):
            """Until the call meets an empty bucket, which a greedy one keeps empty for so long."""
            for _ in range(TRIES_MAX):
                empty, enough = threading.Event(), threading.Event()
                until = time.monotonic() + greed_s

                def goes_on():
                    while not enough.is_set() and (not empty.is_set() or time.monotonic() < until):
                        burst.go_on()
                        empty.set()

                greed = threading.Thread(target=goes_on)
                greed.start()
                try:
                    assert empty.wait(60), "nobody is told that he calls too often"
                    if call():
                        return
                finally:
                    enough.set()
                    greed.join()
            raise AssertionError("no call met it")

        def is_refused():
            try:
                hasty.tag_resource(**tags)
            except ClientError as error:
                said, metadata = error.response["Error"], error.response["ResponseMetadata"]
                assert (said["Code"], said["Message"]) == ("ThrottlingException", "Rate exceeded"), said
                assert metadata["HTTPStatusCode"] == 400, metadata
                return True

        def comes_through_later():
            return patient.tag_resource(**tags)["ResponseMetadata"]["RetryAttempts"] > 0

        met(is_refused, greed_s=10)
        # Its first try meets it, and a later one comes when the greedy one has gone.
        met(comes_through_later, greed_s=0.5)
        burst.go_on()
        # Others do not notice, nor do the same key's calls that only read.
        platform.client(**modest).tag_resource(**tags)
        hasty.list_tags_for_resource(ResourceArn=tags["ResourceArn"])
    finally:
        for key_id in made:
            raw.send("Apron.DeleteAccessKey", {"AccessKeyId": key_id}, service="apron")
        platform.good("DeleteConnection", ConnectionArn=tags["ResourceArn"])


def regions_are_name_spaces(platform):
    here = platform.running("regional")
    there = platform.client("eu-west-1")
    assert platform.good("ListServices", client=there)["ServiceSummaryList"] == []
    platform.refused("DescribeService", "ResourceNotFoundException", here, client=there, ServiceArn=here)
    made = platform.good("CreateService", client=there, ServiceName="regional",
                         SourceConfiguration=platform.source())["Service"]
    assert made["ServiceArn"].startswith(f"arn:aws:apprunner:eu-west-1:{ACCOUNT}:service/regional/"), made
    assert ".eu-west-1." in made["ServiceUrl"], made
    listed = platform.good("ListServices", client=there)["ServiceSummaryList"]
    assert [row["ServiceArn"] for row in listed] == [made["ServiceArn"]], listed
    deadline = time.monotonic() + 60
    named = {"ServiceArn": made["ServiceArn"]}
    while platform.good("DescribeService", client=there, **named)["Service"]["Status"] != "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    platform.good("DeleteService", client=there, **named)
    platform.remove(here)


def accounts_are_ours_alone(platform):
    foreign = platform.arn("service", "web", UNKNOWN_ID).replace(ACCOUNT, "999999999999")
    platform.refused("DescribeService", "ResourceNotFoundException", ServiceArn=foreign)


CASES = [unknown_operations, malformed_bodies, signatures, a_changed_body_is_refused, presigned,
         a_body_that_is_too_large, a_key_that_calls_too_often, regions_are_name_spaces, accounts_are_ours_alone]
# Beside the others: it waits ten seconds for the server to give up.
BESIDE = [too_much_at_once]
