"""A small image set and recipe on which everything real happens in a second: 240 of MNIST's digits, two epochs."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np

from flyweight.recipe import Recipe, loads
from flyweight.records.store import Store

TRAIN, TEST = 240, 60

RECIPE = """
name = "tiny"

[model]
net = "c6nb bn r m2 do.1 c8nb bn r gmp flat fc10"

[data]
name = "{data}"
validation = 40

[augment]
rotate = 5.0
translate = 0.05

[train]
epochs = 2
batch_size = 16
lr = 0.05
weight_decay = 1e-4

[budget]
params = 2000
"""


def write_images(folder: Path, *, is_small: bool = False) -> Path:
    """The first digits of MNIST as an .npz file; small ones have 12 x 12 pixels."""
    with np.load(str(files("flyweight.data") / "mnist.npz")) as mnist:
        arrays = {f"x_{part}": mnist[f"x_{part}"][:count] for part, count in (("train", TRAIN), ("test", TEST))}
        arrays |= {f"y_{part}": mnist[f"y_{part}"][:count] for part, count in (("train", TRAIN), ("test", TEST))}
    if is_small:
        arrays |= {name: array[:, 2:26:2, 2:26:2] for name, array in arrays.items() if name.startswith("x")}
    path = folder / "digits.npz"
    np.savez(path, **arrays)
    return path


def write_recipe(folder: Path) -> Path:
    """A recipe file beside its images."""
    path = folder / "tiny.toml"
    path.write_text(RECIPE.format(data=write_images(folder)))
    return path


def tiny_recipe(folder: Path, *overrides: str) -> Recipe:
    return loads(RECIPE.format(data=write_images(folder)), overrides=overrides)


def small_recipe(folder: Path, *overrides: str) -> Recipe:
    """Of images of 12 x 12 pixels and a net without ties, so that stacked and alone differ only by rounding."""
    net = "model.net=c6nb bn silu a2 do.1 c8nb bn silu gap flat fc10"
    return loads(RECIPE.format(data=write_images(folder, is_small=True)), overrides=[net, *overrides])


def weights(store: Store, run_id: str) -> dict[str, np.ndarray]:
    return store.folder(run_id).weights().tensors


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
