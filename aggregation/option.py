"""An option of a pattern: how it is written, and which values it may have. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

Value = int | float | str | bool


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
        if self.choices and value not in self.choices:
            raise ValueError(self.valid)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            below = value <= self.low if self.above_low else value < self.low
            if below or value > self.high or not math.isfinite(value):
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
