"""A Docker engine of the tests' own: started by hand, with absolute paths, and stopped again."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .cache import cache_dir

RECIPE = ("debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm")
CONTENT = hashlib.sha256(" ".join(RECIPE).encode()).hexdigest()[:8]
BASE = f"mlb-test-base:bookworm-{CONTENT}"


def engine_binary() -> str | None:
    """`dockerd`, where this user could start it."""
    return shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") if os.geteuid() == 0 else None


@contextmanager
def running_engine(folder: Path) -> Iterator[str]:
    """The engine's socket; it is up once `docker version` answers."""
    binary = engine_binary()
    assert binary
    socket = f"unix://{folder}/docker.sock"
    command = [binary, "--data-root", f"{cache_dir()}/docker", "--exec-root", f"{folder}/exec"]
    command += ["--pidfile", f"{folder}/docker.pid", "-H", socket]
    with (folder / "dockerd.log").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            await_engine(socket, process, folder)
            yield socket
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def await_engine(socket: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(300):
        done = subprocess.run(["docker", "-H", socket, "version"], capture_output=True, check=False)
        if done.returncode == 0:
            return
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError((folder / "dockerd.log").read_text()[-2000:])
    raise AssertionError("dockerd does not answer")


def ensure_base(socket: str) -> None:
    """A small Debian by debootstrap, imported once."""
    docker = ["docker", "-H", socket]
    if has_base(socket):
        return
    root = cache_dir() / f"rootfs-{CONTENT}"
    if not root.exists():
        # Under its own name only once it is whole: whoever is killed half-way leaves nothing that looks done.
        unfinished = cache_dir() / f"rootfs-{CONTENT}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        subprocess.run([*RECIPE, str(unfinished)], check=True, capture_output=True)
        unfinished.rename(root)
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run([*docker, "import", "-", BASE], stdin=tar.stdout, check=True, capture_output=True)


def has_base(socket: str) -> bool:
    command = ["docker", "-H", socket, "image", "inspect", BASE]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
