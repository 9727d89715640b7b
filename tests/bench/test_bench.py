"""The benchmark does the same work on both sides, takes turns, and keeps what it found."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy import ndimage

from flyweight.bench.benchmark import Benchmark, read
from flyweight.bench.format import WIDTH, formatted_rows, text_tables
from flyweight.bench.notebook import Notebook, Pictures, loader, plain_net, train_epoch
from flyweight.bench.record import SECTIONS, measure, save
from flyweight.bench.rows import row, side_by_side, spread
from flyweight.bench.scaling import start
from flyweight.bench.task import NET, Images, accuracy, take
from flyweight.bench.timing import alternate
from flyweight.errors import DataError, UsageError
from flyweight.model.build import build

LONG = "a note that is too long to stand beside its row"


@pytest.fixture
def images() -> np.ndarray:
    """(40, 28, 28) uint8 smooth pictures with a dark edge."""
    noise = np.random.default_rng(0).normal(size=(40, 28, 28))
    smooth = np.abs(ndimage.gaussian_filter(noise, (0, 2, 2)))
    smooth[:, :6] = smooth[:, -6:] = smooth[:, :, :6] = smooth[:, :, -6:] = 0
    return (255 * smooth / smooth.max()).astype(np.uint8)


def test_contenders_take_turns():
    """Each works once a round, in order, and the warm-up does not count."""
    reported: list[str] = []

    found = alternate({"a": lambda: reported.append("a"), "b": lambda: reported.append("b")}, rounds=3, warm_up=2)

    assert reported == ["a", "b"] * 5
    assert {name: len(seconds) for name, seconds in found.items()} == {"a": 3, "b": 3}


def test_a_median_has_its_middle_half():
    """The quartiles are numpy's; one round has no spread, none at all no figure."""
    values = [5.0, 1.0, 3.0, 2.0, 10.0]

    found = row("train", "x", "s", values)

    assert (found.quartile_low, found.median, found.quartile_high) == pytest.approx(
        tuple(np.quantile(values, (0.25, 0.5, 0.75)))
    )
    assert spread([2.0]) == (2.0, 2.0, 2.0)
    assert row("train", "x", "s", []).median is None


def test_a_ratio_says_how_many_times_better():
    """Half the seconds and twice the rate are both 2; a figure that could not be had has none."""
    seconds = side_by_side([row("x", "a", "s", [4.0]), row("x", "b", "s", [2.0]), row("x", "c", "s", [])])
    rates = side_by_side([row("x", "a", "1/s", [4.0]), row("x", "b", "1/s", [8.0])], more_is_better=True)

    assert [one.ratio for one in seconds] == [1.0, 2.0, None]
    assert [one.ratio for one in rates] == [1.0, 2.0]
    assert side_by_side([]) == []


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


def test_the_notebooks_net_is_ours(images):
    """Written in plain torch it has the same weights in the same order, and answers the same with them."""
    torch.manual_seed(0)
    plain, ours = plain_net(), build(NET, (1, 28, 28))
    ours.load_state_dict(dict(zip(ours.state_dict(), plain.state_dict().values(), strict=True)))
    pixels = torch.from_numpy(images).unsqueeze(1).float() / 255

    with torch.no_grad():
        answers = plain.eval()(pixels), ours.eval()(pixels)

    assert torch.allclose(*answers, atol=1e-5)
    assert all(type(layer).__module__.startswith("torch.nn") for layer in plain)


def test_the_notebooks_way_continues_into_the_next_epoch(images):
    """Steps are taken over the ends of epochs, so a round has as many as it was asked for."""
    made = Images(
        images=images[:, None],
        labels=np.arange(40) % 10,
        test_images=images[:, None],
        test_labels=np.arange(40) % 10,
        mean=0.1,
        std=0.2,
    )
    notebook = Notebook(made, workers=0)
    counted = notebook.model[1].num_batches_tracked

    notebook.take(steps=3)
    after_three = int(counted)
    notebook.take(steps=2)

    assert (after_three, int(counted)) == (3, 5)


def test_the_notebooks_process_is_free_of_our_engine():
    """What it imports, and what is asked of it, load nothing that could make it faster or slower."""
    script = (
        "import sys, flyweight.bench.notebook, flyweight.bench.task;"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('flyweight.')};"
        "print(*sorted(rooms))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["bench", "data", "errors"]
    assert {take.__module__, accuracy.__module__} == {"flyweight.bench.task"}


def test_ours_takes_the_requested_number_of_steps():
    """In pieces or at once, over the ends of epochs: the weights are the same bit for bit."""
    at_once, in_pieces = (start(count=48, net="c4 bn r gap flat fc10", batch_size=16, threads=1) for _ in range(2))

    at_once.take(steps=8)
    for steps in (1, 3, 4):
        in_pieces.take(steps=steps)

    assert (at_once.training.epoch, at_once.training.step) == (3, 2)
    found, expected = in_pieces.model.state_dict(), at_once.model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_benchmark_is_kept_with_its_machine(tmp_path):
    """The record holds every row, the machine and how it was measured, and is read again as the same value."""
    found = measure(["startup"], quick=True)

    path = save(found, home=tmp_path)

    kept = json.loads(path.read_text())
    assert kept["is_quick"]
    assert kept["machine"]["torch"] == torch.__version__
    assert [one["contender"] for one in kept["rows"]] == ["flyweight --help", "flyweight show", "flyweight train"]
    assert all(one["median"] > 0 for one in kept["rows"])
    assert read(path) == found


def test_an_older_file_has_the_section_names_of_today(tmp_path):
    """The section `roofline` was called `limit`."""
    path = tmp_path / "old.json"
    path.write_text(json.dumps(asdict(made_benchmark("limit"))))

    assert read(path) == made_benchmark("roofline")


def made_benchmark(section: str) -> Benchmark:
    rows = (row(section, "memory copy", "GB/s", [1.0]),)
    return Benchmark(id="x", is_quick=True, threads=None, seeds=None, cores_taken=0.0, machine={}, rows=rows)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rows": [{"section": "train"}]}', '{"rows": 3}'])
def test_a_file_that_is_no_benchmark_is_refused(tmp_path, content):
    """The message names the file and the command that makes a right one."""
    path = tmp_path / "other.json"
    path.write_text(content)

    with pytest.raises(DataError, match=r"other\.json.*flyweight bench --out"):
        read(path)
    with pytest.raises(DataError, match=r"nothing\.json.*cannot read"):
        read(tmp_path / "nothing.json")


def test_a_count_of_nothing_is_refused():
    """Before anything is measured."""
    with pytest.raises(UsageError, match="--threads must be 1"):
        measure(["startup"], threads=0)
    with pytest.raises(UsageError, match="--seeds must be 1"):
        measure(["startup"], seeds=0)


def test_text_fits_a_terminal():
    """A short note stands beside its row, a long one under the table, once; figures stand in eighty columns."""
    rows = [
        row("train", "flyweight bfloat16, 2 threads", "until ready, s", [1.5, 2.5, 3.5], ratio=1234.5, note=LONG),
        row("train", "notebook, 0 loaders", "s", [], note=LONG),
        row("roofline", "memory copy", "GB/s", [12_345.6], note="short"),
    ]

    (train, roofline) = text_tables(rows)

    assert (train[0], roofline[0]) == ("train", "roofline")
    assert [one[""] for one in train[1]] == ["(1)", "(1)"]
    assert train[2] == [f"(1) {LONG}"]
    assert [one[""] for one in roofline[1]] == ["short"]
    assert roofline[1][0]["median"] == "12,346"
    widths = [max(len(name), *(len(one[name]) for one in train[1])) for name in train[1][0]]
    assert sum(widths) + len(widths) - 1 <= WIDTH
    assert len(formatted_rows(rows)) == 3


def test_the_sections_are_those_of_the_command():
    """What may be named is what there is."""
    from typing import get_args

    from flyweight.cli.bench import Section

    assert get_args(Section) == tuple(SECTIONS)
    assert len(SECTIONS) == 8
    assert Benchmark.__doc__
