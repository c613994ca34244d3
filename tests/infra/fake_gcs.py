"""Cloud Storage on loopback, as far as Terraform's own `gcs` backend asks: objects with generations, no more."""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Gcs:
    """The objects by name, each with its generation and its content."""

    url: str = ""
    objects: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    generations: Iterator[int] = field(default_factory=lambda: itertools.count(1_700_000_000_000_001))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def describe(self, name: str) -> dict[str, Any]:
        generation, content = self.objects[name]
        return {"name": name, "generation": str(generation), "metageneration": "1", "size": str(len(content))}


@contextmanager
def running_gcs() -> Iterator[Gcs]:
    """The service on a port of its own."""
    gcs = Gcs()

    class Handler(_Handler):
        service = gcs

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        gcs.url = f"http://127.0.0.1:{server.server_port}/storage/v1/"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield gcs
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    service: Gcs

    def _answer(self) -> None:
        body = self._body()
        url = urlsplit(self.path)
        asked = {key: values[-1] for key, values in parse_qs(url.query).items()}
        with self.service.lock:
            if "/upload/" in url.path:
                self._insert(asked, body)
            elif url.path.endswith("/o"):
                found = [n for n in sorted(self.service.objects) if n.startswith(asked.get("prefix", ""))]
                self._json(200, {"items": [self.service.describe(name) for name in found]})
            else:
                self._object(unquote(re.sub(r"^/(storage/v1/b/)?[^/]+/(o/)?", "", url.path)), asked, url.path)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    do_GET = do_POST = do_DELETE = do_PUT = _answer

    def _insert(self, asked: dict[str, str], body: bytes) -> None:
        edge = re.search(r"boundary=\"?([^\";]+)", self.headers["content-type"])
        assert edge, "only uploads in one piece are known here"
        head, content = (part.partition(b"\r\n\r\n")[2] for part in body.split(f"--{edge[1]}".encode())[1:3])
        name = json.loads(head)["name"]
        if asked.get("ifGenerationMatch") == "0" and name in self.service.objects:
            self._json(412, {"error": {"code": 412, "message": "conditionNotMet"}})
            return
        self.service.objects[name] = (next(self.service.generations), content.removesuffix(b"\r\n"))
        self._json(200, self.service.describe(name))

    def _object(self, name: str, asked: dict[str, str], path: str) -> None:
        if name not in self.service.objects:
            self._json(404, {"error": {"code": 404, "message": f"No such object: {name}"}})
        elif asked.get("ifGenerationMatch", str(self.service.objects[name][0])) != str(self.service.objects[name][0]):
            self._json(412, {"error": {"code": 412, "message": "conditionNotMet"}})
        elif self.command == "DELETE":
            del self.service.objects[name]
            self.send_response(204)
            self.end_headers()
        elif asked.get("alt") == "media" or not path.startswith("/storage/"):
            generation, content = self.service.objects[name]
            self._send(200, content, {"x-goog-generation": str(generation)})
        else:
            self._json(200, self.service.describe(name))

    def _json(self, code: int, answer: Any) -> None:
        self._send(code, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
