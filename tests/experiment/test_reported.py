"""The protocol of a recipe: what it tells is measured as it says, and what is honest stays honest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from flyweight.data.batches import normalise
from flyweight.experiment.run import resume, run
from flyweight.experiment.schedule import learning_rate
from flyweight.experiment.setup import Workbench, prepare
from flyweight.recipe import Recipe, protocol_words
from flyweight.records.record import RunRecord
from flyweight.records.results import ReportedEpoch, ReportedTraining
from flyweight.records.store import Store
from flyweight.train import loop
from flyweight.train.settings import FitSettings
from tiny import TEST, TRAIN, tiny_recipe

HELD_OUT, BATCH, EPOCHS = 40, 16, 2
PARTS = ("train", "validation", "test")

# What changes neither who trains on what nor how it is cleanly measured.
ONLY_TOLD = (
    "evaluate_augmented=true",
    "shared_transform=training",
    "test_every_epoch=true",
    "last_batch_loss=true",
    "loss_divided_twice=true",
)
NOTHING_HELD_OUT = {"test": TEST, "train": TRAIN}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recipe]:
    """The tiny recipe under a protocol; the last epoch is kept, so that reported and clean figures are of one net."""
    folder = tmp_path_factory.mktemp("images")

    def make(*switches: str, **changed: str) -> Recipe:
        overrides = ["train.keep=last", *(f"protocol.{switch}" for switch in switches)]
        if any(switch.startswith("evaluate_on") for switch in switches):
            overrides.append("data.validation=none")
        return tiny_recipe(folder, *overrides, *(f"{key.replace('__', '.')}={text}" for key, text in changed.items()))

    return make


@pytest.fixture(scope="module")
def trained(recipe: Callable[..., Recipe], store: Store) -> Callable[..., RunRecord]:
    """A run of the tiny recipe under a protocol; each is trained once."""

    @functools.cache
    def make(*switches: str, seed: int = 0) -> RunRecord:
        return run(recipe(*switches), seed=seed, store=store, threads=1)

    return make


def result(store: Store, record: RunRecord) -> dict[str, Any]:
    return store.folder(record.id).result().as_dict()


def reported_rows(store: Store, record: RunRecord) -> list[dict[str, Any]]:
    return store.folder(record.id).reported().as_dict()["epochs"]


def weights(store: Store, record: RunRecord) -> dict[str, np.ndarray]:
    return store.folder(record.id).weights().tensors


def same(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def honest(store: Store, record: RunRecord) -> list[Any]:
    """Every figure that is measured in the same way whatever the protocol reports; no seconds."""
    epochs = [
        (line.train_loss, line.train_accuracy, line.validation_loss, line.validation_accuracy)
        for line in store.epochs(record.id)
    ]
    return [*epochs, *(result(store, record)[part] for part in PARTS)]


def bench_of(asked: Recipe, *, seed: int = 0) -> Workbench:
    return prepare(asked, seed=seed, device="cpu", threads=1)


def stop_after(n: int) -> Callable[[], bool]:
    asked = iter(range(1, 10**9))
    return lambda: next(asked) >= n


@pytest.mark.parametrize("judged_on", NOTHING_HELD_OUT)
def test_with_nothing_held_out_all_images_train_in_the_order_of_the_file(recipe, judged_on):
    """Without shuffling, the batches one after another are the training images as the file has them."""
    bench = bench_of(recipe(f"evaluate_on={judged_on}", train__shuffle="false", augment__rotate="0.0"))
    bench.batches.augmentation = type(bench.batches.augmentation)()

    steps = [bench.batches(1, step) for step in range(bench.batches.n_steps)]

    images = torch.from_numpy(bench.image_set.train_images)
    assert len(steps) == TRAIN // BATCH
    assert torch.equal(torch.cat([batch.images for batch in steps]), normalise(images, mean=bench.mean, std=bench.std))
    assert torch.equal(torch.cat([batch.labels for batch in steps]), torch.from_numpy(bench.image_set.train_labels))


@pytest.mark.parametrize("judged_on", NOTHING_HELD_OUT)
def test_a_run_with_nothing_held_out_is_kept_apart(recipe, store, trained, judged_on):
    """It trains on all images, is judged on those that are named, and its split is that of no run that holds out."""
    record = trained(f"evaluate_on={judged_on}")

    held_out = {bench_of(recipe(data__split_seed=str(seed))).split.hash for seed in range(5)}
    assert len(held_out) == 5
    assert record.split_hash not in {*held_out, trained().split_hash}
    assert record.train_count == TRAIN
    assert record.validation_count == NOTHING_HELD_OUT[judged_on]
    assert result(store, record)["judged_on"] == judged_on
    assert record.recipe["data"]["validation"] is None


def test_without_a_protocol_there_are_no_reported_metrics(store, trained):
    """No file, no words, and the test images are opened once."""
    record = trained()

    found = result(store, record)
    assert not store.folder(record.id).has("reported")
    assert (found["protocol"], found["told"], found["judged_on"]) == ((), None, "validation")
    assert found["test_openings"] == record.test_openings == 1


@pytest.mark.parametrize("switch", ONLY_TOLD)
def test_reported_metrics_change_no_weight_and_no_clean_figure(store, trained, switch):
    """Bit for bit the run without the switch: weights, the lines of all epochs, and the figures of all parts."""
    plain, switched = trained(), trained(switch)

    assert same(weights(store, plain), weights(store, switched))
    assert honest(store, plain) == honest(store, switched)
    assert [row["epoch"] for row in reported_rows(store, switched)] == [1, EPOCHS]


@pytest.mark.parametrize("switch", [None, *ONLY_TOLD, "shared_transform=evaluation", "evaluate_on=test"])
def test_a_run_keeps_what_it_reported_and_how(recipe, store, trained, switch):
    """result.json has the last row of what was reported and a sentence for the switch, under the run's checksums."""
    record = trained(*filter(None, [switch]))

    found = result(store, record)
    assert found["protocol"] == tuple(protocol_words(recipe(*filter(None, [switch]))))
    assert len(found["protocol"]) == (switch is not None)
    assert found["told"] == (reported_rows(store, record)[-1] if switch else None)
    store.folder(record.id).verify()


def test_a_transform_shared_with_the_evaluation_is_no_augmentation_at_all(recipe, store, trained):
    """The run equals one of a recipe without augmentation, bit for bit, and not the one that augments."""
    shared = trained("shared_transform=evaluation")
    bare = run(recipe(augment__rotate="0.0", augment__translate="0.0"), seed=0, store=store, threads=1)

    assert same(weights(store, shared), weights(store, bare))
    assert honest(store, shared) == honest(store, bare)
    assert not same(weights(store, shared), weights(store, trained()))


def test_a_transform_shared_with_training_reports_augmented_validation_figures(store, trained):
    """What is reported of the validation images differs from their clean figures; the test images are reported
    clean."""
    record = trained("shared_transform=training")

    last, found = reported_rows(store, record)[-1], result(store, record)
    assert last["validation"]["count"] == HELD_OUT
    assert last["validation"]["loss"] != pytest.approx(found["validation"]["loss"], rel=1e-5)
    assert last["test"]["loss"] == pytest.approx(found["test"]["loss"], rel=1e-5)
    assert last["test"]["correct"] == found["test"]["correct"]


@pytest.mark.parametrize("others", [(), ("evaluate_on=test",), ("evaluate_on=train",)])
def test_augmented_evaluation_augments_all_that_is_reported(store, trained, others):
    """Each part that is reported has another loss than the same images as they are."""
    clean, augmented = trained(*others, "last_batch_loss=true"), trained(*others, "evaluate_augmented=true")

    rows = reported_rows(store, clean)[-1], reported_rows(store, augmented)[-1]
    parts = [part for part in PARTS[1:] if part in rows[0]]
    assert len(parts) == (1 if others else 2)
    for part in parts:
        assert rows[0][part]["count"] == rows[1][part]["count"]
        assert rows[0][part]["loss"] != rows[1][part]["loss"]


@pytest.mark.parametrize(
    ("switches", "openings"),
    [
        ((), 1),
        (("shared_transform=training",), 2),
        (("test_every_epoch=true",), 1 + EPOCHS),
        (("evaluate_on=test",), 1 + EPOCHS),
        (("evaluate_on=train",), 1),
    ],
)
def test_each_opening_of_the_test_images_is_counted(store, trained, switches, openings):
    """Once for the clean figure, once for each epoch whose test figure is reported; training images are no test
    images."""
    record = trained(*switches)

    assert store.get(record.id).test_openings == result(store, record)["test_openings"] == openings


def test_a_seed_set_after_the_split_gives_every_seed_a_split_of_its_own(recipe):
    """Other images are held out for each seed, the same for the same seed; without the switch all seeds share one."""
    switched, plain = recipe("seed_after_split=true"), recipe()

    found = [bench_of(switched, seed=seed).split for seed in (0, 1, 2, 0)]

    assert len({one.hash for one in found}) == 3
    assert found[0].hash == found[3].hash
    assert {len(one.validation) for one in found} == {HELD_OUT}
    assert len({bench_of(plain, seed=seed).split.hash for seed in (0, 1, 2)}) == 1
    assert bench_of(recipe("seed_after_split=true", data__split_seed="1")).split.hash != found[0].hash


def test_the_loss_of_the_last_batch_is_its_cross_entropy(recipe, store, trained):
    """Of what the net answered in the last step of each epoch, in training; the accuracy stays that of the epoch."""
    asked, record = recipe("last_batch_loss=true"), trained("last_batch_loss=true")
    bench, answers = bench_of(asked), []
    bench.training.model.register_forward_hook(
        lambda net, _, logits: answers.append(logits.detach().clone()) if net.training else None
    )
    loop.fit(
        bench.training,
        bench.batches,
        FitSettings(epochs=EPOCHS, lr=functools.partial(learning_rate, recipe=asked)),
        validate=lambda net: bench.evaluate(net, *bench.validation),
    )

    n_steps, rows = bench.batches.n_steps, reported_rows(store, record)
    assert len(answers) == EPOCHS * n_steps == 26
    for row, line in zip(rows, store.epochs(record.id), strict=True):
        labels = bench.batches(row["epoch"], n_steps - 1).labels
        by_hand = F.cross_entropy(answers[row["epoch"] * n_steps - 1], labels)
        assert row["train"]["loss"] == pytest.approx(float(by_hand), rel=1e-5)
        assert row["train"]["count"] == len(labels) == (TRAIN - HELD_OUT) % BATCH
        assert row["train"]["accuracy"] == line.train_accuracy
        assert row["train"]["loss"] != pytest.approx(line.train_loss, rel=1e-3)


def test_a_loss_divided_twice_is_the_sum_of_batch_means_over_the_images(store, trained):
    """By hand, from the answers that the run kept: about the mean loss over the batch size, and reported beside it."""
    record = trained("loss_divided_twice=true")

    kept = store.folder(record.id).predictions("test")
    right = kept.probabilities.astype(np.float64)[np.arange(TEST), kept.labels]
    losses = -np.log(right)
    by_hand = sum(losses[start : start + BATCH].mean() for start in range(0, TEST, BATCH)) / TEST
    row, mean = reported_rows(store, record)[-1]["test"], result(store, record)["test"]["loss"]
    assert row["loss"] == pytest.approx(by_hand, rel=1e-4)
    assert mean == pytest.approx(losses.mean(), rel=1e-4)
    assert row["loss"] == pytest.approx(mean / BATCH, rel=0.1)


@pytest.mark.parametrize("steps", [1, 13, 14, 26])
def test_a_resumed_run_reports_what_the_uninterrupted_one_reports(recipe, store, trained, steps):
    """Stopped within an epoch or after its last step, each epoch is reported once and alike, last batch included."""
    switches = (
        "shared_transform=training",
        "test_every_epoch=true",
        "seed_after_split=true",
        "last_batch_loss=true",
        "loss_divided_twice=true",
        "evaluate_augmented=true",
    )
    whole = trained(*switches)

    stopped = run(recipe(*switches), seed=0, store=store, threads=1, should_stop=stop_after(steps))
    resumed = resume(stopped.id, store=store)

    assert (stopped.status, resumed.status) == ("interrupted", "finished")
    assert reported_rows(store, resumed) == reported_rows(store, whole)
    assert [row["epoch"] for row in reported_rows(store, resumed)] == [1, EPOCHS]
    assert resumed.test_openings == whole.test_openings == 1 + EPOCHS


def test_an_epoch_that_was_reported_and_not_saved_is_reported_once(recipe, store, trained):
    """A power cut between the two leaves a row too many; the run continues and reports the epoch again, in its
    place."""
    switch = "last_batch_loss=true"
    whole = reported_rows(store, trained(switch))
    stopped = run(recipe(switch), seed=0, store=store, threads=1, should_stop=stop_after(14))
    folder = store.folder(stopped.id)
    saved = folder.reported()
    too_many = ReportedEpoch(epoch=2, train=ReportedTraining(accuracy=0.1, loss=9.9))
    folder.write_reported(replace(saved, epochs=(*saved.epochs, too_many)))

    resumed = resume(stopped.id, store=store)

    assert [row.epoch for row in saved.epochs] == [1]
    assert reported_rows(store, resumed) == whole


def test_a_run_that_ends_early_has_reported_its_test_figures(recipe, store):
    """Its last epoch is the one that is reported, whichever it is."""
    asked = recipe("last_batch_loss=true", train__epochs="9", target__accuracy="0.01", target__stop="true")

    record = run(asked, seed=0, store=store, threads=1)

    (row,) = reported_rows(store, record)
    assert record.epochs_done == row["epoch"] == 1
    assert row["test"]["count"] == TEST


def test_a_diverged_run_keeps_what_it_reported_before(recipe, store):
    """Weights that decay by more than all of them grow until they are no numbers; the epochs before are kept."""
    grows = {"train__weight_decay": "1.0", "train__lr": "1e10", "train__schedule": "constant"}
    one_step = {"model__net": "flat fc10", "budget__params": "none", "train__batch_size": "240", "train__epochs": "9"}
    asked = recipe("evaluate_on=test", **one_step, **grows)

    record = run(asked, seed=0, store=store, threads=1)

    rows, found = reported_rows(store, record), result(store, record)
    assert record.status == found["status"] == "diverged"
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert 1 < len(rows) < 9
    assert found["told"] == rows[-1]
    assert found["test"] is None
    assert found["test_openings"] == store.get(record.id).test_openings == len(rows)


def test_a_loss_that_is_no_number_is_reported_as_none(recipe, store):
    """An epoch that ends in NaN is reported: one answer for all images, and null for the loss."""
    asked = recipe("evaluate_on=test", train__lr="1e30", train__batch_size="240", train__epochs="1")

    record = run(asked, seed=0, store=store, threads=1)

    (row,) = reported_rows(store, record)
    counts = store.folder(record.id).reported().class_counts["test"]
    assert record.status == "diverged"
    assert row["test"]["loss"] is None
    assert row["test"]["correct"] in counts
    assert sum(counts) == TEST
