"""`fetch` against a real server: every byte right, whatever the connection does."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from mlb.datasets.download import fetch
from mlb.datasets.files import disk_errors
from mlb.errors import DataCorrupt, DataMissing, DiskFull, PreflightError

BODY = bytes(range(256)) * 1200
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "file.bin"


def get(url: str, into: Path, **options: Any) -> list[float]:
    """Fetch BODY; returns the pauses that were made."""
    pauses: list[float] = []
    fetch(url, into, **{"size_bytes": len(BODY), "sha256": SHA256, "pause": pauses.append, **options})
    return pauses


def leftovers(into: Path) -> list[str]:
    return sorted(path.name for path in into.parent.iterdir() if path != into)


def test_a_file_arrives_whole_and_says_how_far_it_is(server: Any, into: Path) -> None:
    seen: list[tuple[int, int]] = []
    get(server.serve("/f", BODY), into, progress=lambda done, total: seen.append((done, total)))
    assert into.read_bytes() == BODY
    assert leftovers(into) == []
    assert seen == sorted(seen)
    assert seen[-1] == (len(BODY), len(BODY))


def test_a_cut_connection_is_resumed_where_it_was_cut(server: Any, into: Path) -> None:
    pauses = get(server.serve("/f", BODY, cuts=[1000, 500]), into)
    assert into.read_bytes() == BODY
    assert [asked for _, asked in server.asked] == [None, "bytes=1000-", "bytes=1500-"]
    assert pauses == [1, 2]


def test_a_cut_is_resumed_by_a_later_call(server: Any, into: Path) -> None:
    url = server.serve("/f", BODY, cuts=[1000])
    with pytest.raises(DataMissing, match=r"cut after 1,000 bytes \(tried 1 times\)"):
        get(url, into, attempts=1)
    assert leftovers(into) == ["file.bin.part"]
    assert not into.exists()
    get(url, into)
    assert into.read_bytes() == BODY
    assert server.asked[-1] == ("/f", "bytes=1000-")


def test_a_server_that_ignores_ranges_is_read_from_the_start(server: Any, into: Path) -> None:
    get(server.serve("/f", BODY, cuts=[1000], ranges=False), into)
    assert into.read_bytes() == BODY
    assert [asked for _, asked in server.asked] == [None, "bytes=1000-"]


@pytest.mark.parametrize("part", [b"x" * 1000, b"x" * len(BODY), b"x" * (len(BODY) + 1)])
def test_a_part_of_another_file_is_started_over(server: Any, into: Path, part: bytes) -> None:
    into.with_name("file.bin.part").write_bytes(part)
    get(server.serve("/f", BODY), into)
    assert into.read_bytes() == BODY
    assert leftovers(into) == []
    assert server.asked[-1] == ("/f", None)


def test_a_complete_part_needs_no_connection(server: Any, into: Path) -> None:
    into.with_name("file.bin.part").write_bytes(BODY)
    get(server.url("/not-there"), into)
    assert into.read_bytes() == BODY
    assert server.asked == []


def test_a_server_whose_file_became_shorter_is_found_out(server: Any, into: Path) -> None:
    into.with_name("file.bin.part").write_bytes(BODY[:2000])
    with pytest.raises(DataCorrupt, match="307,200 bytes expected, 1,500 offered"):
        get(server.serve("/f", BODY[:1500]), into)
    assert leftovers(into) == []


@pytest.mark.parametrize(
    ("body", "how", "why"),
    [
        (BODY[:-1] + b"x", {}, "SHA-256 .* expected, .* found"),
        (BODY + b"x", {}, "307,200 bytes expected, 307,201 offered"),
        (BODY + b"x", {"announces_length": False}, "307,200 bytes expected, more delivered"),
        (b"<html>Please log in</html>", {}, "307,200 bytes expected, 26 offered"),
    ],
    ids=["altered", "longer", "longer, unannounced", "captive portal"],
)
def test_wrong_bytes_never_get_to_the_file(server: Any, into: Path, body: bytes, how: dict[str, Any], why: str) -> None:
    into.write_bytes(b"the old file")
    with pytest.raises(DataCorrupt, match=why):
        get(server.serve("/f", body, **how), into)
    assert into.read_bytes() == b"the old file"


def test_a_captive_portal_does_not_cost_what_has_arrived(server: Any, into: Path) -> None:
    part = into.with_name("file.bin.part")
    part.write_bytes(BODY[:2000])
    with pytest.raises(DataCorrupt, match="offered"):
        get(server.serve("/f", b"<html>Please log in</html>", ranges=False), into)
    assert part.read_bytes() == BODY[:2000]


def test_the_right_file_is_not_fetched_again(server: Any, into: Path) -> None:
    into.write_bytes(BODY)
    get(server.serve("/f", BODY), into)
    assert server.asked == []


def test_a_wrong_file_is_replaced(server: Any, into: Path) -> None:
    into.write_bytes(BODY[:-1] + b"x")
    get(server.serve("/f", BODY), into)
    assert into.read_bytes() == BODY


def test_an_unpinned_file_has_a_largest_size(server: Any, into: Path) -> None:
    get(server.serve("/f", BODY, announces_length=False), into, sha256=None, size_bytes=len(BODY) + 1)
    assert into.read_bytes() == BODY
    with pytest.raises(DataCorrupt, match="at most 1,000 bytes expected"):
        get(server.serve("/g", BODY), into.with_name("other"), sha256=None, size_bytes=1000)


def test_an_unpinned_file_does_not_resume_an_older_part(server: Any, into: Path) -> None:
    into.with_name("file.bin.part").write_bytes(b"x" * 1000)
    get(server.serve("/f", BODY), into, sha256=None)
    assert into.read_bytes() == BODY


def test_an_unpinned_file_that_was_cut_leaves_no_part(server: Any, into: Path) -> None:
    with pytest.raises(DataMissing, match="cut after 1,000 bytes"):
        get(server.serve("/f", BODY, cuts=[1000]), into, sha256=None, attempts=1)
    assert list(into.parent.iterdir()) == []


def test_a_busy_server_is_asked_again(server: Any, into: Path) -> None:
    assert get(server.serve("/f", BODY, statuses=[503, 429]), into) == [1, 2]
    assert into.read_bytes() == BODY


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(server: Any, into: Path, status: int) -> None:
    with pytest.raises(DataMissing, match=f"HTTP {status} "):
        get(server.serve("/f", BODY, statuses=[status]), into)
    assert len(server.asked) == 1
    assert leftovers(into) == []


def test_a_server_that_rejects_urllib_takes_us(server: Any, into: Path) -> None:
    url = server.serve("/f", BODY)
    with pytest.raises(HTTPError, match="403") as refused:
        urllib.request.urlopen(url)  # noqa: S310 (our own server)
    refused.value.close()
    get(url, into)
    assert into.read_bytes() == BODY


def test_no_server_at_all_is_said_at_once(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(DataMissing, match="connection refused") as refused:
            get(f"http://127.0.0.1:{unused.getsockname()[1]}/f", into, pause=pytest.fail)
    assert "\n" not in refused.value.why
    assert leftovers(into) == []


def test_only_http_is_spoken(into: Path) -> None:
    with pytest.raises(DataMissing, match="file is not HTTP"):
        get("file:///etc/hostname", into)


def test_a_silent_server_times_out(server: Any, into: Path) -> None:
    url = server.serve("/f", BODY, hold_after=1000)
    with pytest.raises(DataMissing, match=r"timed out \(tried 2 times\)"):
        get(url, into, timeout_s=0.1, attempts=2)
    assert into.with_name("file.bin.part").stat().st_size == 2000


KILLED = """
import sys
from pathlib import Path
from mlb.datasets.download import fetch
from mlb.datasets.files import disk_errors
url, into, size, sha256 = sys.argv[1:]
fetch(url, Path(into), size_bytes=int(size), sha256=sha256, progress=lambda done, total: print(done, flush=True))
"""


def test_a_killed_download_is_resumed(server: Any, into: Path, child_environment: dict[str, str]) -> None:
    url = server.serve("/f", BODY, hold_after=200_000)
    argv = [sys.executable, "-c", KILLED, url, str(into), str(len(BODY)), SHA256]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=child_environment) as child:
        assert child.stdout is not None
        assert any(int(line) == 200_000 for line in iter(child.stdout.readline, b""))
        child.kill()
    assert not into.exists()
    assert into.with_name("file.bin.part").read_bytes() == BODY[:200_000]
    server.serve("/f", BODY)
    get(url, into)
    assert into.read_bytes() == BODY
    assert server.asked[-1] == ("/f", "bytes=200000-")
    assert leftovers(into) == []


FULL = """
import resource, sys
from pathlib import Path
from mlb.datasets.download import fetch
from mlb.datasets.files import disk_errors
from mlb.errors import DiskFull
url, into, size, sha256 = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    fetch(url, Path(into), size_bytes=int(size), sha256=sha256)
except DiskFull as error:
    print(error)
"""


def test_a_full_disk_is_named(server: Any, into: Path, child_environment: dict[str, str]) -> None:
    argv = [sys.executable, "-c", FULL, server.serve("/f", BODY), str(into), str(len(BODY)), SHA256]
    child = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, env=child_environment)
    assert child.stdout.startswith(f"There is no room for {into}.part.\nIt needs 307,200 bytes: ")
    assert not into.exists()


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (errno.ENOSPC, DiskFull, "There is no room for /cache/file"),
        (errno.EDQUOT, DiskFull, "It needs 1,234 bytes"),
        (errno.EFBIG, DiskFull, "Free some space"),
        (errno.EACCES, PreflightError, "/cache/file cannot be written"),
        (errno.EROFS, PreflightError, "Read-only file system"),
        (errno.EIO, OSError, "Input/output error"),
    ],
)
def test_errors_of_the_disk_are_told_apart(code: int, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as raised, disk_errors(Path("/cache/file"), 1234):
        raise OSError(code, os.strerror(code))
    assert type(raised.value) is kind
