"""Parallel text: sides of unequal length, bytes that are no text, batches that hold each pair once."""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from mlb.datasets.bitext import count, decoded, raw_pairs
from mlb.datasets.pairs import bucketed, load_pairs
from mlb.datasets.parallel import BEGIN, END, PAD
from mlb.datasets.prepare import Prepared, prepare
from mlb.errors import DataCorrupt, UsageError
from sentencepiece import SentencePieceProcessor

ENGLISH = ["a dog runs", "two men sit on a bench", "the red car", "she reads a book", "children play in the park"]
GERMAN = [
    "ein Hund läuft",
    "zwei Männer sitzen auf einer Bank",
    "das rote Auto",
    "sie liest ein Buch",
    "Kinder spielen",
]


LATIN_1 = "Männer\n".encode("latin-1")


def corpus(folder: Path, lines: int = 600, **replaced: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, n in (("train", lines), ("valid", 7), ("test", 5)):
        for side, words in (("en", ENGLISH), ("de", GERMAN)):
            text = "".join(f"{words[i % 5]} {words[(i // 5) % 5]} {i % 37}\n" for i in range(n))
            name = f"{split}_{side}"
            (folder / f"{split}.{side}").write_bytes(replaced.get(name, text.encode()))
    return folder


def make(root: Path, **replaced: bytes) -> Prepared:
    corpus(root / "own-corpus", **replaced)
    return prepare("own-corpus", vocabulary=300, data_dir=root, cache_dir=root / "cache", offline=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return make(tmp_path_factory.mktemp("own"))


def test_pairs_come_back_as_they_were(made: Prepared) -> None:
    assert made.counts == {"train": 600, "valid": 7, "test": 5}
    pieces = SentencePieceProcessor(model_file=str(made.path / "pieces.model"))
    pairs = load_pairs(made.path, "train")
    for i in (0, 1, 37, 599):
        assert pieces.decode(pairs.source.sentence(i).tolist()) == f"{ENGLISH[i % 5]} {ENGLISH[(i // 5) % 5]} {i % 37}"
        assert pieces.decode(pairs.target.sentence(i).tolist()) == f"{GERMAN[i % 5]} {GERMAN[(i // 5) % 5]} {i % 37}"
    assert (made.path / "valid.target.txt").read_text().splitlines()[0] == f"{GERMAN[0]} {GERMAN[0]} 0"
    assert made.vocabulary_size == pieces.vocab_size()


def test_the_same_text_gives_the_same_files(made: Prepared, tmp_path: Path) -> None:
    again = make(tmp_path)
    assert again.fingerprint == made.fingerprint
    assert checksums(again) == checksums(made)


def checksums(made: Prepared) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in made.path.iterdir() if p.name != "meta.json"}


def test_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    """Latin-1 bytes, an empty side, a sentence beyond the limit; a Unicode line separator ends no line."""
    english = ["a dog runs"] * 400 + ["two men", "", "x y z " * 60, "one\u2028line", "last"]
    german = ["ein Hund läuft".encode()] * 400 + ["Männer".encode("latin-1"), b"leer", b"lang", b"eins", b"ende"]
    made = make(
        tmp_path, train_en="".join(f"{s}\n" for s in english).encode(), train_de=b"".join(s + b"\n" for s in german)
    )
    assert made.counts["train"] == 402
    assert made.skipped == {
        "pairs that are not UTF-8": 1,
        "pairs with an empty side": 1,
        "pairs of more than 80 pieces": 1,
    }


@pytest.mark.parametrize("world", range(1, 25))
def test_each_pair_once_an_epoch_for_any_number_of_ranks(made: Prepared, world: int) -> None:
    pairs = load_pairs(made.path, "train")
    batches = bucketed(pairs, world, 1, 1, tokens=200)
    assert len(batches) % world == 0
    assert sorted(i for batch in batches for i in batch) == list(range(600))
    assert all(batch for batch in batches)
    lengths = torch.maximum(pairs.source.lengths, pairs.target.lengths) + 1
    assert max(len(batch) * int(lengths[batch].max()) for batch in batches) <= 200


def test_epochs_differ_and_repeat(made: Prepared) -> None:
    pairs = load_pairs(made.path, "train")
    first, second = (bucketed(pairs, 2, 1, epoch, tokens=200) for epoch in (1, 2))
    assert first != second
    assert first == bucketed(pairs, 2, 1, 1, tokens=200)


def test_too_few_pairs_or_too_small_batches_are_refused(made: Prepared) -> None:
    with pytest.raises(UsageError, match="5 sentence pairs cannot be shared out to 6 batches"):
        bucketed(load_pairs(made.path, "test"), 6, 1, 1, tokens=200)
    with pytest.raises(UsageError, match="does not fit into a batch of 3"):
        bucketed(load_pairs(made.path, "test"), 1, 1, 1, tokens=3)


def test_a_batch_may_be_bounded_by_pairs(made: Prepared) -> None:
    batches = bucketed(load_pairs(made.path, "train"), 1, 1, 1, sentences=64)
    assert sorted(map(len, batches)) == [24, *[64] * 9]


def test_tensors_begin_end_and_are_padded(made: Prepared) -> None:
    pairs = load_pairs(made.path, "train")
    source, (target, following) = pairs.sources([0, 1]), pairs.targets([0, 1])
    for i in (0, 1):
        words = pairs.source.sentence(i).tolist()
        assert source[i].tolist() == [*words, END, *[PAD] * (source.shape[1] - len(words) - 1)]
        words = pairs.target.sentence(i).tolist()
        rest = [PAD] * (target.shape[1] - len(words) - 1)
        assert target[i].tolist() == [BEGIN, *words, *rest]
        assert following[i].tolist() == [*words, END, *rest]


def test_sgml_of_wmt_is_read_like_plain_lines(tmp_path: Path) -> None:
    paths = (tmp_path / "a.sgm", tmp_path / "b.en")
    paths[0].write_text('<doc>\n<seg id="1">A &amp; B</seg>\n<p>\n<seg id="2"> two </seg>\n</doc>\n')
    paths[1].write_text("A &amp; B\n two ")
    assert count(paths) == 2
    assert [decoded(pair, paths) for pair in raw_pairs(paths)] == [("A & B", "A &amp; B"), ("two", "two")]


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"train_de": b"eins\nzwei\n"}, r"train\.de ends after 2 lines, train\.en goes on to 600"),
        ({"valid_en": b"one\n" * 8}, r"valid\.de ends after 7 lines, valid\.en goes on to 8"),
        ({"test_de": b""}, r"test\.de ends after 0 lines"),
        ({"test_en": b"", "test_de": b""}, "Nothing is left of the test split"),
        ({"train_en": b"\n" * 600}, "Nothing is left of the train split|No vocabulary"),
        ({"valid_de": b"eins\n" * 3 + LATIN_1 + b"eins\n" * 3}, "Pair 4 of the valid split is not UTF-8"),
        ({"test_en": b"one\n" * 4 + b" \t\n"}, "Pair 5 of the test split has an empty side"),
        ({"train_en": b"a b\n" * 600, "train_de": b"a b\n" * 600}, None),
    ],
    ids=["a line is missing", "a line is doubled on one side", "a side is empty", "both are", "all lines are empty",
         "Latin-1 in what is evaluated", "an empty line in what is evaluated", "pairs that are doubled are pairs"],
)  # fmt: skip
def test_bad_input(tmp_path: Path, replaced: dict[str, bytes], words: str | None) -> None:
    """One error, nothing half-made; doubled pairs are as they are in WMT's own text, and stay."""
    if words is None:
        assert make(tmp_path, **replaced).counts["train"] == 600
        return
    with pytest.raises(DataCorrupt) as caught:
        make(tmp_path, **replaced)
    assert re.search(words, str(caught.value)), str(caught.value)
    assert [p.name for p in (tmp_path / "cache" / "prepared").iterdir()] == [".lock"]


def test_blocks_that_are_encoded_side_by_side_come_in_order(
    made: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of 7 pairs, three at a time, the first done after the third: the same files as in one block."""
    from mlb.datasets import parallel

    monkeypatch.setattr(parallel, "_BLOCK_PAIRS", 7)
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda _: {0, 1, 2})
    at_once, calls, third = parallel._encoded, itertools.count(1), threading.Event()

    def held(*arguments: Any) -> Any:
        call = next(calls)
        if call == 1:
            assert third.wait(30)
        elif call == 3:
            third.set()
        return at_once(*arguments)

    monkeypatch.setattr(parallel, "_encoded", held)
    assert checksums(make(tmp_path)) == checksums(made)
