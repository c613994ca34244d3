"""Text to token ids: whitespace splits words, a line ends in `<eos>`, and a vocabulary numbers the words."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from .making import Order
from .sources import SPLITS
from .writing import Writing

UNKNOWN = "<unk>"
END_OF_LINE = "<eos>"

MIN_VOCABULARY = 3
"""`<unk>`, `<eos>` and a word to learn."""


@dataclass(frozen=True)
class Corpus:
    """A data set as token ids."""

    vocabulary: tuple[str, ...]
    """The word of each id."""
    ids: Mapping[str, bytes]
    """Split -> its token ids, as little-endian int32."""


class _Numbering(dict[str, int]):
    """Word -> id; a word that is asked for the first time gets the next id."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


def read_corpus(paths: Mapping[str, Path], vocabulary: int | None) -> Corpus:
    """Read the UTF-8 text of each split.

    A line of k words gives k + 1 tokens, the last of them `<eos>`.

    Args:
        paths: split -> file; read in the order train, valid, test, whatever the order here.
        vocabulary: None numbers all words of all splits in the order of their first appearance. A number
            keeps that many: the most frequent words of the training text, most frequent first (of equally
            frequent ones the first to appear), always with `<unk>` and `<eos>`; all others become `<unk>`.
    """
    numbering = _Numbering()
    ids = {split: _tokenise(paths[split], numbering) for split in SPLITS if split in paths}
    if vocabulary is None:
        return Corpus(tuple(numbering), {split: _little_endian(values) for split, values in ids.items()})
    return _most_frequent(numbering, ids, vocabulary)


def check(order: Order) -> None:
    """Refuse a vocabulary that holds nothing to learn.

    Raises:
        UsageError: it has fewer words than `<unk>`, `<eos>` and one to learn.
    """
    if order.vocabulary is not None and order.vocabulary < MIN_VOCABULARY:
        raise UsageError(
            f"A vocabulary of {order.vocabulary} words makes no sense.", fix=f"Use {MIN_VOCABULARY} or more."
        )


def inputs(order: Order) -> Mapping[str, object]:
    """What determines the tokens, besides the files."""
    return {"vocabulary": order.vocabulary, "tokens": order.limits.by_split}


def make(order: Order, writing: Writing) -> None:
    """Token ids of each split, and the vocabulary."""
    corpus = read_corpus({split: order.paths[f"{split}.txt"] for split in SPLITS}, order.vocabulary)
    writing.unit = "tokens"
    for split, ids in corpus.ids.items():
        tokens = order.limits.at_most(split, len(ids) // 4)
        writing.array(split, "<i4")
        writing.append(split, ids[: 4 * tokens])
        writing.counts[split] = tokens
    writing.words(corpus.vocabulary)


def _tokenise(path: Path, numbering: _Numbering) -> array[int]:
    """Ids of a text's tokens; words that `numbering` does not know are added to it."""
    ids = array("i")
    number_of = numbering.__getitem__
    with path.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            ids.extend(map(number_of, line.split()))
            ids.append(number_of(END_OF_LINE))
    return ids


def _most_frequent(numbering: _Numbering, ids: Mapping[str, array[int]], vocabulary: int) -> Corpus:
    import numpy as np

    special = [numbering[UNKNOWN], numbering[END_OF_LINE]]  # numbered here, if no text has them
    counts = np.bincount(np.frombuffer(ids["train"], np.int32), minlength=len(numbering))
    # Numbers follow first appearance, so a stable sort leaves the first to appear in front.
    ranked = [int(old) for old in np.argsort(-counts, kind="stable")]
    others = [old for old in ranked if counts[old] and old not in special][: vocabulary - len(special)]
    chosen = {*special, *others}
    kept = [old for old in ranked if old in chosen]
    new_id = np.full(len(numbering), kept.index(special[0]), np.dtype("<i4"))
    new_id[kept] = np.arange(len(kept))
    words = list(numbering)
    return Corpus(
        tuple(words[old] for old in kept),
        {split: new_id[np.frombuffer(values, np.int32)].tobytes() for split, values in ids.items()},
    )


def _little_endian(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()
