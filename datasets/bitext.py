"""Two files that are the two sides of a text: line i of one is the translation of line i of the other."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import DataCorrupt

Files = tuple[Path, Path]
"""Source and target: plain lines, or the SGML of WMT's test sets (`.sgm`)."""

RawPair = tuple[bytes, bytes]
Pair = tuple[str, str]

_SEGMENT = re.compile(rb"<seg[^>]*>(.*?)</seg>", re.DOTALL)
_READ_BYTES = 1 << 22


def count(files: Files) -> int:
    """The number of pairs, nothing of them being decoded.

    Raises:
        DataCorrupt: the sides have different numbers of lines.
    """
    numbers = [_count(path) for path in files]
    if numbers[0] != numbers[1]:
        short, long = files if numbers[0] < numbers[1] else files[::-1]
        raise DataCorrupt(
            f"{short} and {long} are not two sides of one text.",
            why=f"{short.name} ends after {min(numbers):,} lines, {long.name} goes on to {max(numbers):,}.",
            fix="Replace both by intact copies.",
        )
    return numbers[0]


def raw_pairs(files: Files) -> Iterator[RawPair]:
    """The pairs, as bytes; of two sides that `count` has seen to be equal."""
    return zip(*map(_sentences, files), strict=True)


def decoded(pair: RawPair, files: Files) -> Pair:
    """The text of both sides, one space between words.

    Raises:
        UnicodeDecodeError: a side is not UTF-8.
    """
    return _text(pair[0], files[0]), _text(pair[1], files[1])


def _text(sentence: bytes, path: Path) -> str:
    text = sentence.decode()
    return " ".join((html.unescape(text) if path.suffix == ".sgm" else text).split())


def _sentences(path: Path) -> Iterator[bytes]:
    """Only the line feed ends a line: Unicode's own separators occur inside of sentences."""
    with path.open("rb") as file:
        if path.suffix == ".sgm":
            yield from (match[1] for match in _SEGMENT.finditer(file.read()))
        else:
            yield from file


def _count(path: Path) -> int:
    if path.suffix == ".sgm":
        return sum(1 for _ in _sentences(path))
    lines, last = 0, b"\n"
    with path.open("rb") as file:
        for part in iter(lambda: file.read(_READ_BYTES), b""):
            lines, last = lines + part.count(b"\n"), part[-1:]
    return lines + (last != b"\n")


def blocks(pairs: Iterator[RawPair], size: int) -> Iterator[list[RawPair]]:
    """The pairs in lists of `size`, the last of which may be shorter."""
    while block := list(itertools.islice(pairs, size)):
        yield block
