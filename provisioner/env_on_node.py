"""The Python environment of a node: what it has to offer, and making it; sent there as text, like `on_node`.

Two layers, so that a change of mlb costs a second and not a download of torch:

    base/<key>/    an environment with torch and numpy, made where the node's own Pythons have no torch that fits
    env/<key>/     a thin environment over a base or over the node's own Python: nothing but mlb is in it

Both are made below a lock and count as made once their record is written, last; what has no record is deleted.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from .on_node import VERBS, Refused, at_home

_CANDIDATES = ("python3", "python3.14", "python3.13", "python3.12", "python3.11", "/opt/pytorch/bin/python3")
_MORE_CANDIDATES = ("/opt/conda/bin/python3",)
_OLDEST = [3, 11]
_RECORD = "ready.json"
_LAST_LINES = 15
_STEP_S = 1500

_ABOUT = """
import importlib.util, json, sys
from importlib import metadata
def version(name):
    try: return metadata.version(name)
    except metadata.PackageNotFoundError: return ""
print(json.dumps({"version": list(sys.version_info[:3]), "prefix": sys.prefix, "torch": version("torch"),
    "has": [name for name in sys.argv[1:] if version(name)],
    "pip": bool(importlib.util.find_spec("ensurepip")),
    "sites": [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]}))
"""

_TRY_OUT = """
import json, platform
import mlb, numpy, torch
print(json.dumps({"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__,
    "mlb": mlb.__version__, "gpus": torch.cuda.device_count() if torch.cuda.is_available() else 0}))
"""


def look(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """What the node is, the environment that is wanted if it is here, else what one could be made of."""
    home = at_home(request["home"])
    gpus = _gpus()
    wanted = {**request["wanted"], "build": "cuda" if gpus else "cpu"}
    ready = [r for r in _records(home / "env") if r["wanted"] == wanted]
    said: dict[str, Any] = {
        "home": str(home),
        "gpus": len(gpus),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": _available_memory(),
        "machine": os.uname().machine,
        "env": ready[0] if ready else None,
    }
    if not ready:
        bases = [str(path.parent / "bin" / "python") for path in home.glob(f"base/*/{_RECORD}")]
        candidates = [*request["pythons"], *bases, *_CANDIDATES, *_MORE_CANDIDATES]
        said["pythons"] = _pythons(candidates, list(request["wanted"]["packages"]))
        said["uv"] = _uv(home)
    sink.write(json.dumps(said).encode() + b"\n")


def make(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Make the environment that the request describes, unless another controller has made it meanwhile."""
    home = at_home(request["home"])
    with _alone(home):
        env = home / "env" / request["key"]
        made = _record_of(env)
        if made is None:
            python = request["python"] or _base(home, request)
            made = _thin(env, python, at_home(request["wheel"]), request)
    sink.write(json.dumps(made).encode() + b"\n")


def _base(home: Path, request: dict[str, Any]) -> str:
    """The interpreter of an environment with torch and numpy, by uv or by venv and pip."""
    base = home / "base" / request["base_key"]
    python = str(base / "bin" / "python")
    if _record_of(base) is None:
        shutil.rmtree(base, ignore_errors=True)
        base.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for argv in request["steps"]:
            _step([part.format(base=base, python=python, home=home, uv=_uv(home)) for part in argv])
        _write_record(base, {"steps": request["steps"]})
    return python


def _thin(env: Path, python: str, wheel: Path, request: dict[str, Any]) -> dict[str, Any]:
    """An environment of mlb alone that sees the packages of another interpreter, whatever kind that one is."""
    shutil.rmtree(env, ignore_errors=True)
    env.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = _about(python)
    if about is None:
        raise Refused(f"{python} does not run any more")
    _step([python, "-m", "venv", "--without-pip", str(env)])
    site = next((env / "lib").glob("python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # addsitedir, not a plain path: the other interpreter's own .pth files count, too.
    lines = [f"import site; site.addsitedir({path!r})\n" for path in about["sites"]]
    (site / "packages-of-the-node.pth").write_text("".join(lines))
    said = _step([str(env / "bin" / "python"), "-P", "-c", _TRY_OUT])
    found = json.loads(said[-1])
    if request["gpus"] > found["gpus"]:
        raise Refused(f"torch {found['torch']} sees {found['gpus']} GPUs of {request['gpus']}", said)
    record = {**found, "wanted": request["wanted"], "over": python, "path": str(env / "bin" / "python")}
    _write_record(env, record)
    return record


def _records(folder: Path) -> list[dict[str, Any]]:
    found = [_record_of(path.parent) for path in folder.glob(f"*/{_RECORD}")]
    return [record for record in found if record and os.access(record["path"], os.X_OK)]


def _record_of(folder: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((folder / _RECORD).read_text()))
    except (OSError, ValueError):
        return None


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    temporary = folder / f".{_RECORD}"
    with temporary.open("w") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / _RECORD)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Be the only one that makes environments here; the kernel gives the lock back, however this ends."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / ".making").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pythons(candidates: Sequence[str], packages: Sequence[str]) -> list[dict[str, Any]]:
    """The interpreters that mlb can run on, each once, and which of the packages they have."""
    found: dict[str, dict[str, Any]] = {}
    for name in candidates:
        path = shutil.which(os.path.expanduser(name))  # noqa: PTH111  # may be a name without a folder
        about = _about(path, packages) if path else None
        if about and about["version"][:2] >= _OLDEST and about["prefix"] not in found:
            found[about["prefix"]] = {**about, "path": path}
    return list(found.values())


def _about(python: str, packages: Sequence[str] = ()) -> dict[str, Any] | None:
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        asked = subprocess.run([python, "-I", "-c", _ABOUT, *packages], capture_output=True, timeout=60, check=True)
        return dict(json.loads(asked.stdout))
    return None


def _uv(home: Path) -> str:
    """uv, where it is; installed by mlb, by its user, or on the PATH."""
    places = (home / "bin" / "uv", Path.home() / ".local" / "bin" / "uv", Path.home() / ".cargo" / "bin" / "uv")
    return next((str(path) for path in places if os.access(path, os.X_OK)), None) or shutil.which("uv") or ""


def _gpus() -> list[str]:
    with suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True)
        return [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return []


def _available_memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _step(argv: Sequence[str]) -> list[str]:
    """Run one command to its end; its output, or Refused with the last lines of it."""
    environ = {**os.environ, "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
    environ.pop("PYTHONPATH", None)
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environ,
            timeout=_STEP_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"{' '.join(argv[:4])} … could not be run", [str(error)]) from None
    lines = done.stdout.splitlines()
    if done.returncode != 0:
        raise Refused(f"{' '.join(argv[:4])} … ended with exit code {done.returncode}", lines[-_LAST_LINES:])
    return lines


def install_uv(request: dict[str, Any], _source: BinaryIO, sink: BinaryIO) -> None:
    """Put uv into the home's `bin`: from a wheel that was sent, else by the node's pip."""
    home = at_home(request["home"])
    with _alone(home):
        if not _uv(home):
            folder = home / "bin" / ".uv"
            shutil.rmtree(folder, ignore_errors=True)
            if request["wheel"]:
                with zipfile.ZipFile(at_home(request["wheel"])) as archive:
                    archive.extractall(folder)
            else:
                _step(
                    [sys.executable, "-m", "pip", "install", "--retries", "1", "--quiet", "--target", str(folder), "uv"]
                )
            program = next(path for path in sorted(folder.rglob("uv")) if path.is_file())
            program.chmod(0o755)
            program.replace(home / "bin" / "uv")
            shutil.rmtree(folder, ignore_errors=True)
    sink.write(json.dumps({"uv": _uv(home)}).encode() + b"\n")


VERBS.update(look=look, make=make, install_uv=install_uv)
