"""Generated command lines for every verb, and a folder of good, damaged and odd files for them to name."""

from __future__ import annotations

import inspect
import os
import random
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import numpy as np
from PIL import Image

from flyweight.cli.app import VERBS, application
from flyweight.experiment.run import run as train
from flyweight.records.store import Store
from tiny import tiny_recipe, write_images, write_recipe

# The verbs below verbs. What prints for other programs or takes minutes by design is left out.
BELOW: Final[Mapping[str, tuple[str, ...]]] = {
    "journal": ("", "note"),
    "journey": ("", "show", "run", "verify", "report", "import"),
    "data": ("",),
    "search": ("", "show", "rm"),
}
LEFT_OUT: Final = ("bench", "sync")

WORDS: Final = (
    "",
    " ",
    "-",
    "--",
    ".",
    "..",
    "/",
    "~",
    "0",
    "-1",
    "1",
    "2",
    "3.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "9" * 30,
    "9" * 5_000,
    "0x10",
    "1_000",
    "20k",
    "8k",
    "1e-400",
    "true",
    "none",
    "own/8k",
    "own/20k-fast",
    "own/nothing",
    "001-9",
    "003-17",
    "003",
    "mnist",
    "fashion",
    "@latest",
    "@best",
    "@best:mnist",
    "@best:",
    "@",
    "c8 r flat fc10",
    "c8nb bn r m2 c16nb bn r gap flat fc10",
    "c8 [c8 r]x99999999999999999999 flat fc10",
    "c99999999999999999999 flat fc10",
    "[" * 3_000,
    "(" * 500 + ")" * 500,
    "c8 " * 3_000 + "flat fc10",
    "os:abort",
    "nets:Tiny",
    "nets.py:NotThere",
    "nothing.py:Net",
    "train.lr=0.01",
    "train.lr=nan",
    "train.epochs=99999999999999999999",
    "model.net=c8 r gap flat fc10",
    "data.name=nowhere.npz",
    "augment.rotate=1e308",
    "a.b.c=1",
    "=",
    "x" * 100_000,
    "a\0b",
    "a\udcff",
    "\x1b]0;title\x07",
    "\u202eevil",
    "日本語",
    "💥",
    "%s%n{0}",
    "'; DROP TABLE runs; --",
    "postgresql://127.0.0.1:1/none",
    "sqlite:///",
    "oracle://x",
)


def write_files(folder: Path) -> None:
    """Files of every kind that a command may be given, in the folder; a home with runs is in `home`."""
    recipe = write_recipe(folder)
    (folder / "empty.toml").touch()
    (folder / "cut.toml").write_text(recipe.read_text()[:60])
    (folder / "itself.toml").write_text('extends = "itself.toml"\n')
    (folder / "bytes.toml").write_bytes(bytes(range(256)))
    (folder / "deep.toml").write_text("a = " + "[" * 5_000)
    (folder / "digits.toml").write_text(recipe.read_text().replace("epochs = 2", f"epochs = {'9' * 5_000}"))
    (folder / "net.toml").write_text(f'extends = "tiny.toml"\n[model]\nnet = "{"c8 " * 2_000}flat fc10"\n')
    for number in range(60):
        (folder / f"chain{number}.toml").write_text(f'extends = "chain{number + 1}.toml"\n')
    (folder / "nets.py").write_text("from torch import nn\n\n\nclass Tiny(nn.Module):\n    pass\n")
    (folder / "cookie.py").write_bytes(b"# coding: nothing-like-it\nx = 1\n")
    (folder / "deep.py").write_text("x = " + "(" * 3_000 + ")" * 3_000)
    (folder / "cut.ipynb").write_text('{"cells": [{"cell_type": "code", "source": ["x = 1"')
    (folder / "good.ipynb").write_text('{"cells": [{"cell_type": "code", "source": ["x = 1"]}], "nbformat": 4}')
    (folder / "deep.ipynb").write_text("[" * 100_000)
    Image.new("L", (28, 28)).save(folder / "seven.png")
    content = (folder / "seven.png").read_bytes()
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    (folder / "text.png").write_text("no picture")
    digits = (folder / "digits.npz").read_bytes()
    (folder / "cut.npz").write_bytes(digits[: len(digits) // 2])
    np.savez(folder / "objects.npz", x_train=np.array([{}, []], object))
    (folder / "table.md").write_text("| Exp | Params | Test acc |\n|---|---|---|\n| 1 | 12,026 | 97.10 |\n")
    (folder / "table.csv").write_text("label,a,b\n1,2\n3\n")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    os.mkfifo(folder / "fifo.toml")
    os.mkfifo(folder / "fifo.png")
    (folder / "zero.toml").symlink_to("/dev/zero")
    (folder / "zero.py").symlink_to("/dev/zero")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "loop.toml").symlink_to("loop.toml")
    _write_home(folder)


def _write_home(folder: Path) -> None:
    """A home with two runs, and homes that are damaged."""
    images = folder / "images"
    images.mkdir()
    home = folder / "home"
    store = Store.open(home=home)
    for rate in ("0.05", "0.02"):
        train(tiny_recipe(images, "train.epochs=1", f"train.lr={rate}"), store=store, device="cpu", threads=1)
    write_images(folder)
    run = next(iter(store.runs()))
    shutil.copy(store.folder(run.id).file("weights"), folder / "good.safetensors")
    weights = (folder / "good.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(weights[:-100])
    (folder / "long.safetensors").write_bytes(b"\xff" * 8 + weights)
    (folder / "no home").write_text("a file")
    for name in ("no database", "bad rows", "no columns"):
        shutil.copytree(home, folder / name)
    (folder / "no database" / "flyweight.db").write_bytes(os.urandom(5_000))
    for name, statement in (
        ("bad rows", "UPDATE runs SET recipe = '{', started_at = 'yesterday'"),
        ("no columns", "ALTER TABLE runs RENAME COLUMN message TO other"),
    ):
        with sqlite3.connect(folder / name / "flyweight.db") as connection:
            connection.execute(statement)
        connection.close()
    shutil.rmtree(folder / "bad rows" / "runs")
    (folder / "bad rows" / "runs").write_text("a file")


def names_in(folder: Path) -> tuple[str, ...]:
    """What a command line may name in the folder, runs included."""
    runs = [path.name for path in sorted((folder / "home" / "runs").iterdir())]
    return (*sorted(path.name for path in folder.iterdir()), *runs, *(run[:8] for run in runs))


def command_line(random: random.Random, names: tuple[str, ...]) -> tuple[str, ...]:
    """A command line: a verb, arguments and options of it, with fitting and unfitting values."""
    verb = random.choice([name for name in VERBS if name not in LEFT_OUT])
    below = random.choice(BELOW.get(verb, ("",)))
    words = [verb, *([below] if below else [])]
    command = _function(verb, below)
    for parameter in inspect.signature(command).parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY and (
            parameter.default is parameter.empty or random.random() < 0.7
        ):
            words.append(_value(random, names))
        elif parameter.kind is parameter.VAR_POSITIONAL:
            words += [_value(random, names) for _ in range(random.randrange(3))]
    options = sorted(_options(verb, below).items())
    for name, kind in random.sample(options, k=min(len(options), random.randrange(4))):
        if kind is bool:
            words.append(name)
        elif (choices := _choices(kind)) and random.random() < 0.7:
            words += [name, str(random.choice(choices))]
        else:
            words += [name, _value(random, names)]
    if random.random() < 0.05:
        words.insert(random.randrange(len(words) + 1), _value(random, names))
    return tuple(words)


def _choices(kind: Any) -> tuple[Any, ...]:
    """The values of a type of a few words."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(choice for one in get_args(kind) for choice in _choices(one))


def _function(verb: str, below: str) -> Any:
    app = application()[verb]
    return (app[below] if below else app).default_command


_OPTIONS: dict[tuple[str, str], dict[str, Any]] = {}


def _options(verb: str, below: str) -> dict[str, Any]:
    """The options of a verb with their types, as the command line itself knows them."""
    if (verb, below) not in _OPTIONS:
        app = application()[verb]
        arguments = (app[below] if below else app).assemble_argument_collection(parse_docstring=False)
        _OPTIONS[verb, below] = {
            name: argument.hint
            for argument in arguments
            for name in argument.names
            if name.startswith("--") and name not in ("--open", "--home", "--database")
        }
    return _OPTIONS[verb, below]


def _value(random: random.Random, names: tuple[str, ...]) -> str:
    kind = random.random()
    if kind < 0.55:
        return random.choice(names)
    if kind < 0.92:
        return random.choice(WORDS)
    return "".join(chr(random.choice((random.randrange(1, 128), random.randrange(0x800)))) for _ in range(20))
