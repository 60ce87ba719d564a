"""A web server on this machine that does all that servers do wrong."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STALL = 3.0
MORE = 30_000_000


class Flaky(ThreadingHTTPServer):
    """Serves `content`, bytes or bytes for each name, and does at each request the next step of `plan`.

    A step is None (well), a status, another address, or (what, bytes): cut off or stall after so many bytes,
    send "more" than there is, or "deaf" to what version is asked for.
    """

    daemon_threads = True

    def __init__(self, content, plan=(), tag='"1"', ranges=True, modified=None, encoding=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.plan, self.tag = content, list(plan), tag
        self.ranges, self.modified, self.encoding = ranges, modified, encoding
        self.chunked, self.length = False, ""
        self.seen = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/a.bin"

    def handle_error(self, request, client_address):
        """Stay silent about clients that leave."""


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        """Stay silent."""

    def do_GET(self):  # noqa: N802
        server = self.server
        server.seen.append((self.path, dict(self.headers)))
        step = server.plan.pop(0) if server.plan else None
        if isinstance(step, str):
            self.send_response(302)
            self.send_header("Location", step)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if isinstance(step, int):
            self.send_response(step)
            self.send_header("Content-Length", "4")
            if step == 503:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(b"sad\n")
            return
        self.answer(*(step or ("", None)))

    def answer(self, what, after):
        server, content = self.server, self.server.content
        if isinstance(content, dict):
            content = content.get(self.path.rsplit("/", 1)[-1], b"")
        start = 0
        wanted = self.headers.get("Range", "")
        same = what == "deaf" or self.headers.get("If-Range") in {None, server.tag, server.modified}
        if server.ranges and wanted.startswith("bytes=") and same:
            start = int(wanted[6:].rstrip("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            first = start + 1 if what == "shift" else start
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        for name, value in (("ETag", server.tag), ("Last-Modified", server.modified)):
            if value:
                self.send_header(name, value)
        if server.encoding:
            self.send_header("Content-Encoding", server.encoding)
        self.send_body(bytearray(content[start:]), what, after)

    def send_body(self, body, what, after):
        if what == "corrupt":
            body[len(body) // 2] ^= 1
        if what == "more":
            body += bytes(MORE)
        if self.server.chunked or what == "more":
            self.send_header("Transfer-Encoding", "chunked")
            body = bytearray(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        else:
            self.send_header("Content-Length", self.server.length or str(len(body)))
        self.end_headers()
        self.wfile.write(body[:after])
        if what == "stall":
            self.wfile.flush()
            time.sleep(STALL)
        self.close_connection = True


@contextmanager
def serving(content, **options):
    """Run a server while a test goes on."""
    server = Flaky(content, **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
