"""What is written `NAME[:OPTION=VALUE[:…]]`: a name of several, its options, which values they may have.

Free to all rooms, as communication patterns are written so, and schedules of the learning rate. Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .errors import UsageError, did_you_mean

Value = int | float | str | bool
Options = Mapping[str, Value]


@dataclass(frozen=True)
class Bounds:
    """Of one number, both ends included."""

    low: float
    high: float
    above_low: bool = False
    """Whether `low` itself is not allowed."""

    def hold(self, number: float) -> bool:
        return (number > self.low if self.above_low else number >= self.low) and number <= self.high

    def __str__(self) -> str:
        return f"{'above' if self.above_low else 'from'} {self.low:,g} to {self.high:,g}"


@dataclass(frozen=True)
class Option:
    """One option; its default's type is its type."""

    name: str
    default: Value
    about: str
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    """Whether `low` itself is not allowed."""
    choices: tuple[Value, ...] = ()
    check: Callable[[str], object] | None = None
    """Of a text: raises ValueError, saying what is valid, if it is none."""

    @property
    def valid(self) -> str:
        """What is valid, for people."""
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        if isinstance(self.default, bool):
            return "yes or no"
        if isinstance(self.default, str):
            return "text"
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        low = "" if math.isinf(self.low) else f" {'above' if self.above_low else 'from'} {self.low:g}"
        return kind + low + ("" if math.isinf(self.high) else f" to {self.high:g}")

    def parse(self, text: str) -> Value:
        """The value that is written.

        Raises:
            ValueError: says what is valid.
        """
        value = self._typed(text)
        if self.check:
            self.check(text)
        if self.choices and value not in self.choices:
            raise ValueError(self.valid)
        bounds = Bounds(self.low, self.high, self.above_low)
        if (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and not (bounds.hold(value) and math.isfinite(value))
        ):
            raise ValueError(self.valid)
        return value

    def _typed(self, text: str) -> Value:
        if isinstance(self.default, bool):
            words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
            if text.lower() not in words:
                raise ValueError(self.valid)
            return words[text.lower()]
        if isinstance(self.default, str):
            return text
        try:
            return type(self.default)(text)
        except ValueError:
            raise ValueError(self.valid) from None


def read_named(kind: str, text: str, known: Mapping[str, Sequence[Option]]) -> tuple[str, dict[str, Value]]:
    """The name and all its options, defaults included.

    Args:
        kind: what the names are of, for people: `aggregation`.
        known: name -> its options.

    Raises:
        UsageError: no such name or option, or a value that cannot be; says what is valid.
    """
    name, *words = text.split(":")
    if name not in known:
        raise UsageError(
            f"There is no {kind} {name!r}.{did_you_mean(name, known)}",
            fix=f"{kind.capitalize()}s: {', '.join(known)}.",
        )
    options = {option.name: option for option in known[name]}
    values = {option.name: option.default for option in known[name]}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or key not in options:
            raise UsageError(
                f"The {kind} {name} has no option {word!r}.{did_you_mean(key, options)}",
                fix=options_in_words(name, known[name]),
            )
        try:
            values[key] = options[key].parse(value)
        except ValueError as error:
            raise UsageError(
                f"{key} of the {kind} {name} cannot be {value!r}.",
                fix=f"It has to be {error}. ({options[key].about})",
            ) from None
    return name, values


def describe(options: Sequence[Option]) -> list[tuple[str, str]]:
    """Each option with its default, and what is valid; one pair of empty words where there is none."""
    return [(f"{o.name}={written(o.default)}", f"{o.about}: {o.valid}") for o in options] or [("", "")]


def options_in_words(name: str, options: Sequence[Option]) -> str:
    """How the options of a name are written, a line each."""
    if not options:
        return f"{name} has no options."
    lines = [f"  {option}  {valid}" for option, valid in describe(options)]
    return "\n".join([f"Written {name}:OPTION=VALUE; options and their defaults:", *lines])


def written(value: Value) -> str:
    """A value as users write it."""
    return _WORDS[value] if isinstance(value, bool) else str(value)


_WORDS: Final = {True: "yes", False: "no"}
