"""Figures that the documentation quotes from kept records are those of the records."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from flyweight.bench.benchmark import read
from flyweight.bench.rows import Row

ROOT = Path(__file__).parents[2]
RECORDS, DEVICE = ROOT / "benchmarks/records", ROOT / "benchmarks/device"
TRAINED = ("own/20k-best", "own/8k")
STACKS = {
    1: "1 captured, batch 64",
    4: "4 captured, batch 64",
    16: "16 captured, batch 64",
    64: "64 captured, batch 64",
}


def rows_of(name: str) -> dict[tuple[str, str, str], Row]:
    rows = read(DEVICE / name).rows
    found = {(one.section.removeprefix("device "), one.contender, one.quantity): one for one in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def speeds() -> dict[tuple[str, str, str], Row]:
    return rows_of("h200-speed.json")


@pytest.fixture(scope="module")
def trainings() -> dict[tuple[str, str, str], Row]:
    return rows_of("h200-training.json")


def page(name: str) -> str:
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


@pytest.mark.parametrize("recipe", TRAINED)
def test_the_readme_quotes_ten_kept_runs(recipe):
    """Mean, sample standard deviation, least and greatest of ten runs, whose test set was opened once each."""
    kept = json.loads((RECORDS / f"{recipe.replace('/', '-')}.json").read_text(encoding="utf-8"))
    runs = kept["runs"]
    accuracies = [100 * one["test"]["correct"] / one["test"]["count"] for one in runs]
    mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
    line = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"| `{recipe}`"))

    assert [one["seed"] for one in runs] == list(range(10))
    assert {(one["name"], one["status"], one["test_openings"]) for one in runs} == {(recipe, "finished", 1)}
    assert f"**{mean:.2f} ± {deviation:.2f} %** (n=10) | {min(accuracies):.2f} to {max(accuracies):.2f} |" in line
    assert kept["command"].removesuffix(" --json") in line


def test_the_speeds_on_a_gpu_are_those_of_the_record(speeds):
    text = page("docs/speed.md")
    eager = speeds["speed", "eager, batch 64", "images/s"].median
    for seeds, contender in STACKS.items():
        rate = speeds["speed", contender, "images/s"].median
        copied = speeds["ceilings", contender, "% of copy"].median
        product = speeds["ceilings", contender, "% of product"].median
        memory = speeds["speed", contender, "peak MB"].median
        by_torch = speeds.get(("speed", f"{contender}, torch", "images/s"))
        torch_cell = f"{by_torch.median:,.0f}" if by_torch else ""
        row = (
            f"| {seeds} | {rate:,.0f} | {rate / eager:.0f} | {torch_cell} | {copied:.1f} % | {product:.1f} % | "
            f"{memory:.0f} |"
        )
        assert " ".join(row.split()) in text
    for contender in ("eager, batch 64", "notebook, batch 64", "1 captured, batch 512", "16 captured, batch 512"):
        assert f"{speeds['speed', contender, 'images/s'].median:,.0f}" in text


def test_the_trainings_on_a_gpu_are_those_of_the_record(trainings):
    text = page("docs/speed.md")
    parts = {
        "own/20k-gpu": ("alone", "10 stacked", "64 stacked"),
        "own/20k-fast": ("alone", "10 stacked"),
        "own/25k-one-epoch": ("alone", "10 stacked"),
        "own/20k-best": ("10 stacked",),
    }
    n_rows = 0
    for recipe, contenders in parts.items():
        for contender in contenders:
            seconds = trainings[recipe, contender, "s from data"].median
            tested = trainings[recipe, contender, "test %"]
            mean, deviation, there = (part.strip() for part in tested.note.split(":")[0].split(","))
            mean, deviation, there = mean.split()[1], deviation.split()[1], there.removesuffix(" at 99.4")
            row = (
                f"| `{recipe}` | {contender} | {seconds:.2f} | {float(mean):.2f} ± {float(deviation):.2f} % | {there} |"
            )
            assert row in text
            n_rows += 1
    assert n_rows == 8
    for recipe in ("own/20k-gpu", "own/20k-fast", "own/25k-one-epoch"):
        low, mean, high = (
            trainings[recipe, "stacked - alone", f"points, {part}"].median for part in ("95 % low", "mean", "95 % high")
        )
        assert low > -0.10
        assert f"{mean:+.3f} ({low:+.3f} to {high:+.3f})" in text


def test_the_machine_of_the_records_is_named():
    machines = [read(path).machine["gpu"]["name"] for path in sorted(DEVICE.glob("*.json"))]

    assert machines == ["NVIDIA H200"] * 2
    assert "NVIDIA H200" in page("docs/speed.md")
