"""The node's end of pulling a run: one request, one answer with all that is new. Sent to the node as text (`program`).

Standard library alone, and any Python from 3.8 on: see `on_node`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import struct
import time
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from ..results.process import incarnation, is_running
from .on_node import VERBS, at_home

WHOLE_BYTES = 4 << 20
"""A status file that is larger is none."""


def feed(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Answer what is new in a run folder: how the agent stands, and of each file asked for the bytes from an offset.

    The request: `folder`; `status`, the agent's status file; `whole`, names of files that are replaced as a whole, with
    the version that is known; `growing`, names of files that grow, with the offset; `limit`, bytes of them in all;
    `digests`: whether to send the checksums of the files that grow.
    The answer is `{"packed": …}`, a zlib stream in base64: 4 bytes with the length of a JSON header, the header, the
    files' bytes in its order.
    """
    os.nice(10)  # ranks are being timed beside this
    folder = at_home(request["folder"])
    answer: dict[str, Any] = {"unix_ns": time.time_ns(), "incarnation": incarnation(), "files": []}
    bodies = []
    # How the agent stands comes first: what was logged before its end is then surely among the bytes that follow.
    answer["agent"] = _agent(folder / request["status"])
    answer["free_bytes"] = shutil.disk_usage(folder).free if folder.is_dir() else None
    for name, known in request["whole"].items():
        version, body = _whole(folder / name, known)
        answer["files"].append({"name": name, "version": version, "sent": len(body)})
        bodies.append(body)
    left = request["limit"]
    for name, offset in request["growing"].items():
        entry, body = _growing(folder / name, offset, left)
        left -= len(body)
        if request["digests"] and entry["size"] >= 0:
            entry["sha256"] = _sha256(folder / name)
        answer["files"].append({"name": name, **entry})
        bodies.append(body)
    header = json.dumps(answer).encode()
    pack = zlib.compressobj(1)
    packed = b"".join(pack.compress(piece) for piece in (struct.pack("!I", len(header)), header, *bodies))
    sink.write(json.dumps({"packed": base64.b64encode(packed + pack.flush()).decode()}).encode() + b"\n")


def _agent(status: Path) -> str:
    """`none` before it wrote its status, then `alive`, then `gone`."""
    try:
        said = json.loads(status.read_bytes()[:WHOLE_BYTES])
        return "alive" if is_running(int(said["agent_pid"]), int(said["agent_start_ticks"])) else "gone"
    except FileNotFoundError:
        return "none"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "gone"


def _whole(path: Path, known: str) -> tuple[str, bytes]:
    try:
        found = path.stat()
        version = f"{found.st_mtime_ns}-{found.st_size}"
        return version, b"" if version == known or found.st_size > WHOLE_BYTES else path.read_bytes()[:WHOLE_BYTES]
    except OSError:
        return "", b""


def _growing(path: Path, offset: int, limit: int) -> tuple[dict[str, Any], bytes]:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(offset)
            body = file.read(max(0, min(limit, size - offset)))
    except OSError:
        return {"size": -1, "sent": 0}, b""
    return {"size": size, "sent": len(body)}, body


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


VERBS["feed"] = feed
