"""The image sets of the fault bench: small parts of MNIST, whole and with planted faults.

Goes in: the built-in MNIST and a folder. Comes out: .npz files, made once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.fault_bench.healthy import Half
from flyweight.data import sources
from flyweight.files import replacing

Variant = Literal["sound", "by class", "validation repeats", "test repeats", "test is training", "darker", "one scarce"]

VALIDATION: Final = 500
TEST: Final = 1000

# Which of MNIST's images each half draws from, so that the halves share none.
_OFFSETS: Final[dict[Half, int]] = {"tuning": 0, "reporting": 30_000}
_TEST_OFFSETS: Final[dict[Half, int]] = {"tuning": 0, "reporting": 5000}

Arrays = dict[str, NDArray[np.generic]]


def image_file(folder: Path, *, half: Half, n_train: int, variant: Variant, draw: int) -> Path:
    """The .npz file of this kind, made if it is not there; `draw` picks other images of the half."""
    path = folder / f"{half}-{n_train}-{variant.replace(' ', '-')}-{draw}.npz"
    if not path.exists():
        arrays = _VARIANTS[variant](_sound(half, n_train, draw))
        with replacing(path) as unfinished:
            np.savez(unfinished, **arrays)
    return path


def _sound(half: Half, n_train: int, draw: int) -> Arrays:
    """Training images (those to be held out among them) and test images, none of them twice."""
    mnist = sources.load("mnist")
    generator = np.random.Generator(np.random.PCG64([draw, n_train]))
    train = _OFFSETS[half] + generator.choice(30_000, n_train + VALIDATION, replace=False)
    test = _TEST_OFFSETS[half] + generator.choice(5000, TEST, replace=False)
    return {
        "x_train": mnist.train_images[train, 0],
        "y_train": mnist.train_labels[train],
        "x_test": mnist.test_images[test, 0],
        "y_test": mnist.test_labels[test],
    }


def _by_class(arrays: Arrays) -> Arrays:
    """Training images in the order of their classes."""
    order = np.argsort(arrays["y_train"], kind="stable")
    return {**arrays, "x_train": arrays["x_train"][order], "y_train": arrays["y_train"][order]}


def _validation_repeats(arrays: Arrays) -> Arrays:
    """A separate validation split, a third of which is also in the training images."""
    held_out = _held_out(arrays)
    third = VALIDATION // 3
    for kind in "xy":
        held_out[f"{kind}_validation"][:third] = held_out[f"{kind}_train"][:third]
    return held_out


def _held_out(arrays: Arrays) -> Arrays:
    """The last training images as a separate validation split."""
    parts = {f"{kind}_validation": arrays[f"{kind}_train"][-VALIDATION:].copy() for kind in "xy"}
    return {**arrays, **{f"{kind}_train": arrays[f"{kind}_train"][:-VALIDATION] for kind in "xy"}, **parts}


def _test_repeats(arrays: Arrays) -> Arrays:
    """A fifth of the test images are also training images."""
    fifth = TEST // 5
    return {
        **arrays,
        **{f"{k}_test": np.concatenate([arrays[f"{k}_train"][:fifth], arrays[f"{k}_test"][fifth:]]) for k in "xy"},
    }


def _test_is_training(arrays: Arrays) -> Arrays:
    return {**arrays, "x_test": arrays["x_train"].copy(), "y_test": arrays["y_train"].copy()}


def _darker(arrays: Arrays) -> Arrays:
    """Validation and test images at half their brightness, as an evaluation that is normalised otherwise sees them."""
    held_out = _held_out(arrays)
    return {**held_out, **{f"x_{part}": held_out[f"x_{part}"] // 2 for part in ("validation", "test")}}


def _one_scarce(arrays: Arrays) -> Arrays:
    """Eight training images of the class 3, as many as there are of the others."""
    labels = arrays["y_train"]
    scarce = np.flatnonzero(labels == 3)[8:]
    kept = np.setdiff1d(np.arange(len(labels)), scarce)
    return {**arrays, "x_train": arrays["x_train"][kept], "y_train": labels[kept]}


_VARIANTS: Final = {
    "sound": lambda arrays: arrays,
    "by class": _by_class,
    "validation repeats": _validation_repeats,
    "test repeats": _test_repeats,
    "test is training": _test_is_training,
    "darker": _darker,
    "one scarce": _one_scarce,
}
