"""`step` lines that differ in their digits alone, to columns: several times as fast as any reader of JSON.

A rank writes the same fields in the same order step after step. Without its digits, each line of a long run is then
the same text as the first, which is compared at the speed of memory; and without everything but digits, points and
commas, the lines are a table for Apache Arrow's CSV reader. The first line is read as JSON: it names the columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from .columns import (
    ABSENT,
    BLOCKED_LISTS,
    COLLECTIVE_LISTS,
    GROUP_LIST,
    LOSS,
    NUMBERS,
    OPERATION_LIST,
    WARMUP,
    Integers,
    StepColumns,
    concatenate,
    is_step,
    number_of,
)
from .line import BadLine, decode

if TYPE_CHECKING:
    import pyarrow

_DIGITS: Final = b"0123456789"
_NOT_OF_THE_TABLE: Final = bytes(set(range(256)) - set(_DIGITS + b".,\n"))
_WORD: Final = re.compile("[A-Za-z_]*")
_ZERO, _NINE, _COMMA, _NEWLINE = b"09,\n"
_RUNS_AT_MOST: Final = 4
_SHAPES_KEPT: Final = 64


class _Number(str):
    """A number as it is written."""


@dataclass(frozen=True)
class _Shape:
    """What the columns of the table are, as the first line says."""

    fields: Mapping[str, Any]
    """Of the first line."""
    places: Mapping[str, Sequence[int | None]]
    """Field -> the columns of its value, or of its list's; None where that is no number."""
    columns: int
    before: bytes
    """What stands before each number of a line."""


_SHAPES: dict[bytes, _Shape] = {}
"""By outline. Read by several threads; what one of them loses to another is read again."""


@dataclass(frozen=True)
class _Run:
    """Lines that are alike."""

    outline: bytes
    """Each of them, without digits."""
    lines: bytes
    count: int


def decode_alike(lines: bytes) -> StepColumns | None:
    """Columns of whole lines, the first a `step`; None if they are not alike, or not beyond doubt."""
    runs = _runs(lines)
    shapes = [shape for run in runs if (shape := _shape_of(run)) is not None]
    if len(shapes) < len(runs):
        return None
    parts = [part for run, shape in zip(runs, shapes, strict=True) if (part := _decode(run, shape)) is not None]
    return concatenate(parts) if parts and len(parts) == len(runs) else None


def _runs(lines: bytes) -> list[_Run]:
    """The lines in runs of like ones; none if it takes more than a few."""
    runs: list[_Run] = []
    if not lines.endswith(b"\n"):
        return runs
    outlines = lines.translate(None, _DIGITS)
    while lines and len(runs) < _RUNS_AT_MOST:
        outline = outlines[: outlines.find(b"\n") + 1]
        like, end = len(outlines) // len(outline), len(lines)
        repeated = outline * like
        if outlines != repeated:
            differs = np.frombuffer(outlines, np.uint8, len(repeated)) != np.frombuffer(repeated, np.uint8)
            like = int(differs.argmax()) // len(outline) if differs.any() else like
            end = _end_of_line(lines, like)
        runs.append(_Run(outline, lines[:end], like))
        lines, outlines = lines[end:], outlines[like * len(outline) :]
    return [] if lines else runs


def _end_of_line(lines: bytes, number: int) -> int:
    return int(np.flatnonzero(np.frombuffer(lines, np.uint8) == _NEWLINE)[number - 1]) + 1


def _decode(run: _Run, shape: _Shape) -> StepColumns | None:
    # Words have no digits, so that this leaves each number one place: where the first line has it.
    if _before_numbers(run.lines) != shape.before * run.count:
        return None
    table = _table(run.lines.translate(None, _NOT_OF_THE_TABLE), shape)
    return None if table is None or table.num_rows != run.count else _columns(table, shape, run.count)


def _shape_of(run: _Run) -> _Shape | None:
    """The shape of the first line, which is that of any with its outline."""
    if run.outline not in _SHAPES:
        shape = _read_shape(run.lines[: run.lines.find(b"\n") + 1])
        if shape is None:
            return None
        if len(_SHAPES) >= _SHAPES_KEPT:
            _SHAPES.clear()
        _SHAPES[run.outline] = shape
    return _SHAPES.get(run.outline)


def _read_shape(line: bytes) -> _Shape | None:
    try:
        event = decode(line[:-1], 0)
    except BadLine:
        return None
    fields = {**event.fields, "seq": event.seq, "time_ns": event.time_ns}
    known = set(NUMBERS) <= set(fields) and isinstance(fields.get(GROUP_LIST, []), list)
    if event.key != "step" or not known or not is_step(fields):
        return None
    pairs: list[tuple[str, Any]] = json.loads(line, object_pairs_hook=list, parse_int=_Number, parse_float=_Number)
    cells = line[:-1].translate(None, _NOT_OF_THE_TABLE).decode().split(",")
    places: dict[str, Sequence[int | None]] = {}
    column = 0
    for name, value in pairs:
        items = value if isinstance(value, list) else [value]
        found = cells[column : column + max(1, len(items))]
        if name in places or not _WORD.fullmatch(name) or not all(map(_is_cell, found, items or [None])):
            return None
        places[name] = [column + i if isinstance(item, _Number) else None for i, item in enumerate(items)]
        column += len(found)
    return _Shape(fields, places, column, _before_numbers(line)) if column == len(cells) else None


def _is_cell(cell: str, value: object) -> bool:
    """Whether the table shows a line's value: a number without sign or exponent, and of a word nothing."""
    if isinstance(value, _Number):
        return cell == value
    return not cell and (value is None or value is True or value is False or _is_word(value))


def _is_word(value: object) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None


def _before_numbers(lines: bytes) -> bytes:
    """What stands before each run of digits; a newline at the very beginning."""
    letters = np.frombuffer(lines, np.uint8)
    digit = letters - _ZERO <= _NINE - _ZERO  # what is below 0 wraps to what is above 9
    before = letters[np.flatnonzero(digit[1:] > digit[:-1])].tobytes()
    return b"\n" + before if digit[0] else before


def _table(text: bytes, shape: _Shape) -> pyarrow.Table | None:
    """None if a number is missing, is written as JSON writes none, or is too large."""
    letters = np.frombuffer(text, np.uint8)
    if ((letters[1:-1] == _ZERO) & (letters[:-2] == _COMMA) & (letters[2:] >= _ZERO)).any():
        return None
    import pyarrow
    from pyarrow import csv

    whole = {place for name in _INTEGERS for place in shape.places.get(name, ())}
    # Those that nobody asks for are read too, as it takes a number for each line to be one.
    types = {
        str(place): pyarrow.int64() if place in whole else pyarrow.float64()
        for places in shape.places.values()
        for place in places
        if place is not None
    }
    try:
        table = csv.read_csv(
            pyarrow.BufferReader(text),
            read_options=csv.ReadOptions(
                use_threads=False, block_size=len(text) + 1, column_names=[str(i) for i in range(shape.columns)]
            ),
            parse_options=csv.ParseOptions(quote_char=False),
            convert_options=csv.ConvertOptions(column_types=types, include_columns=list(types), check_utf8=False),
        )
    except pyarrow.ArrowException:
        return None
    floats = (column for column in table.columns if pyarrow.types.is_floating(column.type))
    if any(column.null_count for column in table.columns) or not all(np.isfinite(c.to_numpy()).all() for c in floats):
        return None
    return table


def _columns(table: pyarrow.Table, shape: _Shape, count: int) -> StepColumns:
    def values(place: int | None) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = table.column(str(place)).combine_chunks().to_numpy()
        return array

    def matrix(name: str) -> Integers:
        """Shape (S, K)."""
        places = shape.places.get(name, ())
        array = np.full((count, len(places)), ABSENT, np.int64)
        for item, place in enumerate(places):
            if place is not None:
                array[:, item] = values(place)
        return array

    fields = shape.fields
    words = np.array([number_of(word) for word in fields.get(OPERATION_LIST, ())], np.int64)
    is_number = isinstance(fields.get(LOSS), int | float) and not isinstance(fields[LOSS], bool)
    loss = values(shape.places[LOSS][0]) if is_number else np.full(count, np.nan)
    return StepColumns(
        {name: values(shape.places[name][0]) for name in NUMBERS},
        np.full(count, fields.get(WARMUP) is True),
        loss,
        np.tile(words, (count, 1)),
        matrix(GROUP_LIST) if fields.get(GROUP_LIST) else np.zeros((count, len(words)), np.int64),
        *(matrix(name) for name in (*COLLECTIVE_LISTS, *BLOCKED_LISTS)),
    )


_INTEGERS: Final = (*NUMBERS, GROUP_LIST, *COLLECTIVE_LISTS, *BLOCKED_LISTS)
