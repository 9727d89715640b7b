"""The usage line of each command, and messages for a command line that does not parse.

The names in a usage line are those of the arguments; messages say what is expected, what was found and what to type.
"""

from __future__ import annotations

import inspect
from typing import Any, Final, Literal, get_args, get_origin

from cyclopts import App
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from flyweight.errors import MAX_LINE, nearest

MAX_WORD: Final = 80
MAX_WORDS: Final = 5
TAKES_NET: Final = frozenset(("show", "check", "train"))
KINDS: Final[dict[Any, str]] = {int: "a whole number", float: "a number"}


def name_arguments(app: App, *chain: str) -> None:
    """Give the application and all commands in it a usage line that names their arguments."""
    commands = [name for name in app if not name.startswith("-")]
    lines = [] if app.default_command is None else [_usage(app.default_command, *chain)]
    app.usage = "Usage: " + "\n       ".join([*lines, *([" ".join((*chain, "COMMAND"))] if commands else [])])
    for name in commands:
        # Without an epilogue of their own, commands repeat the exit codes of the application.
        app[name].help_epilogue = ""
        name_arguments(app[name], *chain, name)


def _usage(command: Any, *chain: str) -> str:
    """The line of one command: required options, [OPTIONS], then arguments, those that can be left out in brackets."""
    required, arguments = [], []
    for one in inspect.signature(command).parameters.values():
        label, is_required = one.name.upper(), one.default is one.empty
        match one.kind:
            case one.VAR_POSITIONAL:
                arguments.append(f"[{label}...]")
            case one.POSITIONAL_ONLY:
                arguments.append(label if is_required else f"[{label}]")
            case _ if is_required:
                required.append(f"--{one.name} {one.annotation.upper()}")
    return " ".join((*chain, *required, "[OPTIONS]", *arguments))


def message_of(error: CycloptsError, app: App) -> str:
    """What is wrong with a command line, and what to type instead."""
    chain = tuple(error.command_chain or ())
    name = error.argument.name if error.argument else ""
    name = name if name.startswith("-") else name.upper()
    found = error.unused_tokens or []
    match error:
        case UnknownCommandError():
            word, known = _short((found or [""])[0]), [one for one in app if not one.startswith("-")]
            return f"unknown command {word!r}.{nearest(word, known)} Commands: {', '.join(known)}."
        case UnusedCliTokensError():
            words = " ".join(map(_short, found[:MAX_WORDS]))
            if chain and chain[-1] in TAKES_NET and not any("=" in word for word in found):
                return f"unexpected argument{'s' if len(found) > 1 else ''}: {words}. A net is one argument, in quotes."
            return (
                f"unexpected argument{'s' if len(found) > 1 else ''}: {words}. Repeat the name of an option before "
                "each of its values, as in --set train.lr=0.1 --set train.epochs=5."
            )
        case UnknownOptionError():
            sentence = _unknown_option(error)
        case MissingArgumentError():
            sentence = f"{name} needs a value." if error.keyword else f"{name} is missing."
        case CoercionError() if error.token is not None:
            sentence = (
                f"{error.token.keyword or name} must be {_kind(error.target_type)}, found {_quoted(error.token.value)}."
            )
            sentence += nearest(error.token.value, map(str, get_args(error.target_type)))
        case RepeatArgumentError():
            sentence = f"{error.token.keyword} is given more than once; keep one of them."
        case _:
            sentence = _short(str(error), MAX_LINE)
    for word in chain:
        app = app[word]
    return "\n".join([sentence, app.usage or "", f"See `{' '.join(('flyweight', *chain))} --help`."])


def _unknown_option(error: UnknownOptionError) -> str:
    word = _short((error.token.keyword or error.token.value).partition("=")[0])
    options = [name for argument in error.argument_collection for name in argument.names if name.startswith("--")]
    key = _recipe_key(word.removeprefix("--").replace("-", "_"))
    if key is not None and "--set" in options:
        return f"unknown option {word}; {key} is a key of the recipe: --set {key}=VALUE."
    if key is not None:
        return f"unknown option {word}; {key} is a key of the recipe: change it with flyweight train."
    return f"unknown option {word}.{nearest(word, options)}"


def _recipe_key(word: str) -> str | None:
    """The key of a recipe whose last part is this word: `epochs` is train.epochs."""
    from flyweight.recipe import keys

    found = [one.key for one in keys() if word in (one.key, one.key.rpartition(".")[2])]
    return next((key for key in found if key.startswith("train.")), found[0] if found else None)


def _quoted(word: str) -> str:
    return repr(_short(word))


def _short(text: str, most: int = MAX_WORD) -> str:
    """What was typed, cut where it is long."""
    return text if len(text) <= most else f"{text[:most]}..."


def _kind(target: Any) -> str:
    if get_origin(target) is Literal:
        return f"one of {', '.join(get_args(target))}"
    return KINDS.get(target, getattr(target, "__name__", "valid"))
