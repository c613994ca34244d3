"""DDP's overlap against one blocking all-reduce on tasks 1a and 3a, slow links: python benchmarks/overlap.py --help.

Needs root: each rank lives in a network namespace, MLB_DATA_DIR and MLB_HOME as for mlb. Both patterns take turns,
ROUNDS times a few steps each, in one set of processes; a step is as long as on its slowest rank. Compute alone is the
step without any exchange, its ranks at the same time on the same cores; transfer alone is the all-reduce of the whole
gradient, nothing computed. With overlap a step is bounded below by the larger of the two, without it by their sum.
Each part (task, ranks) is a line of a JSON lines file, which the same command goes on with.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import links
import torch
import torch.distributed as dist
from common import append, interval, lines_of, machine
from mlb.aggregation.base import Aggregation
from mlb.aggregation.exchange import Exchange
from mlb.aggregation.patterns import create
from mlb.tasks import catalogue
from mlb.tasks.base import Batch, Setup, Task
from mlb.tasks.task1a import Task1a
from mlb.tasks.task3a import Task3a

links.PREFIX = "mlbov"
TASKS: dict[str, Callable[..., Any]] = {"task1a": Task1a, "task3a": Task3a}
KINDS = ("allreduce", "ddp", "compute", "transfer")
WARM_UP, STEPS = 2, 3


def data_of(task: str, goal: str) -> Path:
    """The prepared data set of a goal."""
    home, data = Path(os.environ["MLB_HOME"]), Path(os.environ["MLB_DATA_DIR"])
    info = catalogue.task(task)
    return catalogue.prepare_data(info.goal(goal), data="real", data_dir=data, cache_dir=home / "cache").path


def measure(task: str, goal: str, ranks: int, rate_mbit: float, delay_ms: float, rounds: int) -> dict[str, Any]:
    """Milliseconds of each kind: a list over rounds of the mean step, on the slowest rank."""
    path = data_of(task, goal)
    arguments = [task, goal, str(path), str(rounds)]
    found = links.run_ranks(__file__, arguments, [rate_mbit] * ranks, delay_ms, 29579)
    slowest = {kind: [max(times) for times in zip(*(each[kind] for each in found), strict=True)] for kind in KINDS}
    return {**slowest, "megabytes": found[0]["megabytes"]}


def rank_main(folder: Path, name: str, goal: str, path: Path, rounds: int) -> None:
    """One rank: all kinds in turn, round after round."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    world = dist.get_world_size()
    runs = {kind: _steps(name, goal, path, kind, world) for kind in KINDS}
    times: dict[str, Any] = {kind: [] for kind in KINDS}
    for number in range(rounds + 1):
        for kind, step in runs.items():
            for _ in range(WARM_UP if number == 0 else 0):
                step()
            dist.barrier()
            start = time.perf_counter()
            for _ in range(STEPS):
                step()
            if number:
                times[kind].append((time.perf_counter() - start) * 1e3 / STEPS)
    times["megabytes"] = 4e-6 * sum(p.numel() for p in _task(name, goal, path, world).model.parameters())
    (folder / f"{dist.get_rank()}.json").write_text(json.dumps(times))
    dist.barrier()
    dist.destroy_process_group()


def _steps(name: str, goal: str, path: Path, kind: str, world: int) -> Callable[[], None]:
    """One step of a kind; each has a task of its own, so that none is warm for another."""
    task = _task(name, goal, path, world)
    if kind == "transfer":
        gradient = torch.zeros(sum(p.numel() for p in task.model.parameters()))
        return lambda: dist.all_reduce(gradient)
    batches = _endless(task)
    aggregation = Aggregation(task.model, Exchange(1)) if kind == "compute" else create(kind, task.model, world)
    aggregation.clip_norm = task.clip_norm
    forward = aggregation.wrap(task.forward)

    def step() -> None:
        objective, _ = forward(task.to_device(next(batches)))
        objective.backward()
        aggregation.reduce()
        aggregation.clip()
        task.optimise()
        aggregation.after_step()

    return step


def _task(name: str, goal: str, path: Path, world: int) -> Any:
    torch.manual_seed(7)
    recipe = catalogue.task(name).goal(goal).recipes[0]
    setup = Setup(goal, recipe, path, 7, dist.get_rank(), world, torch.device("cpu"), lambda total: total)
    return TASKS[name](setup)


def _endless(task: Task) -> Iterator[Batch]:
    for epoch in range(1, 1_000):
        yield from task.batches(epoch)


def row(line: dict[str, Any]) -> str:
    """What a part says: medians, the ratio with its interval, and how far DDP is from its bound."""
    found = line["found"]
    ratio = interval([a / b for a, b in zip(found["allreduce"], found["ddp"], strict=True)])
    bound = interval([d / max(c, t) for d, c, t in zip(found["ddp"], found["compute"], found["transfer"], strict=True)])
    middle = {kind: interval(found[kind])[0] for kind in KINDS}
    return (
        f"{line['task']:<8}{line['ranks']:>6}{found['megabytes']:>9.2f}"
        + "".join(f"{middle[kind]:>12.1f}" for kind in KINDS)
        + "{:>12.2f} ({:.2f}-{:.2f})".format(*ratio)
        + "{:>8.2f} ({:.2f}-{:.2f})".format(*bound)
    )


def main() -> None:
    if sys.argv[1:2] == ["--rank"]:
        rank_main(Path(sys.argv[2]), sys.argv[3], sys.argv[4], Path(sys.argv[5]), int(sys.argv[6]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--goal", choices=("smoke", "light", "full"), default="smoke", help="whose model and data")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rate", type=float, default=1000.0, metavar="MBIT")
    parser.add_argument("--delay", type=float, default=1.0, metavar="MS")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--file", type=Path, default=Path("overlap.jsonl"))
    given = parser.parse_args()
    for task in given.tasks:
        for ranks in given.ranks:
            asked = {"task": task, "goal": given.goal, "ranks": ranks, "rate": given.rate, "delay": given.delay}
            asked["rounds"] = given.rounds
            if any(all(line[k] == v for k, v in asked.items()) for line in lines_of(given.file)):
                continue
            found = measure(task, given.goal, ranks, given.rate, given.delay, given.rounds)
            append(given.file, {**asked, "machine": machine(), "found": found})
    print(f"{'task':<8}{'ranks':>6}{'MB':>9}" + "".join(f"{kind + ', ms':>12}" for kind in KINDS), end="")
    print("   all-reduce / ddp (95 %)   ddp / max(compute, transfer)")
    for line in lines_of(given.file):
        print(row(line))


if __name__ == "__main__":
    main()
