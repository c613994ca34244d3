"""Tasks 3a, 4a and 4b on one GPU: python benchmarks/gpu_language.py [TASK...] [--recipe NAME] [--steps N].

The published models and batches, on data of the real size and lengths that is made on the spot: text of 33,278 words;
100,000 pairs (--pairs) of made-up sentences of 25 words on average, as in WMT, and 32,768 subwords. Printed for each
task: tokens per second (real target pieces; for 3a every token), the step's time, peak memory, and model FLOP
utilisation: the arithmetic of the matrix products of forward and backward, by the formulas below, over the time and the
GPU's peak of dense bfloat16, which is named. Dropout, softmax, the optimiser and padding count as no arithmetic.

The bound beside it is what the arithmetic alone would take at the peak.
"""

import argparse
import tempfile
import time
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import torch
from common import interval, machine, peak_flops
from mlb.datasets.prepare import prepare
from mlb.tasks import recipes
from mlb.tasks.base import Batch, Setup
from mlb.tasks.task3a import Task3a
from mlb.tasks.task4a import Task4a
from mlb.tasks.task4b import Task4b
from prepare_corpus import corpus

_TASKS = {"task3a": Task3a, "task4a": Task4a, "task4b": Task4b}


def lstm(inputs: int, width: int) -> int:
    """Multiplications and additions of one layer for one token, forward."""
    return 2 * 4 * width * (inputs + width)


def forward_flops(task: Any, batch: Batch) -> float:
    """Of the matrix products of one pass's real tokens."""
    if isinstance(task, Task3a):
        c = task.model.config
        widths = [c.embedding, *[c.hidden] * (c.layers - 1), c.embedding]
        layers = sum(lstm(a, b) for a, b in pairwise(widths))
        return float(batch.tokens * (layers + 2 * c.embedding * c.vocabulary))
    source, _, following = batch.tensors
    sources, targets = float((source != 0).sum()), float((following != 0).sum())
    crossed = float(((source != 0).sum(1) * (following != 0).sum(1)).sum())
    recipe, vocabulary = task.recipe, task.model.embedding.weight.shape[0]
    w, output = recipe.width, 2.0 * recipe.width * vocabulary
    if isinstance(task, Task4a):
        encoder = 2 * lstm(w, w) + lstm(2 * w, w) + (recipe.layers - 2) * lstm(w, w)
        decoder = lstm(w, w) + (recipe.layers - 1) * lstm(2 * w, w)
        # The attention: a key a source piece, a query a target piece, a score and a context for each two.
        return sources * (encoder + 2 * w * w) + targets * (decoder + 2 * w * w + output) + crossed * 4 * w
    own = float(((source != 0).sum(1) ** 2).sum() + ((following != 0).sum(1) ** 2).sum() / 2)
    feed, attention = 4 * w * recipe.feed_forward, 8 * w * w
    # Keys and values of the attention to the source are made of source pieces, its queries and output of target's.
    per_source, per_target = attention + feed + 4 * w * w, attention + 4 * w * w + feed
    return recipe.layers * (sources * per_source + targets * per_target + (own + crossed) * 4 * w) + targets * output


def make(name: str, recipe: str, folder: Path, pairs: int) -> Any:
    if name == "task3a":
        path = prepare("synthetic", vocabulary=33_278, data_dir=None, cache_dir=folder, train_tokens=2_088_628).path
    else:
        corpus(folder / "own-corpus", pairs)
        path = prepare("own-corpus", vocabulary=None, data_dir=folder, cache_dir=folder).path
    torch.manual_seed(1)
    setup = Setup("light", recipe, path, 1, 0, 1, torch.device("cuda"), lambda total: total)
    return _TASKS[name](setup, recipes.build(name, recipe, {}))


def measure(name: str, task: Any, steps: int, peak: float | None) -> None:
    times: list[float] = []
    tokens = flops = 0.0
    batches = (batch for epoch in count(1) for batch in task.batches(epoch))
    torch.cuda.reset_peak_memory_stats()
    for number in range(steps + 3):
        batch = next(batches)
        torch.cuda.synchronize()
        start = time.perf_counter()
        batch = task.to_device(batch)
        for part in batch.parts or (batch,):
            task.forward(part)[0].backward()
        if task.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(task.model.parameters(), task.clip_norm)
        task.optimise()
        torch.cuda.synchronize()
        if number >= 3:
            times.append(time.perf_counter() - start)
            tokens += batch.tokens
            flops += 3 * sum(forward_flops(task, part) for part in batch.parts or (batch,))
    median, low, high = interval(times)
    seconds = sum(times)
    print(f"{name}: {tokens / seconds:,.0f} tokens/s")
    print(f"  a step {1e3 * median:.1f} ms (95 % {1e3 * low:.1f}-{1e3 * high:.1f}), {steps} steps")
    print(f"  {flops / seconds / 1e12:.1f} TFLOP/s; peak memory {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")
    if peak is not None:
        print(f"  MFU {100 * flops / seconds / peak:.1f} % of {peak / 1e12:.0f} TFLOP/s dense bfloat16;", end=" ")
        print(f"arithmetic alone at that peak: {1e3 * flops / peak / steps:.1f} ms a step")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", default=list(_TASKS))
    parser.add_argument("--recipe", default="reference")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="keep the data here, and take what is there")
    parser.add_argument("--pairs", type=int, default=100_000)
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no GPU that torch can use")
    name = torch.cuda.get_device_name()
    peak = peak_flops(name)
    print(f"{machine()}; {name}", flush=True)
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="mlb-language-"))
    for task in chosen.tasks or list(_TASKS):
        measure(task, make(task, chosen.recipe, folder, chosen.pairs), chosen.steps, peak)


if __name__ == "__main__":
    main()
