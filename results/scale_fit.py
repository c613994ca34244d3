"""A curve through the throughput of a scaling series, and what it says of more ranks.

Two laws, each linear in what is fitted. With X(p) the throughput of p ranks, y = p / X is the time of one sample on one
of them, and

    y = a + b (p - 1) + c p (p - 1),    a, b, c >= 0

Amdahl (1967) has c = 0: a share b / a of the work does not spread over the ranks. Gunther's universal scalability law
(1993) adds c: ranks wait for each other pair by pair, and beyond sqrt((a - b) / c) ranks more of them are slower.

A prediction is no better than its law. So its interval holds the bootstrap's of both laws, is widened by the worst that
the law was off by on the sizes that were run (the largest of them also foreseen from the others), and is given as far
as four times the largest size only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

import numpy as np

from .statistics import CONFIDENCE, MINIMUM_RUNS, Interval, Vector

FARTHEST: Final = 4
"""Predictions reach so many times the largest size."""
_RESAMPLES: Final = 500

Measured = Sequence[tuple[int, Sequence[float]]]
"""(ranks, samples a second of each run), the smallest first."""


@dataclass(frozen=True)
class Law:
    """Coefficients of a fitted curve, in seconds a sample and rank."""

    a: float
    b: float
    c: float

    def rate(self, ranks: float) -> float:
        """Samples a second of so many ranks."""
        return ranks / (self.a + self.b * (ranks - 1) + self.c * ranks * (ranks - 1))

    @property
    def contention(self) -> float:
        """Share of the work that does not spread."""
        return self.b / self.a

    @property
    def coherence(self) -> float:
        """Growth of a sample's time a pair of ranks."""
        return self.c / self.a

    @property
    def best_ranks(self) -> float | None:
        """Beyond these more ranks are slower; None where the curve knows no such point."""
        return max(1.0, math.sqrt(max(self.a - self.b, 0.0) / self.c)) if self.c > 0 else None


@dataclass(frozen=True)
class Prediction:
    """The throughput that the curve has for a size that was not run."""

    ranks: int
    samples_per_s: float
    interval: Interval | None
    """95 % over the runs, of both laws, and wider by `Fit.worst_error`; None below three runs of each size."""


@dataclass(frozen=True)
class Fit:
    """The curve, its predictions, and how far it can be trusted."""

    law: Law
    """Gunther's from three sizes on, else Amdahl's."""
    name: str
    predictions: tuple[Prediction, ...]
    largest_error: float | None
    """(foreseen - measured) / measured at the largest size, by Amdahl's law through the others; None below three
    sizes."""
    worst_error: float
    """The largest |error| of the curve at a size that was run, and of `largest_error`."""

    def to_json(self) -> dict[str, Any]:
        law = self.law
        derived = {"contention": law.contention, "coherence": law.coherence, "best_ranks": law.best_ranks}
        return {**asdict(self), "law": {**asdict(law), **derived}}


def fit_of(measured: Measured) -> Fit | None:
    """Fit both laws to every run; None below two sizes."""
    sizes = [ranks for ranks, _ in measured]
    if len(set(sizes)) < 2:
        return None
    usl = len(set(sizes)) > 2
    law = law_of(measured, coherent=usl)
    noisy = _bootstrap(measured, usl) if min(len(rates) for _, rates in measured) >= MINIMUM_RUNS else []
    laws = [law, law_of(measured, coherent=False)]
    largest = _largest_error(measured) if usl else None
    worst = max(abs(law.rate(ranks) / median(rates) - 1) for ranks, rates in measured)
    worst = max(worst, abs(largest or 0.0))
    targets = [sizes[-1] * times for times in (2, FARTHEST)]
    return Fit(
        law,
        "Gunther's universal scalability law" if usl else "Amdahl's law",
        tuple(_prediction(ranks, laws, noisy, worst) for ranks in targets),
        largest,
        worst,
    )


def law_of(measured: Measured, *, coherent: bool) -> Law:
    """Least squares of the relative error, no coefficient below zero (Lawson and Hanson 1974, by trying every subset).

    Args:
        coherent: whether the term of Gunther's law is fitted.
    """
    rows, ys = [], []
    for ranks, rates in measured:
        for rate in rates:
            rows.append([1.0, ranks - 1.0, ranks * (ranks - 1.0)][: 3 if coherent else 2])
            ys.append(ranks / rate)
    y = np.array(ys)
    matrix = np.array(rows) / y[:, None]
    ones = np.ones(len(y))
    columns = range(matrix.shape[1])
    best: tuple[float, list[float]] = (math.inf, [])
    for size in range(1, matrix.shape[1] + 1):
        for chosen in itertools.combinations(columns, size):
            if chosen[0] != 0:
                continue  # a sample takes some time on one rank
            solved, *_ = np.linalg.lstsq(matrix[:, chosen], ones, rcond=None)
            if (solved < 0).any():
                continue
            error = float(np.sum((matrix[:, chosen] @ solved - ones) ** 2))
            if error < best[0] - 1e-12:
                coefficients = [0.0, 0.0, 0.0]
                for column, value in zip(chosen, solved, strict=True):
                    coefficients[column] = float(value)
                best = error, coefficients
    return Law(*best[1])


def _bootstrap(measured: Measured, usl: bool) -> list[Law]:
    """Both laws through runs drawn anew, size by size."""
    random = np.random.default_rng(5)
    laws = []
    for _ in range(_RESAMPLES):
        drawn = [(ranks, random.choice(np.asarray(rates), len(rates)).tolist()) for ranks, rates in measured]
        laws += [law_of(drawn, coherent=coherent) for coherent in ({usl, False})]
    return laws


def _prediction(ranks: int, laws: Sequence[Law], noisy: Sequence[Law], worst: float) -> Prediction:
    rates = [law.rate(ranks) for law in laws]
    if not noisy:
        return Prediction(ranks, rates[0], None)
    spread: Vector = np.array([law.rate(ranks) for law in noisy])
    edge = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(spread, [edge, 100 - edge])
    interval = Interval(min(float(low), *rates) / (1 + worst), max(float(high), *rates) * (1 + worst))
    return Prediction(ranks, rates[0], interval)


def _largest_error(measured: Measured) -> float | None:
    *others, (ranks, rates) = measured
    said = law_of(others, coherent=False).rate(ranks)
    return said / median(rates) - 1
