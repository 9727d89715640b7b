"""`flyweight doctor --fix FILE`: what helps is kept, change by change, and the recipe is written."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyweight.cli.doctor.named import NamedSubject
from flyweight.cli.doctor.teaching import is_guessed
from flyweight.cli.doctor.trials import attended, settings_of
from flyweight.cli.output import say, say_json, talk
from flyweight.errors import MissingError, UsageError

if TYPE_CHECKING:
    from flyweight.diagnose.fix import FixStep
    from flyweight.recipe import Recipe


def fix_to_file(
    named: NamedSubject, path: Path, seeds: int | None, *, is_full: bool, teaches: bool, as_json: bool
) -> int:
    """Fix a recipe, step by step, and write the recipe that comes of it."""
    from flyweight.diagnose.fix import fix_recipe
    from flyweight.report.diagnosis.trials import fix_text, fix_values, step_text

    recipe = named.recipe
    steps: list[FixStep] = []
    settings: dict[str, Any] = {} if seeds is None else {"seeds": seeds}

    def tell(step: FixStep) -> None:
        before = steps[-1].recipe if steps else recipe
        steps.append(step)
        if as_json:
            talk(f"{' + '.join(one.code for one in step.findings)}: {step.line}")
            return
        say(f"step {len(steps)}")
        is_asked = teaches and is_guessed(step, seed=recipe.name)
        say(step_text(step, before, is_guessed=is_asked))
        print()
        sys.stdout.flush()  # the next step may take minutes

    with attended() as (watch, stop):
        found = fix_recipe(
            recipe,
            store=named.store,
            is_full=is_full,
            on_step=tell,
            watch=watch,
            should_stop=stop,
            **settings,
        )
    written = None if found.recipe == recipe else _write(found.recipe, path)
    begun = named if written is None else replace(named, typed=written, changes=())
    settled = (*settings_of(seeds, is_full=is_full), *(("--teach",) if teaches else ()))
    going_on = begun.command("--fix", str(path), *(("--overwrite",) if path.exists() else ()), *settled)
    if as_json:
        say_json(fix_values(found) | {"written": written, "next": None if found.is_done else going_on})
    else:
        say(fix_text(found, written=written, going_on=going_on, options=named.place.options()))
    return stop.exit_code if stop() else 0


def _write(recipe: Recipe, path: Path) -> str:
    """A recipe of its own name, with only what is not as usual."""
    from flyweight.recipe import dumps
    from flyweight.records.files import write_text

    fixed = f"{recipe.name}, fixed by the doctor."
    is_same = recipe.name == path.stem and recipe.description  # of a recipe that was fixed further
    named = recipe.model_copy(update={"name": path.stem, "description": recipe.description if is_same else fixed})
    try:
        write_text(path, dumps(named, only_changes=True))
    except OSError as error:
        raise MissingError(f"cannot write {path}: {error.strerror}; choose a folder that can be written.") from error
    return str(path)


def require_free(path: Path, *, overwrite: bool) -> Path:
    """A file that may be written, before anything is spent on what is to stand in it."""
    if path.suffix != ".toml":
        raise UsageError(f"--fix writes a recipe, whose file must end in .toml, found {str(path)!r}.")
    if path.is_dir() or (path.exists() and not overwrite):
        way_out = "choose another name" if path.is_dir() else "choose another name, or --overwrite it"
        raise UsageError(f"{path} exists already; {way_out}.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--fix must name a file in a folder that is there, found {str(path)!r}.")
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise MissingError(f"cannot write {path}: {error.strerror}; choose a folder that can be written.") from error
    return path
