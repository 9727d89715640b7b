"""`bench device` measures all its parts with torch and numpy alone; here on the CPU, uncaptured, at a tiny size."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from flyweight.bench import device
from flyweight.bench.benchmark import SCHEMA, read
from flyweight.bench.device_accuracy import best, fast, t_interval
from flyweight.bench.device_equality import drawn_net, first_step
from flyweight.bench.device_task import DATA, TRAIN, Measurement, batches_of, new_net, read_pixels, read_task
from flyweight.bench.rows import Row, row
from flyweight.bench.sizes import ON_CPU, ON_GPU
from flyweight.cli.app import run
from flyweight.data.augment import Augmentation
from flyweight.errors import DataError
from flyweight.evidence.stats import mean_interval
from flyweight.experiment.schedule import learning_rate
from flyweight.experiment.setup import set_up
from flyweight.model.stacked import Stack
from flyweight.recipe import load
from flyweight.recipe.recipe import DataSection, TrainSection

CPU = torch.device("cpu")
RECIPES = ("own/20k-fast", "own/20k-gpu", "own/20k-best", "own/25k-one-epoch")

# Python that finds no package but the standard library, flyweight, torch, numpy, and what those two need.
ISOLATED = """
import json, runpy, sys
from importlib.machinery import PathFinder
refused, find = set(json.loads(sys.argv.pop(1))), PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, *rest: None if name.partition(".")[0] in refused else find(name, *rest)
)
runpy.run_module("flyweight.bench.device", run_name="__main__")
"""


def needed_by(*names: str) -> set[str]:
    """The distributions that these need, themselves included."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found.add(name)
            try:
                required = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
            waiting += [re.split(r"[^\w.-]", one)[0] for one in required if "extra ==" not in one]
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What a process without other packages has printed and written."""
    allowed = needed_by("torch", "numpy") | {"flyweight"}
    refused = [
        top
        for top, owners in metadata.packages_distributions().items()
        if top not in sys.stdlib_module_names and not {re.sub(r"[-_.]+", "-", one).lower() for one in owners} & allowed
    ]
    assert {"pydantic", "scipy", "rich", "PIL", "sqlalchemy", "safetensors"} <= set(refused)
    path = tmp_path_factory.mktemp("bench") / "device.json"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", ISOLATED, json.dumps(refused), "--device", "cpu", "--out", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    return SimpleNamespace(code=ended.returncode, out=ended.stdout, error=ended.stderr, path=path)


def made(**changes: object) -> Measurement:
    """A measurement on the CPU with a minute left."""
    size = dataclasses.replace(ON_CPU, **changes)
    return Measurement(pixels=read_pixels(CPU, size), size=size, ends_at=time.perf_counter() + 60)


def test_it_needs_only_torch_and_numpy(measured):
    """Every part is measured without any other package; only the notebook's way, which is Pillow's, is missing."""
    assert (measured.code, measured.error) == (0, "")
    found = read(measured.path)

    assert {one.section for one in found.rows} == {
        *("device speed", "device ceilings", "device equality", "device start"),
        *(f"device {name}" for name in RECIPES),
    }
    missing = {(one.contender, one.quantity): one.note for one in found.rows if one.median is None}
    assert "No module named 'PIL'" in missing.pop(("notebook, batch 64", "not measured"))
    assert set(missing.values()) == {"not measured on a CPU"}
    assert {quantity for _, quantity in missing} == {"peak MB"}
    assert all(math.isfinite(one.median) for one in found.rows if one.median is not None)


def test_its_record_says_where_when_and_how(measured):
    """Versions, date and command; the file is read back as any benchmark."""
    found = read(measured.path)

    assert (found.schema, found.is_quick) == (SCHEMA, True)
    assert found.machine["torch"] == torch.__version__
    assert found.date.startswith("20")
    assert "--device" in found.command


def test_its_tables_fit_a_terminal(measured):
    """80 columns, long notes below, and each part by its name."""
    lines = measured.out.splitlines()

    assert max(map(len, lines)) <= 80
    assert {"device speed", "device own/20k-gpu", "device start"} <= set(lines)


def test_rows_of_a_training_compare_stacked_with_alone(measured):
    """Seconds from data, in steps and of the capture, both accuracies, and the paired difference with its interval."""
    rows = [one for one in read(measured.path).rows if one.section == "device own/20k-gpu"]
    quantities = ("s from data", "s in steps", "capture s", "validation %", "test %")

    assert [(one.contender, one.quantity) for one in rows] == [
        *(("alone", quantity) for quantity in quantities),
        *((f"{ON_CPU.seeds} stacked", quantity) for quantity in quantities),
        *(("stacked - alone", f"points, {part}") for part in ("mean", "95 % low", "95 % high")),
        *((f"{ON_CPU.many} stacked", quantity) for quantity in quantities),
    ]
    assert "0 of 2 at 99.4" in rows[4].note


def test_a_stack_and_its_members_agree(measured):
    """The share of members whose first step is that of the net alone is 100 % for the net of the recipes."""
    shares = {one.contender: one.median for one in read(measured.path).rows if one.quantity == "% agree"}

    assert shares["own/20k-fast, torch, float32"] == 100
    assert shares["drawn nets, torch, float32"] >= 60


def test_a_stack_that_computes_something_else_does_not_agree(monkeypatch):
    """A difference of a thousandth in the logits is seen, in loss or gradient."""
    task = read_task("own/20k-fast", ON_CPU)
    batches = [one(1, 0) for one in batches_of(task, read_pixels(CPU, ON_CPU), range(6))[0]]
    agreeing = [one.agrees for one in first_step(task.net, batches, precision="float32", kernels=False)]
    assert sum(agreeing) >= 4  # an activation at zero may fall on either side
    forward = Stack.forward
    monkeypatch.setattr(Stack, "forward", lambda *given: 1.001 * forward(*given))

    assert not any(one.agrees for one in first_step(task.net, batches, precision="float32", kernels=False))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_read_as_flyweight_reads_them(name):
    """Without pydantic, and with the same result: net, augmentation, optimizer, schedule and all else."""
    task, recipe = read_task(name, ON_GPU), load(name)
    train, optimizer = recipe.train, read_task(name, ON_GPU).optimizer

    assert task.net == recipe.model.net
    assert recipe.augment.fill is None  # the background of the set, which is 0 for MNIST
    assert task.augmentation == Augmentation(**recipe.augment.model_dump() | {"fill": ()})
    assert (task.validation, task.split_seed) == (recipe.data.validation, recipe.data.split_seed)
    assert (task.epochs, task.batch_size, task.ema) == (train.epochs, train.batch_size, train.ema)
    assert (task.keep, task.precision) == (train.keep, train.precision)
    assert task.loss.label_smoothing == train.label_smoothing
    assert optimizer.name == train.optimizer
    assert all(
        getattr(optimizer, key) == getattr(train, key)
        for key in ("lr", "momentum", "nesterov", "beta2", "weight_decay", "weight_decay_on")
    )
    assert [task.lr(step / 50) for step in range(51)] == [learning_rate(step / 50, recipe=recipe) for step in range(51)]
    unread = recipe.model_fields_set - {"name", "description", "model", "data", "augment", "train", "budget"}
    assert not unread
    assert recipe.train.model_fields_set <= set(TRAIN)


def test_the_defaults_are_those_of_recipes():
    """A key that a recipe leaves out has the same value here."""
    for section, defaults in ((DataSection(), DATA), (TrainSection(), TRAIN)):
        assert {key: getattr(section, key) for key in defaults} == defaults


def test_a_seed_trains_as_flyweight_trains_it():
    """Equal initial weights and equal batches, to the bit."""
    pixels, task = read_pixels(CPU, ON_CPU), read_task("own/20k-fast", ON_CPU)
    recipe = load("own/20k-fast", overrides=["data.validation=32"])
    bench = set_up(recipe, pixels.image_set, seed=3, device="cpu", threads=1)
    (batches,), validation = batches_of(task, pixels, [3])

    own = new_net(task, pixels, 3).state_dict()

    theirs = bench.training.model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in theirs.items())
    assert torch.equal(batches(1, 0).images, bench.batches(1, 0).images)
    assert validation.tolist() == bench.split.validation.tolist()


def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, capsys):
    """Exit code 7, as `flyweight bench device` and as a module."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    codes = (run(["bench", "device", "--quick"]), device.main([]))

    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("flyweight: ")]
    assert codes == (7, 7)
    assert len(lines) == 2
    assert all("needs a CUDA GPU" in line for line in lines)


def test_a_part_that_fails_stops_no_other(monkeypatch, capsys, tmp_path):
    """It is a row with the reason, the rows it had stay, and the exit code is 1."""

    def failing(_found: Measurement) -> Iterator[Row]:
        yield row("device speed", "x", "images/s", [1.0])
        raise RuntimeError("no kernel for\nthis ± device")

    monkeypatch.setitem(device.PARTS, "speed", failing)

    code = device.main(["--device", "cpu", "--only", "speed", "ceilings", "--out", str(tmp_path / "found.json")])

    rows = read(tmp_path / "found.json").rows
    assert code == 1
    assert [one.quantity for one in rows[:2]] == ["images/s", "failed"]
    assert rows[1].note == "RuntimeError: no kernel for this ? device"
    assert rows[2].section == "device ceilings"
    assert "no kernel" in capsys.readouterr().out


def test_what_no_longer_fits_is_skipped_and_said(capsys):
    """No time at all skips every part; a slow device skips the trainings that would take too long."""
    assert device.main(["--device", "cpu", "--only", "ceilings", "best", "--seconds", "0"]) == 0
    assert capsys.readouterr().out.count("skipped") == 2

    slow = made()
    slow.rates[1, 64] = 1.0

    assert [(one.quantity, one.contender) for one in best(slow)] == [("skipped", "2 stacked")]
    assert [one.quantity for one in fast(slow)] == ["skipped", "skipped"]


def test_an_unknown_part_is_a_usage_error(capsys):
    """Exit code 2, and what there is."""
    with pytest.raises(SystemExit) as ended:
        device.main(["--device", "cpu", "--only", "speeed"])

    assert ended.value.code == 2
    assert "one-epoch" in capsys.readouterr().err


def test_intervals_are_those_of_the_evidence():
    """The table of t quantiles gives what scipy gives, for as many seeds as the benchmark trains."""
    for count in range(2, 17):
        values = [99.4 + 0.01 * number**2 for number in range(count)]
        found = mean_interval(values)

        assert t_interval(values) == pytest.approx((found.low, found.mean, found.high), abs=2e-4)


def test_drawn_nets_fit_and_differ():
    """The nets that are compared are nets of 28 x 28 images, and not all the same."""
    import random

    draw = random.Random(1)
    nets = [drawn_net(draw) for _ in range(20)]

    assert len(set(nets)) > 15
    assert all(Stack(net, (1, 28, 28), members=1) for net in nets)


def test_a_record_of_a_newer_version_is_refused(tmp_path):
    """Its meaning is not known; files of before, without a version, are read."""
    path = tmp_path / "newer.json"
    stored = json.loads((Path(__file__).parents[2] / "benchmarks" / "reference.json").read_text(encoding="utf-8"))
    path.write_text(json.dumps(stored), encoding="utf-8")
    assert read(path).schema == 1
    path.write_text(json.dumps({**stored, "schema": SCHEMA + 1}), encoding="utf-8")

    with pytest.raises(DataError, match="newer flyweight"):
        read(path)
