"""Data that is made on the spot from a seed: it needs no file and no network, and its best result is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from ..errors import UsageError
from . import synthetic
from .known import SYNTHETIC, WIKITEXT_2
from .making import Order
from .sources import SPLITS
from .writing import Writing


@dataclass(frozen=True)
class Generator:
    """One kind of generated data."""

    title: str
    inputs: Callable[[Order], Mapping[str, object]]
    """Everything that determines the data; checks the order."""
    make: Callable[[Order, Writing], None]


def _text_lengths(order: Order) -> dict[str, int]:
    return {split: order.limits.by_split[split] or (WIKITEXT_2.counts or {})[split] for split in SPLITS}


def _text_inputs(order: Order) -> Mapping[str, object]:
    if order.seed < 0:
        raise UsageError(f"{order.seed} cannot be a seed of generated data.", fix="Use 0 or more.")
    source = synthetic.text_for(order.vocabulary)
    return {"source": asdict(source), "seed": order.seed, "tokens": _text_lengths(order)}


def _make_text(order: Order, writing: Writing) -> None:
    source = synthetic.text_for(order.vocabulary)
    writing.unit, writing.best_possible = "tokens", source.best_perplexity
    for split, length in _text_lengths(order).items():
        writing.array(split, "<i4")
        writing.append(split, synthetic.generate(source, split, length, order.seed))
        writing.counts[split] = length
    writing.words(f"w{rank}" for rank in range(source.vocabulary))


GENERATED: Mapping[str, Generator] = MappingProxyType(
    {SYNTHETIC: Generator("Generated text", _text_inputs, _make_text)}
)
