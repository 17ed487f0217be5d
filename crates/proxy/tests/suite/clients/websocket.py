"""A WebSocket application and a client of it, both of the library websockets.

    websocket.py serve                           says its port and answers
    websocket.py ask HOST ADDRESS [AUTHORITY]    asks it through a proxy at ADDRESS, by TLS if there is an authority
"""

import asyncio
import contextlib
import os
import socket
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.server import serve

LARGE = 4 * 1024 * 1024


def speak(connection):
    """Repeats what it hears, but for what are wishes."""
    for message in connection:
        if message == "close":
            connection.close(4001, "as you wish")
        elif message == "large":
            connection.send(b"x" * LARGE)
        elif message == "pieces":
            connection.send(["a", "b", "c"])
        elif message == "ping":
            connection.send("heard" if connection.ping().wait(10) else "not heard")
        else:
            connection.send(message)


def refuse(connection, request):
    if request.path == "/refused":
        return connection.respond(403, "not you\n")
    return None


def application():
    options = {"subprotocols": ["chat"], "max_size": None, "process_request": refuse}
    with serve(speak, "127.0.0.1", 0, **options) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()


async def client(host, address, authority):
    """On one thread: before Python 3.13 two threads at one TLS connection lose what they send."""
    ip, port = address.rsplit(":", 1)
    context = ssl.create_default_context(cafile=authority) if authority else None
    uri = ("wss" if authority else "ws") + "://" + host

    def opened(path="/", **options):
        return connect(
            uri + path,
            sock=socket.create_connection((ip, int(port)), 10),
            ssl=context,
            subprotocols=["other", "chat"],
            max_size=None,
            proxy=None,
            **options,
        )

    async with opened("/a?b=c") as connection:
        assert connection.subprotocol == "chat", connection.subprotocol
        extensions = connection.response.headers["Sec-WebSocket-Extensions"]
        assert extensions.startswith("permessage-deflate"), extensions
        for message in ["h\u00e4llo", "", b"\0\xff", os.urandom(1_000_000), "x" * 1_000_000]:
            await connection.send(message)
            assert await connection.recv() == message
        # In frames of their own, both ways.
        await connection.send(["l", "arg", "e"])
        assert len(await connection.recv()) == LARGE
        await connection.send("pieces")
        assert await connection.recv() == "abc"
        # Control frames pass the proxy, which answers none itself.
        await (await connection.ping())
        await connection.send("ping")
        assert await connection.recv() == "heard"
        await connection.send("close")
        try:
            await connection.recv()
            raise AssertionError("it was not closed")
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "as you wish"), closed
    async with opened(compression=None) as connection:
        assert "Sec-WebSocket-Extensions" not in connection.response.headers
        await connection.send(b"plain")
        assert await connection.recv() == b"plain"
        # What is packed may come in other pieces, and these may not.
        await connection.send("pieces")
        assert [piece async for piece in connection.recv_streaming() if piece] == ["a", "b", "c"]
    async with contextlib.AsyncExitStack() as stack:
        many = [await stack.enter_async_context(opened()) for _ in range(50)]
        for number, connection in enumerate(many):
            await connection.send(str(number))
        for number, connection in enumerate(many):
            assert await connection.recv() == str(number)
    try:
        async with opened("/refused"):
            raise AssertionError("it was not refused")
    except InvalidStatus as refused:
        assert refused.response.status_code == 403, refused
        assert refused.response.body == b"not you\n", refused.response.body
    print("all is well")


if sys.argv[1] == "serve":
    application()
else:
    authority = sys.argv[4] if len(sys.argv) > 4 else None
    asyncio.run(asyncio.wait_for(client(sys.argv[2], sys.argv[3], authority), 45))
