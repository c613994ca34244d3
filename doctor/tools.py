"""Checks of the programs that mlb calls: Terraform, Docker's engine, ssh."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from ..errors import PreflightError
from ..infra.engine import find_engine
from .finding import Finding, Place, fail, ok, warn


def terraform(place: Place) -> Iterator[Finding]:
    """There and new enough; without it no fleet can be rented, and none given back."""
    try:
        engine = find_engine(place.environ)
    except PreflightError as error:
        yield fail("terraform", " ".join(part for part in (error.what, error.why) if part), error.fix)
        return
    yield ok("terraform", f"{engine.kind} {engine.version}")


def docker(place: Place) -> Iterator[Finding]:
    """Whether the engine answers on its socket; only fleets of `--cloud docker` need it."""
    address = place.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        yield ok("docker", f"the engine is elsewhere: {address}")
        return
    path = Path(address.removeprefix("unix://"))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(5)
            door.connect(str(path))
            door.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            answer = door.recv(64)
    except PermissionError:
        fix = "sudo usermod -aG docker $USER, then log in again"
        yield fail("docker", f"{path} may not be opened by this user", fix)
    except OSError as error:
        fix = "Needed for --cloud docker only: sudo systemctl start docker, or apt-get install docker.io"
        yield warn("docker", f"no engine answers at {path} ({error.strerror or error})", fix)
    else:
        if b" 200 " in answer:
            yield ok("docker", f"the engine answers at {path}")
        else:
            yield warn("docker", f"what listens at {path} does not answer like Docker", "Set DOCKER_HOST.")


def ssh(place: Place) -> Iterator[Finding]:
    """The programs beside the library: `mlb infra ssh` calls one, new keys come from the other."""
    missing = [name for name in ("ssh", "ssh-keygen") if not shutil.which(name, path=place.environ.get("PATH"))]
    if missing:
        yield fail("ssh", f"{' and '.join(missing)} not found on PATH", "apt-get install openssh-client")
    else:
        yield ok("ssh", "ssh and ssh-keygen are there")
