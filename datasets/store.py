"""Prepared data sets on disk: one folder each, written in one step, verified whenever it is read.

The layout:

    <cache>/prepared/<name>-<first 12 digits of the fingerprint>/
        train.i32  valid.i32  test.i32      token ids, little-endian int32
        vocabulary.txt                      one word a line, in the order of the ids
        meta.json                           what was made from what, and the checksum of each file
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import disk_errors, sha256_of
from .sources import SPLITS

SCHEMA_VERSION = 1

_TEMPORARY = ".making-"


@dataclass(frozen=True)
class Prepared:
    """A prepared data set."""

    path: Path
    """Its folder."""
    name: str
    """`wikitext-2` or `synthetic`."""
    origin: str
    """For people: `the folder X`, `cache`, `downloaded from HOST` or `generated, seed 1`."""
    fingerprint: str
    """SHA-256 of everything that determines the tokens: equal fingerprints, equal data."""
    vocabulary_size: int
    tokens: dict[str, int]
    """Split -> number of tokens."""
    best_perplexity: float | None
    """The lowest perplexity any model can reach in expectation; None where nobody knows it."""


@dataclass(frozen=True)
class Recipe:
    """What a prepared data set is made from."""

    name: str
    inputs: Mapping[str, Any]
    """Everything that determines the tokens, as plain data."""

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


def read(folder: Path) -> Prepared | None:
    """The prepared data set in `folder`, each file verified; None if there is none, or it is damaged."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        if meta["schema_version"] != SCHEMA_VERSION or not folder.name.endswith(meta["fingerprint"][:12]):
            return None
        if any((folder / f"{split}.i32").stat().st_size != 4 * meta["tokens"][split] for split in SPLITS):
            return None
        if any(sha256_of(folder / name) != meta["sha256"][name] for name in _file_names()):
            return None
        if (folder / "vocabulary.txt").read_bytes().count(b"\n") != meta["vocabulary_size"]:
            return None
        return Prepared(
            path=folder,
            name=meta["name"],
            origin=meta["origin"],
            fingerprint=meta["fingerprint"],
            vocabulary_size=meta["vocabulary_size"],
            tokens={split: meta["tokens"][split] for split in SPLITS},
            best_perplexity=meta["best_perplexity"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(
    cache_dir: Path,
    recipe: Recipe,
    *,
    origin: str,
    vocabulary: Sequence[str],
    ids: Mapping[str, bytes],
    best_perplexity: float | None,
) -> Prepared:
    """Write a prepared data set and put it in its place in one step; a damaged one there is replaced.

    The caller is the only process that writes below `prepared_root` (`files.exclusive`).

    Args:
        cache_dir: the cache.
        recipe: what it is made from.
        origin: where it comes from, for people.
        vocabulary: the word of each id.
        ids: split -> token ids as little-endian int32.
        best_perplexity: see `Prepared`.

    Raises:
        DiskFull: no room for it; nothing is left behind.
    """
    final = recipe.folder(cache_dir)
    contents = {f"{split}.i32": ids[split] for split in SPLITS}
    contents["vocabulary.txt"] = "".join(f"{word}\n" for word in vocabulary).encode()
    prepared = Prepared(
        path=final,
        name=recipe.name,
        origin=origin,
        fingerprint=recipe.fingerprint,
        vocabulary_size=len(vocabulary),
        tokens={split: len(ids[split]) // 4 for split in SPLITS},
        best_perplexity=best_perplexity,
    )
    contents["meta.json"] = _meta(prepared, recipe, contents)
    with disk_errors(final, sum(map(len, contents.values()))), _temporary(final.parent) as folder:
        for name, content in contents.items():
            _write(folder / name, content)
        if final.exists():
            # Renamed before it is deleted: a kill between the two leaves no half-deleted folder in its place.
            final.rename(folder.with_name(f"{folder.name}-old"))
        folder.rename(final)
    return prepared


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


def _file_names() -> list[str]:
    return [*(f"{split}.i32" for split in SPLITS), "vocabulary.txt"]


def _meta(prepared: Prepared, recipe: Recipe, contents: Mapping[str, bytes]) -> bytes:
    meta = {
        "schema_version": SCHEMA_VERSION,
        "name": prepared.name,
        "fingerprint": prepared.fingerprint,
        "origin": prepared.origin,
        "vocabulary_size": prepared.vocabulary_size,
        "tokens": prepared.tokens,
        "best_perplexity": prepared.best_perplexity,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "made_from": recipe.inputs,
    }
    return (json.dumps(meta, indent=2) + "\n").encode()


@contextmanager
def _temporary(root: Path) -> Iterator[Path]:
    """A new folder below `root`, deleted if it is still there at the end, and with it what it replaced."""
    folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder.with_name(f"{folder.name}-old"), ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
