"""Tokens and vocabularies."""

from __future__ import annotations

import tempfile
from array import array
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from mlb.datasets.sources import SPLITS
from mlb.datasets.text import Corpus, read_corpus

WORDS = st.sampled_from(["a", "b", "c", "d", "é", "<unk>", "<eos>", "戦場"])
LINES = st.lists(st.lists(WORDS, max_size=6), max_size=6)
TEXTS = st.fixed_dictionaries({"train": LINES, "valid": LINES, "test": LINES})


def corpus(texts: dict[str, list[list[str]]], vocabulary: int | None) -> Corpus:
    with tempfile.TemporaryDirectory() as folder:
        paths = {split: Path(folder, split) for split in texts}
        for split, lines in texts.items():
            paths[split].write_text("".join(f" {' '.join(line)} \n" for line in lines))
        return read_corpus(paths, vocabulary)


def words(corpus: Corpus, split: str) -> list[str]:
    ids = array("i", corpus.ids[split])
    return [corpus.vocabulary[number] for number in ids]


def expected(lines: list[list[str]]) -> list[str]:
    return [word for line in lines for word in [*line, "<eos>"]]


@settings(max_examples=50)
@given(TEXTS)
def test_all_words_are_numbered_as_they_appear(texts: dict[str, list[list[str]]]) -> None:
    found = corpus(texts, None)
    for split, lines in texts.items():
        assert words(found, split) == expected(lines)
    everything = [word for split in SPLITS for word in expected(texts[split])]
    assert list(found.vocabulary) == list(dict.fromkeys(everything))


@settings(max_examples=100)
@given(TEXTS, st.integers(3, 9))
def test_a_small_vocabulary_keeps_the_most_frequent_words(texts: dict[str, list[list[str]]], vocabulary: int) -> None:
    found = corpus(texts, vocabulary)
    counts = Counter(expected(texts["train"]))
    special = {"<unk>", "<eos>"}
    # Counter keeps the order of first appearance among equals, which is the tie rule.
    others = [word for word, _ in counts.most_common() if word not in special][: vocabulary - 2]
    kept = special | set(others)
    assert set(found.vocabulary) == kept
    assert len(found.vocabulary) == len(kept) <= vocabulary
    frequencies = [counts[word] for word in found.vocabulary]
    assert frequencies == sorted(frequencies, reverse=True)
    for split, lines in texts.items():
        assert words(found, split) == [w if w in kept else "<unk>" for w in expected(lines)]


def test_a_last_line_without_its_end_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "train"
    path.write_text("a b\n\nc")
    found = read_corpus({"train": path}, None)
    assert words(found, "train") == ["a", "b", "<eos>", "<eos>", "c", "<eos>"]
