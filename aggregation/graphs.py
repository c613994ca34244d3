"""Graphs for gossip: who mixes weights with whom, and how fast the ranks then agree. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

Edges = set[tuple[int, int]]


def ring(ranks: int) -> Edges:
    return {(i, (i + 1) % ranks) for i in range(ranks)}


def torus(ranks: int) -> Edges:
    """A grid whose sides are as equal as they can be, both ends of each row and column joined."""
    rows = torus_rows(ranks)
    columns = ranks // rows
    right = {(r * columns + c, r * columns + (c + 1) % columns) for r in range(rows) for c in range(columns)}
    down = {(r * columns + c, (r + 1) % rows * columns + c) for r in range(rows) for c in range(columns)}
    return right | down


def torus_rows(ranks: int) -> int:
    """The shorter side of the torus; 1 where the number of ranks is prime."""
    return max(side for side in range(1, math.isqrt(ranks) + 1) if ranks % side == 0)


def exponential(ranks: int) -> Edges:
    """Neighbours at the distances 1, 2, 4, …: the diameter grows as the logarithm of the ranks."""
    return {(i, (i + (1 << k)) % ranks) for i in range(ranks) for k in range((ranks - 1).bit_length())}


def complete(ranks: int) -> Edges:
    return {(i, j) for i in range(ranks) for j in range(i + 1, ranks)}


GRAPHS: Final[Mapping[str, Callable[[int], Edges]]] = {
    "ring": ring,
    "torus": torus,
    "exponential": exponential,
    "complete": complete,
}


def parse_edges(text: str, ranks: int) -> Edges:
    """Edges written as `0-1+1-2`.

    Raises:
        ValueError: says what is wrong with them.
    """
    edges = set()
    for word in text.split("+"):
        ends = word.split("-")
        if len(ends) != 2 or not all(end.isdigit() for end in ends):
            raise ValueError(f"{word!r} is not an edge: write 0-1+1-2")
        first, second = map(int, ends)
        if first == second or max(first, second) >= ranks:
            raise ValueError(f"the edge {word} does not join two of the ranks 0 to {ranks - 1}")
        edges.add((first, second))
    return edges


def neighbours(edges: Edges, ranks: int) -> list[list[int]]:
    """For each rank those it shares an edge with, in order."""
    found: list[set[int]] = [set() for _ in range(ranks)]
    for first, second in edges:
        if first != second:
            found[first].add(second)
            found[second].add(first)
    return [sorted(each) for each in found]


def connected(edges: Edges, ranks: int) -> bool:
    """Whether every rank can be reached from rank 0."""
    near, seen, rest = neighbours(edges, ranks), {0}, [0]
    while rest:
        new = [other for other in near[rest.pop()] if other not in seen]
        seen.update(new)
        rest += new
    return len(seen) == ranks


def mixing_matrix(edges: Edges, ranks: int) -> NDArray[np.float64]:
    """Metropolis-Hastings weights, (ranks, ranks): symmetric and doubly stochastic on any graph.

    W[i, j] = 1 / (1 + max(degree i, degree j)) along an edge, the rest of each row on the diagonal
    (Xiao, Boyd and Kim 2007, "Distributed average consensus with least-mean-square deviation", section 2).
    """
    near = neighbours(edges, ranks)
    matrix = np.zeros((ranks, ranks))
    for i, others in enumerate(near):
        for j in others:
            matrix[i, j] = 1 / (1 + max(len(others), len(near[j])))
    np.fill_diagonal(matrix, 1 - matrix.sum(axis=1))
    return matrix


def contraction(matrix: NDArray[np.float64]) -> float:
    """The factor by which one round of mixing brings the ranks closer, at worst: the second largest eigenvalue's
    modulus, 1 - spectral gap; 0 for the complete graph."""
    values = np.sort(np.abs(np.linalg.eigvalsh(matrix)))
    return float(values[-2]) if len(values) > 1 else 0.0
