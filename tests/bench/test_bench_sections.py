"""Each section at its smallest size has its rows, and their values agree with one another."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_sizes import TINY
from torch.utils.flop_counter import FlopCounterMode

from flyweight.bench import time_to
from flyweight.bench.engine import new_net
from flyweight.bench.notebook import plain_net
from flyweight.bench.predict import agreement, eager, engine, predict
from flyweight.bench.roofline import PARTS, roofline, training_flops
from flyweight.bench.rows import Row
from flyweight.bench.scaling import drawn_pixels, mapped_pixels, scaling, start, widened, write_pixels
from flyweight.bench.seeds import seeds
from flyweight.bench.task import NET, STEPS_PER_EPOCH, digits
from flyweight.bench.time_to import Run, RunSeconds, complete_run
from flyweight.bench.train import Timing, fastest_first, rows, train
from flyweight.model.count import count


def medians(found: list[Row]) -> dict[tuple[str, str], float]:
    return {(one.contender, one.quantity): one.median for one in found if one.median is not None}


def test_a_steps_operations_are_torchs_own_count():
    """Forward and backward of the net, counted by torch as it runs, are what the table of costs gives."""
    images, net = torch.zeros(2, 1, 28, 28), plain_net()

    with FlopCounterMode(display=False) as counter:
        net(images).sum().backward()

    assert counter.get_total_flops() == 2 * training_flops(NET)


def test_train_compares_with_the_fastest_notebook():
    """It comes first with ratio 1; rates, seconds and ratios of all contenders are those of the same rounds."""
    made = {
        name: Timing(until_ready=3.0, warm_up=1.0, rounds=[seconds, seconds], peak_bytes=10**8, accuracy=0.5)
        for name, seconds in {"notebook, 0 loaders": 4.0, "notebook, 2 loaders": 2.0, "flyweight": 0.5}.items()
    }

    found = {(one.contender, one.quantity): one for one in rows(fastest_first(made, n_notebooks=2), {}, TINY)}

    images = TINY.steps * 128
    first = next(iter(found.values()))
    assert (first.contender, first.ratio) == ("notebook, 2 loaders", 1.0)
    ours = {quantity: one for (name, quantity), one in found.items() if name == "flyweight"}
    assert (ours["images/s"].median, ours["images/s"].ratio) == (images / 0.5, 4.0)
    assert (ours["s/epoch"].median, ours["s/epoch"].ratio) == (0.5 * 60_000 / images, 4.0)
    assert ours["5 epochs, s"].median == 3.0 + 1.0 + 5 * 0.5 * STEPS_PER_EPOCH / TINY.steps
    assert ours["peak MB"].median == 100
    assert ours["test accuracy %"].ratio is None


def test_roofline_accounts_for_a_complete_step():
    """Shares are the rate of the step over the limits, and the parts with the overhead are the step."""
    figures = medians(roofline(TINY, threads=1))

    assert figures["memory copy", "GB/s"] > 0
    for precision in ("float32", "bfloat16"):
        rate = figures[f"step {precision}", "GFLOP/s"]
        share = rate / figures["matrix product float32", "GFLOP/s"]
        assert figures[f"step {precision}", "% of mm float32"] == pytest.approx(100 * share)
        share = rate / figures[f"convolution {precision}", "GFLOP/s"]
        assert figures[f"step {precision}", f"% of conv {precision}"] == pytest.approx(100 * share)
        parts = sum(figures[f"{precision}: {part}", "ms (% of step)"] for part in (*PARTS, "overhead"))
        assert parts == pytest.approx(figures[f"{precision}: step", "ms (% of step)"])
        assert figures[f"{precision}: evaluation", "ms/10,000 images"] > 0


@pytest.mark.slow
def test_predict_compares_predictions():
    """Eager torch comes first; a missing package is a row that says so."""
    found = predict(TINY, threads=1)

    assert [one.contender for one in found if one.ratio is not None][:2] == ["eager torch", "flyweight"]
    (note,) = (one.note for one in found if one.contender == "flyweight" and one.quantity == "images/s")
    assert note.startswith("100 of 100 predictions equal")
    others = [one for one in found if one.contender == "onnxruntime"]
    assert len(others) == 2
    assert all(one.median or "not installed" in one.note for one in others)


def test_contenders_of_predict_agree():
    """The same weights in the net of a notebook and in ours give equal probabilities for any number of images."""
    images = digits(count=0, test_count=50)
    weights = [tensor.numpy() for tensor in new_net().state_dict().values()]

    probabilities = {
        maker.__name__: maker(images, weights=weights, threads=1)(images.test_images) for maker in (eager, engine)
    }

    assert np.allclose(probabilities["eager"], probabilities["engine"], atol=1e-5)
    assert np.allclose(probabilities["engine"].sum(1), 1, atol=1e-5)
    assert agreement({"a": probabilities["eager"], "b": 1 - probabilities["eager"]})["b"].startswith("0 of 50")


def test_mapped_images_are_the_drawn_ones(tmp_path: Path):
    """A mapped file gives the same weights as images in memory."""
    path = write_pixels(tmp_path / "pixels", 300)
    assert np.array_equal(mapped_pixels(path, 300), drawn_pixels(300))
    assert isinstance(mapped_pixels(path, 300), np.memmap)

    mapped, drawn = (start(count=300, path=one, net=widened(1), threads=1) for one in (path, None))
    for training in (mapped, drawn):
        training.take(steps=2)

    found, expected = mapped.model.state_dict(), drawn.model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_widths_grow_from_a_thousand_parameters_to_a_million():
    """As the comment in `scaling` says."""
    params = [count(widened(width)).params for width in (1, 2, 4, 8, 16, 32)]

    assert params == sorted(params)
    assert 1000 <= params[0] <= 1100
    assert 850_000 <= params[-1] <= 1_050_000


def test_a_whole_run_arrives_after_its_data_is_ready():
    """Seconds from the start include those from the data; the accuracy is that of the record."""
    found = complete_run(None, epochs=1, seed=0, train_limit=128, threads=1, began=time.monotonic() - 5)

    assert found.seconds.from_start > found.seconds.from_data + 5 > 5
    assert 0 < found.accuracy < 1


def test_a_target_is_reached_by_the_shortest_schedule_with_this_mean():
    """The note counts the seeds that reached it; a target that no schedule reaches has no seconds."""

    def runs(seconds: float, *accuracies: float) -> list[Run]:
        times = RunSeconds(from_start=seconds + 1, from_data=seconds)
        return [Run(seconds=times, accuracy=accuracy) for accuracy in accuracies]

    notebook = [RunSeconds(from_start=101, from_data=100)]
    found = list(
        time_to.rows(
            notebook,
            {2: runs(5.0, 0.988, 0.989), 3: runs(10.0, 0.985, 0.996), 4: runs(20.0, 0.991, 0.992)},
            note="",
            is_compared=True,
        )
    )

    by_name = {(one.contender, one.quantity): one for one in found}
    reached, never = by_name["to a mean of 99.0 %", "s from data"], by_name["to a mean of 99.4 %", "s from data"]
    assert (reached.median, reached.ratio) == (10.0, 10.0)
    assert "3 epochs, 1 of 2 seeds at 99.0 %" in reached.note
    assert (never.median, never.ratio, never.rounds) == (None, None, 0)
    assert "99.15 %" in never.note
    assert by_name["own/20k-fast, 4 epochs", "test accuracy %"].median == pytest.approx(99.15)


@pytest.mark.slow
def test_seeds_give_the_same_results_side_by_side():
    """Both ways give the same results; without enough training there is no ratio."""
    found = seeds(TINY, threads=1)

    assert [one.contender for one in found] == ["one after the other", "side by side"]
    assert all(one.note.startswith("2 of 2 seeds") for one in found)
    assert all(one.ratio is None for one in found)


@pytest.mark.slow
def test_scaling_measures_every_point():
    """Each series has seconds and memory for each of its points, and its slopes in its first rows."""
    found = scaling(TINY, threads=1)

    points = [2, 2, 2, 1, 2]
    assert len(found) == 2 * sum(points)
    assert len([one for one in found if one.note.startswith("slope")]) == 8
    assert [one.contender for one in found if "mapped files" in one.note] == ["1,024 images, mapped"]
    assert all(one.median is not None and one.median > 0 for one in found)


@pytest.mark.slow
def test_time_to_runs_every_schedule():
    """Each seed of each schedule is a run, in turns with rounds of the notebook."""
    found = time_to.time_to(TINY, threads=1)

    figures = {(one.contender, one.quantity): one for one in found}
    assert figures["notebook, 14 epochs", "s from start"].rounds == 4
    assert figures["own/20k-fast, 2 epochs", "test accuracy %"].rounds == 2
    assert all(one.ratio is None for one in found)


@pytest.mark.slow
def test_train_measures_every_contender():
    """Two notebooks and two precisions of flyweight in rounds of steps, and the fastest of either for five epochs."""
    found = train(replace(TINY, full_run_steps=2), threads=1)

    names = [one.contender for one in found if one.quantity == "s/epoch"]
    assert [name.split(",")[0] for name in names] == ["notebook"] * 2 + ["flyweight float32", "flyweight bfloat16"]
    assert all(one.rounds == TINY.rounds for one in found if one.quantity == "images/s")
    assert all(one.median > 50 for one in found if one.quantity == "peak MB")
    full = [one.contender for one in found if one.quantity == "5 epochs run, s"]
    assert full[0] == names[0]
    assert full[1] in names[2:]
    assert len([one for one in found if one.quantity == "1 epoch, test %"]) == 2
