"""The cost of a recipe and all its faults, before anything is spent: no torch, no training.

In: a recipe. Out: a plan, which gives a resolved recipe if it has no faults. The images of a named set are not opened;
a custom set must be read to know its shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from os import PathLike

from flyweight.data.catalogue import CATALOGUE
from flyweight.data.facts import ImageSource
from flyweight.errors import NotationError, OverBudgetError, RecipeError, UsageError, in_one_line
from flyweight.experiment.resolved import ResolvedRecipe, canonical, source_of
from flyweight.model.budget import Budget, LimitCheck, overruns, parse_budget, refusal
from flyweight.model.cost import Cost
from flyweight.model.count import count
from flyweight.model.edits import edits
from flyweight.model.notation import is_own_module
from flyweight.recipe import Recipe, draft, load

MAX_EDITS_SHOWN = 3
MAX_EPOCHS = 2**31 - 1  # what a database counts


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The cost of a recipe, and why it cannot be trained: its faults and the limits it exceeds."""

    name: str
    recipe: Recipe | None
    cost: Cost | None
    budget: Budget
    source: ImageSource | None = None
    overruns: tuple[LimitCheck, ...] = ()
    faults: tuple[str, ...] = ()

    def require(self) -> ResolvedRecipe:
        """The recipe ready to be trained.

        Raises:
            RecipeError: wrong names, nets or settings; the message lists all of them.
            OverBudgetError: too expensive; the message names the heaviest layers and the edits that help.
        """
        if self.faults or self.recipe is None or self.cost is None or self.source is None:
            raise RecipeError(self.verdict())
        if self.overruns:
            raise OverBudgetError(self.verdict())
        return ResolvedRecipe(recipe=canonical(self.recipe, self.source), cost=self.cost, source=self.source)

    def verdict(self) -> str:
        """Faults, exceeded limits and cost as text."""
        parts, name = [], " ".join(self.name.split())
        if self.faults:
            counted = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
            parts.append("\n".join([f"{name} has {counted}:", *(f"  {fault}" for fault in self.faults)]))
        if self.overruns and self.cost:
            parts.append(refusal(name, self.cost, self.overruns, suggestions=self._suggestions(self.cost)))
        if not parts and self.cost:
            limits = f", the budget is {self.budget}" if self.budget.limits() else ""
            parts.append(f"{name}: no faults. {self.cost.params:,} parameters, {self.cost.macs:,} MACs{limits}.")
        return "\n".join(parts)

    def _suggestions(self, cost: Cost) -> list[object]:
        """What makes it fit: settings for too many epochs, edits of the net for the other limits."""
        longer = [
            f"--set train.epochs={overrun.allowed}, or --budget epochs={overrun.needed}"
            for overrun in self.overruns
            if overrun.kind == "epochs"
        ]
        if is_own_module(cost.net):
            return [*longer]
        return [*longer, *edits(cost.net, cost.input_shape, self.budget)[:MAX_EDITS_SHOWN]]


@in_one_line
def plan(recipe: Recipe, source: ImageSource | None = None, *, trust_code: bool = False) -> Plan:
    """Count the net, compare it with its budget, and check all that can be checked before any image is read.

    source: images that may have been read already, used if they are those of the recipe. trust_code: run the file of
    an own module, and remember its hash; else only a file that is trusted already is run.
    """
    source = source_of(recipe, source)
    cost, faults = _counted(recipe.model.net, source, trust_code=trust_code)
    if recipe.train.epochs > MAX_EPOCHS:
        faults += (f"train.epochs: must be at most {MAX_EPOCHS:,}, found {recipe.train.epochs:.3g}.",)
    faults += (*_held_out(recipe), *_single_values(recipe, cost))
    budget = Budget(**recipe.budget.model_dump())
    over = overruns(budget, cost, epochs=recipe.train.epochs) if cost else ()
    return Plan(name=recipe.name, recipe=recipe, cost=cost, budget=budget, source=source, overruns=over, faults=faults)


def resolve(recipe: Recipe | ResolvedRecipe, *, trust_code: bool = False) -> ResolvedRecipe:
    """The recipe ready to be trained; a resolved one is returned unchanged. trust_code: as for `plan`.

    Raises:
        RecipeError, OverBudgetError: as `Plan.require`.
    """
    return plan(recipe, trust_code=trust_code).require() if isinstance(recipe, Recipe) else recipe


@in_one_line
def examine(
    name_or_path: str | PathLike[str],
    *,
    overrides: Sequence[str] = (),
    budget: Sequence[str] = (),
    trust_code: bool = False,
) -> Plan:
    """The plan of a recipe by name or file; wrong keys and faults of the net are listed together.

    `budget` sets limits such as "20k" or "macs=1M" in place of those of the recipe. `trust_code`: as for `plan`.
    """
    overrides = (*overrides, *budget_overrides(budget))
    try:
        return plan(load(name_or_path, overrides=overrides), trust_code=trust_code)
    except RecipeError as error:
        lines = str(error).splitlines()
        faults = tuple(line.strip() for line in (lines[1:] or lines))
    values = draft(name_or_path, overrides=overrides)
    net, data = (values.get(section, {}) for section in ("model", "data"))
    net_text = net.get("net") if isinstance(net, dict) else None
    name = data.get("name", "mnist") if isinstance(data, dict) else "mnist"
    if isinstance(net_text, str) and isinstance(name, str):
        faults += _counted(net_text, ImageSource(name=name), trust_code=trust_code)[1]
    return Plan(name=str(name_or_path), recipe=None, cost=None, budget=Budget(), faults=faults)


def budget_overrides(budget: Sequence[str]) -> tuple[str, ...]:
    """Limits as changes of a recipe's keys.

    >>> budget_overrides(["20k", "macs=1M"])
    ('budget.params=20000', 'budget.macs=1000000')
    """
    return tuple(f"budget.{kind}={limit}" for kind, limit in parse_budget(budget).limits().items())


def _counted(net: str, source: ImageSource, *, trust_code: bool) -> tuple[Cost | None, tuple[str, ...]]:
    """The cost of a net on a data set, and the faults of the net or its output."""
    try:
        sizes = source.sizes
    except UsageError as error:
        return None, (f"data.name: {error}",)
    try:
        cost = count(net, sizes.shape, trust_code=trust_code)
    except (NotationError, UsageError) as error:
        return None, (f"model.net: {error}",)
    if cost.out_shape != (sizes.n_classes,):
        found = "x".join(map(str, cost.out_shape))
        hint = f" End it with fc{sizes.n_classes}." if len(cost.out_shape) == 1 else ""
        message = f"model.net: must have {sizes.n_classes} outputs for {source.name}, found an output of {found}.{hint}"
        return cost, (message,)
    return cost, ()


def _single_values(recipe: Recipe, cost: Cost | None) -> tuple[str, ...]:
    """The fault of batch norm that gets one value per channel, of which there is no spread."""
    rows = cost.rows if cost is not None and recipe.train.batch_size == 1 else ()
    names = [row.name for row in rows if row.is_executed and row.kind == "batch_norm" and prod(row.in_shape[1:]) == 1]
    if not names:
        return ()
    return (
        f"train.batch_size: must be 2 or more, since {names[0]} gets one value per channel of each image, found 1.",
    )


def _held_out(recipe: Recipe) -> tuple[str, ...]:
    """The fault of the number of validation images, if the size of the set is known without opening it."""
    named, wanted = CATALOGUE.get(recipe.data.name), recipe.data.validation
    if named is None or wanted is None or wanted <= named.n_train - 2:
        return ()
    return (f"data.validation: must be 0 to {named.n_train - 2:,} of {recipe.data.name}, found {wanted:,}.",)
