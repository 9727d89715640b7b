"""`flyweight recipes` and `flyweight copy`: what there is to train, and one of them as a file of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from flyweight.cli.output import Flag, Form, print_rows, say, talk


def recipes(*, keys: Annotated[bool, Flag] = False, form: Form | None = None) -> None:
    """List our own recipes, or every key that a recipe may have. The steps of `flyweight journey` are recipes, too.

    $ flyweight recipes

    $ flyweight recipes --keys

    Parameters
    ----------
    keys
        List the keys of a recipe instead: what each accepts, its default, and what it means.
    """
    form = form or Form()
    if keys:
        _print_keys(form)
        return
    from flyweight.experiment.plan import plan
    from flyweight.recipe import describe, document_names, load, names, own_names

    rows = []
    for name in own_names():
        recipe = load(name)
        cost = plan(recipe).require().cost
        epochs = recipe.train.epochs
        rows.append({"name": name, "params": cost.params, "epochs": epochs, "description": describe(name)})
    print_rows(rows, form)
    first, *_, last = document_names()
    talk(f"and {len(names()) - len(rows)} steps of the documents {first} to {last}: `flyweight journey` lists them.")


def _print_keys(form: Form) -> None:
    from flyweight.recipe import keys, keys_table

    match form.name:
        case "text":
            say("\n".join(f"{key.key} = {key.default}  ({key.accepts})\n    {key.meaning}" for key in keys()))
        case "md":
            say(keys_table(keys()))
        case _:
            print_rows([vars(key) for key in keys()], form)


def copy(recipe: str, file: Path, /, *, overwrite: Annotated[bool, Flag] = False) -> None:
    """Write a recipe to a file of your own, to change and to train.

    $ flyweight copy own/20k-fast mine.toml

    Parameters
    ----------
    recipe
        A name that `flyweight recipes` lists.
    file
        Where to; ends in .toml.
    overwrite
        Replace a file that is there.
    """
    from flyweight.recipe import copy as copy_recipe

    written = copy_recipe(recipe, file, overwrite=overwrite)
    say(str(written))
    talk(f"train it: flyweight train {written}")
