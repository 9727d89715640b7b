"""The reference, as Markdown, made of what the code says: nothing in it is typed a second time.

`entries()` has each part as name and text, which a test walks to find what lacks its text.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

import flyweight
from flyweight.cli.app import application
from flyweight.code_check.table import FAULTS
from flyweight.doctor.table import RULES
from flyweight.errors import EXIT_CODES
from flyweight.recipe import Recipe
from flyweight.recipe.keys import keys_of, keys_table
from flyweight.tables import Markdown, as_markdown, table_of

_SECTION: Final = re.compile(r"^(Args|Returns|Raises|Yields):[ \t]*\n((?:    .*\n?|\n)+)", re.M)
_ARGUMENTS: Final = re.compile(r"^([a-z][a-z0-9_]*(?:, [a-z][a-z0-9_]*)*): ", re.M)  # "low, high: the rates"
_DOCTEST: Final = re.compile(r"^>>> (?:.*\n?)(?:^(?!\n|$).*\n?)*", re.M)


def reference_pages() -> dict[str, str]:
    """File name without suffix, and text."""
    return {
        "commands": commands(),
        "python": python(),
        "recipe-keys": f"# Recipe keys\n\n{keys_table(keys_of(Recipe))}\n",
        "rules": rules(),
        "exit-codes": exit_codes(),
    }


def entries() -> Iterator[tuple[str, str]]:
    """Each thing that the reference explains, and its explanation."""
    text = commands()
    for name, said in re.findall(r"^##+ (.+)\n\n```console\n(?:.*\n)*?```\n\n(.*)", text, re.M):
        yield f"command {name}", said
    for place in re.split(r"^##+ ", text, flags=re.M)[1:]:
        command = place.partition("\n")[0]
        for option, said in re.findall(r"^\* `([^`]+)`:?[ \t]*(.*)", place, re.M):
            yield f"command {command}, {option}", re.sub(r"\*\[.*?\]\*", "", said)
    yield from ((f"flyweight.{name}", inspect.getdoc(_public(name)) or "") for name in flyweight.__all__)
    yield from ((f"key {key.key}", key.meaning) for key in keys_of(Recipe))
    yield from ((f"rule {one.code}", one.explanation) for one in RULES)
    yield from ((f"fault {one.code}", one.explanation) for one in FAULTS)
    yield from ((f"exit code {code}", meaning) for code, meaning in EXIT_CODES.items())


def _public(name: str) -> Any:
    return getattr(flyweight, name)


def commands() -> str:
    """Every command with its options, from its docstring."""
    text: str = application().generate_docs(output_format="markdown")
    text = re.sub(r"^## Table of Contents\n.*?(?=^\*\*Commands\*\*|^## )", "", text, flags=re.M | re.S)
    text = re.sub(r"\[(`[^`]+`)\]\(#flyweight[^)]*\)", r"\1", text)
    text = re.sub(r"^(flyweight(?: \S+)*?) (\S+) \2(?= |$)", r"\1 \2", text, flags=re.M)
    text = re.sub(r"(?:^\$ flyweight .*\n\n?)+", lambda found: _console(found[0]), text, flags=re.M)
    return text.replace("# flyweight\n", "# Commands\n", 1)


def _console(lines: str) -> str:
    return "```console\n" + "\n".join(line for line in lines.split("\n") if line) + "\n```\n\n"


def python() -> str:
    """Every public name of Python, with its signature and docstring."""
    parts = ["# Python", "", "What `import flyweight` gives. Everything else may change without notice.", ""]
    for name in sorted(flyweight.__all__, key=str.lower):
        found = _public(name)
        parts += [f"## {name}", "", "```python", signature(name, found), "```", "", docstring(found), ""]
        if inspect.isclass(found):
            for method, value in vars(found).items():
                if not method.startswith("_") and inspect.getdoc(value) and _is_own(value):
                    shown = method if isinstance(value, property) else signature(method, _function(value))
                    parts += [f"### {name}.{method}", "", "```python", shown, "```", "", docstring(value), ""]
    return "\n".join(parts)


def _is_own(value: Any) -> bool:
    return isinstance(value, property | classmethod | staticmethod) or inspect.isfunction(value)


def _function(value: Any) -> Any:
    return getattr(value, "__func__", value)


def signature(name: str, found: Any) -> str:
    """The call, one argument a line where it is long; a recipe's fields are in the table of keys."""
    if found is Recipe:
        return "Recipe(name=..., model=..., ...)"
    try:
        signed = inspect.signature(found)
    except (TypeError, ValueError):
        return name
    arguments = [_argument(one) for one in _listed(signed)]
    returned = signed.return_annotation
    end = f" -> {_plain(returned)}" if returned not in (inspect.Signature.empty, None, "None") else ""
    line = f"{name}({', '.join(arguments)}){end}"
    return line if len(line) <= 100 else f"{name}(\n    " + ",\n    ".join(arguments) + f",\n){end}"


def _listed(signed: inspect.Signature) -> Iterator[inspect.Parameter | str]:
    has_star = False
    for one in signed.parameters.values():
        if one.kind is one.VAR_POSITIONAL:
            has_star = True
        if one.kind is one.KEYWORD_ONLY and not has_star:
            has_star = True
            yield "*"
        yield one


def _argument(one: inspect.Parameter | str) -> str:
    if isinstance(one, str):
        return one
    star = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
    kind = "" if one.annotation is one.empty else f": {_plain(one.annotation)}"
    if one.default is one.empty:
        return f"{star}{one.name}{kind}"
    default = one.default.__name__ if inspect.isfunction(one.default) else repr(one.default)
    return f"{one.name}{kind} = {default}"


def _plain(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def docstring(found: Any) -> str:
    """A docstring as Markdown: examples and sections are set apart."""
    text = (inspect.getdoc(found) or "") + "\n"
    text = _DOCTEST.sub(lambda one: f"```pycon\n{one[0].rstrip()}\n```\n", text)
    text = re.sub(r"(?<=\.) (?=[a-z][a-z0-9_]*: )", "\n", text)  # two arguments in one line
    text = _ARGUMENTS.sub(lambda one: f"- `{one[1]}`: ", text)
    text = _SECTION.sub(lambda one: f"**{one[1]}**\n\n{inspect.cleandoc(' ' * 4 + one[2].lstrip())}\n\n", text)
    return text.rstrip()


def rules() -> str:
    """Each rule of the doctor, and each fault that it finds in code, with its explanation."""
    parts = ["# Checks of the doctor", "", "## In recipes and runs", ""]
    for one in RULES:
        parts += [f"### {one.code}: {one.title}", "", one.explanation, ""]
        parts += [f"Source: {one.source}.", ""] if one.source else []
    parts += ["## In code", ""]
    for fault in FAULTS:
        parts += [f"### {fault.code}: {fault.title}", "", fault.explanation, ""]
    return "\n".join(parts)


def exit_codes() -> str:
    rows = [{"code": code, "meaning": Markdown(meaning)} for code, meaning in EXIT_CODES.items()]
    return f"# Exit codes\n\nEvery command ends with one of these.\n\n{as_markdown(table_of(rows))}\n"
