"""`seeds`: several seeds of own/20k-fast one after the other, compared with all at the same time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from flyweight.bench.isolated import once
from flyweight.bench.rows import Row, counted, row, side_by_side
from flyweight.bench.sizes import Size
from flyweight.bench.timing import alternate
from flyweight.errors import FlyweightError
from flyweight.execute.seeds import run_seeds
from flyweight.execute.signals import stopping_on_signals
from flyweight.experiment.run import run
from flyweight.recipe import Recipe, load
from flyweight.records.record import RunRecord
from flyweight.records.store import Store
from flyweight.train.device import usable_cores

SECTION: Final = "seeds"


def seeds(size: Size, *, threads: int | None) -> list[Row]:
    """Rows for the seconds of all seeds together, one epoch each."""
    return once(_measured, size=size, threads=threads)


def _measured(size: Size, threads: int | None) -> list[Row]:
    overrides = ["train.epochs=1"] + [f"data.train_limit={size.train_limit}"] * bool(size.train_limit)
    recipe = load("own/20k-fast", overrides=overrides)
    ways = _ways(recipe, range(size.seeds), threads)
    correct: dict[str, list[int | None]] = {}
    with tempfile.TemporaryDirectory() as folder, stopping_on_signals() as should_stop:
        store = Store.open(home=Path(folder))

        def work(name: str) -> None:
            records = ways[name](store, should_stop)
            if should_stop():
                raise FlyweightError("the benchmark was stopped before all seeds were trained; measure again.")
            correct[name] = [record.test_correct for record in records]

        seconds = alternate(
            {name: lambda name=name: work(name) for name in ways},  # type: ignore[misc]  # a default binds it
            rounds=size.seed_rounds,
            warm_up=0,
        )
    first = next(iter(correct.values()))
    rows = [
        row(SECTION, name, f"s, {size.seeds} seeds", taken, note=_agreement(first, correct[name]))
        for name, taken in seconds.items()
    ]
    # With few images most of the time is the start of processes, so a ratio would mean little.
    return side_by_side(rows) if size.train_limit is None else rows


Way = Callable[[Store, Callable[[], bool]], Sequence[RunRecord]]


def _ways(recipe: Recipe, numbers: range, threads: int | None) -> dict[str, Way]:
    """One after the other as in `flyweight train`, the same with all cores, and all seeds at the same time."""

    def one_after_the_other(n_threads: int | None) -> Way:
        return lambda store, should_stop: [
            run(recipe, seed=seed, store=store, threads=n_threads, should_stop=should_stop)
            for seed in numbers
            if not should_stop()
        ]

    ways = {"one after the other": one_after_the_other(threads)}
    if threads is None and usable_cores() > 1:
        ways[f"the same, {counted(usable_cores(), 'thread')}"] = one_after_the_other(usable_cores())
    ways["side by side"] = lambda store, should_stop: run_seeds(
        recipe, seeds=numbers, store=store, should_stop=should_stop
    )
    return ways


def _agreement(first: list[int | None], others: list[int | None]) -> str:
    same = sum(one == other for one, other in zip(first, others, strict=True))
    return f"{same} of {len(first)} seeds have the test result of the first row"
