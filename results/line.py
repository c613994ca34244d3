"""One line of an event log: an event to bytes and back, and readings of a field that may hold anything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

MAX_LINE_BYTES: Final = 1 << 20
"""Longest line, without its newline, that is written or read."""

MAX_INTEGER: Final = (1 << 63) - 1
"""Largest time, duration or `seq` that is believed: 292 years of nanoseconds."""

_OWN_FIELDS = frozenset({"key", "seq", "time_ns"})


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a rank's log."""

    key: str
    seq: int
    time_ns: int
    """The node's monotonic clock at the event; of an interval, its end."""
    fields: Mapping[str, Any]
    """Everything on the line but `key`, `seq`, `time_ns`; unchecked: read it with `as_ns`, `as_number`."""
    offset: int
    """Of the line's first byte in the file."""


class BadLine(ValueError):
    """A line that is no event; the message says why."""


def encode(key: str, seq: int, time_ns: int, fields: Mapping[str, Any]) -> bytes:
    """The line of an event, newline included; ASCII, without spaces.

    Raises:
        TypeError: a value that JSON has no form for.
        ValueError: a field that is the log's own, a time that is none, or a line over `MAX_LINE_BYTES`.
    """
    if not _OWN_FIELDS.isdisjoint(fields):
        raise ValueError(f"the field {sorted(_OWN_FIELDS & set(fields))[0]!r} is the log's own")
    if not (_is_natural(time_ns) and isinstance(key, str)):
        raise ValueError(f"key {key!r} or time_ns {time_ns!r} is of a wrong type")
    record = {"key": key, "seq": seq, "time_ns": time_ns, **fields}
    try:
        text = _ENCODER.encode(record)
    except ValueError:
        # Rare, so that the walk over all values is paid by the events that need it only.
        text = _ENCODER.encode(_finite(record))
    if len(text) > MAX_LINE_BYTES:
        raise ValueError(f"a line of {len(text)} bytes is over the {MAX_LINE_BYTES} a reader takes")
    return text.encode("ascii") + b"\n"


def decode(line: bytes, offset: int) -> Event:
    """The event on `line` (without its newline), which starts at byte `offset` of its file.

    Raises:
        BadLine: the line is none; nothing else is raised, whatever the line holds.
    """
    fields = _object(line)
    missing = [name for name in ("key", "seq", "time_ns") if name not in fields]
    if missing:
        raise BadLine(f"has no {' and no '.join(missing)}")
    key, seq, time_ns = fields.pop("key"), fields.pop("seq"), fields.pop("time_ns")
    if type(key) is not str:
        raise BadLine("key is not a string")
    if not _is_natural(seq):
        raise BadLine("seq is not a whole number from 0 on")
    if not _is_natural(time_ns):
        raise BadLine("time_ns is not a whole number from 0 on")
    if any(type(value) is float and not math.isfinite(value) for value in fields.values()):
        raise BadLine("has a number that is not finite")  # 1e999: json reads it as infinity
    return Event(key, seq, time_ns, fields, offset)


def as_ns(value: object) -> int | None:
    """`value` as a time or duration in nanoseconds, or as a count; None where it is none."""
    return value if _is_natural(value) and isinstance(value, int) else None


def as_number(value: object) -> float | None:
    """`value` as a float, the log's words for not-a-number and infinity included; None where it is none."""
    if isinstance(value, str):
        return float(value) if value in _WORDS else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def finite(value: Any) -> Any:
    """`value` with every float that is not finite as the log's word for it, through lists and dicts."""
    return _finite(value)


_WORDS = frozenset({"nan", "inf", "-inf"})


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _is_natural(value: object) -> bool:
    # `type`, not isinstance: True is an int.
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = _DECODER.decode(line.decode("utf-8"))
    except BadLine:
        raise
    except UnicodeDecodeError as error:
        raise BadLine("is not UTF-8") from error
    except RecursionError as error:
        raise BadLine("is nested too deep") from error
    except ValueError as error:
        raise BadLine("is not JSON") from error
    if not isinstance(value, dict):
        raise BadLine(f"is a JSON {_NAMES.get(type(value), 'value')}, not an object")
    return value


_NAMES = {list: "array", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadLine("has a field twice")
    return fields


def _refuse(word: str) -> NoReturn:
    raise BadLine(f"has the number {word}, which is not JSON")


_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)
