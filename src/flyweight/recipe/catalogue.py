"""The recipes that come with the package: named by folder and file, found by looking into the folder.

Adding a recipe is adding a file; `own/20k-fast` is own/20k-fast.toml beside this module.
"""

from __future__ import annotations

import os
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from flyweight.errors import MissingError, UsageError, nearest
from flyweight.recipe.toml import parse_toml

_SUFFIX = ".toml"


def names() -> tuple[str, ...]:
    """The names of all packaged recipes, sorted."""
    return tuple(sorted(_catalogue()))


def text(name: str) -> str:
    """The TOML of a packaged recipe as it was written, comments included.

    Raises:
        UsageError: no such recipe; the message names the nearest.
    """
    found = _catalogue().get(name)
    if found is None:
        hint = nearest(name, names()) or _by_last_part(name)
        raise UsageError(
            f"there is no recipe {name!r}.{hint} Recipes are {', '.join(names())}; a file must end in {_SUFFIX}."
        )
    return found.read_text(encoding="utf-8")


def is_recipe(given: str) -> bool:
    """Whether a text on the command line means a recipe rather than a net.

    >>> is_recipe("own/20k-fast"), is_recipe("mine.toml"), is_recipe("c16/5 r gap flat fc10")
    (True, True, False)
    """
    folders = {name.partition("/")[0] for name in names()}
    return given.endswith(_SUFFIX) or given.partition("/")[0] in folders or bool(_by_last_part(given))


def describe(name: str) -> str:
    """What a packaged recipe is for, in one line."""
    return str(parse_toml(text(name), name).get("description", ""))


def copy(name: str, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a packaged recipe to `path`, whole or not at all; an existing file stays unless `overwrite`.

    Raises:
        UsageError: no such recipe, or a path that cannot be meant.
        MissingError: the folder cannot be written to.
    """
    content, target = text(name), Path(path)
    if target.suffix != _SUFFIX:
        raise UsageError(
            f"a recipe file must end in {_SUFFIX}, found {str(target)!r}. Try {_suggestion(name, target)}."
        )
    if target.is_dir() or (target.exists() and not overwrite):
        way_out = "choose another name" if target.is_dir() else "choose another name, or --overwrite it"
        raise UsageError(f"{target} exists already; {way_out}.")
    try:
        _write_whole(target, content)
    except OSError as error:
        raise MissingError(f"cannot write {target}: {error.strerror}. Choose a folder that can be written.") from error
    return target


def _catalogue() -> dict[str, Traversable]:
    folders = [folder for folder in files("flyweight.recipe").iterdir() if folder.is_dir()]
    return {
        f"{folder.name}/{file.name.removesuffix(_SUFFIX)}": file
        for folder in folders
        for file in folder.iterdir()
        if file.name.endswith(_SUFFIX)
    }


def _by_last_part(name: str) -> str:
    same = [known for known in names() if known.rpartition("/")[2] == name]
    return f" Did you mean {same[0]!r}?" if same else ""


def _suggestion(name: str, target: Path) -> str:
    if target.is_dir():
        return str(target / f"{name.rpartition('/')[2]}{_SUFFIX}")
    return f"{target}{_SUFFIX}"


def _write_whole(path: Path, content: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("x", encoding="utf-8", newline="\n") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
