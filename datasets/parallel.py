"""Parallel text to subword ids: two sides of equal length, one vocabulary, learned by sentencepiece from both.

Arrays of each split: `train_source`, `train_target`, the ids of all sentences one after the other, (tokens,); and
`train_source_ends`, `train_target_ends`, (N,), the place behind each sentence's last id. Beside them
`pieces.model` (sentencepiece's) and, of the splits that are evaluated, the raw lines of both sides.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataCorrupt, UsageError
from .making import Order
from .writing import Writing

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

PAD, UNKNOWN, BEGIN, END = range(4)
"""Ids of the pieces that stand for no text."""

DEFAULT_VOCABULARY = 32_768
_LONGEST = 80
"""Pairs with more pieces on a side are left out of the training text, where the data set names no other limit."""

_MIN_VOCABULARY = 256
_BLOCK_PAIRS = 20_000
_LEARNED_FROM = 500_000
"""Pairs, evenly spread, that the subwords are learned from: more change little and cost memory."""

Pair = tuple[str, str]


def check(order: Order) -> None:
    """
    Raises:
        UsageError: a vocabulary that cannot hold the characters of two languages.
    """
    if order.vocabulary is not None and order.vocabulary < _MIN_VOCABULARY:
        raise UsageError(
            f"A vocabulary of {order.vocabulary} pieces is too small.", fix=f"Use {_MIN_VOCABULARY} or more."
        )


def inputs(order: Order) -> Mapping[str, object]:
    """What determines the ids, besides the files; sentencepiece's version, as its results may change with it."""
    import sentencepiece

    size = order.vocabulary or DEFAULT_VOCABULARY
    return {"vocabulary": size, "longest": _LONGEST, "sentencepiece": sentencepiece.__version__, **order.of.options}


def make(order: Order, writing: Writing) -> None:
    """Learn the subwords from the training text, then encode each split, a block at a time.

    Raises:
        DataCorrupt: the two sides of a corpus have different numbers of lines, or nothing is left of one.
    """
    corpora = corpora_of(order)
    model = learn(corpora["train"], order.vocabulary or DEFAULT_VOCABULARY)
    writing.unit = "sentence pairs"
    writing.write("pieces.model", model.serialized_model_proto())
    writing.vocabulary_size = model.vocab_size()
    for split, files in corpora.items():
        for side in ("source", "target"):
            writing.array(f"{split}_{side}", "<i4")
            writing.array(f"{split}_{side}_ends", "<i8")
        longest = None if split != "train" else int(order.of.options.get("longest", _LONGEST))
        writing.counts[split] = _encode(files, split, model, writing, longest)
        if not writing.counts[split]:
            raise DataCorrupt(f"Nothing is left of the {split} split.", why=f"Left out: {dict(writing.skipped)}.")


def corpora_of(order: Order) -> dict[str, list[tuple[Path, Path]]]:
    """Split -> its corpora, the files of source and target of each; by the data set's options.

    `{side}`: newstest2014 was published for the other direction, its German the source and its English the reference.
    """
    source, target = str(order.of.options["source"]), str(order.of.options["target"])
    corpora: dict[str, list[tuple[Path, Path]]] = {}
    for split in ("train", "valid", "test"):
        stems = str(order.of.options[split]).split()
        corpora[split] = [
            (order.paths[stem.format(source, side="ref")], order.paths[stem.format(target, side="src")])
            for stem in stems
        ]
    return corpora


def learn(files: list[tuple[Path, Path]], vocabulary: int) -> SentencePieceProcessor:
    """The subwords of both sides of a text: byte-pair encoding, the same result for the same text."""
    import sentencepiece

    total = sum(1 for _ in _all_pairs(files))
    step = max(1, -(-total // _LEARNED_FROM))
    sample = itertools.islice(_all_pairs(files), 0, None, step)
    sides = (line for pair in sample if pair is not None for line in pair if line)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sides, model_writer=model, vocab_size=vocabulary, model_type="bpe",
            character_coverage=0.9998, hard_vocab_limit=False, num_threads=1, shuffle_input_sentence=False,
            pad_id=PAD, unk_id=UNKNOWN, bos_id=BEGIN, eos_id=END, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        raise DataCorrupt(
            f"No vocabulary of {vocabulary:,} pieces can be learned from this text.", why=str(error)[-300:]
        ) from error
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def _encode(
    files: list[tuple[Path, Path]], split: str, model: SentencePieceProcessor, writing: Writing, longest: int | None
) -> int:
    """Write a split's ids; the number of pairs. No pair is too long or too short where `longest` is None."""
    import numpy as np

    kept, ends = 0, {"source": 0, "target": 0}
    raw: tuple[list[str], list[str]] = ([], [])
    for block in _blocks(_all_pairs(files)):
        pairs = [pair for pair in block if pair is not None]
        writing.skipped["pairs that are not UTF-8"] += len(block) - len(pairs)
        encoded = [model.encode([pair[i] for pair in pairs]) for i in (0, 1)]
        chosen = [
            i for i, (a, b) in enumerate(zip(*encoded, strict=True)) if longest is None or _fits(a, b, longest, writing)
        ]
        for side, ids in zip(ends, encoded, strict=True):
            sizes = np.array([len(ids[i]) for i in chosen], np.int64)
            flat = np.fromiter(itertools.chain.from_iterable(ids[i] for i in chosen), np.int32)
            writing.append(f"{split}_{side}", flat)
            writing.append(f"{split}_{side}_ends", ends[side] + sizes.cumsum())
            ends[side] += int(sizes.sum())
        kept += len(chosen)
        if longest is None:
            for i in (0, 1):
                raw[i].extend(pair[i] for pair in pairs)
    if longest is None:
        for side, lines in zip(ends, raw, strict=True):
            writing.write(f"{split}.{side}.txt", "".join(f"{line}\n" for line in lines).encode())
    return kept


def _fits(source: list[int], target: list[int], longest: int, writing: Writing) -> bool:
    if not source or not target:
        writing.skipped["pairs with an empty side"] += 1
        return False
    if max(len(source), len(target)) > longest:
        writing.skipped[f"pairs of more than {longest} pieces"] += 1
        return False
    return True


def _all_pairs(files: list[tuple[Path, Path]]) -> Iterator[Pair | None]:
    """The pairs of all corpora; None for a pair of which a side is no UTF-8.

    Raises:
        DataCorrupt: the sides of a corpus have different numbers of lines.
    """
    for source, target in files:
        nothing = object()
        for number, pair in enumerate(itertools.zip_longest(_lines(source), _lines(target), fillvalue=nothing)):
            if nothing in pair:
                short, long = (source, target) if pair[0] is nothing else (target, source)
                raise DataCorrupt(
                    f"{short} and {long} are not two sides of one text.",
                    why=f"{short.name} ends after {number:,} lines, {long.name} goes on.",
                    fix="Replace both by intact copies.",
                )
            yield None if None in pair else (str(pair[0]), str(pair[1]))


_SEGMENT = re.compile(rb"<seg[^>]*>(.*?)</seg>", re.DOTALL)


def _lines(path: Path) -> Iterator[str | None]:
    """A file's sentences, in plain lines or in the SGML of WMT's test sets; None for one that is not UTF-8."""
    with path.open("rb") as file:
        sgml = path.suffix == ".sgm"
        sentences: Iterable[bytes] = (m[1] for m in _SEGMENT.finditer(file.read())) if sgml else file
        for sentence in sentences:
            try:
                # Only the line feed ends a line: Unicode's own separators occur inside of sentences.
                yield " ".join(_unescaped(sentence.decode(), sgml).split())
            except UnicodeDecodeError:
                yield None


def _unescaped(text: str, sgml: bool) -> str:
    import html

    return html.unescape(text) if sgml else text


def _blocks(pairs: Iterator[Any]) -> Iterator[list[Any]]:
    while block := list(itertools.islice(pairs, _BLOCK_PAIRS)):
        yield block
