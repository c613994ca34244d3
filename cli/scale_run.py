"""From a scaling request to a finished series: one run after the other, written down after each."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Interrupted, MlbError, UsageError, did_you_mean
from ..provisioner.runs import find
from ..results.scale import Cell, Scale, points_of, read_scale, to_json, to_text, write_scale
from ..tasks import catalogue
from . import bench_run
from .console import note, result_width, show_json, show_text
from .dirs import runs_dir
from .edge import INTERRUPTED
from .fleets import THIS_MACHINE, chosen
from .follow import follow, settle

if TYPE_CHECKING:
    from .bench_spec import Request

MODES = ("weak", "strong")


def scale(
    request: Request,
    sizes: Sequence[tuple[int, int | None]],
    mode: str,
    global_batch: int | None,
    repeats: int,
    *,
    as_json: bool,
) -> int:
    """Run the series to its end, or go on with one that asks for the same; returns the exit code.

    Raises:
        UsageError: the request cannot be.
        MlbError: a run failed; the same command goes on with it.
    """
    _check(mode, global_batch)
    request = replace(request, global_batch=global_batch)
    base_seed = catalogue.task(request.task).default_seed if request.seed is None else request.seed
    folder, series = _series(request, sizes, mode, repeats, base_seed)
    for index, cell in enumerate(series.cells):
        if cell.done:
            continue
        series = _run_cell(folder, series, index, request)
        if not series.cells[index].state:
            note(f"detached; the same command goes on with the series {series.scale_id}")
            return INTERRUPTED
    points = points_of(series, runs_dir())
    if as_json:
        show_json(to_json(series, points))
    else:
        show_text(to_text(series, points, result_width()).rstrip())
        note(f"series: {folder}")
    return 0


def sizes(nodes: str, gpus: str | None) -> list[tuple[int, int | None]]:
    """Every number of nodes with every number of GPUs, as typed: `1,2,4`.

    Raises:
        UsageError: it is no list of numbers from 1.
    """
    per_node: list[int | None] = [*_numbers(gpus, "--gpus")] if gpus is not None else [None]
    return [(n, g) for n in _numbers(nodes, "--nodes") for g in per_node]


def scales_dir() -> Path:
    """The folder of all series, beside that of the runs."""
    return runs_dir().parent / "scales"


def _run_cell(folder: Path, series: Scale, index: int, request: Request) -> Scale:
    cell = series.cells[index]
    note(f"{series.scale_id}: run {index + 1} of {len(series.cells)}, {cell.nodes} nodes, seed {cell.seed}")
    if cell.run_id and not cell.state:
        run = find(runs_dir(), cell.run_id)
    else:
        mine = replace(request, nodes=cell.nodes, gpus=cell.gpus, seed=cell.seed)
        run = bench_run.start(mine).folder
        series = series.with_cell(index, run_id=run.run_id, state="")
        write_scale(folder, series)
    state = follow(run)
    if state is None:
        return series
    try:
        settle(run, state)
    except Interrupted as error:
        note(error.what)
    except MlbError:
        write_scale(folder, series.with_cell(index, state=state.state))
        raise
    series = series.with_cell(index, state=state.state)
    write_scale(folder, series)
    return series


def _series(
    request: Request, wanted: Sequence[tuple[int, int | None]], mode: str, repeats: int, base_seed: int
) -> tuple[Path, Scale]:
    asked = _asked(request, wanted, mode, repeats, base_seed)
    for folder, known in _known():
        if dict(known.request) == asked and not known.done:
            note(f"going on with the series {known.scale_id}: {sum(c.done for c in known.cells)} runs are done")
            return folder, known
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scale_id = f"{stamp}_{request.task}_{asked['fleet']}_{secrets.token_hex(3)}"
    # All sizes once, then all once more: what drifts over time then falls on all of them.
    cells = [Cell(n, g, repeat, base_seed + repeat) for repeat in range(repeats) for n, g in wanted]
    series = Scale(scale_id, mode, asked, tuple(cells))
    folder = scales_dir() / scale_id
    write_scale(folder, series)
    return folder, series


def _asked(
    request: Request, wanted: Sequence[tuple[int, int | None]], mode: str, repeats: int, base_seed: int
) -> dict[str, Any]:
    """What makes two commands the same, as JSON would give it back."""
    fleet = chosen(request.fleet)
    return {
        "task": request.task,
        "goal": request.goal,
        "data": request.data,
        "ranks": request.ranks,
        "backend": request.backend,
        "aggregation": request.aggregation,
        "steps": request.max_steps,
        "global_batch": request.global_batch,
        "fleet": fleet.name if fleet else THIS_MACHINE,
        "sizes": [list(size) for size in wanted],
        "mode": mode,
        "repeats": repeats,
        "seed": base_seed,
    }


def _known() -> Iterator[tuple[Path, Scale]]:
    folders = sorted(scales_dir().iterdir(), reverse=True) if scales_dir().is_dir() else []
    for folder in folders:
        try:
            yield folder, read_scale(folder)
        except MlbError as error:
            note(f"{error.what} It is left out.")


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
