"""`python -m benchmarks.search`: strategies of a search compared at equal time, resumable.

Each pair of a strategy and a repetition is one search in a home of its own kind; what is on record is not done again.
The table has the validation of the best trial on fresh seeds, so that no strategy is judged by its luck.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated

from cyclopts import App, Parameter

from flyweight.execute.automatic import Automatic
from flyweight.execute.signals import STOPPING, stopping_on_signals
from flyweight.model.budget import parse_budget
from flyweight.records.store import Store
from flyweight.report.search.text import best_so_far
from flyweight.search.result import result_of
from flyweight.search.searching import SearchRequest, resume_search, search
from flyweight.search.strategy import STRATEGIES, StrategyName
from flyweight.tables import as_markdown, table_of

app = App(name="python -m benchmarks.search", help=__doc__, result_action="return_value")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One search. repetition: its seed."""

    budget: str
    strategy: StrategyName
    repetition: int
    minutes: float

    @property
    def name(self) -> str:
        return f"{self.budget}-{self.strategy}-{self.repetition}-{self.minutes:g}"


@app.default
def compare(
    *,
    home: Path,
    budget: Annotated[tuple[str, ...], Parameter(negative="")] = ("1k", "8k"),
    minutes: float = 8.0,
    repetitions: int = 5,
    data: str = "mnist",
    at_once: int | None = None,
) -> int:
    """Run what is missing, then print the table. Ctrl-C saves; the same command goes on.

    Parameters
    ----------
    home
        Folder of the searches and their database.
    budget
        Parameters; repeat it for several.
    minutes
        Minutes of each search.
    repetitions
        Searches of each strategy and budget.
    data
        Image set.
    at_once
        Trainings at the same time.
    """
    store = Store.open(home=home)
    cases = [
        Case(budget=one, strategy=strategy, repetition=repetition, minutes=minutes)
        for repetition in range(repetitions)
        for one in budget
        for strategy in STRATEGIES
    ]
    with stopping_on_signals(STOPPING) as stop:
        for case in cases:
            if not stop():
                print(case.name, file=sys.stderr, flush=True)
                _run(case, store, data, at_once, stop)
    print(as_markdown(table_of(_rows(cases, store))))
    curves = {case.name: _curve(case, store) for case in cases if case.name in store.searches.names()}
    (home / "curves.json").write_text(json.dumps(curves, indent=1))
    return stop.exit_code if stop() else 0


def _run(case: Case, store: Store, data: str, at_once: int | None, stop: object) -> None:
    executor = Automatic(at_once=at_once)
    options = {"store": store, "executor": executor, "should_stop": stop}
    if case.name in store.searches.names():
        if store.searches.get(case.name).status != "finished":
            resume_search(case.name, **options)  # type: ignore[arg-type]
        return
    request = SearchRequest(
        budget=parse_budget(case.budget),
        minutes=case.minutes,
        name=case.name,
        strategy=case.strategy,
        seed=case.repetition,
        workers=at_once,
        overrides=(f"data.name={data}",),
    )
    search(request, **options)  # type: ignore[arg-type]


def _curve(case: Case, store: Store) -> list[float]:
    return best_so_far(store.searches.trials(case.name))


def _rows(cases: list[Case], store: Store) -> list[dict[str, str]]:
    rows = []
    for budget, strategy in dict.fromkeys((case.budget, case.strategy) for case in cases):
        of_pair = [case for case in cases if (case.budget, case.strategy) == (budget, strategy)]
        records = [store.searches.get(case.name) for case in of_pair if case.name in store.searches.names()]
        ended = [result_of(one.result) for one in records if one.result is not None]
        means = [100 * result.best.mean for result in ended if result.best.mean is not None]
        spread = f" ± {stdev(means):.2f}" if len(means) > 1 else ""
        rows.append(
            {
                "budget": budget,
                "strategy": strategy,
                "searches": str(len(means)),
                "validation % on fresh seeds": f"{fmean(means):.2f}{spread}" if means else "",
                "trials": f"{fmean(one.n_trials for one in ended):.0f}" if ended else "",
            }
        )
    return rows


if __name__ == "__main__":
    sys.exit(app())
