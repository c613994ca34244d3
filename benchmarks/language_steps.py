"""The language tasks' steps against plain eager loops: python benchmarks/language_steps.py TASK [smoke|full] [ROUNDS].

One process with one thread; data from MLB_DATA_DIR (WikiText-2, Multi30k), its cache in MLB_HOME. `smoke` are the
smoke goal's model and batch, `full` the published model (4a, 4b: on 16 captions of Multi30k, as a CPU can bear no
more). A round is one step of each, in turn, on the same batch: mlb's with its data loading, the plain loop with tensors
that are ready, which favours it. The plain loops are written with torch's own modules, float32, `zero_grad()` and a
`loss.item()` a step. Printed: medians, their ratio with a bootstrap 95 % interval, the input's share, peak memory.
"""

import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from common import interval, machine
from mlb.datasets.prepare import prepare
from mlb.tasks import recipes
from mlb.tasks.base import Batch, Setup
from mlb.tasks.task3a import Task3a
from mlb.tasks.task4a import Task4a
from mlb.tasks.task4b import Task4b
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Loss = Callable[[Batch], Tensor]


class PlainAWDLSTM(nn.Module):
    """Dropout of words on the whole embedding, of weights through functional_call, the same mask for all time steps."""

    def __init__(self, task: Task3a) -> None:
        super().__init__()
        c = self.config = task.model.config
        self.embedding, self.bias = (
            nn.Embedding(c.vocabulary, c.embedding),
            nn.Parameter(torch.zeros(c.vocabulary)),
        )
        widths = [c.embedding, *[c.hidden] * (c.layers - 1), c.embedding]
        self.lstms = nn.ModuleList(nn.LSTM(a, b) for a, b in pairwise(widths))
        self.state: list[Any] = [None] * c.layers

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c = self.config
        keep = F.dropout(torch.ones(c.vocabulary, 1), c.dropout_embedding)
        x = self._locked(F.embedding(ids, self.embedding.weight * keep), c.dropout_input)
        raw = x
        for i, lstm in enumerate(self.lstms):
            dropped = {"weight_hh_l0": F.dropout(lstm.weight_hh_l0, c.dropout_weights)}
            raw, state = torch.func.functional_call(lstm, dropped, (x, self.state[i]))
            self.state[i] = tuple(t.detach() for t in state)
            x = self._locked(raw, c.dropout_output if i == c.layers - 1 else c.dropout_hidden)
        return F.linear(x.flatten(0, 1), self.embedding.weight, self.bias), x, raw

    @staticmethod
    def _locked(x: Tensor, p: float) -> Tensor:
        return x * F.dropout(torch.ones_like(x[:1]), p)


def plain_3a(task: Task3a) -> tuple[nn.Module, torch.optim.Optimizer, Loss, float | None]:
    recipe, model = task.recipe, PlainAWDLSTM(task)

    def loss(batch: Batch) -> Tensor:
        logits, dropped, raw = model(batch.tensors[0])
        regularised = recipe.activation_regularisation * dropped.pow(2).mean()
        regularised = regularised + recipe.temporal_regularisation * (raw[1:] - raw[:-1]).pow(2).mean()
        return F.cross_entropy(logits, batch.tensors[1].flatten()) + regularised

    optimiser = torch.optim.SGD(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    return model, optimiser, loss, recipe.clip_norm


class PlainGNMT(nn.Module):
    """Packed sequences for the layer that reads both ways, the attention as in Bahdanau's paper."""

    def __init__(self, vocabulary: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding, self.classifier = nn.Embedding(vocabulary, width), nn.Linear(width, vocabulary)
        self.both = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        sizes = [2 * width, *[width] * (layers - 2)]
        self.encoder = nn.ModuleList(nn.LSTM(size, width, batch_first=True) for size in sizes)
        self.first = nn.LSTM(width, width, batch_first=True)
        self.decoder = nn.ModuleList(nn.LSTM(2 * width, width, batch_first=True) for _ in range(layers - 1))
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.score, self.dropout = nn.utils.parametrizations.weight_norm(nn.Linear(width, 1, bias=False)), dropout

    def forward(self, source: Tensor, real: Tensor, target: Tensor) -> Tensor:
        packed = pack_padded_sequence(self._drop(self.embedding(source)), real.sum(1), True, False)
        x = pad_packed_sequence(self.both(packed)[0], True, total_length=source.shape[1])[0]
        for i, lstm in enumerate(self.encoder):
            y = lstm(self._drop(x))[0]
            x = y if i == 0 else x + y
        q = self.first(self._drop(self.embedding(target)))[0]
        scores = self.score(torch.tanh(self.query(q).unsqueeze(2) + self.key(x).unsqueeze(1))).squeeze(3)
        context = scores.masked_fill(~real.unsqueeze(1), float("-inf")).softmax(2) @ x
        for i, lstm in enumerate(self.decoder):
            y = lstm(self._drop(torch.cat([q, context], 2)))[0]
            q = y if i == 0 else q + y
        logits: Tensor = self.classifier(q)
        return logits

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout)


class PlainTransformer(nn.Module):
    """nn.Transformer, normalised first, one embedding for all three ends."""

    def __init__(self, vocabulary: int, recipe: Any) -> None:
        super().__init__()
        self.embedding, self.width = nn.Embedding(vocabulary, recipe.width), recipe.width
        nn.init.normal_(self.embedding.weight, std=recipe.width**-0.5)
        self.drop = nn.Dropout(recipe.dropout)
        self.layers = nn.Transformer(
            recipe.width, recipe.heads, recipe.layers, recipe.layers, recipe.feed_forward, recipe.dropout,
            batch_first=True, norm_first=True, bias=False,
        )  # fmt: skip
        angles = torch.arange(200)[:, None] * 10_000 ** (-torch.arange(0, recipe.width, 2) / recipe.width)
        self.register_buffer("positions", torch.cat([angles.sin(), angles.cos()], 1))

    def forward(self, source: Tensor, real: Tensor, target: Tensor) -> Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        options = {"src_key_padding_mask": ~real, "memory_key_padding_mask": ~real}
        out = self.layers(self._embed(source), self._embed(target), tgt_mask=causal, tgt_is_causal=True, **options)
        return F.linear(out, self.embedding.weight)

    def _embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.drop(self.embedding(ids) * self.width**0.5 + self.positions[: ids.shape[1]])
        return embedded


def plain_4(task: Any) -> tuple[nn.Module, torch.optim.Optimizer, Loss, float | None]:
    recipe = task.recipe
    vocabulary = next(p for p in task.model.embedding.parameters()).shape[0]
    model: nn.Module
    if isinstance(task, Task4a):
        model = PlainGNMT(vocabulary, recipe.width, recipe.layers, recipe.dropout)
    else:
        model = PlainTransformer(vocabulary, recipe)
    criterion = nn.CrossEntropyLoss(ignore_index=0, label_smoothing=recipe.label_smoothing)

    def loss(batch: Batch) -> Tensor:
        source, target, following = batch.tensors
        value: Tensor = criterion(model(source, source != 0, target).flatten(0, 1), following.flatten())
        return value

    return model, torch.optim.Adam(model.parameters(), lr=1e-4), loss, recipe.clip_norm


def plain_step(plain: tuple[nn.Module, torch.optim.Optimizer, Loss, float | None], batch: Batch) -> None:
    model, optimiser, loss, clip = plain
    optimiser.zero_grad()
    value = loss(batch)
    value.backward()  # type: ignore[no-untyped-call]
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimiser.step()
    value.item()


def make(task: str, size: str) -> Any:
    """The task on one rank; its smoke recipe with the batch that one of two ranks has, or the published model."""
    text = task == "task3a"
    vocabulary = {"smoke": {"task3a": 8_000, "task4a": 1_500, "task4b": 4_000}[task], "full": None}[size]
    data = "wikitext-2" if text else "multi30k"
    if size == "full" and not text:
        vocabulary = 8_000  # as many pieces as can be learned from captions
    folder, home = Path(os.environ["MLB_DATA_DIR"]), Path(os.environ["MLB_HOME"])
    path = prepare(data, vocabulary=vocabulary, data_dir=folder, cache_dir=home / "cache").path
    recipe = recipes.build(task, "smoke" if size == "smoke" else "reference", {})
    if task == "task4a":
        pairs = recipe.pairs_per_step // 2 if size == "smoke" else 16
        recipe = replace(recipe, pairs_per_step=pairs, most_pairs_per_rank=pairs)
    if task == "task4b":
        tokens = recipe.tokens_per_rank if size == "smoke" else 512
        recipe = replace(recipe, tokens_per_step=tokens, tokens_per_rank=tokens)
    setup = Setup(size, "smoke", path, 1, 0, 1, torch.device("cpu"), lambda total: total)
    return {"task3a": Task3a, "task4a": Task4a, "task4b": Task4b}[task](setup, recipe)


def main() -> None:
    task_name, size, rounds = [*sys.argv[1:], *["task3a", "smoke", "20"][len(sys.argv) - 1 :]]
    torch.set_num_threads(1)
    torch.manual_seed(1)
    task = make(task_name, size)
    plain = plain_3a(task) if task_name == "task3a" else plain_4(task)
    batches = task.batches(1)
    seconds: dict[str, list[float]] = {"plain": [], "mlb": [], "input": []}
    for number in range(int(rounds) + 2):
        start = time.perf_counter()
        batch = next(batches)
        loaded = time.perf_counter()
        objective, loss = task.forward(task.to_device(batch))
        objective.backward()
        if task.clip_norm is not None:
            nn.utils.clip_grad_norm_(task.model.parameters(), task.clip_norm)
        task.optimise()
        loss.item()
        ours = time.perf_counter()
        plain_step(plain, batch)
        if number >= 2:
            seconds["plain"].append(time.perf_counter() - ours)
            seconds["mlb"].append(ours - start)
            seconds["input"].append(loaded - start)
    print(machine())
    print(f"{task_name}, {size}: {sum(p.numel() for p in task.model.parameters()):,} parameters")
    for name in ("plain", "mlb"):
        print(f"{name:8} median {1e3 * interval(seconds[name])[0]:8.1f} ms a step")
    ratios = [a / b for a, b in zip(seconds["plain"], seconds["mlb"], strict=True)]
    print("plain / mlb {:.2f} (95 % {:.2f}-{:.2f}), n={}".format(*interval(ratios), rounds))
    print(f"input    {100 * sum(seconds['input']) / sum(seconds['mlb']):.1f} % of the step")
    print(f"peak memory of both together {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
