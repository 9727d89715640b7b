"""A search as one page: how it got better, what was tried, the rungs, the cost, and where the best design came from.

In: a search and its trials on record. Out: a page and, beside it, every trial as CSV. No torch.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from flyweight.files import write_text
from flyweight.model.budget import KINDS
from flyweight.model.notation import parse_net
from flyweight.model.spec import Conv, GlobalPool, Linear
from flyweight.model.tree import nodes_with_paths
from flyweight.records.search_record import SearchRecord, TrialRecord
from flyweight.report.rendering import render
from flyweight.report.search.text import best_so_far, counts, result_lines, trial_rows
from flyweight.search.plan import SearchPlan, plan_of
from flyweight.search.result import result_of

if TYPE_CHECKING:
    from flyweight.records.store import Store

WIDTH: Final = 640
HEIGHT: Final = 180
MARGIN: Final = 46
MAX_TREE: Final = 12
COSTS: Final = {"params": "params", "macs": "macs", "activation": "activation_bytes", "flash": "flash_bytes"}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Points and lines in a frame of `WIDTH` x `HEIGHT`; ticks: (position, text)."""

    title: str
    points: tuple[tuple[float, float, str], ...] = ()
    line: str = ""
    x_ticks: tuple[tuple[float, str], ...] = ()
    y_ticks: tuple[tuple[float, str], ...] = ()
    x_name: str = ""


def write_search_page(record: SearchRecord, trials: Sequence[TrialRecord], *, store: Store) -> Path:
    """Write the page and the CSV into the folder of the search; gives the page."""
    folder = store.searches_folder(record.name)
    folder.mkdir(parents=True, exist_ok=True)
    rows = trial_rows(trials)
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_text(folder / "trials.csv", text.getvalue())
    path = folder / "search.html"
    write_text(path, search_page(record, trials))
    return path


def search_page(record: SearchRecord, trials: Sequence[TrialRecord]) -> str:
    """The page as HTML."""
    plan = plan_of(record.plan)
    measured = [one for one in trials if one.rung]
    best = max(measured, key=lambda one: one.rank, default=None)
    winner = best if record.result is None else trials[result_of(record.result).winner - 1]
    return render(
        "search/page.html",
        record=record,
        plan=plan,
        n_trials=counts(trials),
        best=best,
        winner=winner,
        result=[]
        if record.result is None
        else [line.strip() for line in _whole(result_lines(result_of(record.result)))],
        charts=_charts(measured, plan),
        rungs=_rungs(measured, plan),
        costs=[] if winner is None else _costs(winner, plan),
        tree=[] if winner is None else _ancestors(winner, trials),
        rows=sorted(measured, key=lambda one: one.rank)[::-1][:30],
        width=WIDTH,
        height=HEIGHT,
        margin=MARGIN,
    )


def _charts(measured: Sequence[TrialRecord], plan: SearchPlan) -> list[Chart]:
    if not measured:
        return []
    first = f"validation after epoch {plan.rungs[0]}, %"
    return [
        _best_so_far(measured, first),
        _by(measured, f"by number of convolutions: {first}", lambda one: str(_depth(one))),
        _by(measured, f"by mean width: {first}", lambda one: str(round(_mean_width(one)))),
        _by(measured, f"by head: {first}", _head),
    ]


def _best_so_far(measured: Sequence[TrialRecord], first: str) -> Chart:
    curve = best_so_far(measured)
    low, high = _range([one.accuracies[0] for one in measured])
    step = (WIDTH - 2 * MARGIN) / max(1, len(curve) - 1)
    line = " ".join(f"{MARGIN + step * at:.1f},{_y(value, low, high):.1f}" for at, value in enumerate(curve))
    points = tuple(
        (MARGIN + step * at, _y(one.accuracies[0], low, high), f"trial {one.number}: {one.accuracies[0]:.2%}")
        for at, one in enumerate(measured)
    )
    ticks = ((float(MARGIN), str(measured[0].number)), (float(WIDTH - MARGIN), str(measured[-1].number)))
    title = f"best so far (line) and each trial (dots): {first}"
    return Chart(title=title, points=points, line=line, x_ticks=ticks, y_ticks=_y_ticks(low, high), x_name="trial")


def _by(measured: Sequence[TrialRecord], title: str, key: Callable[[TrialRecord], str]) -> Chart:
    groups = sorted({key(one) for one in measured}, key=lambda text: (len(text), text))
    low, high = _range([one.accuracies[0] for one in measured])
    place = {group: MARGIN + (at + 0.5) * (WIDTH - 2 * MARGIN) / len(groups) for at, group in enumerate(groups)}
    points = tuple(
        (place[key(one)], _y(one.accuracies[0], low, high), f"trial {one.number}: {one.accuracies[0]:.2%}")
        for one in measured
    )
    every = max(1, len(groups) // 12)
    ticks = tuple((place[group], group) for group in groups[::every])
    return Chart(title=title, points=points, x_ticks=ticks, y_ticks=_y_ticks(low, high))


def _rungs(measured: Sequence[TrialRecord], plan: SearchPlan) -> list[dict[str, Any]]:
    rows = []
    for rung, epochs in enumerate(plan.rungs, start=1):
        accuracies = [one.accuracies[rung - 1] for one in measured if one.rung >= rung]
        if accuracies:
            rows.append({"epochs": epochs, "n": len(accuracies), "best": max(accuracies), "median": median(accuracies)})
    return rows


def _costs(trial: TrialRecord, plan: SearchPlan) -> list[dict[str, Any]]:
    limits = plan.budget.limits()
    return [
        {"noun": KINDS[kind].noun, "needed": getattr(trial, name), "limit": int(limits[kind])}
        for kind, name in COSTS.items()
        if kind in limits
    ]


def _ancestors(trial: TrialRecord, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trial, the one that it was changed from, and so on."""
    found = [trial]
    while found[-1].parent is not None and len(found) < MAX_TREE:
        found.append(trials[found[-1].parent - 1])
    return found


def _whole(lines: Sequence[str]) -> list[str]:
    """Lines that were wrapped for a terminal, whole again."""
    whole = "\n".join(lines).replace("\n             ", " ")
    return [line.strip() for line in whole.splitlines()]


def _depth(trial: TrialRecord) -> int:
    return len(_widths(trial))


def _mean_width(trial: TrialRecord) -> float:
    widths = _widths(trial)
    return sum(widths) / len(widths) if widths else 0.0


def _widths(trial: TrialRecord) -> list[int]:
    nodes = nodes_with_paths(parse_net(trial.design["net"]).nodes)
    return [node.channels for _, node in nodes if isinstance(node, Conv)]


def _head(trial: TrialRecord) -> str:
    nodes = parse_net(trial.design["net"]).nodes
    if sum(isinstance(node, Linear) for node in nodes) > 1:
        return "several linear layers"
    return "gap" if any(isinstance(node, GlobalPool) for node in nodes) else "flat"


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The axis: the best and, without the worst quarter, the lowest; what is below is drawn at the bottom."""
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 4], ordered[-1]
    return (low, high) if high > low else (low - 0.01, high + 0.01)


def _y(value: float, low: float, high: float) -> float:
    share = min(1.0, max(0.0, (value - low) / (high - low)))
    return HEIGHT - MARGIN / 2 - share * (HEIGHT - MARGIN)


def _y_ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    return tuple((_y(value, low, high), f"{100 * value:.2f}") for value in (low, (low + high) / 2, high))
