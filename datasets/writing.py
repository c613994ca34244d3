"""A data set in the making: arrays and files that grow piece by piece, hashed on the way, in bounded memory."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hashlib import _Hash

    import numpy.typing as npt

SUFFIXES = {"<i4": "i32", "<i8": "i64", "|u1": "u8", "<f4": "f32"}
"""numpy's name of a type -> the suffix of a file that holds an array of it."""


@dataclass
class _File:
    """One open file."""

    handle: Any
    digest: _Hash
    dtype: str | None
    row_shape: tuple[int, ...]
    size_bytes: int = 0


class Writing:
    """What a maker fills: arrays by `append`, other files by `write`, and the facts beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unit = ""
        self.counts: dict[str, int] = {}
        self.vocabulary_size: int | None = None
        self.best_possible: float | None = None
        self.skipped: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        """Split -> raw items that `skipped` counts, where the published counts are those with them."""
        self._adopted: dict[str, dict[str, Any]] = {}
        self._files: dict[str, _File] = {}

    def array(self, name: str, dtype: str, row_shape: tuple[int, ...] = ()) -> None:
        """Begin an array of rows of `row_shape`; it may stay empty."""
        self._open(f"{name}.{SUFFIXES[dtype]}", dtype, row_shape)

    def append(self, name: str, rows: npt.NDArray[Any] | bytes) -> None:
        """Add rows to an array: numbers of its type, or their bytes, little-endian."""
        file = next(file for full, file in self._files.items() if full.rpartition(".")[0] == name and file.dtype)
        self._write(file, rows if isinstance(rows, bytes) else rows.astype(file.dtype, copy=False).tobytes())

    def write(self, name: str, content: bytes) -> None:
        """Write a file that is no array, whole."""
        self._open(name, None, ())
        self._write(self._files[name], content)
        self._close(self._files[name])

    def adopt(self, name: str, dtype: str, size_bytes: int, sha256: str) -> None:
        """Count a file that was written into the folder by other means as the array `name`."""
        file = f"{name}.{SUFFIXES[dtype]}"
        shape = [size_bytes // int(dtype[2:])]
        described = {"bytes": size_bytes, "sha256": sha256, "array": name, "dtype": dtype, "shape": shape}
        self._adopted[file] = described

    def words(self, vocabulary: Iterable[str]) -> None:
        """Write the vocabulary, one word a line in the order of the ids."""
        content = "".join(f"{word}\n" for word in vocabulary).encode()
        self.write("vocabulary.txt", content)
        self.vocabulary_size = content.count(b"\n")

    def finish(self) -> dict[str, Any]:
        """Close everything; what each file is, for meta.json."""
        described = dict(self._adopted)
        for name, file in self._files.items():
            self._close(file)
            described[name] = {"bytes": file.size_bytes, "sha256": file.digest.hexdigest()} | _shape(name, file)
        return described

    def close(self) -> None:
        """Let go of all files, finished or not."""
        for file in self._files.values():
            file.handle.close()

    def _open(self, name: str, dtype: str | None, row_shape: tuple[int, ...]) -> None:
        handle = (self.folder / name).open("wb")
        self._files[name] = _File(handle, hashlib.sha256(), dtype, row_shape)

    def _write(self, file: _File, content: bytes) -> None:
        file.handle.write(content)
        file.digest.update(content)
        file.size_bytes += len(content)

    def _close(self, file: _File) -> None:
        if not file.handle.closed:
            file.handle.flush()
            os.fsync(file.handle.fileno())
            file.handle.close()


def _shape(name: str, file: _File) -> dict[str, Any]:
    """Type and shape of an array, from its size; nothing for another file."""
    if file.dtype is None:
        return {}
    row_bytes = int(file.dtype[2:])
    for n in file.row_shape:
        row_bytes *= n
    rows, rest = divmod(file.size_bytes, row_bytes)
    assert not rest, f"{name} does not hold whole rows"
    return {"array": name.rpartition(".")[0], "dtype": file.dtype, "shape": [rows, *file.row_shape]}
