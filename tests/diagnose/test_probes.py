"""Probes: what they measure is measured again here by other means, and measuring leaves no trace but probes.json."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from flyweight.data import sources
from flyweight.data.splits import split
from flyweight.diagnose.probes import start as probe_start
from flyweight.diagnose.probes.collect import FIELDS, probe, probes_of
from flyweight.diagnose.probes.images import probe_images
from flyweight.diagnose.probes.reads import probe_reads
from flyweight.doctor.probes import Probes, StartProbe
from flyweight.experiment.plan import plan
from flyweight.experiment.run import resume, run
from flyweight.experiment.setup import prepare
from flyweight.experiment.splits import split_of
from flyweight.recipe import Recipe, override
from flyweight.records.record import RunRecord
from flyweight.records.run_folder import RunFolder
from flyweight.records.store import Store
from tiny import TEST, TRAIN, tiny_recipe

HELD_OUT, BATCH = 40, 16
PLAIN_NET = "c6 r m2 c8 r gmp flat fc10"  # nothing random, nothing that a batch shares
PLAIN = (f"model.net={PLAIN_NET}", "train.momentum=0.0", "train.nesterov=false", "train.weight_decay=0.0")
NO_AUGMENTATION = ("augment.rotate=0.0", "augment.translate=0.0")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recipe]:
    folder = tmp_path_factory.mktemp("images")
    return lambda *overrides: tiny_recipe(folder, *overrides)


@pytest.fixture(scope="module")
def plain_run(tiny: Callable[..., Recipe], store: Store) -> RunRecord:
    """A run that no one may change; its folder is copied for that."""
    return run(tiny(*PLAIN), seed=0, store=store, threads=1)


@pytest.fixture
def folder(plain_run: RunRecord, store: Store, tmp_path: Path) -> RunFolder:
    return RunFolder(path=Path(shutil.copytree(store.folder(plain_run.id).path, tmp_path / "run")))


def noise(n: int, seed: int) -> np.ndarray:
    """Images of which no two are the same."""
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def write_set(path: Path, *, train: np.ndarray, test: np.ndarray, labels: np.ndarray | None = None) -> Path:
    labels = np.arange(len(train)) % 10 if labels is None else labels
    np.savez(path, x_train=train, y_train=labels, x_test=test, y_test=np.arange(len(test)) % 10)
    return path


def images_probe(recipe: Recipe) -> Any:
    image_set = sources.load(recipe.data.name)
    return probe_images(recipe, image_set, split_of(recipe, image_set, seed=0))


@pytest.mark.parametrize(("in_validation", "test_in_train", "test_in_validation"), [(0, 0, 0), (3, 7, 2), (1, 0, 20)])
def test_planted_copies_are_counted(tmp_path, tiny, in_validation, test_in_train, test_in_validation):
    """So many images of one part that another has, too, are found to be so many."""
    recipe = override(tiny(), [f"data.name={tmp_path / 'set.npz'}"])
    train, test = noise(TRAIN, 0), noise(TEST, 1)
    write_set(tmp_path / "set.npz", train=train, test=test)
    parts = split(sources.load(tmp_path / "set.npz"), seed=0, validation=HELD_OUT)
    train[parts.validation[:in_validation]] = train[parts.train[:in_validation]]
    test[:test_in_train] = train[parts.train[100 : 100 + test_in_train]]
    test[30 : 30 + test_in_validation] = train[parts.validation[10 : 10 + test_in_validation]]
    write_set(tmp_path / "set.npz", train=train, test=test)

    found = images_probe(recipe)

    assert found.n == {"train": TRAIN - HELD_OUT, "validation": HELD_OUT, "test": TEST}
    counted = (found.validation_in_train, found.test_in_train, found.test_in_validation)
    assert counted == (in_validation, test_in_train, test_in_validation)


@pytest.mark.parametrize("judged_on", ["test", "train"])
def test_images_that_nothing_was_held_out_of_overlap_as_they_are(tiny, judged_on):
    """A validation part that is the test or the training images is found to be that."""
    found = images_probe(tiny(f"protocol.evaluate_on={judged_on}", "data.validation=none"))

    assert found.n == {"train": TRAIN, "validation": {"test": TEST, "train": TRAIN}[judged_on], "test": TEST}
    assert found.validation_in_train == {"test": found.test_in_train, "train": TRAIN}[judged_on]
    assert found.test_in_validation == {"test": TEST, "train": found.test_in_train}[judged_on]


@pytest.mark.parametrize("limit", ["none", "100"])
def test_brightness_is_that_of_the_pixels(tiny, limit):
    """Mean, deviation and the standard error of the mean are numpy's, over all pixels and over images."""
    recipe = tiny(f"data.train_limit={limit}")
    image_set = sources.load(recipe.data.name)
    parts = split_of(recipe, image_set, seed=0)

    found = images_probe(recipe)

    chosen = {
        "train": image_set.train_images[parts.train[: recipe.data.train_limit]],
        "validation": image_set.train_images[parts.validation],
        "test": image_set.test_images,
    }
    assert set(found.mean) == set(found.sd) == set(found.mean_error) == set(chosen)
    for part, images in chosen.items():
        pixels = images.astype(np.float64) / 255
        by_image = pixels.reshape(len(pixels), -1).mean(1)
        assert found.mean[part] == pytest.approx(pixels.mean(), rel=1e-12)
        assert found.sd[part] == pytest.approx(pixels.std(), rel=1e-12)
        assert found.mean_error[part] == pytest.approx(by_image.std(ddof=1) / math.sqrt(len(images)), rel=1e-12)
    assert found.class_counts == tuple(np.bincount(image_set.train_labels[parts.train[: recipe.data.train_limit]]))


def test_classes_of_a_batch_are_those_that_training_reads(tmp_path, tiny):
    """Sorted by class and not shuffled, a batch has one or two; shuffled, as many as random batches have on average."""
    labels = np.sort(np.arange(TRAIN) % 10)
    name = write_set(tmp_path / "sorted.npz", train=noise(TRAIN, 0), test=noise(TEST, 1), labels=labels)
    changes = [f"data.name={name}", "protocol.evaluate_on=test", "data.validation=none"]
    sorted_recipe = override(tiny(), [*changes, "train.shuffle=false"])
    bench = prepare(sorted_recipe, seed=0, device="cpu", threads=1)

    found, shuffled = images_probe(sorted_recipe), images_probe(override(tiny(), changes))

    read = [len(bench.batches(1, step).labels.unique()) for step in range(bench.batches.n_steps)]
    assert len(read) == TRAIN // BATCH
    assert found.classes_per_batch == pytest.approx(np.mean(read))
    draws = np.random.default_rng(0).choice(labels, (20_000, BATCH))
    drawn = (np.diff(np.sort(draws)) != 0).sum(1) + 1
    assert shuffled.classes_per_batch == shuffled.classes_per_shuffled_batch == found.classes_per_shuffled_batch
    assert shuffled.classes_per_batch == pytest.approx(drawn.mean(), abs=5 * drawn.std() / math.sqrt(len(drawn)))


@pytest.mark.parametrize(
    ("overrides", "training", "evaluation"),
    [
        ((), True, False),
        (NO_AUGMENTATION, False, False),
        (("protocol.shared_transform=training",), True, True),
        (("protocol.shared_transform=evaluation",), False, False),
        (("protocol.evaluate_augmented=true",), True, True),
        (("protocol.evaluate_on=train", "protocol.evaluate_augmented=true", "data.validation=none"), True, True),
        ((*NO_AUGMENTATION, "protocol.evaluate_augmented=true"), False, False),
    ],
)
def test_two_reads_of_an_image_differ_where_it_is_augmented(tiny, overrides, training, evaluation):
    """Training images by the augmentation, unless a shared transform took it; reported ones where the protocol has
    it."""
    recipe = tiny(*overrides)

    found = probe_reads(recipe, prepare(recipe, seed=0, device="cpu", threads=1))

    assert found.n == (TRAIN if recipe.protocol.evaluate_on == "train" else HELD_OUT)
    # A small turn may leave an image as it was.
    assert (found.training_differ > 0.9 * found.n) if training else found.training_differ == 0
    assert (found.evaluation_differ > 0.9 * found.n) if evaluation else found.evaluation_differ == 0


def start_of(recipe: Recipe) -> StartProbe:
    bench = prepare(recipe, seed=0, device="cpu", threads=1)
    return probe_start.probe_start(recipe, bench, macs=plan(recipe).require().cost.macs)


def by_hand(recipe: Recipe, factor: float) -> tuple[list[float], dict[str, float], dict[str, float]]:
    """Losses, update ratios and first gradients of plain gradient descent, without optimizers of torch."""
    bench = prepare(recipe, seed=0, device="cpu", threads=1)
    model, n_steps = bench.training.model.train(), bench.batches.n_steps
    weights = dict(model.named_parameters())
    losses, ratios, gradient = [], {}, {}
    for step in range(probe_start.MAX_STEPS):
        batch = bench.batches(1 + step // n_steps, step % n_steps)
        loss = F.cross_entropy(model(batch.images), batch.labels)
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(weights.values()))
        lr = factor * recipe.train.lr * min(1, (step + 1) / (probe_start.MAX_STEPS // 2))
        with torch.no_grad():
            for (name, weight), slope in zip(weights.items(), gradients, strict=True):
                if name.endswith(".weight"):
                    layer = name.removesuffix(".weight")
                    gradient.setdefault(layer, float(slope.pow(2).mean().sqrt()))
                    if step >= probe_start.MAX_STEPS // 2:
                        ratios.setdefault(layer, []).append(float(lr * slope.norm() / weight.norm()))
                weight -= lr * slope
    return losses, {layer: median(values) for layer, values in ratios.items()}, gradient


def test_the_first_steps_are_those_of_gradient_descent(tiny):
    """Losses, update ratios and gradients equal those of steps taken by hand."""
    recipe = tiny(*PLAIN)

    found = start_of(recipe)

    assert (found.steps, found.batch_size) == (probe_start.MAX_STEPS, BATCH)
    assert list(found.losses) == ["0.01", "0.1", "1", "10"]
    for factor, losses in found.losses.items():
        expected, ratios, gradient = by_hand(recipe, float(factor))
        assert losses == pytest.approx(expected, rel=1e-3)
        if factor == "1":
            assert set(found.update_ratio) == set(found.gradient) == {"conv1", "conv2", "linear1"}
            assert found.update_ratio == pytest.approx(ratios, rel=1e-3)
            assert found.gradient == pytest.approx(gradient, rel=1e-3)


def test_a_summed_loss_keeps_the_strength_of_the_whole_batch(tiny):
    """The gradient of a sum is that of the mean times the images of a whole batch, not of the few that are used."""
    mean, summed = (
        start_of(tiny(*PLAIN, "train.batch_size=100", f"train.loss_reduction={kind}", "train.lr=1e-6"))
        for kind in ("mean", "sum")
    )

    assert mean.batch_size == probe_start.MAX_IMAGES < 100
    assert summed.gradient == pytest.approx({layer: 100 * rms for layer, rms in mean.gradient.items()}, rel=1e-4)
    assert summed.losses["1"][0] == mean.losses["1"][0]


def test_smoothed_labels_are_learnt_and_not_measured(tiny):
    """Smoothing changes the gradient, and not the loss of the first batch, which is plain cross entropy."""
    plain, smoothed = (start_of(tiny(*PLAIN, f"train.label_smoothing={share}")) for share in (0.0, 0.4))

    assert smoothed.losses["1"][0] == plain.losses["1"][0]
    assert smoothed.gradient != pytest.approx(plain.gradient, rel=1e-3)


def test_from_a_loss_that_is_no_number_on_there_is_none(tiny):
    """A rate that no net survives leaves a first loss and then None, at every factor, and no update ratio."""
    found = start_of(tiny("train.lr=1e30"))

    assert len(found.losses) == 4
    for losses in found.losses.values():
        n_known = sum(loss is not None for loss in losses)
        assert len(losses) == found.steps
        assert 1 <= n_known < found.steps
        assert set(losses[n_known:]) == {None}
    assert set(found.update_ratio.values()) == {None}
    assert all(rms is not None and rms > 0 for rms in found.gradient.values())


@given(st.integers(min_value=0, max_value=10**13))
def test_an_expensive_net_takes_fewer_steps(macs):
    """Steps stay between the fewest and the most, cost no more than is affordable, and the recipe's rate is there."""
    factors, steps = probe_start.affordable(macs)

    assert probe_start.MIN_STEPS <= steps <= probe_start.MAX_STEPS
    assert {0.1, 1.0, 10.0} <= set(factors) <= set(probe_start.FACTORS)
    assert (
        steps == probe_start.MIN_STEPS
        or steps * len(factors) * macs * probe_start.PASSES <= probe_start.AFFORDABLE_MACS
    )


def test_probes_are_equal_each_time_and_leave_no_trace(tiny):
    """The same recipe and seed give the same probes, another seed others; random state and threads stay."""
    torch.manual_seed(7)
    torch.set_num_threads(2)
    before = torch.random.get_rng_state()

    first, second, other = (probe(tiny(), seed=seed) for seed in (0, 0, 1))

    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == 2
    assert first == second
    assert first.start != other.start
    torch.set_num_threads(1)


def stored_weights(folder: RunFolder) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(folder.file("weights"), framework="pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata()  # noqa: SIM118


def change_weights(folder: RunFolder, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Write other weights, as if they had been trained."""
    weights, metadata = stored_weights(folder)
    change(weights)
    save_file(weights, folder.file("weights"), metadata)
    folder.write_checksums()


def test_a_planted_dead_channel_is_counted(tiny, folder):
    """Two channels of the second convolution that can never be above 0 are dead, and no other is by that."""
    before = probe(tiny(*PLAIN), seed=0, folder=folder).trained
    change_weights(folder, lambda weights: weights["conv2.bias"].index_fill_(0, torch.tensor([1, 5]), -1e6))

    after = probe(tiny(*PLAIN), seed=0, folder=folder).trained

    assert before is not None
    assert after is not None
    assert before.dead_channels == {"relu1": 0, "relu2": 0}
    assert after.dead_channels == {"relu1": 0, "relu2": 2}
    assert after.channels == before.channels == {"relu1": 6, "relu2": 8}
    assert after.zero_share["relu2"] > before.zero_share["relu2"]


def test_the_trained_net_is_measured_as_torch_computes_it(tiny, folder):
    """Shares of zeros and gradients equal those of the same net written out in torch's functions."""
    recipe = tiny(*PLAIN)
    bench = prepare(recipe, seed=0, device="cpu", threads=1)
    weights, _ = stored_weights(folder)
    for weight in weights.values():
        weight.requires_grad_(True)

    found = probe(recipe, seed=0, folder=folder).trained

    images, labels = bench.trained_on
    scale = (torch.from_numpy(images).float() / 255 - bench.mean[0]) / bench.std[0]
    first = F.relu(F.conv2d(scale, weights["conv1.weight"], weights["conv1.bias"]))
    second = F.relu(F.conv2d(F.max_pool2d(first, 2), weights["conv2.weight"], weights["conv2.bias"]))
    logits = F.linear(second.amax((2, 3)), weights["linear1.weight"], weights["linear1.bias"])
    F.cross_entropy(logits, torch.from_numpy(labels)).backward()
    assert found is not None
    assert found.n == TRAIN - HELD_OUT
    zeros = {"relu1": float((first == 0).float().mean()), "relu2": float((second == 0).float().mean())}
    assert found.zero_share == pytest.approx(zeros, rel=1e-3)
    rms = {layer: float(weights[f"{layer}.weight"].grad.pow(2).mean().sqrt()) for layer in found.gradient}
    assert set(rms) == {"conv1", "conv2", "linear1"}
    assert found.gradient == pytest.approx(rms, rel=1e-3)


def test_layers_in_blocks_go_by_the_names_of_the_table(tiny, store):
    """Activations in a residual and in shared passes are counted once, by their name; what is not called is not."""
    recipe = tiny("model.net=c6 bn r +(c6p1 bn r) 2@(c6p1 r) unused(r) gap flat fc10", *PLAIN[1:])
    record = run(recipe, seed=0, store=store, threads=1)

    found = probe(recipe, seed=0, folder=store.folder(record.id)).trained

    assert found is not None
    assert found.channels == {"relu1": 6, "relu2": 6, "relu3": 6}
    assert set(found.gradient) == {row.path for row in plan(recipe).require().cost.rows if row.macs}


def kept(folder: RunFolder) -> dict[str, Any]:
    return json.loads(folder.file("probes").read_text())


def test_probes_are_kept_and_read_again(plain_run, store):
    """A second look reads what the first one kept, the checksums still hold, and no probe is missing."""
    first = probes_of(plain_run, store)
    path = store.folder(plain_run.id).file("probes")
    written = path.stat().st_mtime_ns

    second = probes_of(plain_run, store)

    assert first.failed is None
    assert first == second
    assert path.stat().st_mtime_ns == written
    store.folder(plain_run.id).verify()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tables: tables["made_for"].update(weights="0" * 64),
        lambda tables: tables["made_for"].update(recipe="0" * 64),
        lambda tables: tables["made_for"].update(format=0),
        lambda tables: tables.pop("made_for"),
        lambda tables: tables.pop("probes"),
        lambda tables: tables["probes"]["images"].pop("n"),
        lambda tables: tables["probes"].update(start=[1, 2]),
        lambda tables: tables["probes"].update(reads={"n": 1, "other": 2}),
    ],
)
def test_probes_of_other_weights_and_damaged_ones_are_made_again(plain_run, store, spoil):
    """Whatever is wrong with the file, the probes are those of the run, and the file is right afterwards."""
    expected = probes_of(plain_run, store)
    folder = store.folder(plain_run.id)
    tables = kept(folder)
    whole = json.dumps(tables, sort_keys=True)
    spoil(tables)
    folder.file("probes").write_text(json.dumps(tables))

    found = probes_of(plain_run, store)

    assert found == expected
    assert json.dumps(kept(folder), sort_keys=True) == whole


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[]", b"null", b'"probes"'])
def test_a_file_that_is_no_probes_at_all_is_replaced(plain_run, store, content):
    """Half a file, other JSON and no text are all taken for nothing."""
    expected = probes_of(plain_run, store)
    folder = store.folder(plain_run.id)
    folder.file("probes").write_bytes(content)

    assert probes_of(plain_run, store) == expected
    assert kept(folder)["made_for"]["weights"] != "none"


def test_a_folder_that_cannot_be_written_does_not_matter(tiny, tmp_path, plain_run, store, monkeypatch):
    """The probes are made all the same, and nothing is kept."""
    path = store.folder(plain_run.id).file("probes")
    path.unlink(missing_ok=True)
    path.mkdir()  # a file cannot take the place of a folder, not even for root

    found = probes_of(plain_run, store)

    assert found.failed is None
    assert found.start is not None
    assert list(path.parent.glob("*probes*")) == [path]
    path.rmdir()


def test_a_stopped_run_keeps_no_probes_and_continues(tiny, store):
    """What was looked at in the middle does not end up among the checksums of the run that continues."""
    asked = iter(range(100))
    stopped = run(tiny(*PLAIN), seed=3, store=store, threads=1, should_stop=lambda: next(asked) >= 4)
    halfway = probes_of(stopped, store)
    was_kept = store.folder(stopped.id).has("probes")

    whole = resume(stopped.id, store=store)
    found = probes_of(whole, store)

    assert stopped.status == "interrupted"
    assert halfway.failed == {"trained": "its weights are missing"}
    assert not was_kept
    assert found.failed is None
    assert (found.images, found.reads, found.start) == (halfway.images, halfway.reads, halfway.start)
    store.folder(whole.id).verify()


def test_other_images_than_those_of_the_run_are_not_probed(tmp_path, store):
    """Where the file of images has changed since, every probe says so, and nothing is kept."""
    record = run(tiny_recipe(tmp_path, *PLAIN), seed=0, store=store, threads=1)
    write_set(tmp_path / "digits.npz", train=noise(TRAIN, 0), test=noise(TEST, 1))

    found = probes_of(record, store)

    assert found == Probes(failed=found.failed)
    assert set(found.failed or {}) == set(FIELDS)
    assert all("must be those of the run" in reason for reason in (found.failed or {}).values())
    assert not store.folder(record.id).has("probes")


def failing(recipe: Recipe, **probes: Any) -> Mapping[str, str]:
    return probe(recipe, seed=0, **probes).failed or {}


def test_what_cannot_be_probed_says_why(tmp_path, tiny, folder):
    """Images that are gone, a module that is gone, and a changed file of weights each leave the others as they are."""
    gone = failing(override(tiny(), [f"data.name={tmp_path / 'gone.npz'}"]))
    no_net = failing(override(tiny(), ["model.net=no_such_module:Net"]))
    (folder.file("weights")).write_bytes(b"other")
    changed = failing(tiny(*PLAIN), folder=folder)

    assert set(gone) == set(FIELDS)
    assert "no such file" in gone["images"]
    assert set(no_net) == {"reads", "start", "trained"}
    assert "no_such_module" in no_net["start"]
    assert set(changed) == {"trained"}
    assert "weights.safetensors has changed" in changed["trained"]


def test_a_net_that_cannot_take_a_step_is_reported(tiny):
    """Batch norm over single values needs more than one image: the first steps are not there, the rest is."""
    found = probe(tiny("model.net=c4 gap bn flat fc10", "train.batch_size=1"), seed=0)

    assert set(found.failed or {}) == {"start", "trained"}
    assert "must take a step with 1 images" in (found.failed or {})["start"]
    assert replace(found, failed=None) == Probes(images=found.images, reads=found.reads)
