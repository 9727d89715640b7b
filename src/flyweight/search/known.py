"""Designs that are known to be good, scaled to the limits: what a search begins with. No torch.

The nets are those of own recipes and of measurements at 460 to 20,000 parameters on MNIST (docs/notebook.md); the
first is scaled from the recipe that the user begins with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from flyweight.errors import UsageError
from flyweight.recipe import Recipe, flat
from flyweight.search.design import Design
from flyweight.search.space import Bounded

# Thin unpadded layers at two of the sizes, padded ones, and a net that ends in an average.
NETS: Final = (
    "c12/5nb m2 bn silu c14nb bn silu c14nb bn silu c16nb bn silu m2 c14nb bn silu flat fc10",
    "c8nb bn silu c10nb bn silu m2 c12nb bn silu c12nb bn silu m2 c12nb bn silu gap flat fc10",
    "c12p1nb bn silu c12p1nb bn silu m2 c20p1nb bn silu c20p1nb bn silu m2 c24p1nb bn silu c24p1nb bn silu gap flat "
    "fc10",
)
# Below 3,000 parameters AdamW reaches in 50 epochs what SGD needs 200 for.
SETTINGS: Final[tuple[Mapping[str, Any], ...]] = (
    {"train.optimizer": "sgd", "train.lr": 0.1, "train.weight_decay": 2e-4},
    {"train.optimizer": "adamw", "train.lr": 0.02, "train.weight_decay": 0.01},
)
TUNED: Final = ("train.optimizer", "train.lr", "train.weight_decay")


def known_designs(recipe: Recipe, bounded: Bounded) -> Iterator[tuple[Design, bool]]:
    """Designs of known nets, none twice, that of the user's recipe first; each with whether it is that one."""
    own = {key: value for key, value in flat(recipe.model_dump()).items() if key in (*TUNED, *bounded.space.keys)}
    seen = set[str]()
    for net, settings in (
        (recipe.model.net, own),
        *((net, own | dict(settings)) for net in NETS for settings in SETTINGS),
    ):
        try:
            design = bounded.scaled(net, settings)
        except UsageError:  # a net whose widths cannot be scaled, or that does not fit the images
            continue
        if design is not None and design.hash not in seen:
            seen.add(design.hash)
            yield design, net == recipe.model.net and settings == own
