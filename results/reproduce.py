"""The one command that repeats a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .run import RunSpec

# How it was shown, not what was done.
_FLAGS_DROPPED: Final = ("--json", "--detach", "--dry-run", "--debug", "--offline")
_OPTIONS_DROPPED: Final = ("--data-dir", "--repeat", "--seed")
"""With their value: a folder of the machine it was run on; what made it one of several, with a seed of its own."""


def command(spec: RunSpec) -> tuple[str, ...]:
    """The argv that repeats a run: as it was given, with what a config file or a default decided written out.

    A run of a series (`--repeat`, `mlb scale`, `mlb compare --vary`) is repeated alone.
    """
    kept = _kept(spec.argv[1:])
    alone = kept[:2] == ["bench", spec.task]
    if not alone:
        # Begun by other means than this command: everything is taken from what the run was.
        kept = ["bench", spec.task, *_said(spec)]
    known = {
        "--goal": spec.goal,
        "--seed": str(spec.seed) if spec.dataset else None,
        "--data": ("synthetic" if spec.dataset == "synthetic" else "real") if spec.dataset else None,
        # Task 0a measures several backends unless it is held to one.
        "--backend": spec.backend if len(spec.backends) < 2 else None,
        "--steps": None if spec.max_steps is None else str(spec.max_steps),
    }
    if "--nodes" not in kept and "--gpus" not in kept:
        known["--nodes"] = str(spec.nodes) if spec.node_names else None
        known["--ranks"] = str(spec.ranks_per_node)
    given = {word.split("=")[0] for word in kept}
    return ("mlb", *kept, *(w for name, value in known.items() if value and name not in given for w in (name, value)))


def _said(spec: RunSpec) -> list[str]:
    words = []
    if spec.aggregation != "allreduce":
        words += ["--aggregation", spec.aggregation]
    if spec.recipe not in ("reference", "smoke", "custom"):
        words += ["--recipe", spec.recipe]
    for name, value in spec.changes.items():
        words += ["--set", f"{name}={value}"]
    if spec.measure_overhead:
        words.append("--measure-overhead")
    return words


def _kept(words: Sequence[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        if skip or word in _FLAGS_DROPPED or word.split("=")[0] in _OPTIONS_DROPPED:
            skip = not skip and word in _OPTIONS_DROPPED
            continue
        kept.append(word)
    return kept
