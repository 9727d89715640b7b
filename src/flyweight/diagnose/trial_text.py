"""The result of a trial in one line: effect, uncertainty, and whether it helps. Nothing is judged here."""

from __future__ import annotations

from collections.abc import Sequence

from flyweight.diagnose.clean_figures import TwoFigures
from flyweight.diagnose.trial_record import Expense
from flyweight.doctor.finding import Gain
from flyweight.evidence.paired import Paired
from flyweight.evidence.verdict import p_value, points
from flyweight.records.record import RunRecord


def saved_words(before: Expense, after: Expense) -> str:
    """The costs that change, as the start of a line."""
    figures = {
        "parameters": (before.params, after.params),
        "registered parameters": (before.registered_params, after.registered_params),
        "MACs": (before.macs, after.macs),
    }
    changed = [f"{was:,} → {now:,} {name}" for name, (was, now) in figures.items() if was != now]
    return f"{', '.join(changed)}; " if changed else ""


def accuracy_words(before: Sequence[float], after: Sequence[float], found: Paired) -> str:
    """The mean accuracies of both sides, and their difference."""
    was, now = 100 * _mean(before), 100 * _mean(after)
    return f"validation {was:.2f} % → {now:.2f} %, {_effect_words(found)}"


def outcome_words(gain: Gain, found: Paired, *, is_cheaper: bool, has_helped: bool, max_loss: float) -> str:
    """Whether it helped. max_loss: the accuracy that a cheaper net may lose, as a fraction."""
    lost = f"{100 * max_loss:g} points"
    if gain == "cost":
        if not is_cheaper:
            return "does not help: nothing gets cheaper"
        return f"helps: loses less than {lost}" if has_helped else f"does not help: may lose {lost} or more"
    if has_helped:
        return "helps"
    return "not shown to help" if found.effect > 0 else "does not help"


def diverged_words(before: Sequence[RunRecord], after: Sequence[RunRecord], guess: float) -> str:
    """How many runs of each recipe diverged; empty if none did."""
    diverged = [
        f"{n} of {len(runs)} {name} runs"
        for name, runs in (("unchanged", before), ("changed", after))
        if (n := sum(run.status == "diverged" for run in runs))
    ]
    if not diverged:
        return ""
    return f" ({' and '.join(diverged)} diverged; they count as guessing, {100 * guess:.4g} %)"


def evaluation_line(figures: Sequence[TwoFigures], runs: Sequence[RunRecord], finished: Sequence[RunRecord]) -> str:
    """How much the reported figures differ from a clean evaluation."""
    if runs and not finished:
        return "every run diverged, so nothing could be compared; with the change, clean figures are reported"
    if not figures:
        return "the reported figures equal the clean ones here; with the change, they are measured cleanly"
    which = "the clean figure is" if len(figures) == 1 else "the clean figures are"
    return f"{'; '.join(map(_figure_words, figures))}; with the change, {which} reported"


def _figure_words(figure: TwoFigures) -> str:
    found, reported, clean = figure.difference(), _mean(figure.reported), _mean(figure.clean)
    if figure.count is None:
        return f"{figure.what} reported as {reported:.4g}, clean evaluation {clean:.4g}, n = {found.n}"
    percents = f"reported as {100 * reported:.2f} %, clean evaluation {100 * clean:.2f} %"
    return f"{figure.what} {percents}: off by {_effect_words(found)}"


def _effect_words(found: Paired) -> str:
    parts = [points(found.effect)]
    if found.n == 2 and found.low is not None and found.high is not None and found.low <= 0 <= found.high:
        # Student's interval of two values says nothing: it is 13 times as wide as their difference.
        return f"{parts[0]}, n = 2: two seeds cannot show it, five usually can (--seeds 5)"
    if found.low is not None and found.high is not None:
        parts[0] += f" (95 % interval {_bare(found.low)} to {_bare(found.high)})"
    if found.p is not None:
        parts.append(p_value(found.p))
    return ", ".join([*parts, f"n = {found.n}"])


def _bare(effect: float) -> str:
    return points(effect).removesuffix(" points")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
