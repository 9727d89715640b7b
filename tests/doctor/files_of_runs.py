"""Every name that the source of a number may use, made again from the files of a run by readers of their own.

Goes in: a run folder, or the text of a recipe before any run. Comes out: names for `recomputed.recompute`. Of the
package only the count of a net is used: files are read by csv, json, tomllib and numpy, the learning rate is torch's
own. What no file has, the words of a claim and what a change was called, is handed in.
"""

from __future__ import annotations

import csv
import json
import math
import tomllib
from collections import Counter
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from recomputed import as_attributes, names_of_net
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, StepLR

from flyweight.doctor.subject import Subject
from flyweight.model.count import count

PROBES = ("images", "reads", "start", "trained")
STEPS = 100  # at which the learning rate is known, from the first to the end


def names_before_a_run(recipe_text: str, subject: Subject) -> dict[str, Any]:
    """Of the text of a recipe alone; of the case only what somebody claims."""
    names = _names_of_recipe(recipe_text)
    return names | ({} if subject.claims is None else {"claims": subject.claims})


def names_of_files(folder: Path, subject: Subject, *, parent: Path | None = None) -> dict[str, Any]:
    """Of all files of a run folder; `parent` is the folder of the run that it was changed from.

    Of the case only the claims and what the changes are called.
    """
    names = names_before_a_run((folder / "recipe.toml").read_text(), subject)
    for name, file in (("result", "result.json"), ("reported", "told.json")):
        if (folder / file).exists():
            names[name] = as_attributes(json.loads((folder / file).read_text()))
    if (folder / "metrics.csv").exists():
        names["metrics"] = _columns(folder / "metrics.csv")
    if (folder / "predictions.npz").exists():
        names["predictions"] = _predictions(folder / "predictions.npz")
    for name, values in probes_of_files(folder).items():
        names[name] = SimpleNamespace(**values)
    if parent is not None:
        assert subject.parent is not None
        test = json.loads((parent / "result.json").read_text())["test"]
        names["parent"] = SimpleNamespace(factors=subject.parent.factors, correct=test["correct"], count=test["count"])
    return names


def probes_of_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The tables of probes.json that are there, by name."""
    if not (folder / "probes.json").exists():
        return {}
    tables = json.loads((folder / "probes.json").read_text())["probes"]
    return {name: tables[name] for name in PROBES if tables[name] is not None}


def _names_of_recipe(text: str) -> dict[str, Any]:
    recipe = as_attributes(tomllib.loads(text))
    data = _sizes(recipe)
    steps_per_epoch = -(-data.n_train // recipe.train.batch_size)
    return names_of_net(count(recipe.model.net, data.shape)) | {
        "recipe": recipe,
        "data": data,
        "steps_per_epoch": steps_per_epoch,
        "steps": steps_per_epoch * recipe.train.epochs,
        "lr_curve": learning_rates(recipe.train),
    }


def _sizes(recipe: Any) -> SimpleNamespace:
    """Counted in the arrays that the recipe names."""
    path = str(files("flyweight.data") / "mnist.npz") if recipe.data.name == "mnist" else recipe.data.name
    with np.load(path) as arrays:
        labels, test_labels = arrays["y_train"], arrays["y_test"]
        sides = arrays["x_test"].shape[1:]
        own = len(arrays["y_validation"]) if "y_validation" in arrays else None
    n_train, held_out = len(labels), getattr(recipe.data, "validation", 5_000)
    match recipe.protocol.evaluate_on:
        case "validation":
            n_validation = held_out if own is None else own
            n_train -= held_out if own is None else 0
        case "test":
            n_validation = len(test_labels)
        case "train":
            n_validation = n_train
    return SimpleNamespace(
        n_train=min(n_train, getattr(recipe.data, "train_limit", n_train)),
        n_validation=n_validation,
        n_classes=len(np.unique(labels)),
        shape=(1, *(getattr(recipe.data, "resize", side) for side in sides)),
    )


def learning_rates(train: Any) -> list[float]:
    """At 0, 1, ... 100 % of the steps, by torch's schedulers; a line where torch has none."""
    warm = round(STEPS * train.warmup)
    match train.schedule:
        case "constant":
            return [train.lr] * (STEPS + 1)
        case "step":
            by_epoch = _by_torch(train.lr, train.epochs, lambda sgd: StepLR(sgd, train.step_epochs, train.gamma))
            return [by_epoch[math.floor(x * train.epochs / STEPS + 1e-9)] for x in range(STEPS + 1)]
        case "triangular":
            places = [x / STEPS for x in range(STEPS + 1)]
            shares = np.interp(places, [0.0, train.warmup, 1.0], [0.0, 1.0, train.final_lr])
            return [train.lr * float(share) for share in shares]
        case "one-cycle" if warm:
            # OneCycleLR is at its peak after pct_start * total_steps - 1 steps.
            return _by_torch(
                train.lr,
                STEPS,
                lambda sgd: OneCycleLR(
                    sgd,
                    max_lr=train.lr,
                    total_steps=STEPS + 1,
                    pct_start=(STEPS * train.warmup + 1) / (STEPS + 1),
                    final_div_factor=1 / 25 / train.final_lr if train.final_lr else math.inf,
                    cycle_momentum=False,
                ),
            )
        case "cosine" | "one-cycle":  # without a way up they are the same, which OneCycleLR cannot do
            rising = [train.lr * x / warm for x in range(warm)]
            floor = train.final_lr * train.lr
            falling = _by_torch(train.lr, STEPS - warm, lambda sgd: CosineAnnealingLR(sgd, STEPS - warm, floor))
            return rising + falling
    raise ValueError(train.schedule)


def _by_torch(lr: float, n_steps: int, scheduler_of: Any) -> list[float]:
    optimizer = SGD([torch.zeros(1)], lr=lr)
    scheduler: LRScheduler = scheduler_of(optimizer)
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(n_steps):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


def _columns(path: Path) -> SimpleNamespace:
    """metrics.csv as lists by column, None where a loss was not a number."""
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    numbers = {column: [float(line[column]) for line in lines] for column in lines[0]} if lines else {}
    return SimpleNamespace(
        **{column: [value if math.isfinite(value) else None for value in values] for column, values in numbers.items()}
    )


def _predictions(path: Path) -> SimpleNamespace:
    with np.load(path) as arrays:
        probabilities, labels = arrays["validation_probabilities"], arrays["validation_labels"]
    predicted, right = Counter(row.index(max(row)) for row in probabilities.tolist()), Counter(labels.tolist())
    classes = range(probabilities.shape[1])
    return SimpleNamespace(predicted=[predicted[one] for one in classes], labels=[right[one] for one in classes])
