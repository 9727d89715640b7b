"""`flyweight recipes` and `flyweight copy`: list recipes, and write one to a file."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

from flyweight.cli.output import Flag, OutputFormat, print_rows, say, talk
from flyweight.tables import WIDTH


def recipes(*, keys: Annotated[bool, Flag] = False, output: OutputFormat | None = None) -> None:
    """List the recipes of flyweight, or every key that a recipe can have.

    The steps of the reproduced documents are recipes too: `flyweight journey` lists them.

    $ flyweight recipes

    $ flyweight recipes --keys

    Parameters
    ----------
    keys
        List the keys of a recipe instead: accepted values, default and meaning.
    """
    output = output or OutputFormat()
    if keys:
        _print_keys(output)
        return
    from flyweight.experiment.plan import plan
    from flyweight.recipe import describe, document_names, load, names, own_names

    rows = []
    for name in own_names():
        recipe = load(name)
        cost = plan(recipe).require().cost
        epochs = recipe.train.epochs
        rows.append({"name": name, "params": cost.params, "epochs": epochs, "description": describe(name)})
    print_rows(rows, output, wraps=True)
    first, *_, last = document_names()
    n_others = len(names()) - len(rows)
    talk(f"and {n_others} recipes of the reproduced documents {first} to {last}: see `flyweight journey`.")


def _print_keys(output: OutputFormat) -> None:
    from flyweight.recipe import keys, keys_table

    match output.name:
        case "text":
            for key in keys():
                say(_filled(f"{key.key} = {key.default}  ({key.accepts})", ""))
                say(_filled(key.meaning, "    "))
        case "md":
            say(keys_table(keys()))
        case _:
            print_rows([vars(key) for key in keys()], output)


def _filled(text: str, indent: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent="    ", break_on_hyphens=False)


def copy(recipe: str, file: Path, /, *, overwrite: Annotated[bool, Flag] = False) -> None:
    """Write a recipe to a file that you can change and train.

    $ flyweight copy own/20k-fast mine.toml

    Parameters
    ----------
    recipe
        Name of a recipe (see `flyweight recipes`).
    file
        The file to write; its name ends in .toml.
    overwrite
        Replace an existing file.
    """
    from flyweight.recipe import copy as copy_recipe

    written = copy_recipe(recipe, file, overwrite=overwrite)
    say(str(written))
    talk(f"train it: flyweight train {written}")
