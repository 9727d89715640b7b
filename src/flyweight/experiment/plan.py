"""What a recipe would cost and whether it can work, before anything is spent: no torch, no training.

The images of a named set are not opened for it either; only a set of the user's own must be read to know its shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from flyweight.errors import NotationError, OverBudgetError, RecipeError, UsageError
from flyweight.model.arithmetic import Shape
from flyweight.model.budget import Budget, Overrun, overruns, parse_budget, refusal
from flyweight.model.cost import Cost
from flyweight.model.count import count
from flyweight.model.edits import edits
from flyweight.model.notation import is_own_module
from flyweight.recipe import Recipe, draft, load

MOST_EDITS_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a recipe would cost and everything that speaks against it."""

    name: str
    recipe: Recipe | None
    cost: Cost | None
    budget: Budget
    overruns: tuple[Overrun, ...] = ()
    faults: tuple[str, ...] = ()

    def require(self) -> Cost:
        """The cost, when nothing speaks against the recipe.

        Raises:
            RecipeError: names, nets or settings that cannot work; the message lists all of them.
            OverBudgetError: too expensive; the message names the heaviest layers and the edits that help.
        """
        if self.faults or self.cost is None:
            raise RecipeError(self.verdict())
        if self.overruns:
            raise OverBudgetError(self.verdict())
        return self.cost

    def verdict(self) -> str:
        """All of it in words."""
        parts = []
        if self.faults:
            counted = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
            parts.append("\n".join([f"{self.name} has {counted}:", *(f"  {fault}" for fault in self.faults)]))
        if self.overruns and self.cost:
            parts.append(refusal(self.name, self.cost, self.overruns, suggestions=self._suggestions(self.cost)))
        if not parts and self.cost:
            limits = f", the budget is {self.budget}" if self.budget.limits() else ""
            parts.append(
                f"{self.name}: nothing is wrong. {self.cost.params:,} parameters, {self.cost.macs:,} MACs{limits}."
            )
        return "\n".join(parts)

    def _suggestions(self, cost: Cost) -> list[object]:
        """What would make it fit: other settings for too many epochs, edits of the net for the rest."""
        longer = [
            f"--set train.epochs={overrun.allowed}, or --budget epochs={overrun.needed}"
            for overrun in self.overruns
            if overrun.kind == "epochs"
        ]
        if is_own_module(cost.net):
            return [*longer]
        return [*longer, *edits(cost.net, cost.input_shape, self.budget)[:MOST_EDITS_SHOWN]]


def plan(recipe: Recipe) -> Plan:
    """Count the net, hold it against its budget, and look at what can be seen before any image is read."""
    cost, faults = _counted(recipe.model.net, recipe.data.name, recipe.data.resize)
    faults += _held_out(recipe)
    budget = Budget(**recipe.budget.model_dump())
    over = overruns(budget, cost, epochs=recipe.train.epochs) if cost else ()
    return Plan(name=recipe.name, recipe=recipe, cost=cost, budget=budget, overruns=over, faults=faults)


def examine(name_or_path: str | PathLike[str], *, overrides: Sequence[str] = (), budget: Sequence[str] = ()) -> Plan:
    """The plan of a recipe by name or file, and where its keys are wrong, all of that together with its net's faults.

    `budget` lays limits such as "20k" or "macs=1M" over those of the recipe.
    """
    overrides = (*overrides, *budget_overrides(budget))
    try:
        return plan(load(name_or_path, overrides=overrides))
    except RecipeError as error:
        told = str(error).splitlines()
        faults = tuple(line.strip() for line in (told[1:] or told))
    values = draft(name_or_path, overrides=overrides)
    net, data = (values.get(section, {}) for section in ("model", "data"))
    net_text = net.get("net") if isinstance(net, dict) else None
    name = data.get("name", "mnist") if isinstance(data, dict) else "mnist"
    if isinstance(net_text, str) and isinstance(name, str):
        faults += _counted(net_text, name, None)[1]
    return Plan(name=str(name_or_path), recipe=None, cost=None, budget=Budget(), faults=faults)


def budget_overrides(budget: Sequence[str]) -> tuple[str, ...]:
    """Limits as changes of a recipe's keys.

    >>> budget_overrides(["20k", "macs=1M"])
    ('budget.params=20000', 'budget.macs=1000000')
    """
    return tuple(f"budget.{kind}={limit}" for kind, limit in parse_budget(budget).limits().items())


def _counted(net: str, data_name: str, resize: int | None) -> tuple[Cost | None, tuple[str, ...]]:
    """The cost of a net on a data set, and what keeps it from being one or from answering."""
    try:
        shape, n_classes = images_of(data_name, resize=resize)
    except UsageError as error:
        return None, (f"data.name: {error}",)
    try:
        cost = count(net, shape)
    except (NotationError, UsageError) as error:
        return None, (f"model.net: {error}",)
    if cost.out_shape != (n_classes,):
        found = "x".join(map(str, cost.out_shape))
        hint = f" End it with fc{n_classes}." if len(cost.out_shape) == 1 else ""
        return cost, (f"model.net: must give {n_classes} answers for {data_name}, found an output of {found}.{hint}",)
    return cost, ()


def _held_out(recipe: Recipe) -> tuple[str, ...]:
    """What is wrong with the number of validation images, where the set's size is known without opening it."""
    from flyweight.data.catalogue import CATALOGUE

    named, asked = CATALOGUE.get(recipe.data.name), recipe.data.validation
    if named is None or asked is None or asked <= named.n_train - 2:
        return ()
    return (f"data.validation: must be 1 to {named.n_train - 2:,} of {recipe.data.name}, found {asked:,}.",)


def images_of(name: str, *, resize: int | None) -> tuple[Shape, int]:
    """(C, H, W) and number of classes of an image set; one of the user's own is read for it.

    Raises:
        UsageError: neither a known name nor a path. DataError: files that are not what they must be.
    """
    from flyweight.data.catalogue import CATALOGUE

    named = CATALOGUE.get(name)
    if named is None:
        from flyweight.data.sources import load as load_images

        found = load_images(name, resize=resize)
        return found.shape, found.n_classes
    channels, height, width = named.shape
    return (channels, resize or height, resize or width), len(named.class_names)


def as_recorded(recipe: Recipe) -> Recipe:
    """The recipe as its runs are recorded, so that its hash finds them; images of the user's own are read for it.

    Raises:
        UsageError: neither a known name nor a path. DataError: files that are not what they must be.
    """
    from flyweight.data.catalogue import CATALOGUE

    named = CATALOGUE.get(recipe.data.name)
    if named is not None:
        return settled(recipe, n_train=named.n_train, has_own_validation=False)
    from flyweight.data.sources import load as load_images

    images = load_images(recipe.data.name, resize=recipe.data.resize)
    return settled(recipe, n_train=len(images.train_images), has_own_validation=images.has_own_validation)


def settled(recipe: Recipe, *, n_train: int, has_own_validation: bool) -> Recipe:
    """The recipe as it is stored: the same from any folder and whatever a later version holds out by itself.

    n_train: how many training images the set has, validation images included.
    """
    from flyweight.data.catalogue import CATALOGUE
    from flyweight.data.splits import held_out

    changes: dict[str, Any] = {}
    if recipe.data.name not in CATALOGUE:
        changes["name"] = str(Path(recipe.data.name).expanduser().resolve())
    if not has_own_validation and recipe.protocol.evaluate_on == "validation":
        changes["validation"] = held_out(n_train, recipe.data.validation)
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=changes)})


def require_counts(**counts: int | None) -> None:
    """Seeds are 0 or more (and fit a database's integers); numbers of seeds, threads and processes 1 or more.

    Raises:
        UsageError: the first that is not, by its name.
    """
    for name, value in counts.items():
        least, most = (0, 2**31 - 1) if name == "seed" else (1, 10_000)
        if value is not None and not least <= value <= most:
            raise UsageError(f"--{name.replace('_', '-')} must be {least} to {most:,}, found {value:,}.")
