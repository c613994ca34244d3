"""Whether a run.json says what a run can be: it may be a stranger's, and every reader counts on its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from ..errors import ResultsInvalid
from .text import sanitise

MAX_RANKS: Final = 10_000
"""A reader looks for the files of every rank: so many take a second, and a stranger's number must not take hours."""

_INT_BITS: Final = 63


def edited(why: str) -> ResultsInvalid:
    """The error of a run.json that cannot be what a run wrote."""
    return ResultsInvalid(
        "The run's run.json is incomplete or was edited.",
        why=why,
        fix="Restore the file from a copy; the event logs beside it are not affected.",
    )


def faults_of(spec: Any) -> Iterator[str]:
    """What is wrong with a `RunSpec` as it was read, each in words: values of wrong types, then ranks and nodes."""
    wrong = [f"{name} is {_shown(getattr(spec, name))}" for name in _of_wrong_type(spec)]
    if wrong:
        yield from wrong
    elif not 1 <= spec.ranks <= MAX_RANKS:
        yield f"ranks is {spec.ranks}; 1 to {MAX_RANKS:,} are possible"
    elif not 1 <= spec.nodes <= spec.ranks or spec.ranks % spec.nodes:
        yield f"nodes is {spec.nodes}; the {spec.ranks} ranks are spread evenly over 1 to {spec.ranks} nodes"


def _of_wrong_type(value: object) -> Iterator[str]:
    """The fields of a dataclass that do not hold what their annotations say."""
    for name, kind in _hints(type(value)).items():  # type: ignore[arg-type]  # a class can be hashed
        if not _is(getattr(value, name), kind):
            yield name


@cache
def _hints(of: type) -> dict[str, Any]:
    return get_type_hints(of)


def _is(value: Any, kind: Any) -> bool:
    origin, of = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return any(_is(value, one) for one in of)
    if origin is tuple:
        return isinstance(value, tuple) and all(_is(item, of[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_is(k, of[0]) and _is(v, of[1]) for k, v in value.items())
    if is_dataclass(kind):
        return type(value) is kind and not any(_of_wrong_type(value))
    if kind in (int, float) and type(value) is int:
        # Beyond them no clock and no counter of ours goes, and a float cannot hold some.
        return bool(abs(value) < 2**_INT_BITS)
    return type(value) is kind


def _shown(value: Any) -> str:
    return sanitise(f"{type(value).__name__} {value!r}", 60)
