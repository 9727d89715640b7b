"""Reproducing a document: the runs that it takes, and what is on record of them.

Goes in: a document and a store. Comes out: requests for `execute`, and replays: small values that verdicts and
pages are made of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from flyweight.data import sources
from flyweight.data.splits import class_counts
from flyweight.execute.request import TrainingRequest
from flyweight.experiment.resolved import canonical_hash
from flyweight.files import replacing
from flyweight.recipe import Recipe, load, override
from flyweight.records.record import OVER, RESULTS, RunRecord
from flyweight.records.store import Store
from flyweight.reproductions.document import Document, Step
from flyweight.reproductions.runs import Clean, Replay

QUICK: Final = " (quick)"  # of the name and the study of a rehearsal, so that no list takes it for the real run
SEEDS_OF_ONE_EPOCH, SEEDS_OF_MORE = 3, 1
QUICK_TRAIN, QUICK_TEST, QUICK_VALIDATION, QUICK_EPOCHS = 3000, 1000, 500, 2
MACHINE: Final = ("processor", "threads", "torch", "kernels", "precision", "flyweight")


def hashes(document: Document, *, recipes: Mapping[str, Recipe] | None = None) -> dict[str, str]:
    """The hash under which the runs of each step, and of each of our recipes, are recorded."""
    named = recipes or {name: load(name) for name in (*(step.name for step in document.all_steps), *document.ours)}
    return {name: canonical_hash(recipe) for name, recipe in named.items()}


def gather(document: Document, store: Store, *, recipes: Mapping[str, Recipe] | None = None) -> tuple[Replay, ...]:
    """Every run on record that is over, one a step and seed: the newest."""
    found: dict[tuple[str, int], Replay] = {}
    for name, its_hash in hashes(document, recipes=recipes).items():
        for record in sorted(store.runs(recipe_hash=its_hash, purpose=RESULTS), key=lambda record: record.id):
            if record.status in OVER:
                found[name, record.seed] = replay_of(name, record, store)
    return tuple(found[key] for key in sorted(found))


def requests_for(
    document: Document,
    steps: Sequence[Step],
    *,
    seeds: int | None = None,
    recipes: Mapping[str, Recipe] | None = None,
) -> tuple[TrainingRequest, ...]:
    """The runs that judge the steps: by default three seeds of a step of one epoch and one of a longer step.

    recipes: of a rehearsal, by step (`quick_recipes`).
    """
    return tuple(_request(document, step, seeds, recipes) for step in steps)


def _request(
    document: Document, step: Step, seeds: int | None, recipes: Mapping[str, Recipe] | None
) -> TrainingRequest:
    recipe = recipes[step.name] if recipes else step.recipe
    return TrainingRequest(
        recipe=recipe,
        seeds=tuple(range(seeds or (SEEDS_OF_ONE_EPOCH if recipe.train.epochs == 1 else SEEDS_OF_MORE))),
        purpose="reproduction",
        study=document.name + (QUICK if recipes else ""),
        parent_hash=canonical_hash(step.parent) if step.parent else None,
    )


def quick_recipes(steps: Sequence[Step], home: Path) -> dict[str, Recipe]:
    """The recipes on a few images and for at most two epochs: to see that all works, and no evidence of anything."""
    return {step.name: _quick(step.recipe, home) for step in steps}


def _quick(recipe: Recipe, home: Path) -> Recipe:
    path = home / f"quick-{recipe.data.name}.npz"
    if not path.exists():
        _write_few(recipe.data.name, path)
    overrides = [f"name={json.dumps(recipe.name + QUICK)}", f"data.name={json.dumps(str(path))}"]
    overrides.append(f"train.epochs={min(QUICK_EPOCHS, recipe.train.epochs)}")
    if recipe.data.validation is not None:
        overrides.append(f"data.validation={QUICK_VALIDATION}")
    return override(recipe, overrides)


def _write_few(name: str, path: Path) -> None:
    images = sources.load(name)
    with replacing(path) as unfinished:
        np.savez(
            unfinished,
            x_train=images.train_images[:QUICK_TRAIN],
            y_train=images.train_labels[:QUICK_TRAIN],
            x_test=images.test_images[:QUICK_TEST],
            y_test=images.test_labels[:QUICK_TEST],
        )


def replay_of(step: str, record: RunRecord, store: Store) -> Replay:
    """A run that is over, as a replay of a step.

    Raises:
        DataError: its folder is not whole.
    """
    folder = store.folder(record.id)
    result, reported = folder.result(), folder.reported()
    return Replay(
        step=step,
        seed=record.seed,
        recipe_hash=record.recipe_hash,
        status=record.status,
        message=record.message,
        seconds=result.train_seconds,
        epochs=reported.epochs,
        clean=Clean(**vars(result.test), epoch=result.kept_epoch) if result.test else None,
        class_counts=reported.class_counts["test"] if reported.epochs else _class_counts(record),
        test_openings=record.test_openings,
        machine={key: record.environment[key] for key in MACHINE if key in record.environment},
    )


def _class_counts(record: RunRecord) -> tuple[int, ...]:
    """Of the images that the document calls its test images, for a run that diverged before its first report."""
    images = sources.load(record.data_name)
    is_train = record.recipe.get("protocol", {}).get("evaluate_on") == "train"
    return class_counts(images.train_labels if is_train else images.test_labels, images.n_classes)
