"""`flyweight check`: all faults of a recipe at once, without training."""

from __future__ import annotations

from typing import Annotated

from flyweight.cli.output import Flag, say, say_json
from flyweight.cli.settings import Settings, TrustCode, is_named
from flyweight.errors import OverBudgetError, RecipeError


def check(
    recipe: str,
    /,
    *,
    settings: Settings | None = None,
    trust_code: TrustCode = False,
    json: Annotated[bool, Flag] = False,
) -> int:
    """List everything that is wrong with a recipe: keys, net, name of the data, budget. Trains nothing.

    $ flyweight check own/20k-fast

    $ flyweight check own/20k-best --budget 8k --epochs 40

    Parameters
    ----------
    recipe
        Name of a recipe (see `flyweight recipes`), a TOML file, a net in notation, or your own module as FILE:CLASS.
    trust_code
        Run the file of an own module that the recipe names, and remember its hash. One that you type is run anyway.
    json
        Print the faults and exceeded limits as JSON.
    """
    from flyweight.experiment.plan import examine
    from flyweight.experiment.resolved import data_notes
    from flyweight.model.notation import is_own_module
    from flyweight.recipe import protocol_words

    settings = settings or Settings()
    trusted = trust_code or is_named(recipe, settings.changes)
    found = examine(recipe, overrides=settings.overrides(), budget=settings.budget, trust_code=trusted)
    notes = data_notes(found.recipe, found.source) if found.recipe and found.source and not found.faults else ()
    if json:
        say_json(
            {
                "recipe": recipe,
                "params": found.cost.params if found.cost else None,
                "faults": found.faults,
                "notes": notes,
                "over_budget": [overrun.refusal for overrun in found.overruns],
            }
        )
    else:
        say(found.verdict())
        for note in notes:
            say(f"note: {note}.")
        if found.recipe is not None:
            for sentence in protocol_words(found.recipe):
                say(f"not a clean evaluation: {sentence}.")
            if is_own_module(found.recipe.model.net):
                say("own code: only the hash of the file itself is remembered; files that it imports are not covered.")
    if found.faults:
        return RecipeError.exit_code
    return OverBudgetError.exit_code if found.overruns else 0
