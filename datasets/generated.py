"""Data that is made on the spot from a seed: it needs no file and no network, and its best result is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from ..errors import UsageError
from . import synthetic, synthetic_images
from .known import SYNTHETIC, SYNTHETIC_IMAGES, WIKITEXT_2
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


def _check_seed(order: Order) -> None:
    if order.seed < 0:
        raise UsageError(f"{order.seed} cannot be a seed of generated data.", fix="Use 0 or more.")


def _text_inputs(order: Order) -> Mapping[str, object]:
    _check_seed(order)
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


def _image_inputs(order: Order) -> Mapping[str, object]:
    _check_seed(order)
    if order.vocabulary is not None:
        raise UsageError("Generated images have no vocabulary.")
    return {"textures": asdict(synthetic_images.Textures()), "seed": order.seed}


def _make_images(order: Order, writing: Writing) -> None:
    """In the layout of datasets/imagenet.py, a shard a split."""
    import numpy as np

    from .jpeg import encode

    of = synthetic_images.Textures()
    writing.unit, writing.best_possible = "images", synthetic_images.BEST_ACCURACY
    for split, count in (("train", of.train), ("valid", of.valid)):
        writing.array(f"{split}-00000", "|u1")
        rows, first = [], 0
        for number in range(count):
            pixels, label = synthetic_images.image(of, split, number, order.seed)
            content = encode(pixels, of.quality)
            writing.append(f"{split}-00000", content)
            rows.append((0, first, len(content), label))
            first += len(content)
        writing.array(f"{split}_index", "<i8", (4,))
        writing.append(f"{split}_index", np.array(rows, "<i8"))
        writing.counts[split] = count
    writing.write("classes.txt", "".join(f"{name}\n" for name in synthetic_images.CLASSES).encode())


GENERATED: Mapping[str, Generator] = MappingProxyType(
    {
        SYNTHETIC: Generator("Generated text", _text_inputs, _make_text),
        SYNTHETIC_IMAGES: Generator("Generated images", _image_inputs, _make_images),
    }
)
