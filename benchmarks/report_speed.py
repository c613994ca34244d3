"""How long a report of a large run takes: the page of R ranks x S steps, its peak memory, its size.

    python -m mlb.benchmarks.report_speed [--ranks 64] [--steps 100000]

Writes the logs first, in a temporary folder (about 0.6 KB a step and rank), then makes the page in a process of its
own, as `mlb report --html` does. Says what each stage took.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from ..results import keys
from ..results.line import encode
from ..results.run import RunFolder, RunSpec, write_json

MS = 1_000_000
LAUNCHED = 1_700_000_000 * 1000 * MS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--made", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.made:
        print(json.dumps(make_page(asked.made)))
        return
    with tempfile.TemporaryDirectory() as home:
        folder = RunFolder(Path(home) / "big")
        write_run(folder, asked.ranks, asked.steps)
        size = sum(path.stat().st_size for path in folder.events.iterdir())
        again = [sys.executable, "-P", "-m", "mlb.benchmarks.report_speed", "--made", str(folder.path)]
        begun = time.monotonic()
        done = subprocess.run(again, stdout=subprocess.PIPE, text=True, check=True)
        whole_s = time.monotonic() - begun
    said = json.loads(done.stdout)
    print(f"{asked.ranks} ranks x {asked.steps:,} steps, {size / 1e6:,.0f} MB of logs")
    print(", ".join(f"{name} {value:.2f} s" for name, value in said["seconds"].items()) + f"; in all {whole_s:.2f} s")
    print(f"peak memory {said['peak_mb']:,.0f} MB; page {said['page_kb']:,.0f} kB")


def make_page(path: Path) -> dict[str, object]:
    """Make the page and say what it took."""
    clock = [time.monotonic()]
    from ..pages.page import run_page
    from ..results.extent import BUCKETS
    from ..results.metrics import compute

    folder = RunFolder(path)
    clock.append(time.monotonic())
    metrics = compute(folder, BUCKETS)
    clock.append(time.monotonic())
    page = run_page(folder, metrics)
    clock.append(time.monotonic())
    stages = ("imports", "metrics", "page")
    return {
        "seconds": {name: b - a for name, a, b in zip(stages, clock[:-1], clock[1:], strict=True)},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "page_kb": len(page.encode()) / 1000,
    }


def write_run(folder: RunFolder, ranks: int, steps: int) -> None:
    """A run whose every step takes 100 ms, with one all-reduce; the ranks' clocks agree."""
    folder.create()
    write_json(folder.spec, asdict(_spec(folder.run_id, ranks)))
    for rank in range(ranks):
        with folder.rank_events(rank).open("wb") as file:
            for seq, (key, time_ns, fields) in enumerate(_events(folder.run_id, rank, ranks, steps)):
                file.write(encode(key, seq, time_ns, fields))


def _events(run_id: str, rank: int, ranks: int, steps: int):  # type: ignore[no-untyped-def]
    begin = 5_000 * MS
    start = {"schema_version": 1, "run_id": run_id, "rank": rank, "local_rank": 0, "world_size": ranks, "node": rank}
    place = {"host": f"h{rank}", "pid": 1, "unix_time_ns": LAUNCHED, "launched_unix_ns": LAUNCHED}
    yield keys.LOG_START, begin, {**start, **place}
    yield keys.CLOCK_SYNC, begin, {"offset_ns": -begin, "error_ns": 10_000, "rounds": 40}
    yield keys.RUN_START, begin, {}
    phases = dict(zip(keys.PHASES, (1, 1, 30, 50, 10, 7, 1), strict=True))
    for step in range(steps):
        at = begin + step * 100 * MS
        yield (
            keys.STEP,
            at + 100 * MS,
            {
                "epoch_num": 1 + step // 1000,
                "step": step,
                "start_ns": at,
                "step_ns": 100 * MS,
                **{f"{phase}_ns": ms * MS for phase, ms in phases.items()},
                "samples": 32,
                "tokens": 1000,
                "bytes_reduced": 4096,
                "loss": 6.0 / (1 + step / steps),
                "warmup": step < 3,
                "collective_operation": ["all_reduce"],
                "collective_bytes": [4096],
                "collective_arrival_ns": [82 * MS],
                "collective_end_ns": [92 * MS],
                "blocked_start_ns": [82 * MS],
                "blocked_end_ns": [92 * MS],
            },
        )
    end = begin + steps * 100 * MS
    yield keys.CLOCK_SYNC, end, {"offset_ns": -begin, "error_ns": 10_000, "rounds": 40}
    yield keys.RUN_STOP, end, {"status": "aborted", "reason": "steps"}
    yield keys.LOG_STOP, end, {"unix_time_ns": LAUNCHED + end - begin}


def _spec(run_id: str, ranks: int) -> RunSpec:
    return RunSpec(
        run_id=run_id, task="task3a", goal="light", recipe="reference", division="open", comparable=False,
        metric="validation perplexity", target=90.0, target_is_upper_bound=True, max_epochs=750, max_steps=None, seed=1,
        dataset="synthetic", data_path="", data_origin="generated", best_possible=None, ranks=ranks, backend="gloo",
        threads_per_rank=1, fleet="local", created_unix_ns=LAUNCHED, argv=("mlb", "bench", "task3a"), mlb_version="0",
        git_revision="", launched_unix_ns=LAUNCHED,
    )  # fmt: skip


if __name__ == "__main__":
    main()
