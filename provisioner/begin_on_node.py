"""The node's end of a launch: the run folder is made there before anything is started. Sent to the node as text.

Standard library alone, and any Python from 3.8 on: see `on_node`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any, BinaryIO

from .on_node import VERBS, at_home


def begin(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Make the run folder, and say whether the node has the room and the ports.

    The request: `folder`; `folders`, those to make in it; `files`, names and contents; `ports` to be free on `address`.
    """
    folder = at_home(request["folder"])
    for name in ("", *request["folders"]):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in request["files"].items():
        _write(folder / name, text)
    answer = {
        "free_bytes": shutil.disk_usage(folder).free,
        "busy_ports": [port for port in request["ports"] if not _is_free(request["address"], port)],
    }
    sink.write(json.dumps(answer).encode() + b"\n")


def stop(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Leave the request to stop where the ranks and their agent look for it."""
    _write(at_home(request["folder"]) / request["name"], "")
    sink.write(b"{}\n")


def _write(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


VERBS["begin"] = begin
VERBS["stop"] = stop
