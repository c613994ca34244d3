"""A real HTTP server on this machine, with the faults of real ones, and a data set small enough to serve."""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlb.datasets import known
from mlb.datasets.sources import Archive, DataSet, Source, SourceFile

TEXTS = {
    "train.txt": " \n = Lobster = \n \n the lobster is a lobster of the sea \n the <unk> of the sea is blue \n",
    "valid.txt": " \n the sea is <unk> \n",
    "test.txt": " = Sea = \n the crab is blue \n",
}


@dataclass
class Served:
    """What the server does for one path."""

    body: bytes = b""
    ranges: bool = True
    """Whether it understands Range."""
    cuts: list[int] = field(default_factory=list)
    """For each of the first answers: the number of bytes after which it closes the connection."""
    statuses: list[int] = field(default_factory=list)
    """For each of the first answers: an HTTP error to give instead of one."""
    announces_length: bool = True
    hold_after: int | None = None
    """Stop there, until the server is released."""


class Server(ThreadingHTTPServer):
    """Serves `paths` and remembers what was asked for."""

    block_on_close = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.paths: dict[str, Served] = {}
        self.asked: list[tuple[str, str | None]] = []
        """(path, Range header) of each request."""
        self.released = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def serve(self, path: str, body: bytes, **how: Any) -> str:
        self.paths[path] = Served(body, **how)
        return self.url(path)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is a part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Range"]))
        served = self.server.paths.get(self.path)
        if self.headers["User-Agent"].startswith("Python-urllib"):
            self.send_error(403)
        elif served is None:
            self.send_error(404)
        elif served.statuses:
            self.send_error(served.statuses.pop(0))
        else:
            self._answer(served)

    def _answer(self, served: Served) -> None:
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if asked and served.ranges:
            start = int(asked[1])
            if start >= len(served.body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(served.body) - 1}/{len(served.body)}")
        else:
            self.send_response(200)
        body = served.body[start:]
        if served.announces_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if served.hold_after is not None:
            self.wfile.write(body[: served.hold_after])
            self.server.released.wait(60)
            body = body[served.hold_after :]
        self.wfile.write(body[: served.cuts.pop(0)] if served.cuts else body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A zip archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return packed.getvalue()


@dataclass
class Tiny:
    """The data set `tiny` and its two sources on the server."""

    dataset: DataSet
    server: Server
    bodies: dict[str, bytes]

    def write(self, folder: Path, **names: str) -> Path:
        """Put its files into `folder`; `train="other.name"` gives a file another name."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, body in self.bodies.items():
            (folder / names.get(name.partition(".")[0], name)).write_bytes(body)
        return folder

    def serve_files(self, **how: Any) -> None:
        for name, body in self.bodies.items():
            self.server.serve(f"/plain/{name}", body, **how)

    def serve_zip(self, members: Mapping[str, bytes] | None = None) -> None:
        default = {f"tiny/wiki.{name}": body for name, body in self.bodies.items()}
        self.server.serve("/tiny.zip", zipped(default if members is None else members))


@pytest.fixture
def tiny(server: Server, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    bodies = {name: text.encode() for name, text in TEXTS.items()}
    dataset = DataSet(
        name="tiny",
        title="Tiny",
        licence="CC0",
        kind="text",
        files=tuple(
            SourceFile(name, len(body), hashlib.sha256(body).hexdigest(), (f"wiki.{name}",))
            for name, body in bodies.items()
        ),
        sources=(
            Source({name: server.url(f"/plain/{name}") for name in bodies}),
            Source(
                archives=(
                    Archive(
                        server.url("/tiny.zip").replace("127.0.0.1", "localhost"),
                        10_000,
                        {name: f"tiny/wiki.{name}" for name in bodies},
                    ),
                )
            ),
        ),
    )
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setattr(known, "DATASETS", {**known.DATASETS, "tiny": dataset})
    return Tiny(dataset, server, bodies)


@pytest.fixture
def child_environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a Python process that finds `mlb` where this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.fixture
def make_zip() -> Callable[[Mapping[str, bytes]], bytes]:
    return zipped


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real WikiText-2; skips where there is none."""
    project = Path(__file__).resolve().parents[2]
    folders = [Path(os.environ["MLB_DATA_DIR"])] if "MLB_DATA_DIR" in os.environ else []
    folders.append(project.parent / "shared" / "data")
    for folder in folders:
        if (folder / "wikitext-2").is_dir():
            return folder
    pytest.skip(f"no wikitext-2 in {' or '.join(map(str, folders))}")
