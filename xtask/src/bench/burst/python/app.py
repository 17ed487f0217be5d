"""A small server of the standard library, a thread for each connection, as the benches of bursts use it.

Its answers say which process gave them, how many milliseconds that took, and the revision. A number of milliseconds
after "?" is slept first.
"""

import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = os.urandom(4).hex()
REVISION = os.environ.get("APRON_REVISION", "-")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body of an answer in one write.
    wbufsize = -1

    def do_GET(self):
        began = time.monotonic()
        time.sleep(int(self.path.partition("?")[2] or 0) / 1000)
        took_ms = (time.monotonic() - began) * 1000
        body = f"{NAME} {took_ms:.3f} revision {REVISION}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    # As in the standard library; said here because it is what is measured.
    request_queue_size = 5
    daemon_threads = True


Server((os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8000"))), Handler).serve_forever()
