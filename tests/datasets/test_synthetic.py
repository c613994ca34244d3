"""The closed form of the generated text, against a brute-force computation and against samples."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlb.datasets.synthetic import (
    MarkovText,
    class_probabilities,
    generate,
    text_for,
    word_probabilities,
)
from mlb.errors import UsageError

LARGE = text_for(None)
SMALL = text_for(2000)


def by_the_book(source: MarkovText) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """t(k) at index k - 1, and the probability of each word in its class, from the definition."""
    t = np.array([source.shift_ratio**k for k in range(source.classes)])
    p = np.array([(i + 1) ** -source.zipf_exponent for i in range(source.vocabulary)])
    for c in range(source.classes):
        p[c :: source.classes] /= p[c :: source.classes].sum()
    return t / t.sum(), p


@pytest.mark.parametrize("source", [LARGE, SMALL, text_for(1234), MarkovText(100, classes=7)])
def test_the_probabilities_are_the_defined_ones(source: MarkovText) -> None:
    t, p = by_the_book(source)
    transitions = class_probabilities(source)
    for c in (0, 1, source.classes - 1):
        following = [(c + 1 + k) % source.classes for k in range(source.classes)]
        np.testing.assert_allclose(transitions[c][following], t, atol=1e-11)
    np.testing.assert_allclose(word_probabilities(source), p, atol=1e-11)
    np.testing.assert_allclose(transitions.sum(axis=0), 1.0)
    np.testing.assert_allclose(transitions.sum(axis=1), 1.0)


@settings(max_examples=20)
@given(st.integers(4, 60), st.integers(2, 4), st.floats(0.1, 1.0), st.floats(0.0, 2.0))
def test_the_closed_form_is_the_entropy_rate(words: int, classes: int, ratio: float, exponent: float) -> None:
    source = MarkovText(words, classes, ratio, exponent)
    t, p = by_the_book(source)
    # The text as a Markov chain over words: P[v, w] = t(class step from v to w) * p(w), stationary p / C.
    step = (np.arange(words)[None, :] - np.arange(words)[:, None] - 1) % classes
    chain = t[step] * p[None, :]
    stationary = p / classes
    np.testing.assert_allclose(stationary @ chain, stationary, atol=1e-12)
    rate = -(stationary[:, None] * chain * np.log(chain)).sum()
    unigram = -(stationary * np.log(stationary)).sum()
    assert source.best_perplexity == pytest.approx(math.exp(rate), rel=1e-6)
    assert source.unigram_perplexity == pytest.approx(math.exp(unigram), rel=1e-6)


@pytest.mark.parametrize(("vocabulary", "best", "unigram"), [(None, 60.9, 974.2), (2000, 32.6, 261.0), (64, 9.6, 38.6)])
def test_what_the_documents_say(vocabulary: int | None, best: float, unigram: float) -> None:
    source = text_for(vocabulary)
    assert round(source.best_perplexity, 1) == best
    assert round(source.unigram_perplexity, 1) == unigram


@given(st.integers(64, 50_000))
@settings(max_examples=25)
def test_there_is_always_something_to_learn(vocabulary: int) -> None:
    source = text_for(vocabulary)
    assert source.vocabulary == vocabulary
    assert source.unigram_perplexity > 3 * source.best_perplexity


@pytest.mark.parametrize("source", [LARGE, SMALL])
def test_a_perfect_model_reaches_the_closed_form_and_a_unigram_does_not(source: MarkovText) -> None:
    """Cross-entropies of 400,000 tokens, each within five standard errors of its closed form."""
    ids = generate(source, "valid", 400_000, seed=3)
    t, p = by_the_book(source)
    classes = ids % source.classes
    surprise = -np.log(t[(classes[1:] - classes[:-1] - 1) % source.classes]) - np.log(p[ids[1:]])
    tolerance = 5 * float(surprise.std()) / math.sqrt(surprise.size)
    assert tolerance < 0.025
    assert float(surprise.mean()) == pytest.approx(math.log(source.best_perplexity), abs=tolerance)

    unigram = float(-np.log(p[ids] / source.classes).mean())
    assert unigram == pytest.approx(math.log(source.unigram_perplexity), abs=tolerance)
    # Even a unigram model that knows this sample's own frequencies is far from the closed form.
    counts = np.bincount(ids)
    frequencies = counts[counts > 0] / ids.size
    assert -(frequencies * np.log(frequencies)).sum() > math.log(source.best_perplexity) + 2.0


@pytest.mark.parametrize(
    ("vocabulary", "split", "seed", "sha256"),
    [
        (None, "train", 1, "c6d30478aa7490e002134d078e65593faeeea9f152daab5971026c7f677d28ec"),
        (None, "valid", 1, "aa289614752fc2b347408746339a7b32fd5fdef20ad05b5fa2347f43cb62f6be"),
        (2000, "train", 43, "7ead2e92091e6c0a70f944837abd8d58aefb5cd1ca7f047b005b2bd1d98344b7"),
    ],
)
def test_the_text_is_the_same_on_every_machine(vocabulary: int | None, split: str, seed: int, sha256: str) -> None:
    """If the text is changed on purpose, results on it are no longer comparable: SCHEMA_VERSION must grow."""
    ids = generate(text_for(vocabulary), split, 10_000, seed)
    assert hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest() == sha256


def test_splits_and_seeds_differ_and_lengths_do_not_matter() -> None:
    train = generate(SMALL, "train", 5000, seed=1)
    assert train.dtype == np.int32
    assert train.min() >= 0
    assert train.max() < 2000
    np.testing.assert_array_equal(generate(SMALL, "train", 100, seed=1), train[:100])
    for other in (generate(SMALL, "valid", 5000, seed=1), generate(SMALL, "train", 5000, seed=2)):
        assert np.mean(other == train) < 0.05


def test_too_few_words_are_refused() -> None:
    with pytest.raises(UsageError, match="63 words is too small"):
        text_for(63)
    with pytest.raises(UsageError, match="cannot be dealt"):
        MarkovText(10, classes=11)
