"""The reference tasks and their goals: the table behind `mlb bench list`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .goal import Goal, TaskInfo

_MIB = 1 << 20
_OPEN_TOO = ("reference", "custom")
_FAST_TOO = ("reference", "fast", "custom")


def _table(*goals: Goal) -> Mapping[str, Goal]:
    return MappingProxyType({goal.name: goal for goal in goals})


_ACCURACY = "validation top-1 accuracy (%)"
_PERPLEXITY = "validation perplexity"

_TASK_1A = TaskInfo(
    name="task1a",
    title="ResNet-20 on CIFAR-10",
    module="mlb.tasks.task1a",
    goals=_table(
        Goal(
            name="full",
            recipes=("reference", "fast", "custom"),
            metric=_ACCURACY,
            targets=MappingProxyType({"cifar-10-batches-bin": 80.0}),
            upper_bound=False,
            max_epochs=164,
            comparable=True,
            memory_bytes_per_rank=1024 * _MIB,
            about="the published model and target; an hour on two CPU cores",
        ),
        Goal(
            name="light",
            recipes=("reference", "fast", "custom"),
            metric=_ACCURACY,
            targets=MappingProxyType({"cifar-10-batches-bin": 70.0}),
            upper_bound=False,
            max_epochs=164,
            comparable=True,
            memory_bytes_per_rank=1024 * _MIB,
            about="the published model, a nearer target",
        ),
        Goal(
            name="smoke",
            recipes=("smoke",),
            metric=_ACCURACY,
            targets=MappingProxyType({"cifar-10-batches-bin": 52.0}),
            upper_bound=False,
            max_epochs=6,
            comparable=False,
            memory_bytes_per_rank=768 * _MIB,
            about="ResNet-8 of half the width on 15,000 images, one to two minutes on two CPU cores; not comparable",
        ),
    ),
    default_goal="light",
    default_seed=42,
)

_TASK_1B = TaskInfo(
    name="task1b",
    title="ResNet-50 (v1.5) on ImageNet",
    module="mlb.tasks.task1b",
    goals=_table(
        Goal(
            name="full",
            recipes=("reference", "fast", "custom"),
            metric=_ACCURACY,
            targets=MappingProxyType({"imagenet": 75.9, "imagenet-320": 75.9}),
            upper_bound=False,
            max_epochs=42,
            comparable=True,
            memory_bytes_per_rank=8192 * _MIB,
            about="the published model and MLPerf's target, for GPUs; ImageNet is yours to bring",
        ),
        Goal(
            name="light",
            recipes=("reference", "fast", "custom"),
            metric=_ACCURACY,
            targets=MappingProxyType({"imagenet": 50.0, "imagenet-320": 50.0}),
            upper_bound=False,
            max_epochs=42,
            comparable=True,
            memory_bytes_per_rank=8192 * _MIB,
            about="the published model, a nearer target, for GPUs",
        ),
        Goal(
            name="smoke",
            recipes=("smoke",),
            metric=_ACCURACY,
            targets=MappingProxyType({"synthetic-images": 95.0}),
            upper_bound=False,
            max_epochs=8,
            comparable=False,
            memory_bytes_per_rank=768 * _MIB,
            about="a small bottleneck network on generated textures, a minute on two CPU cores; not comparable",
        ),
    ),
    default_goal="light",
    default_seed=42,
)

_TASK_2A = TaskInfo(
    name="task2a",
    title="logistic regression on epsilon",
    module="mlb.tasks.task2a",
    goals=_table(
        Goal(
            name="full",
            recipes=_OPEN_TOO,
            metric=_ACCURACY,
            targets=MappingProxyType({"epsilon": 89.0}),
            upper_bound=False,
            max_epochs=20,
            comparable=True,
            memory_bytes_per_rank=4096 * _MIB,
            about="400,000 rows of 2,000 features; a download of several GB",
        ),
        Goal(
            name="light",
            recipes=_OPEN_TOO,
            metric=_ACCURACY,
            targets=MappingProxyType({"epsilon": 80.0}),
            upper_bound=False,
            max_epochs=20,
            comparable=True,
            memory_bytes_per_rank=4096 * _MIB,
            about="the same data, a nearer target",
        ),
        Goal(
            name="smoke",
            recipes=("smoke",),
            metric=_ACCURACY,
            targets=MappingProxyType({"a9a": 84.0}),
            upper_bound=False,
            max_epochs=20,
            comparable=False,
            memory_bytes_per_rank=512 * _MIB,
            about="a9a: 123 features, seconds on two CPU cores; not comparable",
        ),
    ),
    default_goal="light",
    default_seed=42,
)

_TASK_3A = TaskInfo(
    name="task3a",
    title="AWD-LSTM language model on WikiText-2",
    module="mlb.tasks.task3a",
    goals=_table(
        Goal(
            name="full",
            recipes=_FAST_TOO,
            metric=f"{_PERPLEXITY} by dynamic evaluation",
            targets=MappingProxyType({"wikitext-2": 50.0}),
            upper_bound=True,
            max_epochs=750,
            comparable=True,
            memory_bytes_per_rank=3072 * _MIB,
            about="the adaptation is on the clock; MLBench's static 70 is told beside it; for a GPU",
        ),
        Goal(
            name="light",
            recipes=_FAST_TOO,
            metric=_PERPLEXITY,
            targets=MappingProxyType({"wikitext-2": 90.0, "synthetic": 90.0}),
            upper_bound=True,
            max_epochs=750,
            comparable=True,
            memory_bytes_per_rank=2048 * _MIB,
            about="the published model, for a GPU: an epoch takes 45 minutes on two CPU cores",
        ),
        Goal(
            name="smoke",
            recipes=("smoke",),
            metric=_PERPLEXITY,
            targets=MappingProxyType({"wikitext-2": 170.0, "synthetic": 73.0}),
            upper_bound=True,
            max_epochs=12,
            comparable=False,
            memory_bytes_per_rank=1024 * _MIB,
            about="reduced model and vocabulary, one to two minutes on two CPU cores; not comparable",
            vocabulary=8_000,
        ),
    ),
    default_goal="light",
    default_seed=43,
)

_BLEU = "validation BLEU (uncased, intl)"

_TASK_4A = TaskInfo(
    name="task4a",
    title="GNMT on WMT16 English-German",
    module="mlb.tasks.task4a",
    goals=_table(
        Goal(
            name="full",
            recipes=_FAST_TOO,
            metric=_BLEU,
            targets=MappingProxyType({"wmt16-en-de": 24.0, "own-corpus": 24.0}),
            upper_bound=False,
            max_epochs=8,
            comparable=True,
            memory_bytes_per_rank=16384 * _MIB,
            about="the published model and target, for GPUs; a download of 1.7 GB",
        ),
        Goal(
            name="light",
            recipes=_FAST_TOO,
            metric=_BLEU,
            targets=MappingProxyType({"wmt16-en-de": 20.0, "own-corpus": 20.0}),
            upper_bound=False,
            max_epochs=8,
            comparable=True,
            memory_bytes_per_rank=16384 * _MIB,
            about="the published model, a nearer target",
        ),
        Goal(
            name="smoke",
            recipes=("smoke",),
            metric=_BLEU,
            targets=MappingProxyType({"multi30k": 14.0}),
            upper_bound=False,
            max_epochs=6,
            comparable=False,
            memory_bytes_per_rank=1024 * _MIB,
            about="a small model on 20,000 captions of Multi30k, minutes on two CPU cores; not comparable",
            vocabulary=1_000,
        ),
    ),
    default_goal="light",
    default_seed=42,
)

_TASK_4B = TaskInfo(
    name="task4b",
    title="Transformer (big, pre-norm) on WMT17 English-German",
    module="mlb.tasks.task4b",
    goals=_table(
        Goal(
            name="full",
            recipes=_FAST_TOO,
            metric=_BLEU,
            targets=MappingProxyType({"wmt17-en-de": 25.0, "own-corpus": 25.0}),
            upper_bound=False,
            max_epochs=10,
            comparable=True,
            memory_bytes_per_rank=16384 * _MIB,
            about="the published model and target, for GPUs; a download of 1.8 GB",
        ),
        Goal(
            name="light",
            recipes=_FAST_TOO,
            metric=_BLEU,
            targets=MappingProxyType({"wmt17-en-de": 20.0, "own-corpus": 20.0}),
            upper_bound=False,
            max_epochs=10,
            comparable=True,
            memory_bytes_per_rank=16384 * _MIB,
            about="the published model, a nearer target",
        ),
        Goal(
            name="smoke",
            recipes=("smoke",),
            metric=_BLEU,
            targets=MappingProxyType({"multi30k": 8.0}),
            upper_bound=False,
            max_epochs=8,
            comparable=False,
            memory_bytes_per_rank=1024 * _MIB,
            about="a small model on 20,000 captions of Multi30k, minutes on two CPU cores; not comparable",
            vocabulary=4_000,
        ),
    ),
    default_goal="light",
    default_seed=43,
)

_ALL = (_TASK_1A, _TASK_1B, _TASK_2A, _TASK_3A, _TASK_4A, _TASK_4B)

TASKS: Mapping[str, TaskInfo] = MappingProxyType({info.name: info for info in _ALL})
