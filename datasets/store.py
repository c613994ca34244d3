"""Prepared data sets on disk: one folder each, written in one step, verified whenever it is read.

The layout:

    <cache>/prepared/<name>-<first 12 digits of the fingerprint>/
        train.i32  test_labels.u8  …        arrays: nothing but numbers, little-endian, the last axis fastest
        vocabulary.txt  …                   what else the data set needs
        meta.json                           what was made from what; of each array type and shape; checksums
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .files import disk_errors, sha256_of
from .writing import Writing

SCHEMA_VERSION = 2

_TEMPORARY = ".making-"
UNFINISHED = ".unfinished-"
"""Begins the name of a folder that a later preparation goes on with."""

_VERIFIED_BYTES = 4 << 30
"""Up to so many bytes a data set's checksums are verified whenever it is used; above, its sizes."""


@dataclass(frozen=True)
class Prepared:
    """A prepared data set."""

    path: Path
    """Its folder."""
    name: str
    """`wikitext-2`, `synthetic`, …"""
    origin: str
    """For people: `the folder X`, `cache`, `downloaded from HOST` or `generated, seed 1`."""
    fingerprint: str
    """SHA-256 of everything that determines the arrays: equal fingerprints, equal data."""
    unit: str
    """What is counted: `tokens`, `images`, `rows`, `sentence pairs`."""
    counts: dict[str, int]
    """Split -> how many of them."""
    vocabulary_size: int | None = None
    """None where the data has no words."""
    best_possible: float | None = None
    """The best value of the task's metric that any model can reach in expectation; None where nobody knows it."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Reason -> how many raw items were left out for it."""
    changed: dict[str, int] = field(default_factory=dict)
    """What was done -> how many raw items it was done to, where they could not be taken as they are."""


@dataclass(frozen=True)
class Recipe:
    """What a prepared data set is made from."""

    name: str
    inputs: Mapping[str, Any]
    """Everything that determines the arrays, as plain data."""

    @property
    def fingerprint(self) -> str:
        plain = json.dumps({"format": SCHEMA_VERSION, "name": self.name, **self.inputs}, sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()

    def folder(self, cache_dir: Path) -> Path:
        """Where it lies when it is made."""
        return prepared_root(cache_dir) / f"{self.name}-{self.fingerprint[:12]}"


def prepared_root(cache_dir: Path) -> Path:
    """The folder of all prepared data sets."""
    return cache_dir / "prepared"


def read(folder: Path, *, thorough: bool = False) -> Prepared | None:
    """The prepared data set in `folder`, each file verified; None if there is none, or it is damaged.

    Args:
        thorough: verify checksums also where that means to read very much.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text())
        prepared = Prepared(path=folder, **meta["prepared"])
        if meta["schema_version"] != SCHEMA_VERSION or not folder.name.endswith(prepared.fingerprint[:12]):
            return None
        files = meta["files"]
        sound = all((folder / name).stat().st_size == files[name]["bytes"] for name in files)
        if sound and (thorough or sum(entry["bytes"] for entry in files.values()) <= _VERIFIED_BYTES):
            sound = all(sha256_of(folder / name) == files[name]["sha256"] for name in files)
        return prepared if sound else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_latest(cache_dir: Path, name: str, inputs: Mapping[str, Any]) -> Prepared | None:
    """The last data set made of that name, whatever raw files it was made from; `inputs` are the others.

    For raw files that nobody keeps twice: a machine that was given the prepared data set alone can use it.
    """
    for folder in sorted(folders(cache_dir), key=lambda path: path.stat().st_mtime, reverse=True):
        prepared = read(folder) if folder.name.rpartition("-")[0] == name else None
        if prepared is not None:
            made_from = json.loads((folder / "meta.json").read_text())["made_from"]
            if {key: value for key, value in made_from.items() if key != "files"} == inputs:
                return prepared
    return None


@contextmanager
def writing(cache_dir: Path, recipe: Recipe, *, origin: str, keep: bool = False) -> Iterator[Writing]:
    """Make a data set: what the block writes is put in its place in one step; a damaged one there is replaced.

    The caller is the only process that writes below `prepared_root` (`files.exclusive`).

    Args:
        cache_dir: the cache.
        recipe: what it is made from.
        origin: where it comes from, for people.
        keep: leave what was written where the block does not end well, for a later call to go on from.

    Raises:
        DiskFull: no room for it; nothing is left behind, unless to `keep`.
    """
    final = recipe.folder(cache_dir)
    with _kept(final) if keep else _temporary(final.parent) as folder:
        making = Writing(folder)
        with disk_errors(final, 0), closing(making):
            yield making
            files = making.finish()
            making.write("meta.json", _meta(prepared_from(making, final, recipe, origin), recipe, files))
            if final.exists():
                # Renamed before it is deleted: a kill between the two leaves no half-deleted folder in its place.
                final.rename(folder.with_name(f"{folder.name}-old"))
            folder.rename(final)


def prepared_from(making: Writing, final: Path, recipe: Recipe, origin: str) -> Prepared:
    """What `making` describes, once it lies in `final`."""
    return Prepared(
        path=final,
        name=recipe.name,
        origin=origin,
        fingerprint=recipe.fingerprint,
        unit=making.unit,
        counts=dict(making.counts),
        vocabulary_size=making.vocabulary_size,
        best_possible=making.best_possible,
        skipped={reason: n for reason, n in making.skipped.items() if n},
        changed={what: n for what, n in making.changed.items() if n},
    )


def folders(cache_dir: Path) -> list[Path]:
    """The folders of all prepared data sets, whole or damaged."""
    root = prepared_root(cache_dir)
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def clean(cache_dir: Path) -> None:
    """Delete what killed writers left; for the one process that holds the lock."""
    for path in prepared_root(cache_dir).glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def _meta(prepared: Prepared, recipe: Recipe, files: Mapping[str, Any]) -> bytes:
    about = {name: value for name, value in asdict(prepared).items() if name != "path"}
    meta = {"schema_version": SCHEMA_VERSION, "prepared": about, "files": files, "made_from": recipe.inputs}
    return (json.dumps(meta, indent=2) + "\n").encode()


@contextmanager
def _kept(final: Path) -> Iterator[Path]:
    """A folder that the next preparation of the same data set finds again, until it is put in its place."""
    folder = final.with_name(f"{UNFINISHED}{final.name}")
    # Of raw files that have changed since: nothing goes on with it.
    for other in final.parent.glob(f"{UNFINISHED}{final.name.rpartition('-')[0]}-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    yield folder
    shutil.rmtree(folder.with_name(f"{folder.name}-old"), ignore_errors=True)


@contextmanager
def _temporary(root: Path) -> Iterator[Path]:
    """A new folder below `root`, deleted if it is still there at the end, and with it what it replaced."""
    folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder.with_name(f"{folder.name}-old"), ignore_errors=True)
