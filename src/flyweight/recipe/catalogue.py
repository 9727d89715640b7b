"""The recipes that come with the package: our own, and each step of the documents.

Adding a recipe is adding a file, and it is named by folder and file: `own/20k-fast` is own/20k-fast.toml beside this
module. A document is one file with many steps (docs/journeys.md); a step is named as the file names it, `003-17`.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from flyweight.errors import DataError, MissingError, UsageError, nearest
from flyweight.files import require_free, write_text
from flyweight.recipe.toml import format_toml, parse_toml

_SUFFIX: Final = ".toml"
_JOURNEYS: Final = "journeys"


def names() -> tuple[str, ...]:
    """The names of all packaged recipes: our own, sorted, then the steps of the documents in their order."""
    return (*own_names(), *_steps())


def own_names() -> tuple[str, ...]:
    """The names of the recipes that are files of their own, sorted."""
    return tuple(sorted(_files()))


def document_names() -> tuple[str, ...]:
    """The names of the documents, sorted."""
    return tuple(sorted(_document_files()))


def document_tables(name: str) -> dict[str, Any]:
    """The file of a document as nested tables.

    Raises:
        UsageError: no such document.
    """
    found = _document_files().get(name)
    if found is None:
        document, _, step = name.partition("-")
        is_step = document in document_names() and step
        hint = f" For a step write {document} {step}." if is_step else nearest(name, document_names())
        raise UsageError(f"there is no document {name!r}.{hint} Documents are {', '.join(document_names())}.")
    return parse_toml(found.read_text(encoding="utf-8"), name)


def text(name: str) -> str:
    """The TOML of a packaged recipe as it was written, comments included.

    Raises:
        UsageError: no such recipe; the message names the nearest.
    """
    found = _files().get(name)
    if found is not None:
        return found.read_text(encoding="utf-8")
    step = _steps().get(name)
    if step is not None:
        return _step_text(step)
    if _looks_like_file(name):
        path = Path(name)
        beside = path.with_suffix(_SUFFIX)
        hint = f" Did you mean {str(beside)!r}?" if beside.exists() else ""
        if path.exists():
            raise UsageError(f"a recipe file must end in {_SUFFIX}, found {name!r}.{hint}")
        raise DataError(f"there is no file {name}; a recipe file ends in {_SUFFIX}.{hint}")
    raise UsageError(
        f"there is no recipe {name!r}.{_nearest(name)} Recipes are {', '.join(own_names())}, and the steps of the "
        f"documents {', '.join(document_names())} (`flyweight journey show {document_names()[0]}` lists them); a file "
        f"must end in {_SUFFIX}."
    )


def is_recipe(given: str) -> bool:
    """Whether a text on the command line means a recipe rather than a net.

    >>> is_recipe("own/20k-fast"), is_recipe("mine.toml"), is_recipe("c16/5 r gap flat fc10")
    (True, True, False)
    """
    folders, last_parts = zip(*(name.split("/") for name in own_names()), strict=True)
    is_own = _looks_like_file(given) or given.partition("/")[0] in folders or given in last_parts
    return is_own or given.partition("-")[0] in document_names()


def is_net(given: str) -> bool:
    """Whether a text on the command line means a net: layers in notation, or an own module as FILE:CLASS.

    >>> is_net("c16/5 r gap flat fc10"), is_net("nets.py:Tiny"), is_net("own/20k"), is_net("my file.toml")
    (True, True, False, False)
    """
    return not is_recipe(given) and (":" in given or " " in given.strip() or "," in given)


def _looks_like_file(given: str) -> bool:
    """A name with an ending of letters; that of a layer, as in do.1, is a number."""
    return given.endswith(_SUFFIX) or (Path(given).suffix[1:].isalpha() and not set(given) & set(" :,"))


def describe(name: str) -> str:
    """What a packaged recipe is for, in one line."""
    return str(parse_toml(text(name), name).get("description", ""))


def copy(name: str, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a packaged recipe to `path`, completely or not at all; `overwrite` replaces an existing file.

    Raises:
        UsageError: no such recipe, or a path that is not that of a new .toml file.
        MissingError: the folder cannot be written to.
    """
    content, target = text(name), Path(path)
    if target.suffix != _SUFFIX:
        raise UsageError(
            f"a recipe file must end in {_SUFFIX}, found {str(target)!r}. Try {_suggestion(name, target)}."
        )
    require_free(target, overwrite=overwrite)
    try:
        target.absolute().parent.stat()  # a folder that is not there is not made
        write_text(target, content)
    except OSError as error:
        raise MissingError(f"cannot write {target}: {error.strerror}. Choose a folder that can be written.") from error
    return target


def _files() -> dict[str, Traversable]:
    folders = [one for one in files("flyweight.recipe").iterdir() if one.is_dir() and one.name != _JOURNEYS]
    return {f"{folder.name}/{name}": file for folder in folders for name, file in _toml_files(folder).items()}


def _document_files() -> dict[str, Traversable]:
    return _toml_files(files("flyweight.recipe") / _JOURNEYS)


def _toml_files(folder: Traversable) -> dict[str, Traversable]:
    return {file.name.removesuffix(_SUFFIX): file for file in folder.iterdir() if file.name.endswith(_SUFFIX)}


@functools.cache
def _steps() -> dict[str, dict[str, Any]]:
    """The tables of all steps by name, those of related runs after those of the document."""
    found = {}
    for document in document_names():
        tables = document_tables(document)
        for step in (*tables["steps"], *tables.get("related", ())):
            found[step["name"]] = {**step, "document": document, "title": tables["title"]}
    return found


def _step_text(step: Mapping[str, Any]) -> str:
    """A step as a recipe file: the change against the step that it came from."""
    head = {"extends": step["extends"]} if "extends" in step else {}
    body = format_toml({**head, "description": f"{step['label']} ({step['title']}).", **step["recipe"]})
    source = f"# Step {step['name']} of the document {step['document']}: `flyweight journey show {step['document']}`."
    return f"{source}\n{body}"


def _nearest(name: str) -> str:
    """The hint at similar names; the folder is not compared, since all of our own names have the same."""
    by_last_part = {known.rpartition("/")[2]: known for known in names()}
    hint = nearest(name.rpartition("/")[2], by_last_part)
    return re.sub(r"'([^']+)'", lambda found: repr(by_last_part[found[1]]), hint)


def _suggestion(name: str, target: Path) -> str:
    if target.is_dir():
        return str(target / f"{name.rpartition('/')[2]}{_SUFFIX}")
    return f"{target}{_SUFFIX}"
