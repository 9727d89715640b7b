"""`flyweight doctor --fix FILE`: try changes one by one, keep those that help, and write the recipe."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyweight import files
from flyweight.cli.doctor.named import NamedSubject
from flyweight.cli.doctor.teaching import is_guessed
from flyweight.cli.doctor.trials import settings_of, watching_runs
from flyweight.cli.output import say, say_json, talk
from flyweight.errors import MissingError, UsageError

if TYPE_CHECKING:
    from flyweight.diagnose.fix import FixStep
    from flyweight.recipe import Recipe


def fix_to_file(
    named: NamedSubject, path: Path, seeds: int | None, *, is_full: bool, teaches: bool, as_json: bool
) -> int:
    """Fix a recipe step by step, print each step, and write the result."""
    from flyweight.diagnose.fix import fix_recipe
    from flyweight.report.diagnosis.trials import fix_text, fix_values, step_text

    recipe = named.recipe
    steps: list[FixStep] = []
    settings: dict[str, Any] = {} if seeds is None else {"seeds": seeds}

    def show(step: FixStep) -> None:
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

    with watching_runs() as (watch, stop):
        found = fix_recipe(
            recipe,
            store=named.store,
            is_full=is_full,
            on_step=show,
            watch=watch,
            should_stop=stop,
            **settings,
        )
    written = None if found.recipe == recipe else _write(found.recipe, path)
    next_subject = named if written is None else replace(named, typed=written, changes=())
    options = (*settings_of(seeds, is_full=is_full), *(("--teach",) if teaches else ()))
    continuing = next_subject.command("--fix", str(path), *(("--overwrite",) if path.exists() else ()), *options)
    if as_json:
        say_json(fix_values(found) | {"written": written, "next": None if found.is_done else continuing})
    else:
        say(fix_text(found, written=written, continuing=continuing, options=named.location.options()))
    return stop.exit_code if stop() else 0


def _write(recipe: Recipe, path: Path) -> str:
    """Write the recipe under the name of its file, without the keys that are at their defaults."""
    from flyweight.recipe import dumps

    fixed = f"{recipe.name}, fixed by the doctor."
    is_same = recipe.name == path.stem and recipe.description  # of a recipe that was fixed further
    named = recipe.model_copy(update={"name": path.stem, "description": recipe.description if is_same else fixed})
    try:
        files.write_text(path, dumps(named, only_changes=True))
    except OSError as error:
        raise MissingError(f"cannot write {path}: {error.strerror}; choose a folder that can be written.") from error
    return str(path)


def require_free(path: Path, *, overwrite: bool) -> Path:
    """The path, checked before anything is trained: a new .toml file in a writable folder."""
    if path.suffix != ".toml":
        raise UsageError(f"--fix writes a recipe: the file must end in .toml, found {str(path)!r}.")
    files.require_free(path, overwrite=overwrite)
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--fix must name a file in an existing folder, found {str(path)!r}.")
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise MissingError(f"cannot write {path}: {error.strerror}; choose a folder that can be written.") from error
    return path
