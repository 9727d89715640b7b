"""Plots of a run: axes that can be read whatever the values are."""

from __future__ import annotations

import time

import numpy as np
import pytest

from flyweight.report.run.plots import _log_scale, confusion, new_figure


@pytest.mark.parametrize("values", [(80.0, 91.0), (1.9, 2.3), (0.5, 4.0), (2.0, 60.0), (0.01, 90.0), (1e-6, 1e3)])
def test_a_logarithmic_axis_has_labels(values):
    """Two or more, not too many, also where the values are between two powers of ten."""
    axes = new_figure(3, 3).subplots()
    axes.plot([1, 2], values)

    _log_scale(axes)

    axes.figure.canvas.draw()
    low, high = axes.get_ylim()
    ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
    shown = [tick for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()]
    assert 2 <= len(shown) <= 12


@pytest.mark.parametrize("n", [2, 300, 1000])
def test_a_confusion_matrix_is_drawn_quickly_whatever_the_number_of_classes(n):
    """Each cell with its count for a few classes, a picture of the same size for many."""
    counts = 9 * np.eye(n, dtype=np.int64) + np.random.default_rng(0).poisson(1 / n, (n, n))
    names = [f"class {number}" for number in range(n)]
    confusion(counts[:2, :2], names[:2])  # imports and fonts

    began = time.process_time()
    drawn = confusion(counts, names)

    assert time.process_time() - began < 3
    assert int.from_bytes(drawn[16:20]) < 1400  # pixels wide
