"""`flyweight check`: everything that speaks against a recipe, at once, without training."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flyweight.cli.output import Flag, say, say_json
from flyweight.errors import OverBudgetError, RecipeError


def check(
    recipe: str,
    /,
    *,
    changes: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    budget: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    json: Annotated[bool, Flag] = False,
) -> int:
    """Tell all that is wrong with a recipe, its net, its data's name and its budget; nothing is trained.

    $ flyweight check own/20k-fast

    $ flyweight check own/20k-best --budget 8k --set train.epochs=40

    Parameters
    ----------
    recipe
        A name that `flyweight recipes` lists, or a TOML file.
    changes
        Change one key first, KEY=VALUE; may be given several times.
    budget
        Hold it against 20k (parameters), or macs=, activation=, flash=, epochs=; may be given several times.
    json
        Print JSON: faults, and what is over budget.
    """
    from flyweight.experiment.plan import examine
    from flyweight.recipe import protocol_words

    found = examine(recipe, overrides=changes, budget=budget)
    if json:
        say_json(
            {
                "recipe": recipe,
                "params": found.cost.params if found.cost else None,
                "faults": found.faults,
                "over_budget": [overrun.refusal for overrun in found.overruns],
            }
        )
    else:
        say(found.verdict())
        if found.recipe is not None:
            for sentence in protocol_words(found.recipe):
                say(f"measured otherwise: {sentence}.")
    if found.faults:
        return RecipeError.exit_code
    return OverBudgetError.exit_code if found.overruns else 0
