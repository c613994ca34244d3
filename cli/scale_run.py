"""From a scaling request to a finished series: which sizes, and what they say side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..errors import UsageError, did_you_mean
from ..results.scale import scaling_of
from . import matrix_run
from .console import note
from .dirs import runs_dir
from .edge import INTERRUPTED
from .report_files import Files
from .request import Request
from .series import show_scaling

MODES = ("weak", "strong")


def scale(
    request: Request,
    sizes: Sequence[tuple[int, int | None]],
    mode: str,
    global_batch: int | None,
    repeats: int,
    *,
    files: Files,
    as_json: bool,
    markdown: bool,
) -> int:
    """Run the series to its end, or go on with one that asks for the same; returns the exit code.

    Raises:
        UsageError: the request cannot be.
        MlbError: a run failed; the same command goes on with it.
    """
    _check(mode, global_batch)
    request = replace(request, global_batch=global_batch)
    configurations = [{"nodes": n, "gpus": g} for n, g in sizes]
    folder, matrix = matrix_run.matrix_for("scale", request, configurations, repeats, mode=mode)
    matrix, detached = matrix_run.run_all(folder, matrix, request)
    if detached:
        return INTERRUPTED
    show_scaling(scaling_of(matrix, runs_dir()), files, as_json=as_json, markdown=markdown)
    note(f"again, and in other forms: mlb report {matrix.matrix_id} --html FILE")
    matrix_run.shown(folder, matrix)
    return 0


def sizes(nodes: str, gpus: str | None) -> list[tuple[int, int | None]]:
    """Every number of nodes with every number of GPUs, as typed: `1,2,4`.

    Raises:
        UsageError: it is no list of numbers from 1.
    """
    per_node: list[int | None] = [*_numbers(gpus, "--gpus")] if gpus is not None else [None]
    return [(n, g) for n in _numbers(nodes, "--nodes") for g in per_node]


def _check(mode: str, global_batch: int | None) -> None:
    if mode not in MODES:
        raise UsageError(f"There is no mode {mode!r}.{did_you_mean(mode, MODES)}", fix="--mode weak or --mode strong.")
    if (mode == "strong") != (global_batch is not None):
        raise UsageError(
            "Strong scaling, and it alone, keeps the batch of all ranks together: it needs --global-batch.",
            fix="For example: --mode strong --global-batch 80",
        )


def _numbers(text: str, option: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[1-9]\d{0,4}", part) for part in parts) or len(set(parts)) < len(parts):
        raise UsageError(f"{option} cannot be {text!r}.", fix="Different numbers from 1 with commas: 1,2,4")
    return [int(part) for part in parts]
