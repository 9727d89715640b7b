"""A benchmark is held against a stored one by its ratios, on the same machine and length alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flyweight.bench.benchmark import Benchmark
from flyweight.bench.regression import MIN_SHARE, check_regression
from flyweight.bench.rows import row

MACHINE = {"processor": "made", "architecture": "x", "system": "y", "cores": 2, "cpu_capability": "z", "device": "cpu"}


def benchmark(**ratios: float | None) -> Benchmark:
    """A record of the section train with these ratios, by contender; seconds are different each time."""
    rows = tuple(
        row("train", name, "s/epoch", [float(len(ratios) + number)], ratio=ratio)
        for number, (name, ratio) in enumerate(ratios.items())
    )
    return Benchmark(
        id="x", is_quick=True, threads=None, seeds=None, cores_taken=0.0, machine={**MACHINE, "torch": "1"}, rows=rows
    )


def verdicts(now: Benchmark, stored: Benchmark) -> dict[str, str]:
    return {one.contender: one.verdict for one in check_regression(now, stored).verdicts}


def test_a_ratio_may_not_fall_below_its_share():
    """At the limit a ratio is ok, below it fell; a better one is ok, and rows without a ratio are left out."""
    stored = benchmark(better=1.0, limit=2.0, worse=2.0, none=None)
    now = benchmark(better=9.0, limit=2.0 * MIN_SHARE, worse=1.9 * MIN_SHARE, none=None)

    found = check_regression(now, stored)

    assert verdicts(now, stored) == {"better": "ok", "limit": "ok", "worse": "fell"}
    assert [one.contender for one in found.fallen] == ["worse"]
    assert found.summary().startswith("1 of 3 ratios fell below 0.6")


def test_what_only_one_side_has_is_named():
    """A contender that is new or gone is no fall; a section that was not measured now is not missed."""
    stored = replace(
        benchmark(old=1.0, both=1.0),
        rows=(*benchmark(old=1.0, both=1.0).rows, row("roofline", "x", "%", [1.0], ratio=1)),
    )

    assert verdicts(benchmark(both=1.0, young=0.1), stored) == {"both": "ok", "young": "new", "old": "missing"}
    assert "nothing judged" in check_regression(benchmark(young=1.0), benchmark(old=1.0)).summary()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"machine": {**MACHINE, "processor": "another"}}, "processor is made, and was another"),
        ({"machine": {**MACHINE, "cores": 64}}, "cores is 2, and was 64"),
        ({"is_quick": False}, "a quick benchmark, and the baseline is a full benchmark"),
        ({"threads": 2}, "--threads is not given, and was 2"),
        ({"cores_taken": 1.5}, "other programs used 1.5 cores while the baseline"),
    ],
)
def test_what_cannot_be_compared_is_shown_and_not_judged(change, words):
    """Another machine, length or number of threads, or a stored one from a busy machine: no ratio falls."""
    stored = replace(benchmark(worse=9.0), **change)

    found = check_regression(benchmark(worse=1.0), stored)

    assert [one.verdict for one in found.verdicts] == ["not judged"]
    assert found.fallen == ()
    assert words in found.summary()


def test_another_version_is_judged():
    """A torch that makes things slower is what one wants to see."""
    stored = replace(benchmark(worse=9.0), machine={**MACHINE, "torch": "2"})

    assert verdicts(benchmark(worse=1.0), stored) == {"worse": "fell"}


def test_a_fall_on_a_busy_machine_comes_with_a_caution():
    """It is judged, and says what to try first."""
    now = replace(benchmark(worse=1.0), cores_taken=1.5)

    found = check_regression(now, benchmark(worse=9.0))

    assert found.fallen
    assert "measure again" in found.summary()


def test_what_is_not_this_package_is_shown_and_not_judged():
    """A notebook that became the slower of two, or a torch that became faster, is no fall of ours."""
    others = {"notebook, 0 loaders": 1.0, "eager torch": 1.0, "onnxruntime": 1.0}

    found = verdicts(benchmark(**dict.fromkeys(others, 0.1), flyweight=0.1), benchmark(**others, flyweight=1.0))

    assert found == {**dict.fromkeys(others, "not judged"), "flyweight": "fell"}
