"""Generated text whose best possible perplexity is known in closed form.

The words are dealt to C classes by their rank r in the vocabulary: word r belongs to class r mod C. The
classes form a Markov chain: from any class c, the next one is c + k (mod C) with probability t(k). The word
is drawn from its class with a probability proportional to r^-s: each class has its own Zipf's law.

The transition matrix is circulant, hence doubly stochastic: classes are uniform in the long run, and, as the
chain starts uniform, at every position. A word tells its class, so the entropy of the next word given all
words before it is exactly

    H = H(t) + mean over c of H(word | class c)        [nats per token]

and no model can do better than perplexity exp(H) in expectation (entropy rate of a Markov source: Cover and
Thomas, Elements of Information Theory, chapter 4). A model that ignores the context cannot do better than
exp(log C + mean H(word | class c)): what lies between the two is what there is to learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UsageError
from .sources import SPLITS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DEFAULT_VOCABULARY = 33_278
"""As many words as WikiText-2 has."""

MIN_VOCABULARY = 64

_BITS = 40
"""Probabilities are multiples of 2^-40 and draws are integers: no rounding can differ between machines."""


@dataclass(frozen=True)
class MarkovText:
    """A source of text; the defaults give a best perplexity of 61 and a unigram perplexity of 974.

    Raises:
        UsageError: there are too few words for the classes.
    """

    vocabulary: int = DEFAULT_VOCABULARY
    """Number of words."""
    classes: int = 64
    """C."""
    shift_ratio: float = 0.5
    """q: the class chain goes on by k = 1..C classes with a probability t(k) proportional to q^(k-1)."""
    zipf_exponent: float = 1.25
    """s."""

    def __post_init__(self) -> None:
        if self.classes < 2 or self.vocabulary < self.classes:
            raise UsageError(f"{self.vocabulary} words cannot be dealt to {self.classes} classes.")

    @property
    def best_perplexity(self) -> float:
        """The perplexity that a perfect model reaches in expectation: exp of the entropy rate."""
        return math.exp(_entropy(_shift_edges(self)) + _mean_word_entropy(self))

    @property
    def unigram_perplexity(self) -> float:
        """The perplexity of the best model that ignores the words before."""
        return math.exp(math.log(self.classes) + _mean_word_entropy(self))


def text_for(vocabulary: int | None) -> MarkovText:
    """The source for a vocabulary of this size (None: 33,278 words): fewer words have fewer classes.

    Best and unigram perplexity: 61 and 974 for 33,278 words, 33 and 261 for 2,000.

    Raises:
        UsageError: there are fewer than 64 words.
    """
    words = DEFAULT_VOCABULARY if vocabulary is None else vocabulary
    if words < MIN_VOCABULARY:
        raise UsageError(
            f"A vocabulary of {words} words is too small for generated text.",
            fix=f"Use at least {MIN_VOCABULARY} words.",
        )
    return MarkovText(words, classes=64 if words >= 10_000 else min(32, words // 4))


def generate(source: MarkovText, split: str, tokens: int, seed: int) -> npt.NDArray[np.int32]:
    """The first `tokens` token ids of a split, shape (tokens,), little-endian; an id is a rank less one.

    Every split and every seed has a stream of its own. The bits come from PCG64's raw stream, which numpy
    keeps stable across versions, and are only compared with integers: the text is the same on every machine.
    """
    import numpy as np

    stream = np.random.PCG64(np.random.SeedSequence([seed, SPLITS.index(split)]))
    draws = (stream.random_raw(2 * tokens + 1) >> np.uint64(64 - _BITS)).astype(np.int64)
    first_class = (int(draws[0]) * source.classes) >> _BITS
    shifts = np.searchsorted(_shift_edges(source), draws[1::2], side="right") + 1
    classes = (first_class + np.cumsum(shifts)) % source.classes
    # One search for all classes: the edges of class c lie in [c, c + 1), scaled by 2^40.
    edges = _word_edges(source)
    offsets = np.arange(source.classes, dtype=np.int64)[:, None] << _BITS
    found = np.searchsorted((edges + offsets).ravel(), (classes << _BITS) + draws[2::2], side="right")
    place = found - classes * edges.shape[1]
    ids: npt.NDArray[np.int32] = (place * source.classes + classes).astype("<i4")
    return ids


def class_probabilities(source: MarkovText) -> npt.NDArray[np.float64]:
    """Shape (C, C): row c holds the probabilities of the class that follows class c."""
    import numpy as np

    t = _probabilities(_shift_edges(source))
    return np.stack([np.roll(t, c + 1) for c in range(source.classes)])


def word_probabilities(source: MarkovText) -> npt.NDArray[np.float64]:
    """Shape (vocabulary,): the probability of each word, given its class."""
    return _probabilities(_word_edges(source)).T.ravel()[: source.vocabulary]


def _shift_edges(source: MarkovText) -> npt.NDArray[np.int64]:
    """Shape (C,): the cumulated t, in units of 2^-40."""
    import numpy as np

    return _edges(source.shift_ratio ** np.arange(source.classes, dtype=np.float64))


def _word_edges(source: MarkovText) -> npt.NDArray[np.int64]:
    """Shape (C, words per class): row c holds the cumulated probabilities of the ids c, c + C, c + 2C ..."""
    import numpy as np

    per_class = -(-source.vocabulary // source.classes)
    rank = np.arange(1, per_class * source.classes + 1, dtype=np.float64)
    weights = np.where(rank <= source.vocabulary, rank**-source.zipf_exponent, 0.0)
    return _edges(weights.reshape(per_class, source.classes).T)


def _edges(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Cumulated probabilities along the last axis, in units of 2^-40, the last of them exactly 1."""
    import numpy as np

    cumulated = np.cumsum(weights, axis=-1)
    edges: npt.NDArray[np.int64] = np.rint(cumulated / cumulated[..., -1:] * 2.0**_BITS).astype(np.int64)
    return edges


def _probabilities(edges: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    import numpy as np

    return np.diff(edges, axis=-1, prepend=0) * 2.0**-_BITS


def _entropy(edges: npt.NDArray[np.int64]) -> float:
    """Entropy in nats of the distribution with these edges; of several distributions, the sum."""
    import numpy as np

    p = _probabilities(edges)
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _mean_word_entropy(source: MarkovText) -> float:
    """Mean over the classes of H(word | class), in nats."""
    return _entropy(_word_edges(source)) / source.classes
