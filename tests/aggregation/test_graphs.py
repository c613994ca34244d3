"""Mixing matrices: doubly stochastic on every graph, and as fast as their spectrum says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlb.aggregation.graphs import GRAPHS, connected, contraction, mixing_matrix, neighbours, torus_rows


@given(st.sampled_from(sorted(GRAPHS)), st.integers(1, 40))
def test_matrices_are_symmetric_and_doubly_stochastic(graph: str, ranks: int) -> None:
    edges = GRAPHS[graph](ranks)
    matrix = mixing_matrix(edges, ranks)
    assert connected(edges, ranks)
    assert (matrix >= -1e-15).all()
    np.testing.assert_allclose(matrix, matrix.T)
    np.testing.assert_allclose(matrix.sum(axis=0), 1)
    assert contraction(matrix) < 1 - 1e-6


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("ranks", [2, 4, 9, 16])
def test_consensus_is_reached_at_the_rate_of_the_spectral_gap(graph: str, ranks: int) -> None:
    matrix = mixing_matrix(GRAPHS[graph](ranks), ranks)
    start = np.random.default_rng(0).standard_normal((ranks, 50))
    values, mean, rate = start, start.mean(axis=0), contraction(matrix)
    for rounds in range(1, 30):
        values = matrix @ values
        np.testing.assert_allclose(values.mean(axis=0), mean, atol=1e-12)
        assert np.linalg.norm(values - mean) <= rate**rounds * np.linalg.norm(start - mean) + 1e-12
    # The slowest direction does decay at that rate and no faster.
    slowest = np.linalg.eigh(matrix)[1][:, np.argsort(np.abs(np.linalg.eigvalsh(matrix)))[-2]]
    assert np.linalg.norm(matrix @ slowest) == pytest.approx(rate, abs=1e-12)


def test_graphs_are_what_they_are_called() -> None:
    assert neighbours(GRAPHS["ring"](5), 5)[0] == [1, 4]
    assert neighbours(GRAPHS["ring"](2), 2) == [[1], [0]]
    assert neighbours(GRAPHS["torus"](9), 9)[4] == [1, 3, 5, 7]
    assert neighbours(GRAPHS["exponential"](8), 8)[0] == [1, 2, 4, 6, 7]
    assert neighbours(GRAPHS["complete"](4), 4)[2] == [0, 1, 3]
    assert [torus_rows(n) for n in (4, 6, 7, 12)] == [2, 2, 1, 3]
    assert contraction(mixing_matrix(GRAPHS["complete"](4), 4)) == pytest.approx(0, abs=1e-12)
