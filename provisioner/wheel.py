"""mlb itself as a wheel, for the nodes: made from the files that this very process runs from.

It is written here, not by a build tool: an installed mlb has no pyproject.toml to build from, and 30 ms are less than
any build tool's start.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from .. import __version__

_NAME = f"mlb-{__version__}-py3-none-any.whl"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""A fixed date: equal sources make equal bytes."""


@dataclass(frozen=True)
class Wheel:
    """The wheel file and what it is known by."""

    path: Path
    sha256: str


def build(cache_dir: Path, package: Path | None = None) -> Wheel:
    """The wheel of this mlb; the file is written once for each state of its sources.

    Args:
        cache_dir: where it is kept.
        package: the package's folder; None for the running one's.

    Raises:
        OSError: the cache cannot be written.
    """
    content = _content(package or Path(__file__).resolve().parents[1])
    sha256 = hashlib.sha256(content).hexdigest()
    path = cache_dir / "wheels" / sha256[:16] / _NAME
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    return Wheel(path, sha256)


def _content(package: Path) -> bytes:
    about = f"mlb-{__version__}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: mlb\nVersion: {__version__}\n"
    wheel = "Wheel-Version: 1.0\nGenerator: mlb\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {f"mlb/{path.relative_to(package).as_posix()}": path.read_bytes() for path in _sources(package)}
    files |= {f"{about}/METADATA": metadata.encode(), f"{about}/WHEEL": wheel.encode()}
    record = "".join(f"{name},{_digest(content)},{len(content)}\n" for name, content in files.items())
    files[f"{about}/RECORD"] = f"{record}{about}/RECORD,,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return packed.getvalue()


def _sources(package: Path) -> list[Path]:
    """What a wheel of the package holds: its root's modules and every room; a checkout has more beside them."""
    rooms = [path.parent for path in package.glob("*/__init__.py")]
    found = [*package.glob("*.py"), package / "py.typed"]
    found += [path for room in rooms for path in room.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return sorted(path for path in found if path.is_file())


def _digest(content: bytes) -> str:
    """As the RECORD of a wheel has it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
