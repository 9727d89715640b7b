"""Runs on record with the files that a page reads, made without training: what each seed misreads is chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import numpy as np

from flyweight.evidence.groups import Group, groups
from flyweight.recipe import Recipe, dumps, load, override, recipe_hash
from flyweight.records.record import RunRecord
from flyweight.records.results import Figures, Misread, Predictions
from flyweight.records.run_folder import RunFolder
from flyweight.records.store import Store
from made_results import made_result

N_IMAGES = 1000
NET = "c8nb bn r m2 c8nb bn r gap flat fc10"
DEFAULTS = ("data.name=mnist", f'model.net="{NET}"', "train.epochs=3")

# Seeds that misread 20 images or so, and others that misread 8 of the same.
OFTEN = [[*range(20), *range(100, 100 + more)] for more in (0, 1, 2, 1, 3)]
SELDOM = [[*range(8), *range(200, 200 + more)] for more in (1, 0, 2, 1, 0)]


def recipe(*overrides: str, name: str = "own/base") -> Recipe:
    """A recipe of the catalogue with a small net, called as reported."""
    return override(load("own/20k-fast"), (*DEFAULTS, *overrides)).model_copy(update={"name": name})


def train(
    store: Store,
    asked: Recipe,
    misread: Sequence[Iterable[int]],
    *,
    status: str = "finished",
    study: str | None = None,
    parent: Recipe | None = None,
    epochs: int = 3,
    class_names: Sequence[str] = "0123456789",
) -> Group[RunRecord]:
    """Runs of a recipe as if trained, one for each list of test images that its seed misreads."""
    for seed, wrong in enumerate(misread):
        run = store.start(
            name=asked.name,
            seed=seed,
            recipe=asked.model_dump(mode="json"),
            recipe_hash=recipe_hash(asked),
            params=100 * len(asked.model.net),
            macs=10_000 * len(asked.model.net),
            registered_params=100 * len(asked.model.net),
            data_name="mnist",
            data_hash="cd" * 32,
            split_hash="ef" * 32,
            environment={"torch": "2.13.0", "threads": 1},
            epochs_planned=epochs,
            study=study,
            parent_hash=None if parent is None else recipe_hash(parent),
        )
        _end(store, run, sorted(set(wrong)), status, epochs, list(class_names))
        store.folder(run.id).write_recipe(dumps(asked))
    return groups(store.runs(recipe_hash=recipe_hash(asked)))[0]


def _end(store: Store, run: RunRecord, wrong: list[int], status: str, epochs: int, class_names: Sequence[str]) -> None:
    for epoch in range(1, epochs + 1):
        accuracy = 1 - (0.02 + 0.0001 * run.seed) / epoch
        store.log_epoch(run.id, epoch, {"validation_accuracy": None if status == "diverged" else accuracy, "lr": 0.1})
    figures = None
    if status == "finished":
        store.open_test(run.id, "final figure of the run")
        figures = Figures(correct=N_IMAGES - len(wrong), count=N_IMAGES, loss=0.05 + len(wrong) / 1e5)
        _write_predictions(store.folder(run.id), wrong)
    _write_result(store.folder(run.id), run, figures, class_names, status=status, epochs=epochs)
    found = asdict(figures) if figures else {}
    columns = {f"{part}_{name}": value for part in ("test", "validation") for name, value in found.items()}
    columns |= {"best_epoch": epochs} if figures else {}
    store.finish(run.id, status, epochs_done=epochs, train_seconds=10.0 + run.seed, **columns)


def _write_predictions(folder: RunFolder, wrong: list[int]) -> None:
    """Predictions, and the misread images themselves: image k has k in its first pixels."""
    labels = np.arange(N_IMAGES) % 10
    predicted = labels.copy()
    predicted[wrong] = (predicted[wrong] + 1) % 10
    probabilities = np.full((N_IMAGES, 10), 0.01, np.float32)
    probabilities[np.arange(N_IMAGES), predicted] = 0.91
    predictions = Predictions(labels=labels, probabilities=probabilities)
    folder.write_predictions(validation=predictions, test=predictions, validation_indices=np.arange(N_IMAGES))
    images = np.random.default_rng(0).integers(0, 256, (N_IMAGES, 1, 28, 28), dtype=np.uint8)
    folder.write_misread(
        Misread(
            images=images[wrong],
            labels=labels[wrong],
            predicted=predicted[wrong],
            probabilities=probabilities[wrong],
            indices=np.array(wrong, np.int64),
        )
    )


def _write_result(
    folder: RunFolder,
    run: RunRecord,
    figures: Figures | None,
    class_names: Sequence[str],
    *,
    status: str,
    epochs: int,
) -> None:
    result = made_result(
        run=run.id,
        **{name: getattr(run, name) for name in ("name", "seed", "params", "registered_params", "macs")},
        status=status,
        epochs=epochs,
        best_epoch=epochs if figures else None,
        train=None,
        validation=figures,
        flash_bytes=4 * run.params,
        activation_bytes=20_000,
        peak_memory_bytes=300_000_000,
        class_names=tuple(class_names),
        test=figures,
    )
    folder.write_end(result, ())
