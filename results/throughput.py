"""How much was trained on per second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .rank import RankRecord, StepTotals
from .text import count


@dataclass(frozen=True)
class Throughput:
    """A step's work of all ranks over the slowest rank's mean step; None where some rank's log has no such steps."""

    tokens_per_s: float | None
    """Without warm-up steps."""
    samples_per_s: float | None
    """Without warm-up steps."""
    tokens_per_s_with_warmup: float | None
    samples_per_s_with_warmup: float | None
    warmup_steps: int


def throughput_of(records: Sequence[RankRecord], ranks: int) -> Throughput:
    """The rates of a run on so many ranks."""
    measured, everything = [r.measured for r in records], [r.all_steps for r in records]
    return Throughput(
        tokens_per_s=_rate([t.tokens for t in measured], measured, ranks),
        samples_per_s=_rate([t.samples for t in measured], measured, ranks),
        tokens_per_s_with_warmup=_rate([t.tokens for t in everything], everything, ranks),
        samples_per_s_with_warmup=_rate([t.samples for t in everything], everything, ranks),
        warmup_steps=max((r.warm_up.steps for r in records), default=0),
    )


def work_words(tokens: int, samples: int) -> str:
    """How much was trained on, for people: tokens where they are no other name of samples, as for images."""
    return count(samples, "sample") if tokens in (0, samples) else count(tokens, "token")


def rate_words(tokens_per_s: float | None, samples_per_s: float | None) -> str:
    """A rate for people, with tokens beside the samples where they differ."""
    of_samples = f"{samples_per_s or 0:,.1f} samples/s"
    return of_samples if tokens_per_s in (None, 0, samples_per_s) else f"{tokens_per_s:,.0f} tokens/s, {of_samples}"


def _rate(amounts: Sequence[int], totals: Sequence[StepTotals], ranks: int) -> float | None:
    """Of each rank the mean over the steps that its own log holds.

    Where all logs hold as many this is the work of all ranks over the time of the slowest. Where one was cut off, the
    sums of the ranks are of different steps, and their ratio would be no rate of anything.
    """
    if len(totals) < ranks or not all(total.steps for total in totals):
        return None
    step_ns = max(total.step_ns / total.steps for total in totals)
    work = sum(amount / total.steps for amount, total in zip(amounts, totals, strict=True))
    return work * 1e9 / step_ns if step_ns else None
