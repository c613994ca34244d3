"""Bring one file over HTTP: resumed where it was cut, and in its place only once every byte is right."""

from __future__ import annotations

import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import Request

from ..errors import DataCorrupt, DataMissing
from .files import check, disk_errors

Progress = Callable[[int, int], None]
"""Called with (bytes there, bytes in all); the second is 0 where the server does not say."""

Opener = Callable[[Request, float], HTTPResponse]
"""Sends a request with a timeout in seconds, for each wait of the connection."""

_TIMEOUT_S = 20.0
_ATTEMPTS = 4
_CHUNK_BYTES = 1 << 16
_HEADERS = {
    # wikitext.smerity.com answers 403 to urllib's own name.
    "User-Agent": "Mozilla/5.0 (compatible; mlb dataset download)",
    # A compressed answer would have another length and another checksum.
    "Accept-Encoding": "identity",
}


def fetch(
    url: str,
    into: Path,
    *,
    size_bytes: int,
    sha256: str | None,
    progress: Progress | None = None,
    opener: Opener | None = None,
    attempts: int = _ATTEMPTS,
    timeout_s: float = _TIMEOUT_S,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Download `url` to the file `into`, whose folder exists; `into` is never seen half-written.

    What has arrived is kept in `<into>.part` and resumed by a later attempt or a later call. The caller makes
    sure that no other process fetches to the same place (`files.exclusive`).

    Args:
        url: an http or https URL.
        into: the file to write; if it already has the right bytes, nothing is done.
        size_bytes: the exact size, or, where `sha256` is None, the largest size accepted.
        sha256: what the bytes must hash to; None for an archive whose members are checked instead. A later
            call does not resume such a download: nothing could tell whether its two parts belong together.
        progress: told about each piece that arrives.
        opener: stands in for urllib.
        attempts: how often to connect before giving up.
        timeout_s: seconds without a byte after which an attempt fails.
        pause: waits for the seconds given, between two attempts.

    Raises:
        DataMissing: the server cannot be reached, or does not have it; `why` is one short line.
        DataCorrupt: the server delivers something else; `why` is one short line.
        DiskFull: no room for it.
    """
    if sha256 is not None and check(into, size_bytes, sha256).state == "ok":
        return
    part = into.with_name(into.name + ".part")
    job = _Job(url, part, size_bytes, sha256, progress, opener or _urlopen, timeout_s)
    if sha256 is None:
        part.unlink(missing_ok=True)
    resumed = part.exists()
    try:
        _receive_all(job, attempts, pause)
        if resumed and job.problem():
            # The server's file changed since the first part came: only a whole new copy can be right.
            part.unlink()
            _receive_all(job, attempts, pause)
        if problem := job.problem():
            part.unlink()
            raise job.corrupt(problem)
        with disk_errors(into, size_bytes):
            _sync(part)
            part.replace(into)
    finally:
        if part.exists() and (sha256 is None or not part.stat().st_size):
            part.unlink()  # nothing that a later call could use


@dataclass(frozen=True)
class _Job:
    url: str
    part: Path
    size_bytes: int
    sha256: str | None
    progress: Progress | None
    opener: Opener
    timeout_s: float

    @property
    def exact(self) -> bool:
        return self.sha256 is not None

    @property
    def expected(self) -> str:
        return f"{'' if self.exact else 'at most '}{self.size_bytes:,} bytes"

    def problem(self) -> str:
        """What is wrong with the bytes received, or nothing."""
        return check(self.part, self.size_bytes, self.sha256).problem if self.sha256 is not None else ""

    def missing(self, why: str) -> DataMissing:
        return DataMissing(f"{self.url} cannot be downloaded.", why=why)

    def corrupt(self, why: str) -> DataCorrupt:
        return DataCorrupt(f"{self.url} delivers something else than expected.", why=why)


class _TryAgain(Exception):
    """This attempt failed in a way that the next one may not."""


def _receive_all(job: _Job, attempts: int, pause: Callable[[float], None]) -> None:
    """Fill the part file, over as many connections as it takes, up to `attempts`."""
    reason = ""
    for attempt in range(attempts):
        if attempt:
            pause(min(2.0 ** (attempt - 1), 8.0))
        try:
            # The network's errors are caught below: what gets here is the disk's, closing the file included.
            with disk_errors(job.part, job.size_bytes), job.part.open("ab") as file:
                _receive(job, file)
        except _TryAgain as error:
            reason = str(error)
        else:
            return
    raise job.missing(f"{reason} (tried {attempts} times)")


def _receive(job: _Job, file: BinaryIO) -> None:
    """One attempt: append to `file` what it still lacks, or replace it where the server cannot resume."""
    have = file.seek(0, os.SEEK_END)
    if job.exact and have == job.size_bytes:
        return
    if have > job.size_bytes:
        have = file.truncate(0)
    with _connect(job, file, have) as response:
        have = have if response.status == 206 else 0
        total = _total(job, response, have)
        if not have:
            file.truncate(0)
        elif _range_start(response) != have:
            file.truncate(0)
            raise _TryAgain("the server resumed at the wrong place")
        for chunk in _chunks(response):
            have += len(chunk)
            if have > job.size_bytes:
                raise job.corrupt(f"{job.expected} expected, more delivered")
            file.write(chunk)
            file.flush()
            if job.progress:
                job.progress(have, total)
    if have < total or (job.exact and have < job.size_bytes):
        raise _TryAgain(f"the connection was cut after {have:,} bytes")


def _connect(job: _Job, file: BinaryIO, have: int) -> HTTPResponse:
    """Ask for the bytes from `have` on."""
    headers = {**_HEADERS, "Range": f"bytes={have}-"} if have else _HEADERS
    request = Request(job.url, headers=headers)  # noqa: S310 (_urlopen takes HTTP alone)
    try:
        return job.opener(request, job.timeout_s)
    except HTTPError as error:
        with error:
            reason = f"HTTP {error.code} {error.reason}"
        if error.code == 416:
            file.truncate(0)  # the server's file ends before ours: another file
        if error.code in {408, 416, 429} or error.code >= 500:
            raise _TryAgain(reason) from error
        raise job.missing(reason) from error
    except URLError as error:
        if isinstance(error.reason, ConnectionResetError):
            raise _TryAgain(_short(error.reason)) from error
        # No such host, refused, or not one answer within the timeout: soon again will not help.
        raise job.missing(_short(error.reason)) from error
    except (OSError, HTTPException) as error:
        raise _TryAgain(_short(error)) from error


def _range_start(response: HTTPResponse) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _total(job: _Job, response: HTTPResponse, have: int) -> int:
    """Bytes that the file will have when this response is complete; 0 where the server does not say.

    Raises:
        DataCorrupt: it will have another size than the one expected.
    """
    length = response.headers.get("Content-Length", "")
    if not length.isdecimal():
        return job.size_bytes if job.exact else 0
    total = have + int(length)
    if total > job.size_bytes or (job.exact and total < job.size_bytes):
        raise job.corrupt(f"{job.expected} expected, {total:,} offered")
    return total


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    """The body as it arrives: `read1` hands over what is there, so that a cut loses nothing."""
    while True:
        try:
            chunk = response.read1(_CHUNK_BYTES)
        except (OSError, HTTPException) as error:
            raise _TryAgain(_short(error)) from error
        if not chunk:
            return
        yield chunk


def _urlopen(request: Request, timeout_s: float) -> HTTPResponse:
    if request.type not in {"http", "https"}:
        raise URLError(f"{request.type} is not HTTP")
    response: HTTPResponse = urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310 (checked above)
    return response


def _short(error: object) -> str:
    """An error in a few words."""
    text = str(getattr(error, "strerror", None) or error)
    return text[:1].lower() + text[1:] if text else type(error).__name__


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
