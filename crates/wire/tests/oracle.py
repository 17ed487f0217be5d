"""botocore as the oracle of the wire tests: one JSON document in, one out.

requests  what botocore sends: signed by real clients of both APIs, and odd requests signed by its signer
suite     a table of requests with odd methods, paths, queries, headers and bodies, each signed in the header and,
          where it has no body, as a presigned URL; and bodies in chunks
resign    the Authorization header that botocore gives to requests which our client has signed
answers   what botocore's clients make of the responses that our server writes
"""

import base64
import hashlib
import io
import json
import os
import re
import sys
from urllib.parse import urlsplit

os.environ.update(AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null", AWS_EC2_METADATA_DISABLED="true")

try:
    import botocore.session
    from botocore.auth import SigV4Auth, SigV4QueryAuth
    from botocore.awsrequest import AWSRequest, AWSResponse
    from botocore.credentials import Credentials
    from botocore.exceptions import ClientError
    from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
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


METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"]
PATHS = [
    "/", "//", "/.", "/./", "/..", "/../", "/a/..", "/a/../..", "/a/./b", "/a//b//", "/a/b/", "/.hidden", "/a..b", "/...",
    "/~user/-._", "/%20", "/a%20b", "/caf%C3%A9", "/%e2%82%ac", "/%2F", "/%25", "/a+b", "/a=b:c@d", "/a;b,c", "/$&'()*!",
]
QUERIES = [
    "", "a=1", "b=2&a=1", "a=2&a=1", "a=b&a=B&A=b", "a", "a=", "=x", "a=1&ab=2&a-b=3&a.b=4&a_b=5&a~b=6", "0=a&_=b&-=c&.=d&~=e",
    "%20=%2F", "utf8=%E2%82%AC&%E2%82%AC=1", "a=%3D%26%2B%25", "Action=ListServices&Version=2020-05-15", "x=" + "y" * 4000,
]
HEADERS = [
    [("X-Amz-Meta", "  a   b  ")],
    [("X-Amz-Meta", "a\t\tb\t")],
    [("X-Amz-Meta", "")],
    [("X-Amz-Meta", '"a   b"')],
    [("X-Amz-Meta", "a,b"), ("X-Amz-Meta", " c "), ("x-amz-meta", "a")],
    [("X-Amz-Meta", "a\r\n  b\r\n\tc")],
    [("X-Amz-Meta", "\u00fc  \u20ac\u00a0 \u3000x")],
    [("X-AMZ-Z", "1"), ("x-amz-A", "2"), ("X-Amz-M-2", "3"), ("X-Amz-M", "4"), ("My-Header1", "5"), ("P", "6")],
    [("Content-Type", "application/x-amz-json-1.0;  charset=utf-8"), ("Accept", "*/*"), ("Accept", "text/html")],
    [("User-Agent", "not signed"), ("X-Amzn-Trace-Id", "Root=1-2-3"), ("Cache-Control", "no-cache")],
    [(f"X-Amz-{n:02}", str(n)) for n in range(50)],
]
BODIES = [b"", b"{}", b" ", bytes(range(256)), "\u00fc\u20ac".encode(), b"\r\n" * 100, b"x" * 300_000]


def suite():
    cases = []

    def signed(name, method="POST", target="/", headers=(), body=b"", token=None, signer=SigV4Auth, **more):
        request = AWSRequest(method, ENDPOINT + target, data=body)
        for key, value in headers:
            request.headers[key] = value
        options = {"expires": 604800} if signer is SigV4QueryAuth else {}
        signer = signer(Credentials(KEY, SECRET, token), "apprunner", "eu-west-3", **options)
        signer.add_auth(request)
        # A server puts a folded header together before it looks at it.
        unfolded = [(key, re.sub(r"\r\n[ \t]+", " ", value)) for key, value in request.headers.items()]
        case = described(Sent(request, unfolded), name=name, service="apprunner", **more)
        cases.append(case)
        return signer, request, case

    def both(name, **arguments):
        signed(name, **arguments)
        signed(name + ", presigned", signer=SigV4QueryAuth, **arguments)

    for method in METHODS:
        both(f"method {method}", method=method)
    for path in PATHS:
        both(f"path {path}", method="GET", target=path)
    for query in QUERIES:
        both(f"query {query[:40]}", method="GET", target=f"/?{query}")
    for headers in HEADERS:
        both(f"headers {headers[0]}", headers=headers)
    both("session token", token="a-token/with+odd=characters")
    for body in BODIES:
        digest = hashlib.sha256(body).hexdigest()
        signed(f"body of {len(body)}", body=body)
        signed(f"hashed body of {len(body)}", body=body, headers=[("X-Amz-Content-SHA256", digest)])
        signed(f"unsigned body of {len(body)}", body=body, headers=[("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD")])
        for size in (8192, 65536):
            chunks(signed, body, size)
    return cases


class Sent:
    """A request as it was signed, with headers of the same name apart."""

    def __init__(self, request, headers):
        self.method, self.url, self.body = request.method, request.url, request.data
        self.headers = self
        self.pairs = headers

    def items(self):
        return self.pairs


def chunks(signed, body, size):
    def head(said, trailers=()):
        headers = [("Content-Encoding", "aws-chunked"), ("X-Amz-Content-SHA256", said),
                   ("X-Amz-Decoded-Content-Length", str(len(body)))]
        return headers + [("X-Amz-Trailer", name) for name in trailers]

    decoded = base64.b64encode(body).decode()
    checksum = "x-amz-checksum-crc32"
    wrapped = AwsChunkedWrapper(io.BytesIO(body), checksum_cls=Crc32Checksum, checksum_name=checksum, chunk_size=size)
    _, _, case = signed(f"{len(body)} in unsigned chunks of {size}", decoded=decoded,
                        headers=head("STREAMING-UNSIGNED-PAYLOAD-TRAILER", [checksum]))
    case["body"] = base64.b64encode(wrapped.read()).decode()

    empty = hashlib.sha256(b"").hexdigest()
    value = Crc32Checksum().handle(body)
    for trailers in ([], [checksum]):
        said = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if trailers else "")
        signer, request, case = signed(f"{len(body)} in signed chunks of {size}, {len(trailers)} trailers",
                                       decoded=decoded, headers=head(said, trailers))
        pairs = dict((name.lower(), value) for name, value in case["headers"])
        previous = pairs["authorization"].rpartition("Signature=")[2]
        scope = f"{pairs['x-amz-date'][:8]}/eu-west-3/apprunner/aws4_request"

        def sign(what, *hashes):
            to_sign = "\n".join([f"AWS4-HMAC-SHA256-{what}", pairs["x-amz-date"], scope, previous, *hashes])
            return signer.signature(to_sign, request)

        sent = b""
        for at in [*range(0, len(body), size), len(body)]:
            data = body[at:at + size]
            previous = sign("PAYLOAD", empty, hashlib.sha256(data).hexdigest())
            sent += f"{len(data):x};chunk-signature={previous}\r\n".encode() + data + (b"\r\n" if data else b"")
        if trailers:
            signature = sign("TRAILER", hashlib.sha256(f"{checksum}:{value}\n".encode()).hexdigest())
            sent += f"{checksum}:{value}\r\nx-amz-trailer-signature:{signature}\r\n".encode()
        case["body"] = base64.b64encode(sent + b"\r\n").decode()


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
    if mode in ("requests", "suite"):
        result = {"requests": requests, "suite": suite}[mode]()
    else:
        result = {"resign": resign, "answers": answers}[mode](json.load(sys.stdin))
    json.dump(result, sys.stdout)
