"""This machine as a node: the same promises as over SSH; and the command in front of a unit where systemd runs."""

from __future__ import annotations

import shlex
from pathlib import Path, PurePosixPath

import psutil
import pytest
from mlb.provisioner.on_node import _put_in_place, sha256_of, systemd_argv
from mlb.provisioner.transport import LocalTransport, Slice
from support import wait_until


def test_a_command_and_its_end() -> None:
    done = LocalTransport().run(["sh", "-c", "cat; echo bad >&2; exit 3"], stdin=b"\xff", timeout_s=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"\xff", b"bad\n")
    assert LocalTransport().run(["sh", "-c", "kill -9 $$"], timeout_s=60).returncode < 0


def test_a_command_past_its_time_leaves_nothing(tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! >{tmp_path}/pid; wait"
    assert LocalTransport().run(["sh", "-c", script], timeout_s=0.5).returncode == 124
    pid = int((tmp_path / "pid").read_text())
    # It has been killed by now; the kernel takes a moment to end it.
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", f"the end of {pid}")


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    here = LocalTransport()
    (tmp_path / "a").write_bytes(b"0123456789")
    seen: list[tuple[int, int]] = []
    here.put(tmp_path / "a", PurePosixPath("deep/b"), lambda *at: seen.append(at))
    here.get(PurePosixPath("deep/b"), tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == b"0123456789"
    assert seen == [(10, 10)]
    slices = [Slice(PurePosixPath("deep/b"), 3, 4), Slice(tmp_path / "none", 0, 4), Slice(tmp_path / "a", 99, 1)]
    assert here.pull(slices) == [b"3456", b"", b""]
    with pytest.raises(FileNotFoundError):
        here.put(tmp_path / "none", PurePosixPath("deep/d"))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["b"]
    assert here.clock().offset_s == 0


def test_a_unit_of_systemd() -> None:
    argv = systemd_argv(Path("/h/run/node.log"), "ab12", user=True)
    assert shlex.join(argv) == (
        "systemd-run --user --quiet --collect --unit=mlb-ab12 --property=Delegate=yes --property=KillMode=mixed "
        "--property=OOMPolicy=continue --property=TasksMax=infinity --property=LimitMEMLOCK=infinity "
        "--property=StandardOutput=append:/h/run/node.log --property=StandardError=append:/h/run/node.log "
        "--property=WorkingDirectory=/h/run --"
    )
    assert "--user" not in systemd_argv(Path("/l"), "ab12", user=False)


def test_a_part_that_another_receiver_has_put_in_its_place_is_there(tmp_path: Path) -> None:
    part, target = tmp_path / "part", tmp_path / "file"
    target.write_bytes(b"whole")
    whole = sha256_of(target)
    assert _put_in_place(part, target, whole) == whole
    target.unlink()
    assert _put_in_place(part, target, whole) == ""
    part.write_bytes(b"torn")
    assert _put_in_place(part, target, whole) not in ("", whole)
    assert not part.exists()
    assert not target.exists()
