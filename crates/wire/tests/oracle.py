"""botocore as the oracle of the wire tests: one JSON document in, one out.

requests  what botocore sends: signed by real clients of both APIs, and odd requests signed by its signer
resign    the Authorization header that botocore gives to requests which our client has signed
answers   what botocore's clients make of the responses that our server writes
"""

import base64
import json
import os
import sys
from urllib.parse import urlsplit

os.environ.update(AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null", AWS_EC2_METADATA_DISABLED="true")

try:
    import botocore.session
    from botocore.auth import SigV4Auth, SigV4QueryAuth
    from botocore.awsrequest import AWSRequest, AWSResponse
    from botocore.credentials import Credentials
    from botocore.exceptions import ClientError
except ImportError as error:
    sys.exit(f"these tests need Python's botocore (pip install botocore): {error}")

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ENDPOINT = "http://127.0.0.1:7070"
ARN = "arn:aws:apprunner:eu-west-3:123456789012:service/demo/0123456789abcdef0123456789abcdef"


def client(service, token=None, answer=None, seen=None):
    session = botocore.session.Session()
    made = session.create_client(
        service, region_name="eu-west-3", endpoint_url=ENDPOINT, aws_access_key_id=KEY,
        aws_secret_access_key=SECRET, aws_session_token=token,
    )

    def before_send(request, **_):
        if seen is not None:
            seen.append(request)
        status, headers, body = answer or (200, {}, b"{}")
        raw = type("Raw", (), {"stream": lambda self, **_: iter([body])})()
        return AWSResponse(request.url, status, headers, raw)

    made.meta.events.register("before-send", before_send)
    return made


def described(request, **more):
    body = request.body or b""
    body = body if isinstance(body, bytes) else body.encode()
    url = urlsplit(request.url)
    headers = [[name, value.decode() if isinstance(value, bytes) else value] for name, value in request.headers.items()]
    if not any(name.lower() == "host" for name, _ in headers):
        headers.append(["Host", url.netloc])
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return dict(method=request.method, target=target, headers=headers, body=base64.b64encode(body).decode(), **more)


def requests():
    cases = []

    def call(service, operation, token=None, **arguments):
        seen = []
        getattr(client(service, token=token, seen=seen), operation)(**arguments)
        cases.append(described(seen[0], name=f"{service}.{operation}", service=service))

    image = {"ImageRepository": {"ImageIdentifier": "public.ecr.aws/x/y:z", "ImageRepositoryType": "ECR_PUBLIC",
             "ImageConfiguration": {"Port": "80", "RuntimeEnvironmentVariables": {"K": "é\nÿ"}}}}
    call("apprunner", "create_service", ServiceName="demo", SourceConfiguration=image, Tags=[{"Key": "a", "Value": "ü"}])
    call("apprunner", "list_services", MaxResults=20)
    call("apprunner", "list_services", token="a-session-token")
    call("apprunner", "describe_service", ServiceArn=ARN)
    call("apprunner", "untag_resource", ResourceArn=ARN, TagKeys=["a", "b"])
    call("apron", "create_upload", Kind="SOURCE")
    call("apron", "put_upload_part", UploadId="0" * 32, Offset=2**40, Data=bytes(range(256)) * 64)
    call("apron", "get_logs", ServiceArn=ARN, Stream="DEPLOYMENT", WaitSeconds=20, From="c")
    call("apron", "describe_platform")

    def odd(name, signer=SigV4Auth, method="POST", path="/", body=b"", **headers):
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        request = AWSRequest(method, ENDPOINT + path, headers=headers, data=body)
        options = {"expires": 900} if signer is SigV4QueryAuth else {}
        signer(Credentials(KEY, SECRET), "apprunner", "eu-west-3", **options).add_auth(request)
        cases.append(described(request.prepare(), name=name, service="apprunner"))

    odd("spaces in headers", x_amz_meta="  a   b\tc ", content_type="a/b;  c=d")
    odd("path", path="/a/./b/../c%20d//e/", method="GET")
    odd("query", path="/?b=2&a=1&a=0&empty=&t=%2F%20x&Z=z", method="PUT")
    odd("unsigned payload", body=b"anything", X_Amz_Content_SHA256="UNSIGNED-PAYLOAD")
    odd("presigned", signer=SigV4QueryAuth, method="GET", path="/?x=y")
    return cases


def resign(cases):
    authorizations = []
    for case in cases:
        request = AWSRequest(case["method"], ENDPOINT + case["target"], headers=dict(case["headers"]),
                             data=base64.b64decode(case["body"]))
        del request.headers["authorization"]
        request.context["timestamp"] = request.headers["x-amz-date"]
        signer = SigV4Auth(Credentials(KEY, SECRET), case["service"], case["region"])
        to_sign = signer.string_to_sign(request, signer.canonical_request(request))
        names = signer.signed_headers(signer.headers_to_sign(request))
        authorizations.append(
            f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={names}, "
            f"Signature={signer.signature(to_sign, request)}")
    return authorizations


def answers(cases):
    outcomes = []
    for case in cases:
        answer = (case["status"], dict(case["headers"]), base64.b64decode(case["body"]))
        made = client(case["service"], answer=answer)
        try:
            result = getattr(made, case["operation"])(**case["arguments"])
        except ClientError as error:
            result = error.response
        result = json.loads(json.dumps(result, default=lambda value: value.timestamp()))
        outcomes.append(result)
    return outcomes


if __name__ == "__main__":
    mode = sys.argv[1]
    if mode == "requests":
        result = requests()
    else:
        result = {"resign": resign, "answers": answers}[mode](json.load(sys.stdin))
    json.dump(result, sys.stdout)
