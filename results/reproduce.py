"""The one command that repeats a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .run import RunSpec

# How it was shown, not what was done.
_FLAGS_DROPPED: Final = ("--json", "--detach", "--dry-run", "--debug", "--offline")
_OPTIONS_DROPPED: Final = ("--data-dir",)
"""With their value: a folder of the machine it was run on."""


def command(spec: RunSpec) -> tuple[str, ...]:
    """The argv that repeats a run: as it was given, with what a config file or a default decided written out."""
    kept = _kept(spec.argv[1:])
    if kept[:2] != ["bench", spec.task]:
        # Begun by other means than this command line.
        kept = ["bench", spec.task]
    known = {
        "--goal": spec.goal,
        "--seed": str(spec.seed),
        "--data": "synthetic" if spec.dataset == "synthetic" else "real",
        "--backend": spec.backend,
        "--steps": None if spec.max_steps is None else str(spec.max_steps),
    }
    if "--nodes" not in kept and "--gpus" not in kept:
        known["--ranks"] = str(spec.ranks)
    given = {word.split("=")[0] for word in kept}
    return ("mlb", *kept, *(w for name, value in known.items() if value and name not in given for w in (name, value)))


def _kept(words: Sequence[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        if skip or word in _FLAGS_DROPPED or word.split("=")[0] in _OPTIONS_DROPPED:
            skip = not skip and word in _OPTIONS_DROPPED
            continue
        kept.append(word)
    return kept
