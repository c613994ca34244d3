"""Where a fleet's files lie on this machine, written so that a crash leaves the old file or the new one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DiskFull, Locked, ResultsInvalid
from .blueprint import iso

LOCK_POLL_S = 0.1
ORPHAN_GRACE_S = 60.0
NEEDED_BYTES = {"aws": 1_000_000_000, "gcp": 500_000_000, "docker": 50_000_000}
"""A cloud's provider is downloaded into the fleet's folder: that of AWS has 700 MB."""


def state_home(environ: Mapping[str, str] = os.environ) -> Path:
    """`$MLB_HOME/state`, or `mlb` in the user's state folder."""
    if environ.get("MLB_HOME"):
        return Path(environ["MLB_HOME"]).absolute() / "state"
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "mlb"


@dataclass(frozen=True)
class FleetFolder:
    """The paths of one fleet. Everything is for the owner alone: 0700 and 0600."""

    home: Path
    name: str

    @property
    def path(self) -> Path:
        return self.home / "fleets" / self.name

    @property
    def fleet_json(self) -> Path:
        return self.path / "fleet.json"

    @property
    def module(self) -> Path:
        """The rendered root module with its state, kept so that a later mlb can destroy what this one made."""
        return self.path / "module"

    @property
    def plan_file(self) -> Path:
        return self.module / "saved.plan"

    @property
    def has_state(self) -> bool:
        """Whether Terraform has a state: here, or in a bucket that it was told of."""
        return any((self.module / name).exists() for name in ("terraform.tfstate", ".terraform/terraform.tfstate"))

    @property
    def key(self) -> Path:
        return self.path / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.path / "known_hosts"

    @property
    def held_by(self) -> Path:
        """The mark of the run that uses the fleet; see holder.py."""
        return self.path / "held-by.json"

    @property
    def lock_file(self) -> Path:
        # Beside the fleets, not among their files: it is held while a fleet's folder is removed.
        return self.home / "locks" / f"{self.name}.lock"

    def create(self) -> None:
        for folder in (self.home, self.home / "fleets", self.path, self.module):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def remove(self) -> None:
        """Takes the whole folder out of sight in one step, then deletes it."""
        if self.fleet_json.exists():
            self.no_longer_current()
        gone = self.path.with_name(f".{self.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def no_longer_current(self) -> None:
        """The fleet is gone: a command that names none means this machine again, if it meant this fleet."""
        if current_name(self.home) == self.name:
            current_file(self.home).unlink(missing_ok=True)

    def make_current(self) -> None:
        """From now on a command that names no fleet means this one."""
        write_private(current_file(self.home), self.name + "\n")

    def claim_current(self) -> None:
        """As `make_current` where there is none: while machines may be there, no command may mean this machine,
        whatever ends the one that asks for them."""
        if current_name(self.home) is None:
            self.make_current()


def current_file(home: Path | None = None) -> Path:
    """Holds the name of the current fleet; it is not there where there is none."""
    return (home or state_home()) / "current"


def current_name(home: Path | None = None) -> str | None:
    """The name of the current fleet: the one applied last, unless it was destroyed."""
    try:
        return current_file(home).read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def refuse_if_full(folder: FleetFolder, need_bytes: int) -> None:
    """Raises DiskFull when a fleet's files would not fit: before anything is rented, and not half-way."""
    there = next(path for path in (folder.path, *folder.path.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < need_bytes:
        raise DiskFull(
            f"The fleet's files need {need_bytes / 1e6:.0f} MB in {folder.home}; {free / 1e6:.0f} MB are free.",
            fix="Make room, or set MLB_HOME to a folder on another disk.",
        )


def refuse_if_state_lost(folder: FleetFolder) -> None:
    """Raises ResultsInvalid where a fleet's state is gone or damaged: a plan would make everything a second time."""
    file = folder.module / "terraform.tfstate"
    what = "" if folder.has_state else f"Terraform's state of the fleet {folder.name} is gone."
    if file.exists() and not _is_json(file):
        what = f"{file} is damaged."
    if not what:
        return
    backup = file.with_name(f"{file.name}.backup")
    restore = f"cp {backup} {file} brings back what was there one step before; or\n" if _is_json(backup) else ""
    end = f"`mlb infra destroy --name {folder.name}` needs no state: it finds the machines by their tags."
    raise ResultsInvalid(what, fix=f"{restore}{end}")


def _is_json(file: Path) -> bool:
    try:
        return isinstance(json.loads(file.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 in one step; raises DiskFull when there is no room for it."""
    temporary: Path | None = None
    try:
        # A name of its own for every write: threads of one process write the same file, too.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary:
            temporary.unlink(missing_ok=True)
        raise DiskFull(f"{path} cannot be written.", why=str(error), fix="Make room, or set MLB_HOME.") from None


class FleetLock:
    """Held while one command works on a fleet.

    Terraform inherits the descriptor, so the lock outlives an mlb that was killed until Terraform has ended
    too: whoever comes next finds out that way, and asks that orphan to stop.
    """

    def __init__(self, folder: FleetFolder, what: str) -> None:
        self.folder = folder
        self.what = what
        self.fd = -1

    @contextlib.contextmanager
    def held(self, timeout_s: float) -> Iterator[FleetLock]:
        """Waits up to `timeout_s`; raises Locked, which names the holder."""
        for folder in (self.folder.home, self.folder.lock_file.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.fd = os.open(self.folder.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._acquire(timeout_s)
            self._write(
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "what": self.what,
                    "since": int(time.time()),
                }
            )
            yield self
            self._write({})
        finally:
            os.close(self.fd)
            self.fd = -1

    def started(self, group: int) -> None:
        """Note the process group of the running engine, for whoever finds the lock without its owner."""
        self._write({**self._read(), "group": group})

    def _acquire(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while not self._try():
            holder = self._read()
            if _is_orphaned(holder):
                _end(int(holder["group"]), self._try)
            elif time.monotonic() >= until:
                raise _locked(self.folder.name, holder)
            else:
                threading.Event().wait(LOCK_POLL_S)

    def _try(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _read(self) -> dict[str, Any]:
        try:
            holder = json.loads(os.pread(self.fd, 4096, 0) or b"{}")
        except ValueError:
            return {}
        return holder if isinstance(holder, dict) else {}

    def _write(self, holder: Mapping[str, Any]) -> None:
        # Who holds it is for messages; a full disk must not keep anyone from destroying a fleet.
        with contextlib.suppress(OSError):
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, json.dumps(holder).encode(), 0)


def _is_orphaned(holder: Mapping[str, Any]) -> bool:
    here = holder.get("host") == socket.gethostname()
    return here and "group" in holder and not _is_alive(int(holder["pid"]))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _end(group: int, is_free: Callable[[], bool]) -> None:
    """SIGINT to the orphan, so that it writes its state; SIGKILL to its group when it takes too long."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(group, signal.SIGINT)
    until = time.monotonic() + ORPHAN_GRACE_S
    while _is_alive(group) and not is_free() and time.monotonic() < until:
        threading.Event().wait(LOCK_POLL_S)
    # If the lock is still held, what is left of the group is a plugin or a provisioner's command.
    if not is_free():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def _locked(name: str, holder: Mapping[str, Any]) -> Locked:
    if not holder:
        return Locked(f"Another process works on the fleet {name}.", fix="Try again when it is done.")
    who = f"{holder.get('what')} by process {holder.get('pid')} on {holder.get('host')}"
    return Locked(
        f"The fleet {name} is locked: {who}.",
        why=f"It began at {iso(int(holder.get('since', 0)))}.",
        fix="Try again when it is done, or wait longer with --lock-timeout.",
    )
