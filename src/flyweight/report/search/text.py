"""A search as text of 80 columns and as rows: what was asked for, what was tried, and how it ended.

In: a search and its trials on record. Out: text and rows. No torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from flyweight.evidence.stats import mean_interval
from flyweight.records.search_record import SearchRecord, TrialFigures, TrialRecord, TrialStatus
from flyweight.report.run.summary import spread
from flyweight.report.wording import hanging
from flyweight.search.design import design_of
from flyweight.search.plan import SearchPlan, plan_of
from flyweight.search.result import Difference, Finalist, SearchResult, result_of

MAX_ROWS: Final = 10
BARS: Final = "▁▂▃▄▅▆▇█"
STATUS_WORDS: Final[dict[TrialStatus, str]] = {
    "finished": "trained in full",
    "paused": "can be promoted",
    "halved": "stopped early",
    "running": "under way",
    "diverged": "diverged",
    "failed": "failed",
    "slow": "too slow",
}


def search_text(record: SearchRecord, trials: Sequence[TrialRecord]) -> str:
    """The whole search."""
    plan = plan_of(record.plan)
    lines = [f"{record.name}: {record.status}, {plan.budget}, {Path(plan.recipe.data.name).name}"]
    lines += [
        hanging("plan", _plan(plan)),
        hanging("trials", counts(trials)),
        hanging("seconds", f"{record.seconds:,.0f} of {60 * plan.minutes:,.0f}; {_trained(trials):,.0f} of training"),
    ]
    curve = best_so_far(trials)
    if curve:
        lines.append(hanging("best", f"{sparkline(curve)}  {curve[0]:.2%} to {curve[-1]:.2%} (validation)"))
    best = sorted((one for one in trials if one.rung), key=lambda one: one.rank)[::-1]
    if best:
        lines.append(hanging("trial", _trial(best[0], plan)))
        lines.append(hanging("net", str(best[0].design["net"])))
    if record.result is not None:
        lines += ["", *result_lines(result_of(record.result))]
    elif record.status == "stopped":
        lines.append(hanging("next", f"flyweight search --resume {record.name}"))
    return "\n".join(lines)


def result_lines(result: SearchResult) -> list[str]:
    """How a search ended."""
    best = result.best
    lines = [
        hanging("winner", f"trial {best.trial}, {best.params:,} parameters, chosen by validation on fresh seeds"),
        hanging("net", best.net),
        hanging("settings", ", ".join(f"{key} {value}" for key, value in best.settings.items())),
        hanging("test", spread(result.test) if result.test else "no seed finished"),
    ]
    lines += [hanging("against", _difference(one)) for one in result.differences]
    if result.is_front:
        lines += [hanging("front", _on_front(one)) for one in sorted(result.finalists, key=lambda one: one.params)]
    if not result.differences:
        lines.append(hanging("against", "nothing: no design was better than the recipe that the search began with"))
    lines += [hanging("shrinkage", text) for one in result.finalists if (text := _shrinkage(one.trial, one))]
    return lines


def trial_rows(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """A row for each trial, with every setting, for programs."""
    return [
        {
            "trial": one.number,
            "status": one.status,
            "origin": one.origin,
            "parent": one.parent,
            "rung": one.rung,
            "validation_accuracy": one.accuracy,
            "accuracies": " ".join(f"{accuracy:.6g}" for accuracy in one.accuracies),
            "params": one.params,
            "macs": one.macs,
            "activation_bytes": one.activation_bytes,
            "flash_bytes": one.flash_bytes,
            "seconds": round(one.seconds, 2),
            "net": one.design["net"],
            "settings": " ".join(f"{key}={value}" for key, value in design_of(one.design).settings),
            "message": one.message,
        }
        for one in trials
    ]


def best_rows(trials: Sequence[TrialRecord], n: int = MAX_ROWS) -> list[dict[str, Any]]:
    """The best trials, for a terminal."""
    best = sorted((one for one in trials if one.rung), key=lambda one: one.rank)[::-1][:n]
    return [
        {
            "trial": one.number,
            "from": one.origin if one.parent is None else f"trial {one.parent}",
            "rung": one.rung,
            "val %": f"{100 * (one.accuracy or 0):.2f}",
            "params": one.params,
            "net": one.design["net"],
        }
        for one in best
    ]


def counts(trials: Sequence[TrialFigures]) -> str:
    """How many trials there are of each status; none is over the limits or twice there, by the records."""
    by_status = Counter(one.status for one in trials)
    parts = [f"{by_status[status]} {word}" for status, word in STATUS_WORDS.items() if by_status[status]]
    twice = len(trials) - len({one.design_hash for one in trials})
    return f"{len(trials)}: {', '.join(parts) or 'none yet'}; {twice} twice"


def best_so_far(trials: Sequence[TrialFigures]) -> list[float]:
    """The best accuracy at the end of the first rung, trial by trial."""
    curve = list[float]()
    for one in trials:
        if one.accuracies:
            curve.append(max(one.accuracies[0], curve[-1] if curve else 0.0))
    return curve


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """Values as bars, at most so many.

    >>> sparkline([1, 2, 4, 4])
    '▁▃██'
    """
    if not values:
        return ""
    step = max(1.0, len(values) / width)
    shown = [values[min(len(values) - 1, int(index * step))] for index in range(min(width, len(values)))]
    shown[-1] = values[-1]
    low, high = min(shown), max(shown)
    top = len(BARS) - 1
    return "".join(BARS[top if high == low else int(top * (value - low) / (high - low) + 0.5)] for value in shown)


def _plan(plan: SearchPlan) -> str:
    rungs = ", ".join(map(str, plan.rungs))
    return (
        f"{plan.strategy}, {plan.minutes:g} minutes, {plan.workers} at a time; {plan.epochs} epochs, compared after "
        f"{rungs}; finals on {plan.n_seeds} fresh seeds"
    )


def _trained(trials: Sequence[TrialFigures]) -> float:
    return sum(one.seconds for one in trials)


def _trial(trial: TrialRecord, plan: SearchPlan) -> str:
    origin = trial.origin if trial.parent is None else f"a change of trial {trial.parent}"
    return (
        f"{trial.number} ({origin}): {trial.accuracy or 0:.2%} validation after {plan.rungs[trial.rung - 1]} of "
        f"{plan.epochs} epochs, {trial.params:,} parameters"
    )


def _difference(found: Difference) -> str:
    interval = "" if found.low is None or found.high is None else f", 95% CI {_points(found.low)} to "
    interval += "" if found.high is None else _points(found.high)
    p = "" if found.p is None else f", p = {found.p:.2g}"
    return (
        f"where it began, {found.part}: {_points(found.difference)} points ({100 * fmean(found.first):.2f} to "
        f"{100 * fmean(found.winner):.2f}, n={len(found.winner)}{interval}{p})"
    )


def _on_front(finalist: Finalist) -> str:
    fresh = f"{spread(finalist.accuracies)} (validation)" if finalist.accuracies else "no seed finished"
    return f"trial {finalist.trial}, {finalist.params:,} parameters: {fresh}; {finalist.net}"


def _points(fraction: float) -> str:
    return f"{100 * fraction:+.2f}"


def _shrinkage(number: int, finalist: Finalist) -> str:
    if finalist.shrinkage is None or finalist.in_search is None:
        return ""
    fresh = mean_interval(finalist.accuracies)
    return (
        f"trial {number}: validation {finalist.in_search:.2%} in the search, {fresh.mean:.2%} on fresh seeds "
        f"({_points(-finalist.shrinkage)})"
    )
