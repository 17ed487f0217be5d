"""A gRPC application and a client of it, both of the library grpcio. Messages are plain bytes.

    calls.py serve                                says its port and answers
    calls.py ask HOST DEAD ADDRESS [AUTHORITY]    asks it through a proxy at ADDRESS, by TLS if there is an authority;
                                                  at DEAD there is a service whose instance is not there
"""

import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "apron.test.Calls"
# Of one side's messages; gRPC itself takes 4 MiB.
LARGE = b"x" * 3_500_000
gone = threading.Semaphore(0)


def unary(request, context):
    said = dict(context.invocation_metadata())
    heard = (("x-heard", said.get("x-said", "")), ("x-raw-bin", said.get("x-raw-bin", b"")))
    context.send_initial_metadata(heard)
    context.set_trailing_metadata((("x-last", "1"), ("x-last-bin", b"\0\xff")))
    return request


def collect(requests, context):
    return b",".join(requests)


def several(request, context):
    for number in range(5):
        yield request + str(number).encode()


def both(requests, context):
    for request in requests:
        yield request.upper()


def fail(request, context):
    context.set_trailing_metadata((("x-why", "because"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "n\u00f6, 100 % sure\nof it")


def fail_late(request, context):
    yield b"first"
    context.abort(grpc.StatusCode.DATA_LOSS, "late")


def hang(request, context):
    """Until the client goes, which is counted."""
    went = threading.Event()
    context.add_callback(went.set)
    if went.wait(30):
        gone.release()
    return b""


def wait_gone(request, context):
    return b"yes" if gone.acquire(timeout=10) else b"no"


def remaining(request, context):
    return str(context.time_remaining()).encode()


def application():
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Several": grpc.unary_stream_rpc_method_handler(several),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "WaitGone": grpc.unary_unary_rpc_method_handler(wait_gone),
        "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
    }
    server = grpc.server(futures.ThreadPoolExecutor(64))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def failed(call):
    """How the call failed, as the client library has it."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it did not fail")


def client(host, dead, address, authority):
    def channel(name):
        options = [("grpc.default_authority", name), ("grpc.enable_http_proxy", 0)]
        if authority is None:
            return grpc.insecure_channel(address, options)
        with open(authority, "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        return grpc.secure_channel(address, credentials, [*options, ("grpc.ssl_target_name_override", name)])

    def path(method):
        return f"/{SERVICE}/{method}"

    with channel(host) as to:

        def ask(method, request=b"", **options):
            return to.unary_unary(path(method))(request, timeout=10, **options)

        # Unary, with what is said before and after.
        metadata = (("x-said", "a, b"), ("x-raw-bin", b"\0\x01\xff"))
        answer, call = to.unary_unary(path("Unary")).with_call(b"hello", timeout=10, metadata=metadata)
        assert answer == b"hello", answer
        first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
        assert (first["x-heard"], first["x-raw-bin"]) == ("a, b", b"\0\x01\xff"), first
        assert (last["x-last"], last["x-last-bin"]) == ("1", b"\0\xff"), last
        assert call.code() is grpc.StatusCode.OK
        assert ask("Unary", LARGE) == LARGE
        assert ask("Unary", b"x" * 500_000, compression=grpc.Compression.Gzip) == b"x" * 500_000
        assert ask("Unary") == b""

        # The client's stream, the server's, and both in turns: each message is answered before the next is there.
        parts = [str(number).encode() for number in range(200)]
        assert to.stream_unary(path("Collect"))(iter(parts), timeout=10) == b",".join(parts)
        assert list(to.unary_stream(path("Several"))(b"n", timeout=10)) == [b"n0", b"n1", b"n2", b"n3", b"n4"]
        answered = threading.Semaphore(1)

        def turns():
            for number in range(50):
                assert answered.acquire(timeout=10)
                yield f"a{number}".encode()

        for number, answer in enumerate(to.stream_stream(path("Both"))(turns(), timeout=20)):
            assert answer == f"A{number}".encode(), answer
            answered.release()
        assert number == 49, number

        # How a call failed, in the application's words.
        error = failed(lambda: ask("Fail"))
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION, error
        assert error.details() == "n\u00f6, 100 % sure\nof it", error.details()
        assert dict(error.trailing_metadata())["x-why"] == "because", error
        answers = to.unary_stream(path("FailLate"))(b"", timeout=10)
        assert next(answers) == b"first"
        error = failed(lambda: next(answers))
        assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "late"), error
        assert failed(lambda: ask("Unknown")).code() is grpc.StatusCode.UNIMPLEMENTED

        # The deadline reaches the application, and so does its end, and a client that goes before.
        left = float(ask("Remaining"))
        # It is written with two or three digits, and rounded up.
        assert 5 < left < 11, left
        began = time.monotonic()
        error = failed(lambda: to.unary_unary(path("Hang"))(b"", timeout=0.5))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, error
        assert time.monotonic() - began < 5
        assert ask("WaitGone") == b"yes"
        call = to.unary_unary(path("Hang")).future(b"", timeout=30)
        time.sleep(0.3)
        call.cancel()
        assert ask("WaitGone") == b"yes"

        # Many at once on one connection, which a slow one does not hold up.
        hanging = to.unary_unary(path("Hang")).future(b"", timeout=30)
        calls = [to.unary_unary(path("Unary")).future(str(number).encode(), timeout=20) for number in range(300)]
        for number, call in enumerate(calls):
            assert call.result() == str(number).encode()
        hanging.cancel()
        assert ask("WaitGone") == b"yes"

    # What the proxy itself says is a status of gRPC too.
    with channel("nobody.apron.localhost") as to:
        error = failed(lambda: to.unary_unary(path("Unary"))(b"", timeout=10))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED, error
        assert dict(error.trailing_metadata())["x-apron-cause"] == "no_route", error
    with channel(dead) as to:
        error = failed(lambda: to.unary_unary(path("Unary"))(b"", timeout=10))
        assert error.code() is grpc.StatusCode.UNAVAILABLE, error
        assert dict(error.trailing_metadata())["x-apron-cause"] == "connect_failed", error
    print("all is well")


if sys.argv[1] == "serve":
    application()
else:
    client(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5] if len(sys.argv) > 5 else None)
