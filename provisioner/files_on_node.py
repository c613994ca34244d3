"""Files on a node, told by checksum, and handed on from node to node; sent there as text, like `on_node`."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, BinaryIO

from .on_node import CHUNK, VERBS, Refused, at_home, sha256_of

_PATIENCE_S = 30.0


def have(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Which of the files [path, size, SHA-256] are not here, or damaged."""
    missing = [path for path, size, sha256 in request["files"] if not is_whole(at_home(path), size, sha256)]
    sink.write(json.dumps({"missing": missing}).encode() + b"\n")


def is_whole(path: Path, size: int, sha256: str) -> bool:
    """Whether a file is what it should be; its size is looked at first."""
    try:
        return path.stat().st_size == size and sha256_of(path) == sha256
    except OSError:
        return False


def serve(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Give the files of the request to one other node that shows the token."""
    with socket.create_server((request["host"], 0)) as server:
        server.settimeout(_PATIENCE_S)
        sink.write(json.dumps({"port": server.getsockname()[1]}).encode() + b"\n")
        sink.flush()
        caller, _ = server.accept()
    caller.settimeout(_PATIENCE_S)
    with caller, caller.makefile("rb") as asked:
        if asked.readline(200).strip().decode() != request["token"]:
            raise Refused("somebody without the token called")
        allowed = {path for path, _, _ in request["files"]}
        for line in iter(lambda: asked.readline(4096), b""):
            path, offset = json.loads(line)
            if path not in allowed:
                raise Refused(f"{path} is not to be given")
            with at_home(path).open("rb") as file:
                caller.sendfile(file, offset)


def fetch(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Take files from a node that serves them, each resumed, checked, and put in its place in one step."""
    taken = 0
    with socket.create_connection((request["host"], request["port"]), _PATIENCE_S) as giver:
        giver.sendall(f"{request['token']}\n".encode())
        for path, size, sha256 in request["files"]:
            target = at_home(path)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.{sha256[:16]}.part")
            taken += _take(giver, path, part, size)
            if sha256_of(part) != sha256:
                part.unlink()
                raise Refused(f"{path} did not arrive whole from {request['host']}")
            part.replace(target)
    sink.write(json.dumps({"bytes": taken}).encode() + b"\n")


def _take(giver: socket.socket, path: str, part: Path, size: int) -> int:
    """Append what is missing of a file to its part."""
    with part.open("ab") as file:
        begin = offset = min(file.tell(), size)
        giver.sendall(json.dumps([path, offset]).encode() + b"\n")
        while offset < size:
            piece = giver.recv(min(CHUNK, size - offset))
            if not piece:
                raise Refused(f"the node that gave {path} is gone")
            file.write(piece)
            offset += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return size - begin


VERBS.update(have=have, serve=serve, fetch=fetch)
