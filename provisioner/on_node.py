"""What is done on a node, in Python's standard library alone: `ssh.py` sends this file there as text.

Each verb gets its request as one JSON line on standard input, then maybe bytes, and answers on standard output. It must
run on any Python from 3.8 on, with nothing of mlb installed: imports of our own are dropped from the text that is sent,
and the files they name are put in front of it (`program`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from ..results.process import is_running

FAILED = 74
"""Exit code of a verb that the node's operating system refused; standard error holds a JSON line."""
REFUSED = 75
"""Exit code of a verb that could not do what was asked; standard error holds a JSON line."""
CHUNK = 256 * 1024

# Reads what is to be started from a file, so that neither argv nor the unit's properties, which anybody on the node
# may read, hold the environment.
RUN_SPEC = (
    "import json,os,sys;p=sys.argv[1];s=json.load(open(p));os.unlink(p);"
    "os.execvpe(s['argv'][0],s['argv'],{**os.environ,**s['env']})"
)


class Refused(Exception):
    """A verb could not do what was asked: what happened, and the last lines of whatever said why."""

    def __init__(self, what: str, lines: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.lines = lines


def start(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Start a unit once for each token, however often the request comes: a lost answer is asked for again."""
    log = at_home(request["log"])
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.with_name(f".{log.name}.unit").open("a+") as record:
        fcntl.flock(record, fcntl.LOCK_EX)
        record.seek(0)
        if record.read() != request["token"]:
            spec = log.with_name(f".{log.name}.{request['token']}.json")
            with os.fdopen(os.open(spec, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                # This session's own variables, too: systemd would start the unit without HOME and with another PATH.
                json.dump({"argv": request["argv"], "env": {**os.environ, **request["env"]}}, file)
            _start_unit(log, spec, request["token"])
            record.truncate(0)
            record.write(request["token"])
    _answer(sink, {"started": True})


def systemd_argv(log: Path, token: str, *, user: bool) -> list[str]:
    """The command in front of a unit's own: a transient service of systemd's."""
    properties = ("Delegate=yes", "KillMode=mixed", "OOMPolicy=continue", "TasksMax=infinity", "LimitMEMLOCK=infinity")
    where = (f"StandardOutput=append:{log}", f"StandardError=append:{log}", f"WorkingDirectory={log.parent}")
    settings = [f"--property={p}" for p in (*properties, *where)]
    return [
        "systemd-run",
        *(["--user"] if user else []),
        "--quiet",
        "--collect",
        f"--unit=mlb-{token}",
        *settings,
        "--",
    ]


def _start_unit(log: Path, spec: Path, token: str) -> None:
    argv = [sys.executable, "-IS", "-c", RUN_SPEC, str(spec)]
    booted = Path("/run/systemd/system").is_dir()
    # A user's services end with the last logout, unless the user lingers.
    outlives_us = booted and (os.geteuid() == 0 or _succeeds(["loginctl", "enable-linger"]))
    if outlives_us and _succeeds([*systemd_argv(log, token, user=os.geteuid() != 0), *argv]):
        return
    with log.open("ab") as output:
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=log.parent,
        )


def _succeeds(argv: list[str]) -> bool:
    """Whether a command is there and ends well."""
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def alive(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Whether the very process that started then still runs."""
    _answer(sink, {"alive": is_running(request["pid"], request["start_ticks"])})


def send_signal(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Signal the very process that started then."""
    sent = is_running(request["pid"], request["start_ticks"])
    if sent:
        try:
            os.kill(request["pid"], request["number"])
        except ProcessLookupError:
            sent = False
    _answer(sink, {"sent": sent})


def pull(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Parts of many files as one compressed stream: of each its length, 8 bytes, then its bytes."""
    os.nice(10)  # ranks are being timed beside this
    pack = zlib.compressobj(1)
    for path, offset, limit in request["slices"]:
        content = read_slice(at_home(path), offset, limit)
        sink.write(pack.compress(struct.pack("!q", len(content))) + pack.compress(content))
    sink.write(pack.flush())


def read_slice(path: Path, offset: int, limit: int) -> bytes:
    """Up to `limit` bytes of a file from an offset; nothing where there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(limit)
    except FileNotFoundError:
        return b""


def clock(_request: dict[str, Any], source: BinaryIO, sink: BinaryIO) -> None:
    """For each line that comes, the time of day."""
    _answer(sink, {"time_ns": time.time_ns()})
    while source.readline():
        _answer(sink, {"time_ns": time.time_ns()})


def receive(request: dict[str, Any], source: BinaryIO, sink: BinaryIO) -> None:
    """Take in a file: says from which byte on it is missing, checks the whole, puts it in its place in one step.

    Another receiver, left behind by a link that broke, may still be writing: both write the same bytes at the same
    places, since the name of the part holds the content's checksum.
    """
    target, size, sha256 = at_home(request["path"]), request["size_bytes"], request["sha256"]
    if target.is_file() and target.stat().st_size == size and sha256_of(target) == sha256:
        _answer(sink, {"offset": size})
        return _answer(sink, {"sha256": sha256})
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{sha256[:16]}.part")
    handle = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        offset = min(os.fstat(handle).st_size, size)
        _answer(sink, {"offset": offset})
        while offset < size and (piece := source.read1(min(CHUNK, size - offset))):  # type: ignore[attr-defined]
            offset += os.pwrite(handle, piece, offset)
        if offset < size:
            return None  # the sender is gone; the next one goes on from here
        os.fsync(handle)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    return _answer(sink, {"sha256": _put_in_place(part, target, sha256)})


def _put_in_place(part: Path, target: Path, sha256: str) -> str:
    """Make a part that is whole the file; gives the checksum of what is there, none where nothing is."""
    try:
        found = sha256_of(part)
        if found == sha256:
            part.replace(target)
        else:
            part.unlink()
        return found
    except FileNotFoundError:
        # The other receiver was done first, and with the same content.
        return sha256_of(target) if target.is_file() else ""


def give(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Give a file from an offset on: its size, its bytes, its checksum."""
    with at_home(request["path"]).open("rb") as file:
        left = os.fstat(file.fileno()).st_size
        _answer(sink, {"size_bytes": left})
        digest = hashlib.sha256()
        while left and (piece := file.read(min(CHUNK, left))):
            start_at = max(0, request["offset"] - file.tell() + len(piece))
            digest.update(piece)
            sink.write(piece[start_at:])
            left -= len(piece)
    _answer(sink, {"sha256": digest.hexdigest()})


def at_home(path: str | PurePath) -> Path:
    """A path on this machine; a relative one starts in the user's home folder."""
    return Path.home() / path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; by pieces, as Python 3.8 has no `file_digest`."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _answer(sink: BinaryIO, value: Any) -> None:
    sink.write(json.dumps(value).encode() + b"\n")
    sink.flush()


VERBS = {f.__name__: f for f in (start, alive, send_signal, pull, clock, receive, give)}


def main(verb: str) -> None:
    """Do one verb, one of these or one that another file of the program added."""
    source = sys.stdin.buffer
    try:
        VERBS[verb](json.loads(source.readline()), source, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except OSError as error:
        said = {"errno": error.errno, "error": error.strerror or str(error), "path": str(error.filename or "")}
        sys.stderr.write(json.dumps(said) + "\n")
        raise SystemExit(FAILED) from None
    except Refused as error:
        sys.stderr.write(json.dumps({"what": str(error), "lines": list(error.lines)}) + "\n")
        raise SystemExit(REFUSED) from None
