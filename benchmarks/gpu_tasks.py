"""Tasks 1a and 1b on one GPU, against the limits: python benchmarks/gpu_tasks.py 1a|1b [...].

    1a [SEEDS]                       task 1a to 80 % with the fast recipe, 20 seeds or so many: mean time and spread
    1b [STEPS] [--set KEY=VALUE]...  images/s and MFU of task 1b's recipes: compute alone, and fed by decoding

1a is timed as every run is: from run_start, evaluations included; compiling is start-up (docs/decisions/0048) and is
told as the time from the launch. 1b needs no ImageNet: 2,000 generated pictures of 500x375 pixels, read again and
again, cost as much to decode. The peak rates are dense bfloat16 as NVIDIA states them.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, pairwise
from pathlib import Path

import numpy as np
import torch
from common import interval, machine
from input_rate import GPU_IMAGES_PER_S, picture
from mlb.datasets import store
from mlb.datasets.files import exclusive
from mlb.datasets.store import Recipe
from mlb.tasks.base import Batch, Setup
from mlb.tasks.task1b import Task1b
from smoke import HEAD, once
from torch.utils.flop_counter import FlopCounterMode

PEAK_TFLOPS = {"H100": 989.5, "H200": 989.5, "A100": 312.0}
PICTURES, REPEATS = 50, 40


def task_1a(runs: int) -> int:
    print(f"task1a, goal full, recipe fast, on {machine()}, {device_name()}")
    print(HEAD)
    times = [once("task1a", str(seed), ["--recipe", "fast"], "full") for seed in range(1, runs + 1)]
    reached = [seconds for seconds in times if seconds is not None]
    if reached:
        median, low, high = interval(reached)
        print(
            f"time to 80 %: mean {statistics.mean(reached):.2f} s, median {median:.2f} (95 % {low:.2f}-{high:.2f}), "
            f"{len(reached)} of {runs} runs reached it"
        )
    return 0 if len(reached) == runs else 1


def task_1b(steps: int, changes: dict[str, str]) -> int:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"task1b on {machine()}, {device_name()}; MLPerf's fastest 8 x H200: {GPU_IMAGES_PER_S:,} images/s a GPU")
    with tempfile.TemporaryDirectory() as folder:
        path = pictures(Path(folder))
        for recipe in ("reference", "fast"):
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
    for gpu, peak in PEAK_TFLOPS.items():
        if gpu in device_name():
            line += (
                f"  MFU {100 * rate * flop / 1e12 / peak:.1f} % of {peak} TFLOP/s, the limit {peak * 1e12 / flop:,.0f}"
            )
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
    what, *rest = sys.argv[1:] or ["1a"]
    changes = dict(text.split("=", 1) for flag, text in pairwise(rest) if flag == "--set")
    number = int(rest[0]) if rest and rest[0].isdecimal() else None
    run: dict[str, Callable[[], int]] = {
        "1a": lambda: task_1a(number or 20),
        "1b": lambda: task_1b(number or 30, changes),
    }
    return run[what]()


if __name__ == "__main__":
    sys.exit(main())
