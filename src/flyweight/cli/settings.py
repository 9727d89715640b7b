"""Options that change a recipe, shared by the commands that take one: frequent keys, --set and --budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from cyclopts import Parameter

from flyweight.cli.output import Flag
from flyweight.errors import UsageError

# The key of each option; an option is called by the last part of its key.
KEYS: Final = {
    "data": "data.name",
    "train_limit": "data.train_limit",
    "epochs": "train.epochs",
    "lr": "train.lr",
    "batch_size": "train.batch_size",
    "optimizer": "train.optimizer",
    "weight_decay": "train.weight_decay",
    "schedule": "train.schedule",
    "precision": "train.precision",
}

Repeated = Parameter(negative="", show_default=False)
Setting = Annotated[str | None, Flag]


TrustCode = Annotated[bool, Parameter(name="--trust-code", negative="", show_default=False)]


def is_named(net: str | None, changes: Sequence[str] = ()) -> bool:
    """Whether an own module was typed on the command line: only then is code that is not trusted yet run.

    >>> is_named("nets:Tiny"), is_named("mine.toml"), is_named("mine.toml", ["model.net=nets:Tiny"])
    (True, False, True)
    """
    from flyweight.model.notation import is_own_module
    from flyweight.recipe import is_recipe

    typed = [change.partition("=") for change in changes]
    return (net is not None and is_own_module(net) and not is_recipe(net)) or any(
        key.strip() == "model.net" and is_own_module(value) for key, _, value in typed
    )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Settings:
    """Changes of a recipe."""

    epochs: Setting = None
    "Epochs: the same as --set train.epochs=."
    lr: Setting = None
    "Peak learning rate: the same as --set train.lr=."
    batch_size: Setting = None
    "Images per step: the same as --set train.batch_size=."
    optimizer: Setting = None
    "Optimizer: the same as --set train.optimizer=."
    weight_decay: Setting = None
    "Weight decay: the same as --set train.weight_decay=."
    schedule: Setting = None
    "Schedule of the learning rate: the same as --set train.schedule=."
    precision: Setting = None
    "float32 or bfloat16: the same as --set train.precision=."
    data: Setting = None
    "Image set, by name, file or folder: the same as --set data.name=."
    train_limit: Setting = None
    "Train on this many images: the same as --set data.train_limit=."
    changes: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = ()
    "Change one key of the recipe (`flyweight recipes --keys` lists them), as in train.ema=0.99; may be repeated."
    budget: Annotated[tuple[str, ...], Repeated] = ()
    "Refuse a recipe over this: 20k (parameters), or macs=, activation=, flash=, epochs=, seconds=; may be repeated."

    def given(self) -> dict[str, object]:
        """The values by option, as it is typed; None and () where it is not."""
        names = {"changes": "--set"}
        return {names.get(name, f"--{name.replace('_', '-')}"): value for name, value in vars(self).items()}

    def overrides(self) -> tuple[str, ...]:
        """All but the budget as changes of keys.

        >>> Settings(lr="0.05", changes=("train.ema=0.99",)).overrides()
        ('train.lr=0.05', 'train.ema=0.99')
        """
        given = {key: value for name, key in KEYS.items() if (value := getattr(self, name)) is not None}
        for change in self.changes:
            key = change.partition("=")[0].strip()
            if key in given:
                option = f"--{key.rpartition('.')[2].replace('_', '-')}" if key != "data.name" else "--data"
                raise UsageError(f"{key} is given twice, as {option} and as --set {change}; keep one of them.")
        return (*(f"{key}={value}" for key, value in given.items()), *self.changes)
