"""Task 1a's step against a plain eager loop of the same model and batch: python benchmarks/task1a_steps.py [ROUNDS].

One process with one thread, batch 128, CIFAR-10 from MLB_DATA_DIR, its cache in MLB_HOME. A round is one step of each,
in turn, each with its own data loading: the plain loop takes its images unaugmented, which favours it. Printed:
medians, and the ratios with a bootstrap 95 % interval.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from common import interval, machine
from mlb.datasets.load import load_array
from mlb.datasets.prepare import prepare
from mlb.models.resnet_cifar import ResNetCIFAR, ResNetCIFARConfig
from mlb.tasks.base import Batch, Setup
from mlb.tasks.task1a import Task1a
from torch.nn import functional as F

BATCH = 128
"""Of all three: the fast recipe's own is larger."""


def plain(path: Path) -> Callable[[], None]:
    """What one writes without thinking: contiguous float32 images, SGD, zero_grad."""
    images, labels = load_array(path, "train"), load_array(path, "train_labels").long()
    model = ResNetCIFAR(ResNetCIFARConfig())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        chosen = torch.randint(0, len(labels), (BATCH,))
        x = (images[chosen].float() / 255 - 0.47) / 0.2
        optimiser.zero_grad()
        loss = F.cross_entropy(model(x), labels[chosen])
        loss.backward()
        optimiser.step()
        loss.item()

    return step


def of_task(path: Path, recipe: str) -> Callable[[], None]:
    """The task's own step, loaded and augmented by the task."""
    setup = Setup("full", recipe, path, 42, 0, 1, torch.device("cpu"), lambda total: total, batch_per_rank=BATCH)
    task = Task1a(setup)

    def endless() -> Iterator[Batch]:
        for epoch in range(1, 1_000):
            yield from task.batches(epoch)

    batches = endless()

    def step() -> None:
        objective, loss = task.forward(task.to_device(next(batches)))
        objective.backward()
        task.optimise()
        loss.item()

    return step


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    torch.set_num_threads(1)
    data = Path(os.environ["MLB_DATA_DIR"])
    home = Path(os.environ["MLB_HOME"])
    path = prepare("cifar-10-batches-bin", vocabulary=None, data_dir=data, cache_dir=home / "cache").path
    steps = {"plain": plain(path), "reference": of_task(path, "reference"), "fast": of_task(path, "fast")}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= 2:
                seconds[name].append(time.perf_counter() - start)
    print(machine())
    for name, values in seconds.items():
        print(f"{name:10} median {1e3 * interval(values)[0]:6.1f} ms a step of 128 images")
    for name in ("reference", "fast"):
        ratios = [a / b for a, b in zip(seconds["plain"], seconds[name], strict=True)]
        print("plain / {:10} {:.2f} (95 % {:.2f}-{:.2f}), n={}".format(name, *interval(ratios), rounds))


if __name__ == "__main__":
    main()
