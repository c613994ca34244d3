"""How long is the union of intervals, for many sets of intervals at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]


def union_ns(start: Times, end: Times) -> Times:
    """The length of the union of the intervals along the last axis; one that ends before it starts is empty.

    Args:
        start: shape (..., K).
        end: shape (..., K).

    Returns:
        Shape (...): what the K intervals cover together, each moment counted once.
    """
    covered = np.zeros(start.shape[:-1], np.int64)
    if start.shape[-1] == 0:
        return covered
    order = np.argsort(start, axis=-1, kind="stable") if start.shape[-1] > 1 else np.zeros_like(start)
    start, end = np.take_along_axis(start, order, -1), np.take_along_axis(end, order, -1)
    reached = start[..., 0].copy()
    for k in range(start.shape[-1]):
        covered += np.maximum(0, end[..., k] - np.maximum(start[..., k], reached))
        reached = np.maximum(reached, end[..., k])
    return covered


def union_within_ns(start: Times, end: Times, from_ns: Times, to_ns: Times) -> Times:
    """The length of what the intervals cover of some windows that do not overlap each other.

    Args:
        start, end: shape (..., K).
        from_ns, to_ns: the windows, shape (..., J).
    """
    covered = np.zeros(start.shape[:-1], np.int64)
    for j in range(from_ns.shape[-1]):
        low, high = from_ns[..., j, None], to_ns[..., j, None]
        covered += union_ns(np.clip(start, low, high), np.clip(end, low, high))
    return covered
