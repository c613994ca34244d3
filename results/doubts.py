"""What is to be known before the comparison of ranks is used: what was left out of it, and what it cannot tell."""

from __future__ import annotations

from collections.abc import Iterator

from .communication import Communication
from .reduction import Reduction
from .run import RunSpec
from .text import count, ranges

RESIDUAL_LIMIT = 0.01


def doubts_about(
    spec: RunSpec, reduction: Reduction, communication: Communication | None, running: bool
) -> Iterator[str]:
    """In plain words, the gravest first; nothing where a rank is alone."""
    if spec.ranks == 1 or not any(reduction.health.steps.values()):
        return
    health, missing = reduction.health, set(range(spec.ranks)) - set(reduction.joined_ranks)
    if communication is None and not running:
        yield "No training step is in the logs of all ranks: waiting cannot be told from transferring."
    if missing and not running:
        yield (
            f"The steps of rank {ranges(missing)} are not compared: waiting for a rank without a log counts as "
            "transfer here, so transfer is at most, and waiting at least, what is shown."
        )
    if len(set(health.steps.values())) > 1 and not running:
        logged = ", ".join(f"rank {rank} {steps:,}" for rank, steps in list(health.steps.items())[:8])
        yield (
            f"The ranks do not agree on the number of steps ({logged}); "
            f"the {health.joined:,} that all have are compared."
        )
    if health.mismatched:
        yield (
            f"In {count(health.mismatched, 'step')}, the first of them step {health.first_mismatch}, the ranks logged "
            "different collectives: left out of the comparison."
        )
    if health.unended:
        yield f"In {count(health.unended, 'step')} a collective never ended: left out of the comparison."
    if health.unknown_groups:
        yield (
            f"In {count(health.unknown_groups, 'step')} a collective waits for ranks that the log does not name: left "
            "out of the comparison."
        )
    if health.misplaced:
        yield f"{count(health.misplaced, 'step')} not in the order of their numbers: left out of the comparison."
    if reduction.alignment.clocks is None and health.joined and not running:
        yield (
            "The ranks' clocks could not be used: waiting was told from transferring by the shortest duration of each "
            f"collective instead. The reason: {reduction.alignment.why}."
        )
    if communication is not None and communication.worst_residual > RESIDUAL_LIMIT:
        share = 100 * communication.worst_residual
        yield f"The parts of a step do not add up to it: {share:.1f} % of the worst step is missing or doubled."
