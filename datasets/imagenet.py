"""ImageNet to shards of JPEG bytes: what users have, packed once, every image decoded to its end on the way.

The images' bytes are kept as they are, as MLPerf's preparation does; the few that are no JPEG of grey or of red,
green and blue (in the published files 22 of CMYK and one PNG) are re-encoded at quality 100. Of the stand-ins with a
shorter side in their name, every larger image is shrunk.

The layout: `train-00000`, …, `valid-00000`, …, the bytes of images one after the other; `train_index` and
`valid_index`, (N, 4): shard, first byte, bytes, class; `classes.txt`, the WordNet id of each class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import DataCorrupt, UsageError
from . import imagenet_source as source
from .making import Order
from .packing import Packed, forget_notes, pack
from .writing import Writing

RESUMABLE = True
"""What a killed preparation finished is kept and not made again."""

_BAD_SHARE = 0.001
"""A larger share of training images that do not decode is another training set, and an error."""


def check(order: Order) -> None:
    """
    Raises:
        UsageError: a vocabulary of images.
    """
    if order.vocabulary is not None:
        raise UsageError(f"{order.of.title} has no vocabulary.")


def inputs(order: Order) -> Mapping[str, object]:
    """How the images are kept."""
    return {"short_side": _short_side(order)}


def make(order: Order, writing: Writing) -> None:
    """Pack the training and the validation images.

    Raises:
        DataCorrupt: no labels for the validation images, a wrong one, an unknown class, a file that ends early, or
            images that do not decode: more than one in a thousand of the training's, or any of the validation's.
    """
    raw = source.find(order)
    # The validation set first: an image of it that cannot be used is an error, better told within minutes.
    for split, shards in (("valid", source.validation_shards(raw)), ("train", source.train_shards(raw))):
        packed = pack(
            list(shards),
            writing.folder,
            short_side=_short_side(order),
            progress=order.progress,
            total_bytes=source.total_bytes(raw.validation if split == "valid" else raw.train),
        )
        _take(split, packed, writing)
    writing.unit = "images"
    writing.write("classes.txt", "".join(f"{name}\n" for name in raw.classes).encode())
    forget_notes(writing.folder)


def index_rows(packed: Iterable[Packed]) -> list[tuple[int, int, int, int]]:
    """Shard, first byte, bytes, class of every image."""
    rows = []
    for one in packed:
        first = 0
        for size, label in zip(one.sizes, one.labels, strict=True):
            rows.append((one.number, first, size, label))
            first += size
    return rows


def _take(split: str, packed: Sequence[Packed], writing: Writing) -> None:
    import numpy as np

    bad = sum(sum(one.bad.values()) for one in packed)
    rows = index_rows(packed)
    if bad > (_BAD_SHARE * (len(rows) + bad) if split == "train" else 0):
        named = ", ".join([name for one in packed for name in one.named][:5])
        raise DataCorrupt(
            f"{bad:,} of the {len(rows) + bad:,} images to {_FOR[split]} cannot be used.",
            why=f"Among them: {named}.",
            fix="Replace them with intact copies. Up to one training image in a thousand is left out and reported; "
            "the quality is measured on all validation images or not at all.",
        )
    for one in packed:
        writing.adopt(f"{split}-{one.number:05}", "|u1", sum(one.sizes), one.sha256)
        writing.skipped.update(one.bad)
        writing.changed.update(one.changed)
    writing.array(f"{split}_index", "<i8", (4,))
    writing.append(f"{split}_index", np.array(rows, "<i8").reshape(-1, 4))
    writing.counts[split] = len(rows)
    writing.left_out[split] = bad


_FOR = {"train": "train on", "valid": "validate on"}


def _short_side(order: Order) -> int | None:
    return int(order.of.options["short_side"]) or None
