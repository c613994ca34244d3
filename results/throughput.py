"""How much was trained on per second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .rank import RankRecord, StepTotals
from .text import count


@dataclass(frozen=True)
class Throughput:
    """Work of all ranks together over the slowest rank's time in training steps; None without such steps."""

    tokens_per_s: float | None
    """Without warm-up steps."""
    samples_per_s: float | None
    """Without warm-up steps."""
    tokens_per_s_with_warmup: float | None
    samples_per_s_with_warmup: float | None
    warmup_steps: int


def throughput_of(records: Sequence[RankRecord]) -> Throughput:
    """Work of all ranks over the time of the slowest."""
    measured, everything = [r.measured for r in records], [r.all_steps for r in records]
    return Throughput(
        tokens_per_s=_rate((t.tokens for t in measured), measured),
        samples_per_s=_rate((t.samples for t in measured), measured),
        tokens_per_s_with_warmup=_rate((t.tokens for t in everything), everything),
        samples_per_s_with_warmup=_rate((t.samples for t in everything), everything),
        warmup_steps=max((r.warm_up.steps for r in records), default=0),
    )


def work_words(tokens: int, samples: int) -> str:
    """How much was trained on, for people: tokens where they are no other name of samples, as for images."""
    return count(samples, "sample") if tokens in (0, samples) else count(tokens, "token")


def rate_words(tokens_per_s: float | None, samples_per_s: float | None) -> str:
    """A rate for people, with tokens beside the samples where they differ."""
    of_samples = f"{samples_per_s or 0:,.1f} samples/s"
    return of_samples if tokens_per_s in (None, 0, samples_per_s) else f"{tokens_per_s:,.0f} tokens/s, {of_samples}"


def _rate(amounts: Iterable[int], totals: Sequence[StepTotals]) -> float | None:
    slowest_ns = max((total.step_ns for total in totals), default=0)
    return sum(amounts) * 1e9 / slowest_ns if slowest_ns else None
