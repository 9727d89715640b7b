"""Thresholds and spreads of grey values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def otsu(values: NDArray[np.float64]) -> float:
    """The threshold between two groups of values with the largest variance between the groups (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * middles)
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1 + np.argmax(below * above * (mean_below - mean_above) ** 2)])


def deviation(values: NDArray[np.float64]) -> float:
    """A robust standard deviation: the scaled median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
