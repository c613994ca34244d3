"""The fake Compute Engine behind HTTP, with the token that every call must carry."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from .fake_gce import Gce
from .gce_facts import BASE, Refused, Resource


@contextmanager
def running_gce() -> Iterator[Gce]:
    """The service on a port of its own."""
    gce = Gce()

    class Handler(_Handler):
        service = gce

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gce.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield gce
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    service: Gce
    protocol_version = "HTTP/1.1"
    # Headers and body in one packet: otherwise every answer waits 40 ms for an acknowledgement.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def handle_one(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        url = urlsplit(self.path)
        try:
            if self.service.token_expired or self.headers.get("authorization") != "Bearer of-a-test":
                raise Refused(401, "authError", "Request had invalid authentication credentials.")
            query = {key: values[-1] for key, values in parse_qs(url.query).items()}
            path = url.path.removeprefix(f"{BASE}projects/")
            self.service.asked.add((self.command, path))
            self._send(200, self.service.answer(self.command, path, query, json.loads(raw or b"{}")))
        except Refused as error:
            detail = {"reason": error.reason, "message": error.message, "domain": "global"}
            self._send(error.code, {"error": {"code": error.code, "message": error.message, "errors": [detail]}})

    def _send(self, code: int, answer: Resource) -> None:
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    do_GET = do_POST = do_DELETE = do_PATCH = handle_one
