"""`bench device`: seconds to an accuracy, one net and many, and whether stacking costs accuracy.

A training that no longer fits into the time says so in a row.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import flyweight
from flyweight.bench.device_task import (
    BEST,
    FAST,
    GPU,
    ONE_EPOCH,
    Measurement,
    Trained,
    ascii_line,
    read_task,
    train,
)
from flyweight.bench.rows import Row, row
from flyweight.errors import FlyweightError

TARGET: Final = 0.994
# Stacking must cost less than this, in points of accuracy.
MAX_COST: Final = 0.10

# The 97.5 % quantiles of Student's t by degrees of freedom 1 to 15; scipy is not needed for a table.
T_QUANTILES: Final = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131),
)


def gpu(found: Measurement) -> Iterator[Row]:
    """own/20k-gpu: seeds one after another and together, and many together."""
    yield from _alone_and_together(found, GPU)
    yield from _together(found, GPU, found.size.many)


def best(found: Measurement) -> Iterator[Row]:
    yield from _together(found, BEST, found.size.seeds)


def fast(found: Measurement) -> Iterator[Row]:
    yield from _alone_and_together(found, FAST)


def one_epoch(found: Measurement) -> Iterator[Row]:
    yield from _alone_and_together(found, ONE_EPOCH)


def process_start(found: Measurement) -> Iterator[Row]:
    """Seconds of processes that each train one net of own/20k-gpu, measured from outside."""
    size = asdict(found.size)
    program = (
        "import time; began = time.perf_counter()\n"
        "import json, sys\n"
        "from flyweight.bench.device_task import print_one\n"
        "from flyweight.bench.sizes import DeviceSize\n"
        "print_one(sys.argv[1], sys.argv[2], DeviceSize(**json.loads(sys.argv[3])), began=began)\n"
    )
    here = str(Path(flyweight.__file__).parent.parent)
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))}
    seconds, phases = list[float](), list[dict[str, float]]()
    for _ in range(found.size.starts):
        if seconds and found.seconds_left < 1.2 * seconds[-1]:
            break
        began = time.perf_counter()
        command = [sys.executable, "-c", program, GPU, found.device.type, json.dumps(size)]
        ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
        seconds.append(time.perf_counter() - began)
        if ended.returncode:
            raise FlyweightError(f"the process ended with {ended.returncode}: {ended.stderr.strip().splitlines()[-1:]}")
        phases.append(json.loads(ended.stdout)["phases"])
    note = ", ".join(f"{name} {statistics.median(one[name] for one in phases):.1f}" for name in phases[0])
    yield row("device start", f"{GPU}, one net", "s from start", seconds, note=note)


def _alone_and_together(found: Measurement, name: str) -> Iterator[Row]:
    """Seeds one after another, then as one stacked net, and the difference of their test accuracies."""
    section, task, runs = f"device {name}", read_task(name, found.size), list[Trained]()
    for seed in range(found.size.seeds):
        needed = 1.2 * (runs[-1].seconds + runs[-1].capture_seconds) if runs else found.expected_seconds(name, 1)
        if found.seconds_left < needed:
            yield _skipped(found, section, f"alone, seeds from {seed}", needed)
            break
        found.release()
        runs.append(train(task, found.pixels, [seed]))
    if runs:
        yield from _training_rows(section, "alone", runs)
    stacked = yield from _together(found, name, found.size.seeds)
    if stacked is not None and runs:
        yield from _cost_rows(section, runs, stacked)


def _together(found: Measurement, name: str, members: int) -> Generator[Row, None, Trained | None]:
    """Seeds as one stacked net; returns what they reached, if there was time for them."""
    section, needed = f"device {name}", found.expected_seconds(name, members)
    label = f"{members} stacked"
    if found.seconds_left < needed:
        yield _skipped(found, section, label, needed)
        return None
    found.release()
    trained = train(read_task(name, found.size), found.pixels, range(members))
    yield from _training_rows(section, label, [trained])
    return trained


def _training_rows(section: str, label: str, runs: Sequence[Trained]) -> Iterator[Row]:
    """Seconds of each run, and the accuracies of all seeds."""
    note = f"eager: {ascii_line(runs[0].why_eager)}" if runs[0].why_eager else ""
    yield row(section, label, "s from data", [one.seconds for one in runs], note=note)
    yield row(section, label, "s in steps", [one.step_seconds for one in runs])
    yield row(section, label, "capture s", [one.capture_seconds for one in runs])
    for quantity in ("validation", "test"):
        values = [100 * value for one in runs for value in getattr(one, quantity).values()]
        yield row(section, label, f"{quantity} %", values, note=_accuracy_words(values))
    n_diverged = sum(one.members - len(one.test) for one in runs)
    if n_diverged:
        yield row(section, label, "diverged", [n_diverged])


def _accuracy_words(values: Sequence[float]) -> str:
    if not values:
        return "all seeds diverged"
    deviation = f", sd {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    there = sum(value >= 100 * TARGET - 1e-9 for value in values)
    each = ": " + " ".join(f"{value:.2f}" for value in values) if len(values) <= len(T_QUANTILES) else ""
    return f"mean {statistics.mean(values):.3f}{deviation}, {there} of {len(values)} at {100 * TARGET:.1f}{each}"


def _cost_rows(section: str, alone: Sequence[Trained], stacked: Trained) -> Iterator[Row]:
    """The mean difference of the test accuracies of the same seeds, with its 95 % interval."""
    own = {seed: accuracy for one in alone for seed, accuracy in one.test.items()}
    differences = [100 * (stacked.test[seed] - own[seed]) for seed in stacked.test if seed in own]
    label = "stacked - alone"
    if len(differences) < 2:
        yield row(section, label, "points, mean", [], note="two seeds are needed")
        return
    low, mean, high = t_interval(differences)
    verdict = "above" if low > -MAX_COST else "not above"
    yield row(section, label, "points, mean", [mean], note=f"paired, {len(differences)} seeds")
    yield row(section, label, "points, 95 % low", [low], note=f"{verdict} {-MAX_COST:.2f}")
    yield row(section, label, "points, 95 % high", [high])


def t_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(low, mean, high): the 95 % interval of the mean of 2 to 16 values, by Student's t.

    >>> [round(value, 4) for value in t_interval([0.994, 0.995, 0.996])]
    [0.9925, 0.995, 0.9975]
    """
    mean = statistics.mean(values)
    margin = T_QUANTILES[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return mean - margin, mean, mean + margin


def _skipped(found: Measurement, section: str, label: str, needed: float) -> Row:
    note = f"needs about {needed:.0f} s, {max(0.0, found.seconds_left):.0f} s left of --seconds"
    return row(section, label, "skipped", [], note=note)
