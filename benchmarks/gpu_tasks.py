"""Tasks 1a, 3a and 1b on one GPU, against the limits: python benchmarks/gpu_tasks.py 1a|3a|1b [...].

    1a [SEEDS]    task 1a to 80 % with the fast recipe, 20 seeds or so many: mean time and spread
    3a [SEEDS]    task 3a to the static perplexity 70 with the fast recipe, one seed or so many
    1b [STEPS]    images/s and MFU of task 1b's recipes, compute alone, and fed by decoding

Options: --set KEY=VALUE, once or more, changes the recipe; --recipe NAME takes another one; --target and --epochs
take another goal of 1a and 3a; --search first tries the changes in a JSON file, a list of objects, with two seeds each,
and takes the fastest of them.

1a and 3a are trained by mlb's own loop, log included, one seed after the other in one process: the time is that of
every run, from run_start to the end of the evaluation that meets the target. Compiling and loading is start-up
(docs/decisions/0048), and is told apart. 1b needs no ImageNet: 2,048 generated pictures of 500x375 pixels (two steps
of 1,024), read again and again, cost as much to decode. The peak rates are dense bfloat16 as NVIDIA states them.
"""

import argparse
import gc
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import interval, machine, peak_flops
from input_rate import GPU_IMAGES_PER_S, picture
from log_overhead import SPEC
from mlb.aggregation.patterns import create
from mlb.datasets import store
from mlb.datasets.files import exclusive
from mlb.datasets.prepare import prepare
from mlb.datasets.store import Recipe
from mlb.results import keys
from mlb.results.log import read_log
from mlb.results.writer import EventLog
from mlb.runners.loop import TrainingLoop
from mlb.runners.rank import draw_apart
from mlb.tasks import task1a, task3a
from mlb.tasks.base import Batch, Setup
from mlb.tasks.task1b import Task1b
from torch.utils.flop_counter import FlopCounterMode

PICTURES, REPEATS = 64, 32
DATA = Path(os.environ["MLB_DATA_DIR"]) if "MLB_DATA_DIR" in os.environ else None


@dataclass(frozen=True)
class Trained:
    """What is trained to a target, and how far it may go."""

    create: Callable[[Setup], Any]
    goal: str
    dataset: str
    target: float
    falls: bool
    """Whether the quality has to fall to the target."""
    epochs: int


TRAINED = {
    "1a": Trained(task1a.create, "full", "cifar-10-batches-bin", 80.0, falls=False, epochs=30),
    "3a": Trained(task3a.create, "light", "wikitext-2", 70.0, falls=True, epochs=200),
}


@dataclass(frozen=True)
class Outcome:
    """One seed's training."""

    start_up_s: float
    seconds: float | None
    """To the target; None where it was not met."""
    epochs: list[tuple[float, float]]
    """Seconds from run_start, and the quality, after each epoch."""
    shares: dict[str, float]
    """Seconds of all steps in each phase."""

    def row(self, name: str) -> str:
        curve = " ".join(f"{quality:.2f}" for _, quality in self.epochs)
        shares = " ".join(f"{phase}={seconds:.2f}" for phase, seconds in self.shares.items() if seconds >= 0.005)
        met = "missed" if self.seconds is None else f"{self.seconds:.2f} s"
        return f"{name}: {met} after {self.epochs[-1][0]:.2f} s, start {self.start_up_s:.1f} s; {shares}; {curve}"


def train(what: Trained, recipe: str, seed: int, changes: dict[str, str], path: Path) -> Outcome:
    """One seed to its target by mlb's own loop."""
    began = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    torch._dynamo.reset()
    task = what.create(Setup(what.goal, recipe, path, seed, 0, 1, device, lambda total: total, changes))
    draw_apart(seed, 0)
    bounds = {"target": what.target, "target_is_upper_bound": what.falls, "max_epochs": what.epochs}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events"
        log = EventLog(file, rank=0, local_rank=0, world_size=1, node=0, run_id="r", launched_unix_ns=1)
        loop = TrainingLoop(replace(SPEC, seed=seed, **bounds), task, create("allreduce", task.model, 1), log, device)
        synchronise()
        start_up_s = time.perf_counter() - began
        met = loop.run() == "goal"
        log.close()
        events = read_log(file).events
    begin = next(e.time_ns for e in events if e.key == keys.RUN_START)
    scores = [e for e in events if e.key == keys.EVAL_ACCURACY and e.fields["split"] == "validation"]
    epochs = [((e.time_ns - begin) / 1e9, e.fields["value"]) for e in scores]
    steps = [e.fields for e in events if e.key == keys.STEP]
    shares = {phase: sum(step[f"{phase}_ns"] for step in steps) / 1e9 for phase in keys.PHASES}
    stops = [e.fields for e in events if e.key == keys.EVAL_STOP and e.fields["split"] == "validation"]
    shares["evaluation"] = sum(stop["duration_ns"] for stop in stops) / 1e9
    del task, loop
    gc.collect()
    return Outcome(start_up_s, epochs[-1][0] if met else None, epochs, shares)


def to_target(name: str, what: Trained, recipe: str, seeds: int, changes: dict[str, str], search: Path | None) -> int:
    print(f"task{name} to {what.target}, recipe {recipe} {changes or ''}, on {machine()}, {device_name()}", flush=True)
    with tempfile.TemporaryDirectory() as cache:
        path = prepare(what.dataset, vocabulary=None, data_dir=DATA, cache_dir=Path(cache)).path
        fastest = math.inf
        for tried in json.loads(search.read_text()) if search else []:
            outcomes = [train(what, recipe, seed, changes | tried, path) for seed in (101, 102)]
            print("\n".join(outcome.row(str(tried)) for outcome in outcomes), flush=True)
            slower = max(outcome.seconds or math.inf for outcome in outcomes)
            if slower < fastest:
                fastest, best = slower, changes | tried
        changes = best if fastest < math.inf else changes
        print(f"with {changes}:", flush=True)
        times = []
        for seed in range(1, seeds + 1):
            outcome = train(what, recipe, seed, changes, path)
            print(outcome.row(f"seed {seed}"), flush=True)
            times += [outcome.seconds] if outcome.seconds is not None else []
    if times:
        median, low, high = interval(times)
        print(
            f"time to {what.target}: mean {statistics.mean(times):.2f} s, {min(times):.2f} to {max(times):.2f}",
            end="; ",
        )
        print(f"median {median:.2f} (95 % {low:.2f}-{high:.2f}); {len(times)} of {seeds} seeds reached it")
    return 0 if len(times) == seeds else 1


def task_1b(steps: int, recipes: list[str], changes: dict[str, str]) -> int:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"task1b on {machine()}, {device_name()}; MLPerf's fastest 8 x H200: {GPU_IMAGES_PER_S:,} images/s a GPU")
    with tempfile.TemporaryDirectory() as folder:
        path = pictures(Path(folder))
        for recipe in recipes:
            task = Task1b(Setup("full", recipe, path, 1, 0, 1, device, lambda total: total, changes))
            batch = task.to_device(next(task.batches(1)))
            measure(f"{recipe}, compute alone", task, cycle([batch]), steps)
            measure(
                f"{recipe}, decoding", task, (task.to_device(b) for e in range(1, 99) for b in task.batches(e)), steps
            )
    return 0


def measure(name: str, task: Task1b, batches: Iterator[Batch], steps: int) -> None:
    """Time whole steps, the device synchronised around them, after as many that are not timed."""
    images = side = 0
    for number in range(2 * steps):
        if number == steps:
            synchronise()
            start, images = time.perf_counter(), 0
        batch = next(batches)
        for part in batch.parts:
            task.forward(part)[0].backward()
        task.optimise()
        images, side = images + batch.samples, batch.parts[0].tensors[0].shape[-1]
    synchronise()
    rate = images / (time.perf_counter() - start)
    flop = flop_per_image(task, side)
    line = f"{name:26} {side} px  {rate:8.1f} images/s  {flop / 1e9:5.1f} GFLOP an image"
    line += f"  {rate * flop / 1e12:6.1f} TFLOP/s"
    if peak := peak_flops(device_name()):
        line += f"  MFU {100 * rate * flop / peak:.1f} % of {peak / 1e12:g} TFLOP/s, the limit {peak / flop:,.0f}"
    memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    print(f"{line}  {memory:.1f} GiB", flush=True)


def flop_per_image(task: Task1b, side: int) -> float:
    """Of forward and backward, counted by torch; a multiplication and an addition are two."""
    device = next(task.model.parameters()).device
    with FlopCounterMode(display=False) as counter:
        task.model(torch.zeros(2, 3, side, side, device=device)).sum().backward()
    task.model.zero_grad()
    return counter.get_total_flops() / 2


def pictures(root: Path) -> Path:
    """A prepared data set of generated pictures, each many times."""
    contents = [picture(number) for number in range(PICTURES)]
    recipe = Recipe("pictures", {})
    with exclusive(store.prepared_root(root)), store.writing(root, recipe, origin="generated") as writing:
        for split in ("train", "valid"):
            writing.array(f"{split}-00000", "|u1")
            writing.array(f"{split}_index", "<i8", (4,))
            firsts = np.cumsum([0, *map(len, contents)])
            for content in contents:
                writing.append(f"{split}-00000", content)
            rows = [(0, firsts[i], len(c), i) for i, c in enumerate(contents)] * REPEATS
            writing.append(f"{split}_index", np.array(rows, "<i8"))
    return recipe.folder(root)


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=[*TRAINED, "1b"])
    parser.add_argument("number", nargs="?", type=int)
    parser.add_argument("--recipe")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--target", type=float)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--search", type=Path)
    chosen = parser.parse_args()
    changes = dict(text.split("=", 1) for text in chosen.settings)
    if chosen.task == "1b":
        return task_1b(chosen.number or 30, [chosen.recipe] if chosen.recipe else ["reference", "fast"], changes)
    what = TRAINED[chosen.task]
    what = replace(what, target=chosen.target or what.target, epochs=chosen.epochs or what.epochs)
    number = chosen.number if chosen.number is not None else {"1a": 20, "3a": 1}[chosen.task]
    return to_target(chosen.task, what, chosen.recipe or "fast", number, changes, chosen.search)


if __name__ == "__main__":
    sys.exit(main())
