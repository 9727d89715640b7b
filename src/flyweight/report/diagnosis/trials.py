"""Text of trials, learning rate ranges and fixed recipes, 80 columns wide.

In: the results. Out: text; nothing is tried or judged here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from flyweight.doctor.finding import Finding, Gain
from flyweight.recipe import Recipe, all_in_words, diff
from flyweight.report.diagnosis.text import (
    change_line,
    finding_text,
    finding_values,
    next_lines,
    text_after_a_guess,
    title_line,
    train_command,
    value_in_words,
)
from flyweight.report.wording import hanging, margin
from flyweight.tables import counted, plain

if TYPE_CHECKING:
    from flyweight.diagnose.fix import FixOutcome, FixStep
    from flyweight.diagnose.lr_range import LrRange, SeedRange
    from flyweight.diagnose.trial_record import Trial

WHERE: Final = {
    "below": "below this range",
    "inside": "inside this range",
    "above": "above this range",
    "unknown": "not judged",
}

USUAL_SEEDS: Final = 5

# Why several remedies are one step of a fix.
TOGETHER: Final[Mapping[Gain, str]] = {
    "accuracy": "none of them helps alone; one fault can hide the effect of fixing another",
    "honesty": "they change only what is measured and reported, so they are one step and not counted as trials",
}


def trial_text(trial: Trial) -> str:
    """How a remedy was tried, and the figures of every seed; the result is shown with its finding."""
    figures = {
        "before": _percent(trial.before),
        "after": _percent(trial.after),
        "reported": _as_they_are(trial.reported),
        "clean": _as_they_are(trial.clean),
    }
    lines = [f"{trial.code} was tried: {plain(', '.join(trial.changes))}", hanging("trained", _trained(trial))]
    return "\n".join([*lines, *(hanging(label, text) for label, text in figures.items() if text)])


def _trained(trial: Trial) -> str:
    first, *_, last = trial.seeds
    return f"{trial.budget}, seeds {first} to {last}" if trial.run_ids else trial.budget


def _percent(accuracies: Sequence[float]) -> str:
    return f"{' '.join(f'{100 * one:.2f}' for one in accuracies)} % of the validation images" if accuracies else ""


def _as_they_are(values: Sequence[float]) -> str:
    """Accuracies as fractions, or losses."""
    return " ".join(map(value_in_words, values))


def lr_range_text(found: LrRange, *, name: str) -> str:
    """The range of good learning rates, where the rate of the recipe is, and the result of each seed."""
    lines = []
    if found.low is None or found.high is None or found.suggestion is None:
        lines.append(f"{plain(name)}: no range of good learning rates found")
    else:
        lines += [
            f"{plain(name)}: learning rates from {_rate(found.low)} to {_rate(found.high)} are good",
            hanging("try", _rate(found.suggestion)),
        ]
    lines.append(hanging("recipe's", f"{_rate(found.lr)}, {WHERE[found.where]}"))
    if found.spread is not None and len(found.seeds) > 1:
        lines.append(hanging("spread", f"the upper ends of the seeds differ by a factor of {found.spread:.3g}"))
    lines.append(hanging("why", found.reason))
    lines += [hanging(f"seed {one.seed}", seed_words(one)) for one in found.seeds]
    return "\n".join(lines)


def seed_words(seed: SeedRange) -> str:
    """The result of one seed in one line."""
    if seed.low is None or seed.high is None:
        parts = ["the loss did not fall"]
    else:
        parts = [f"{_rate(seed.low)} to {_rate(seed.high)}"]
    named = {"steepest at": seed.steepest, "lowest loss at": seed.lowest, "diverges at": seed.diverges}
    return ", ".join([*parts, *(f"{name} {_rate(rate)}" for name, rate in named.items() if rate is not None)])


def _rate(rate: float) -> str:
    """
    >>> _rate(0.0123456), _rate(1e-05)
    ('0.0123', '1e-05')
    """
    return f"{rate:.3g}"


def step_text(step: FixStep, before: Recipe, *, is_guessed: bool = False) -> str:
    """A step of a fix: the finding, the change and its result.

    is_guessed: the numbers were shown already, in a quiz.
    """
    is_one = len(step.findings) == 1
    if is_one or step.remedy.gain == "honesty":
        worded = text_after_a_guess if is_guessed else finding_text
        found = "\n\n".join(worded(one, before) for one in step.findings)
    else:  # each was shown when it was tried alone
        found = "\n".join([*map(title_line, step.findings), change_line(before, step.remedy)])
    lines = [found, *([] if is_one else [hanging("together", TOGETHER[step.remedy.gain])]), hanging("tried", step.line)]
    kept = "kept" if step.has_helped else "not kept"
    return "\n".join([*lines, hanging("so", f"the change is {kept}" if is_one else f"the changes are {kept}")])


def fix_text(found: FixOutcome, *, written: str | None, continuing: str, options: str = "") -> str:
    """The result of a fix: all changes, what is left, the file, and commands that use it.

    continuing: the command that continues an unfinished fix.
    """
    name, n_kept = plain(found.start.name), sum(step.has_helped for step in found.steps)
    lines = []
    if not found.steps:
        lines.append(f"{name}: {'no remedy to try' if found.is_done else 'stopped before the first trial'}")
    else:
        lines.append(f"{name}: {counted(len(found.steps), 'step')}, {n_kept} kept")
    if written is not None:
        lines.append(hanging("changed", all_in_words(diff(found.start, found.recipe))))
    if found.left:
        lines.append(hanging("left", "; ".join(f"{one.code} {one.title} ({one.severity})" for one in found.left)))
    if any(_is_unsure(step, found.left) for step in found.steps):
        more = f"some changes may help but too few seeds were trained to show it; try --seeds {USUAL_SEEDS}"
        lines.append(hanging("note", more))
    lines.append(margin("written") + (written or "nothing: no change was kept"))
    commands = [f"{train_command(written, ())} --seeds {USUAL_SEEDS}{options}"] if written is not None else []
    if not found.is_done:
        lines.append(hanging("note", "the fix is not finished; runs that are done are not trained again"))
        commands.insert(0, continuing)
    return "\n".join([*lines, *next_lines(commands)])


def _is_unsure(step: FixStep, left: Sequence[Finding]) -> bool:
    """Whether a change that was not kept may still help: the effect is positive, but too few seeds were trained."""
    found = step.trial.paired if step.trial is not None and not step.has_helped else None
    codes = {one.code for one in left}
    is_due = any(one.code in codes for one in step.findings)
    return is_due and found is not None and found.effect > 0 and found.n < USUAL_SEEDS


def fix_values(found: FixOutcome) -> dict[str, Any]:
    """How a recipe was fixed, as plain values."""
    before, steps = found.start, []
    for step in found.steps:
        trial = None if step.trial is None else asdict(step.trial)
        findings = [finding_values(one, before) for one in step.findings]
        steps.append({"findings": findings, "trial": trial, "line": step.line, "has_helped": step.has_helped})
        before = step.recipe
    return {
        "recipe": found.start.name,
        "is_done": found.is_done,
        "changes": [asdict(change) for change in diff(found.start, found.recipe)],
        "steps": steps,
        "left": [finding_values(one, found.recipe) for one in found.left],
    }
