"""The benchmark does the same work on both sides, takes turns, and keeps what it found."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from scipy import ndimage

from flyweight.bench.notebook import Pictures, loader, train_epoch
from flyweight.bench.record import keep, measure
from flyweight.bench.timing import Timing, alternate
from flyweight.model.build import build


@pytest.fixture
def images() -> np.ndarray:
    """(40, 28, 28) uint8 smooth pictures with a dark edge."""
    noise = np.random.default_rng(0).normal(size=(40, 28, 28))
    smooth = np.abs(ndimage.gaussian_filter(noise, (0, 2, 2)))
    smooth[:, :6] = smooth[:, -6:] = smooth[:, :, :6] = smooth[:, :, -6:] = 0
    return (255 * smooth / smooth.max()).astype(np.uint8)


def test_contenders_take_turns():
    """Each works once a round, in order, and the warm-up does not count."""
    told: list[str] = []

    found = alternate({"a": lambda: told.append("a"), "b": lambda: told.append("b")}, rounds=3, warm_up=2)

    assert told == ["a", "b"] * 5
    assert {name: len(timing.seconds) for name, timing in found.items()} == {"a": 3, "b": 3}


def test_a_median_has_its_middle_half():
    """The quartiles are numpy's; one round has no spread."""
    seconds = (5.0, 1.0, 3.0, 2.0, 10.0)

    timing = Timing(name="x", seconds=seconds)

    assert timing.median == 3.0
    assert timing.quartiles == pytest.approx(tuple(np.quantile(seconds, (0.25, 0.75))))
    assert Timing(name="x", seconds=(2.0,)).quartiles == (2.0, 2.0)


def test_the_notebooks_pictures_are_turned_shifted_and_normalised(images):
    """Without reach they are the images; with shifts alone each is the image moved by whole pixels."""
    labels = np.arange(40)
    still = Pictures(images, labels, mean=0.2, std=0.5, rotate=0, translate=0)
    for number in range(40):
        pixels, label = still[number]
        assert torch.allclose(pixels[0], (torch.from_numpy(images[number]).float() / 255 - 0.2) / 0.5)
        assert label == number

    random.seed(0)
    moved = Pictures(images, labels, mean=0.0, std=1 / 255, rotate=0, translate=0.1)
    shifts = {
        (dy, dx)
        for number in range(40)
        for dy in range(-3, 4)
        for dx in range(-3, 4)
        if np.allclose(moved[number][0][0].numpy(), np.roll(images[number], (dy, dx), (0, 1)), atol=0.01)
    }
    assert len(shifts) > 5


def test_the_notebooks_way_learns(images):
    """Its loop lowers the loss, so the comparison is with a training and not with a stand-in."""
    labels = (images.astype(int).sum((1, 2)) > np.median(images.astype(int).sum((1, 2)))).astype(int)
    torch.manual_seed(0)
    model = build("flat fc2", (1, 28, 28), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    batches = loader(Pictures(images, labels, mean=0.1, std=0.2, rotate=0, translate=0), batch_size=10, workers=0)

    losses = [np.mean(list(train_epoch(model, batches, optimizer))) for _ in range(12)]

    assert losses[-1] < 0.7 * losses[0]


def test_a_benchmark_is_kept_with_its_machine(tmp_path):
    """The record holds every row, the machine and whether it was a quick one; both sides learned alike."""
    found = measure(["training"], quick=True, threads=1)

    path = keep(found, home=tmp_path)

    kept = json.loads(path.read_text())
    assert kept["is_quick"]
    assert kept["machine"]["torch"] == torch.__version__
    assert [row["contender"] for row in kept["rows"]][-1] == "flyweight"
    assert len(kept["rows"]) == len(found.shown()) == 3
    assert all(row["median_seconds"] > 0 for row in kept["rows"])
    assert kept["rows"][0]["ratio"] == 1.0
