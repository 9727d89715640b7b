"""Healthy recipes to plant faults in: nets of several kinds, each with settings that suit it.

The nets of one half serve to set thresholds; those of the other are only reported on. They were written when the
thresholds stood, so that what is reported is of nets that no threshold has seen. Runs are short: a few thousand images,
a few seconds.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Final, Literal

from flyweight.model.notation import parse_net
from flyweight.model.spec import Net
from flyweight.recipe import Recipe, loads

Half = Literal["tuning", "reporting"]


@dataclass(frozen=True, kw_only=True)
class Design:
    """A net and the settings that suit it, as lines of a recipe's [train]."""

    name: str
    half: Half
    net: str
    train: str

    @property
    def spec(self) -> Net:
        return parse_net(self.net)

    @property
    def lr(self) -> float:
        return float(tomllib.loads(self.train)["lr"])

    @property
    def is_sgd(self) -> bool:
        return bool(tomllib.loads(self.train).get("optimizer", "sgd") == "sgd")


_SGD: Final = "lr = 0.1\nweight_decay = 5e-4"

DESIGNS: Final = (
    Design(
        name="thin",
        half="tuning",
        net="c12/5nb m2 bn r c14nb bn r c14nb bn r c16nb bn r m2 c14nb bn r flat fc10",
        train=_SGD,
    ),
    Design(
        name="averaging",
        half="tuning",
        net="c10nb bn silu c14nb m2 bn silu c18nb bn silu c20nb bn silu m2 c20nb bn silu gap flat fc10",
        train='optimizer = "adamw"\nlr = 0.01\nweight_decay = 0.01',
    ),
    Design(name="plain", half="tuning", net="c8/5 r m2 c16/5 r m2 flat fc10", train="lr = 0.03\nweight_decay = 5e-4"),
    Design(
        name="padded",
        half="tuning",
        net="c8p1nb bn r c8p1nb bn r m2 c16p1nb bn r c16p1nb bn r m2 c16nb bn r gap flat fc10",
        train='lr = 0.05\nmomentum = 0.9\nschedule = "cosine"',
    ),
    Design(
        name="narrowing",
        half="reporting",
        net="c16/5nb m2 bn r c12/1nb bn r c16nb bn r c20nb m2 bn r c24nb bn r flat fc10",
        train=_SGD,
    ),
    Design(
        name="inverted",
        half="reporting",
        net="c12nb m2 bn r +(c36/1nb bn r dwp1nb bn r c12/1nb bn) c20nb m2 bn r "
        "+(c40/1nb bn r dwp1nb bn r c20/1nb bn) c24nb bn r gap flat fc10",
        train='optimizer = "adam"\nlr = 0.01',
    ),
    Design(
        name="leaky",
        half="reporting",
        net="c8/5 leaky.1 m2 c14 leaky.1 m2 c20 leaky.1 flat fc10",
        train='optimizer = "adamw"\nlr = 0.004\nweight_decay = 0.01',
    ),
    Design(
        name="striding",
        half="reporting",
        net="c14/7s2p3nb bn elu c18nb bn elu c20nb bn elu m2 c24nb bn elu gap flat fc10",
        train='lr = 0.1\nschedule = "triangular"\nwarmup = 0.3',
    ),
)

TRAIN_SIZES: Final = (2000, 4000)

_RECIPE: Final = """
name = "{name}"
[model]
net = "{net}"
[data]
name = "{data}"
validation = 500
[augment]
rotate = 5.0
translate = 0.05
[train]
epochs = {epochs}
batch_size = 32
keep = "last"
{train}
"""


def healthy_recipe(design: Design, data: str, *, n_train: int) -> Recipe:
    """The recipe of a design on an image set; about as many images pass by whatever the set's size."""
    epochs = 10_000 // n_train
    return loads(_RECIPE.format(name=design.name, net=design.net, data=data, epochs=epochs, train=design.train))
