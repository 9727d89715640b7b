"""What the examples of the pages and the help texts take for granted, made small: trainings of 300 images."""

from __future__ import annotations

import json
import re
import shutil
import signal
import uuid
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flyweight.cli.app import run
from flyweight.execute.process_executor import Processes
from flyweight.model.budget import Budget
from flyweight.records.store import Store
from flyweight.reproductions import replay as journeys
from flyweight.search.searching import SearchRequest, search
from forked import ForkedCommand
from tiny import write_recipe

SHORT = ["--set", "data.train_limit=300", "--set", "train.epochs=1", "--set", "budget.epochs=none"]
# A remedy is tried on a tiny net that has no fault but the one that is shown.
TINY = ["--set", "model.net=m2 c6 bn r m2 flat fc10", "--set", "train.batch_size=2", "--set", "data.validation=200"]
JOURNEYS = Path(__file__).parent.parent / "docs" / "journeys"
PAGES = Path(__file__).parent.parent / "docs"
LEAVES = "leaves.toml"
RESULTS = "results.json"
FEW = "few.npz"
EXPERIMENTS = """
| Exp | Change | Params | Val acc | Test acc |
|---|---|---|---|---|
| 1 | three convolutions | 12,026 | 97.02 | 97.10 |
| 2 | batch norm added | 12,026 | 97.88 | 97.95 |
| 3 | learning rate 0.01 | 12,110 | 97.90 | 98.005 |
"""
THEIRS = """
from torchvision import datasets

test = datasets.MNIST("data", train=True)
"""


def set_stage(folder: Path) -> None:
    """In an empty folder: a home with a stopped run and a study of three results, a recipe of one's own, a photo."""
    write_few_images(folder / FEW)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FLYWEIGHT_HOME", str(folder / "home"))
        patch.delenv("FLYWEIGHT_DATABASE", raising=False)
        interrupted(str(write_recipe(folder)))
        short = [*SHORT, *on_few_images(folder), "--study", "parts"]
        assert run(["train", "own/8k", *short, "--set", "name=eight"]) == 0
        assert run(["train", "own/20k-fast", *short, "--set", "train.lr=0.05", "--set", "name=mine"]) == 0
        assert run(["train", "own/20k-fast", *short]) == 0
        assert run(["copy", "own/20k-fast", "mine.toml"]) == 0
        ids = {record.name: record.id for record in Store.open().runs()}
        stopped_search(folder / FEW)
    results = {"own/20k-fast": ids["own/20k-fast"], "own/8k": ids["eight"], "mine.toml": ids["mine"]}
    (folder / RESULTS).write_text(json.dumps(results))
    shutil.copytree(JOURNEYS, folder / "docs" / "journeys", dirs_exist_ok=True)
    (folder / "experiments.md").write_text(EXPERIMENTS, encoding="utf-8")
    (folder / "theirs.py").write_text(THEIRS, encoding="utf-8")
    with np.load(str(files("flyweight.data") / "mnist.npz")) as mnist:
        Image.fromarray(mnist["x_test"][0]).resize((280, 280)).save(folder / "seven.png")
    set_leaves(folder)


def set_leaves(folder: Path) -> None:
    """What docs/own-pictures.md has: pictures of two classes, of different sizes, and the recipe shown."""
    generator = np.random.default_rng(0)
    for kind, (name, low) in enumerate({"oak": 0, "maple": 100}.items()):
        (folder / "leaves" / name).mkdir(parents=True)
        for number in range(30):
            pixels = generator.integers(low, low + 150, size=(40 + number, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "leaves" / name / f"{kind}{number:03}.png")
    page = (PAGES / "own-pictures.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"^```toml\n(.*?)^```", page, re.M | re.S)
    (folder / LEAVES).write_text(recipe, encoding="utf-8")


def write_few_images(path: Path) -> None:
    """The first images of MNIST: most of a short training would go into judging the 15,000 others."""
    with np.load(str(files("flyweight.data") / "mnist.npz")) as mnist:
        counts = {"train": 600, "test": 200}
        np.savez(path, **{f"{kind}_{part}": mnist[f"{kind}_{part}"][:n] for kind in "xy" for part, n in counts.items()})


def on_few_images(folder: Path) -> list[str]:
    return ["--set", f"data.name={folder / FEW}", "--set", "data.validation=200"]


def interrupted(recipe: str) -> None:
    """Leave a run behind that was stopped in its second epoch or later."""
    process = ForkedCommand("train", recipe, "--set", "train.epochs=60")
    process.wait_for("epoch 1/")
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143


def stopped_search(images: Path) -> None:
    """A search "search-1" that was stopped before its first trial, and would end after it."""
    store = Store.open()
    overrides = (f"data.name={images}", "data.validation=200")
    request = SearchRequest(
        budget=Budget(params=1_000),
        minutes=60,
        name="search-1",
        overrides=overrides,
        epochs=1,
        n_seeds=1,
        workers=1,
        max_trials=1,
    )
    executor = Processes(device="cpu", at_once=1)
    found = search(request, store=store, executor=executor, should_stop=lambda: bool(store.searches.names()))
    assert found is None


def made_short(arguments: list[str], folder: Path) -> list[str]:
    """The same command on the stage: few seeds of a few images, results named by the runs that stand for them."""
    verb = arguments[0]
    if verb == "train" and LEAVES in arguments:
        return [*with_value(arguments, "--seeds", "2"), "--set", "train.epochs=1"]
    if verb == "train" and "--resume" not in arguments:
        arguments = with_value(arguments, "--seeds", "2")
        for option in ("--epochs", "--batch-size"):  # SHORT sets these keys
            at = arguments.index(option) if option in arguments else len(arguments)
            arguments = arguments[:at] + arguments[at + 2 :]
        return [*arguments, *SHORT, *on_few_images(folder)]
    if arguments[:2] == ["journey", "run"]:
        return arguments if "--quick" in arguments else [*with_value(arguments, "--seeds", "1"), "--quick"]
    if verb == "doctor" and {"--trial", "--fix", "--lr"} & set(arguments):
        few = [*on_few_images(folder), *SHORT, *TINY]
        return [*arguments, "--seeds", "2", *few, *(["--overwrite"] if "--fix" in arguments else [])]
    if verb == "compare":
        runs = json.loads((folder / RESULTS).read_text())
        limit = [] if "--until-sure" not in arguments or "--max-seeds" in arguments else ["--max-seeds", "3"]
        return [*(runs.get(word, word) for word in with_value(arguments, "--max-seeds", "3")), *limit]
    if verb == "search" and arguments[1].startswith("--"):
        arguments = with_value(with_value(arguments, "--minutes", "60"), "--data", str(folder / FEW))
        if "--resume" in arguments:
            return arguments
        short = ["--trials", "1", "--epochs", "1", "--seeds", "1", "--at-once", "1", "--name", f"n{uuid.uuid4().hex}"]
        return [*arguments, *short, *on_few_images(folder)]
    return arguments


def rehearse_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Journeys are rehearsed on fewer images still."""
    for part, count in (("TRAIN", 100), ("TEST", 50), ("VALIDATION", 50), ("EPOCHS", 1)):
        monkeypatch.setattr(journeys, f"QUICK_{part}", count)


def with_value(arguments: list[str], option: str, value: str) -> list[str]:
    """The arguments with another value of an option, if it is among them."""
    after = {place + 1 for place, word in enumerate(arguments) if word == option}
    return [value if place in after else word for place, word in enumerate(arguments)]
