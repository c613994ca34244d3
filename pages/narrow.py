"""A chart laid out again for a phone: shapes pressed together sideways, words at the size they had."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from .plot import BOTTOM, Chart, Dot, Squeeze, Tick

NARROW: Final = 340.0
_RIGHT: Final = 16.0
_CHARACTER: Final = 7.4
"""Width of a character of the charts' 13 units, on the safe side."""
_APART: Final = 8.0
_UNEVEN: Final = 8
_LINE: Final = 16.0


def narrow(chart: Chart) -> Chart:
    """The same picture `NARROW` units wide; words that stood beside lines move into its legend."""
    left = min(chart.left, _room(chart))
    scale = (NARROW - left - _RIGHT) / (chart.width - chart.left - chart.right)
    squeeze = Squeeze(round(scale, 5), round(left - scale * chart.left, 3))
    lines = _wrapped(chart.x_label)
    more = _LINE * (len(lines) - 1)
    return replace(
        chart,
        id=f"{chart.id}-narrow",
        x_label="\n".join(lines),
        x_ticks=_thinned([Tick(squeeze.x(tick.at), tick.text) for tick in chart.x_ticks]),
        dots=tuple(Dot(squeeze.x(dot.x), dot.y, dot.css, dot.title) for dot in chart.dots),
        labels=(),
        legend=tuple((one.css, one.text) for one in chart.labels),
        height=chart.height + more,
        bottom=BOTTOM + more,
        width=NARROW,
        left=left,
        right=_RIGHT,
        squeeze=squeeze,
    )


def _room(chart: Chart) -> float:
    """What the words at the left need."""
    longest = max((len(tick.text) for tick in chart.y_ticks), default=0)
    return _APART + longest * _CHARACTER + (_LINE + _APART if chart.y_label else 0)


def _wrapped(text: str) -> list[str]:
    """As few lines as it takes, about as long as each other."""
    at_most = int(NARROW / _CHARACTER)
    number = -(-len(text) // at_most) or 1
    return textwrap.wrap(text, min(at_most, len(text) // number + _UNEVEN)) or [""]


def _thinned(ticks: Sequence[Tick]) -> tuple[Tick, ...]:
    """Every so many of them, so that their words neither touch nor leave the picture."""
    for every in range(1, len(ticks) + 1):
        kept = ticks[::every]
        ends = [(tick.at - _half(tick), tick.at + _half(tick)) for tick in kept]
        if all(right + _APART <= left for (_, right), (left, _) in pairwise(ends)):
            return tuple(tick for tick, (_, right) in zip(kept, ends, strict=True) if right <= NARROW)
    return tuple(ticks[:1])


def _half(tick: Tick) -> float:
    return len(tick.text) * _CHARACTER / 2
