"""Whether the ranks tell the same story: equal parameters, equal evaluations, nobody missing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from .rank import RankEvaluation, RankRecord
from .run import RunSpec


@dataclass(frozen=True)
class Consistency:
    """Whether the ranks tell the same story; None where that is not known."""

    parameters_equal: bool | None
    evaluations_equal: bool | None
    missing_ranks: tuple[int, ...]


def consistency_of(spec: RunSpec, records: Sequence[RankRecord]) -> Consistency:
    """Compare what the ranks logged."""
    present = {record.rank for record in records}
    return Consistency(
        parameters_equal=_equal([record.digest for record in records], expected=spec.ranks),
        evaluations_equal=_evaluations_equal(records, spec.ranks),
        missing_ranks=tuple(rank for rank in range(spec.ranks) if rank not in present),
    )


def warnings_about(consistency: Consistency) -> list[str]:
    """What is to be known where the ranks differ, in plain words."""
    warnings = []
    if consistency.parameters_equal is False:
        warnings.append("The ranks ended with different parameters: they did not train one model.")
    if consistency.evaluations_equal is False:
        warnings.append("The ranks measured different qualities at the same evaluation.")
    return warnings


def _equal(values: Sequence[str | None], expected: int) -> bool | None:
    """False where two differ, True where all `expected` are there and equal, None where some are missing."""
    known = [value for value in values if value is not None]
    if len(set(known)) > 1:
        return False
    return True if len(known) == expected else None


def _evaluations_equal(records: Sequence[RankRecord], expected: int) -> bool | None:
    values: dict[tuple[int | None, str, int], list[str | None]] = {}
    for e in itertools.chain.from_iterable(record.evaluations for record in records):
        values.setdefault(e.key, []).append(_exact(e))
    verdicts = {_equal(known, expected) for known in values.values()}
    if False in verdicts:
        return False
    # While a run goes on, one rank may have logged an evaluation that another has not yet.
    return True if True in verdicts else None


def _exact(evaluation: RankEvaluation) -> str:
    return repr(evaluation.value)  # as text: a NaN equals a NaN
