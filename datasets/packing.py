"""Many images into few files: shards of JPEG bytes, each finished in one step, so that a killed preparation goes on.

A shard is `<split>-<number>.u8`, the images' bytes one after the other, with a note `<split>-<number>.json` beside it
as long as the preparation lasts. The note is written last: a shard with a note is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Interrupted
from .download import Progress
from .jpeg import BadImage, keep

_NAMED = 5
"""So many bad images of a shard are named, the others counted."""


@dataclass(frozen=True)
class RawImage:
    """One image as the user has it."""

    name: str
    label: int
    content: bytes


@dataclass(frozen=True)
class Shard:
    """What is to be packed together."""

    split: str
    number: int
    images: Callable[[], Iterator[RawImage]]
    """Reads them, one at a time, in an order that never changes."""

    @property
    def name(self) -> str:
        """Of its array."""
        return f"{self.split}-{self.number:05}"


@dataclass
class Packed:
    """A finished shard."""

    split: str
    number: int
    sha256: str = ""
    sizes: list[int] = field(default_factory=list)
    """Bytes of each image."""
    labels: list[int] = field(default_factory=list)
    bad: Counter[str] = field(default_factory=Counter)
    """Reason -> images left out for it."""
    named: list[str] = field(default_factory=list)
    """Some of them."""
    changed: Counter[str] = field(default_factory=Counter)
    """What was done -> images it was done to."""
    raw_bytes: int = 0
    """Read from the user's files."""


def pack(
    shards: Sequence[Shard], folder: Path, *, short_side: int | None, progress: Progress | None, total_bytes: int
) -> list[Packed]:
    """Write all shards into a folder, several at a time; those that are finished there are not made again.

    One image is held in memory for each core. Decoding and hashing release the interpreter's lock, so threads do.

    Args:
        progress: told the raw bytes that were read, of `total_bytes`.
    """
    stop = threading.Event()
    lock = threading.Lock()
    read = 0

    def one(shard: Shard) -> Packed:
        nonlocal read

        def tell(count: int) -> None:
            nonlocal read
            if stop.is_set():
                raise Interrupted("The preparation was stopped.")
            with lock:
                read += count
                if progress:
                    progress(min(read, total_bytes), total_bytes)

        if done := finished(folder, shard):
            tell(done.raw_bytes)
            return done
        return _pack(shard, folder, short_side, tell)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        jobs = [pool.submit(one, shard) for shard in shards]
        try:
            return [job.result() for job in jobs]
        finally:
            stop.set()
            for job in jobs:
                job.cancel()


def finished(folder: Path, shard: Shard) -> Packed | None:
    """The shard as an earlier preparation finished it, or None."""
    try:
        note = json.loads((folder / f"{shard.name}.json").read_text())
        packed = Packed(**note | {"bad": Counter(note["bad"]), "changed": Counter(note["changed"])})
        whole = (folder / f"{shard.name}.u8").stat().st_size == sum(packed.sizes)
        return packed if whole else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def forget_notes(folder: Path) -> None:
    """Delete the notes: what they say is in the data set's own files now."""
    for path in folder.glob("*-*.json"):
        path.unlink()


def _pack(shard: Shard, folder: Path, short_side: int | None, tell: Callable[[int], None]) -> Packed:
    packed = Packed(shard.split, shard.number)
    digest = hashlib.sha256()
    unfinished = folder / f"{shard.name}.part"
    with unfinished.open("wb") as file:
        for image in shard.images():
            tell(len(image.content))
            packed.raw_bytes += len(image.content)
            try:
                kept = keep(image.content, short_side)
            except BadImage as error:
                packed.bad[str(error)] += 1
                packed.named = [*packed.named, image.name][:_NAMED]
                continue
            file.write(kept.content)
            digest.update(kept.content)
            packed.sizes.append(len(kept.content))
            packed.labels.append(image.label)
            if kept.change:
                packed.changed[kept.change] += 1
        file.flush()
        os.fsync(file.fileno())
    packed.sha256 = digest.hexdigest()
    unfinished.replace(folder / f"{shard.name}.u8")
    note = folder / f"{shard.name}.json"
    temporary = note.with_suffix(".note")
    temporary.write_text(json.dumps(vars(packed)))
    temporary.replace(note)
    return packed
