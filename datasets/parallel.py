"""Parallel text to subword ids: two sides of equal length, one vocabulary, learned by sentencepiece from both.

Arrays of each split: `train_source`, `train_target`, the ids of all sentences one after the other, (tokens,); and
`train_source_ends`, `train_target_ends`, (N,), the place behind each sentence's last id. Beside them
`pieces.model` (sentencepiece's) and, of the splits that are evaluated, the raw lines of both sides.
"""

from __future__ import annotations

import io
import itertools
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import DataCorrupt, UsageError
from .bitext import Files, Pair, RawPair, blocks, count, decoded, raw_pairs
from .making import Order
from .writing import Writing

if TYPE_CHECKING:
    import numpy.typing as npt
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

SIDES = ("source", "target")

_Work = tuple[list[RawPair], Files]


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
    """Learn the subwords from the training text, then encode each split, a few blocks at a time.

    Raises:
        DataCorrupt: the two sides of a corpus have different numbers of lines, nothing is left of one, or a sentence
            that is evaluated is empty or no UTF-8.
    """
    corpora = corpora_of(order)
    counts = {split: sum(map(count, files)) for split, files in corpora.items()}
    model = learn(corpora["train"], counts["train"], order.vocabulary or DEFAULT_VOCABULARY)
    writing.unit = "sentence pairs"
    writing.write("pieces.model", model.serialized_model_proto())
    writing.vocabulary_size = model.vocab_size()
    for split, files in corpora.items():
        for side in SIDES:
            writing.array(f"{split}_{side}", "<i4")
            writing.array(f"{split}_{side}_ends", "<i8")
        if split == "train":
            writing.counts[split] = _encode(files, model, writing, int(order.of.options.get("longest", _LONGEST)))
        else:
            writing.counts[split] = _encode_evaluated(files, split, model, writing)
        if not writing.counts[split]:
            raise DataCorrupt(f"Nothing is left of the {split} split.", why=f"Left out: {dict(writing.skipped)}.")


def corpora_of(order: Order) -> dict[str, list[Files]]:
    """Split -> its corpora, the files of source and target of each; by the data set's options.

    `{side}`: newstest2014 was published for the other direction, its German the source and its English the reference.
    """
    source, target = str(order.of.options["source"]), str(order.of.options["target"])
    corpora: dict[str, list[Files]] = {}
    for split in ("train", "valid", "test"):
        stems = str(order.of.options[split]).split()
        corpora[split] = [
            (order.paths[stem.format(source, side="ref")], order.paths[stem.format(target, side="src")])
            for stem in stems
        ]
    return corpora


def learn(files: list[Files], pairs: int, vocabulary: int) -> SentencePieceProcessor:
    """The subwords of both sides of a text of so many pairs: byte-pair encoding, the same result for the same text."""
    import sentencepiece

    sample = itertools.islice(_with_files(files), 0, None, max(1, -(-pairs // _LEARNED_FROM)))
    texts = (_text_of(pair, of) for pair, of in sample)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(side for text in texts if text is not None for side in text if side),
            model_writer=model, vocab_size=vocabulary, model_type="bpe",
            character_coverage=0.9998, hard_vocab_limit=False, num_threads=1, shuffle_input_sentence=False,
            pad_id=PAD, unk_id=UNKNOWN, bos_id=BEGIN, eos_id=END, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        raise DataCorrupt(
            f"No vocabulary of {vocabulary:,} pieces can be learned from this text.", why=str(error)[-300:]
        ) from error
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


@dataclass(frozen=True)
class _Block:
    """What became of consecutive pairs."""

    ids: tuple[npt.NDArray[Any], npt.NDArray[Any]]
    """Of each side, all sentences one after the other."""
    sizes: tuple[npt.NDArray[Any], npt.NDArray[Any]]
    """Pieces of each sentence."""
    skipped: Counter[str]


def _encode(files: list[Files], model: SentencePieceProcessor, writing: Writing, longest: int) -> int:
    """Write the training split's ids; the number of pairs."""

    def encoded(work: _Work) -> _Block:
        texts = [_text_of(pair, work[1]) for pair in work[0]]
        return _encoded([text for text in texts if text is not None], model, longest, texts.count(None))

    work = ((block, of) for of in files for block in blocks(raw_pairs(of), _BLOCK_PAIRS))
    kept, ends = 0, [0, 0]
    # The library computes without Python's lock: as many blocks at a time as there are cores.
    for block in _in_order(encoded, work, len(os.sched_getaffinity(0))):
        writing.skipped.update(block.skipped)
        kept += _append("train", block, ends, writing)
    return kept


def _encode_evaluated(files: list[Files], split: str, model: SentencePieceProcessor, writing: Writing) -> int:
    """Write the ids and the lines of a split that is evaluated, in which every sentence counts."""
    texts = []
    for number, (pair, of) in enumerate(_with_files(files), 1):
        text = _text_of(pair, of)
        if text is None or not all(text):
            raise DataCorrupt(
                f"Pair {number:,} of the {split} split {'has an empty side' if text else 'is not UTF-8'}.",
                why=f"It comes from {of[0]} and {of[1]}; every sentence of this split counts in the result.",
                fix="Mend it in both files, or take it out of both.",
            )
        texts.append(text)
    for i, side in enumerate(SIDES):
        writing.write(f"{split}.{side}.txt", "".join(f"{text[i]}\n" for text in texts).encode())
    return _append(split, _encoded(texts, model, None, 0), [0, 0], writing)


def _encoded(texts: list[Pair], model: SentencePieceProcessor, longest: int | None, undecoded: int) -> _Block:
    """The ids of the pairs; those that do not fit are left out, unless `longest` is None."""
    import numpy as np

    ids = [model.encode([text[i] for text in texts], num_threads=1) for i in (0, 1)]
    sizes = np.array([[len(sentence) for sentence in side] for side in ids], np.int64).reshape(2, -1)
    empty = (sizes == 0).any(0)
    long = (sizes > longest).any(0) & ~empty if longest is not None else np.zeros_like(empty)
    keep = ~(empty | long)
    skipped = {
        "pairs that are not UTF-8": undecoded,
        "pairs with an empty side": int(empty.sum()),
        f"pairs of more than {longest} pieces": int(long.sum()),
    }
    flat = [np.fromiter(itertools.chain.from_iterable(itertools.compress(side, keep)), np.int32) for side in ids]
    return _Block((flat[0], flat[1]), (sizes[0, keep], sizes[1, keep]), Counter(skipped))


def _append(split: str, block: _Block, ends: list[int], writing: Writing) -> int:
    """Write a block behind those before it, whose sides end at `ends`, which is moved on; its number of pairs."""
    for i, side in enumerate(SIDES):
        writing.append(f"{split}_{side}", block.ids[i])
        writing.append(f"{split}_{side}_ends", ends[i] + block.sizes[i].cumsum())
        ends[i] += len(block.ids[i])
    return len(block.sizes[0])


def _with_files(files: list[Files]) -> Iterator[tuple[RawPair, Files]]:
    return ((pair, of) for of in files for pair in raw_pairs(of))


def _text_of(pair: RawPair, of: Files) -> Pair | None:
    """The pair's text; None where a side is not UTF-8."""
    try:
        return decoded(pair, of)
    except UnicodeDecodeError:
        return None


def _in_order(function: Callable[[_Work], _Block], work: Iterable[_Work], workers: int) -> Iterator[_Block]:
    """Results in the order of the work, by several threads; never more of it in memory than is being done and next."""
    with ThreadPoolExecutor(workers) as pool:
        begun: deque[Future[_Block]] = deque()
        for item in work:
            begun.append(pool.submit(function, item))
            if len(begun) > workers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
