"""What the doctor found, in words: a diagnosis for a terminal of 80 columns, and the same as plain values for programs.

Goes in: diagnoses, cases and records as they are. Comes out: text and values; nothing is read, tried or decided here.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby, pairwise
from typing import Any, Final, Protocol

from flyweight.doctor.finding import SEVERITIES, Diagnosis, Evidence, EvidenceValue, Finding, Remedy, Severity
from flyweight.doctor.subject import Subject
from flyweight.errors import UsageError
from flyweight.recipe import Recipe, all_in_words, diff, override
from flyweight.records.ids import SHORT_ID
from flyweight.records.record import RunRecord
from flyweight.report.wording import INDENT, by_their_ends, hanging, margin
from flyweight.tables import WIDTH, counted, display_width, padded, plain

# A number between 0 and 1 is a share where its name says so; a learning rate of 0.1 is none.
SHARES: Final = ("accuracy", "share")
MOST_BESIDE: Final = 52  # columns of the names of numbers, where a number stands beside each

PROMISES: Final = {
    "accuracy": "for a better net",
    "honesty": "for a clean evaluation",
    "cost": "for a net as good that costs less",
}


class Ranked(Protocol):
    """Anything found, in a run or in somebody's code."""

    @property
    def severity(self) -> Severity: ...


def diagnosis_text(
    diagnosis: Diagnosis, subject: Subject, *, record: RunRecord | None = None, n_rules: int, is_full: bool = False
) -> str:
    """Who was looked at, the findings by rank, how many, and what could not be judged, in lines of 80 columns.

    n_rules: how many rules there are. is_full: notes in full as well, and each check that could not run.
    """
    parts = [heading(subject, record)]
    parts += [finding_text(one, subject.recipe, is_full=is_full) for one in diagnosis.findings]
    return _spaced([*parts, summary_text(diagnosis, n_rules=n_rules, is_whole=record is not None or is_full)])


def summary_text(diagnosis: Diagnosis, *, n_rules: int, is_whole: bool) -> str:
    """How much was found, and what could not be judged; whole, or in one line where only a run is missing."""
    ran = f"{n_rules - len(diagnosis.unjudged)} of {counted(n_rules, 'check')} could run"
    found = f"{counted_by_severity(diagnosis.findings)}; {ran}"
    return "\n".join([found, *_unjudged(diagnosis, is_whole=is_whole)])


def _spaced(parts: Sequence[str]) -> str:
    """A blank line around what has several lines; notes of one line stay together."""
    text = parts[0]
    for before, part in pairwise(parts):
        text += ("\n" if "\n" not in before and "\n" not in part else "\n\n") + part
    return text


def heading(subject: Subject, record: RunRecord | None) -> str:
    """What was looked at, and how it stands."""
    if record is None:
        epochs = counted(subject.recipe.train.epochs, "epoch")
        steps = counted(subject.steps_per_epoch, "step")
        return f"{plain(subject.recipe.name)}: {subject.cost.params:,} parameters, {epochs} of {steps}; before any run"
    figures = {"validation": record.validation_accuracy, "test": record.test_accuracy}
    if subject.recipe.protocol.evaluate_on != "validation":
        del figures["validation"]  # nothing was held out
    accuracies = "".join(f", {part} {found:.2%}" for part, found in figures.items() if found is not None)
    first = f"{plain(record.name)}, seed {record.seed}: {record.status}{accuracies}"
    lines = [first, margin("run") + record.id[:SHORT_ID]]
    return "\n".join([*lines, *([hanging("note", record.message)] if record.message else [])])


def finding_text(finding: Finding, recipe: Recipe, *, is_full: bool = False) -> str:
    """A finding with its evidence, why it matters, and what to change; a note is one line unless all is asked for."""
    first = title_line(finding)
    if finding.severity == "note" and not is_full:
        return first
    return "\n".join([first, *evidence_lines(finding.evidence), *reason_lines(finding, recipe)])


def title_line(finding: Finding) -> str:
    cause = ", a symptom" if finding.is_symptom else ""
    return f"{finding.rank:<3}{finding.code}  {finding.severity:<7}  {plain(finding.title)}{cause}"


def evidence_lines(evidence: Sequence[Evidence]) -> list[str]:
    """Each number beside its name, where it fits, and below it otherwise."""
    shown = [(plain(one.what), value_in_words(one.value, is_share=_is_share(one))) for one in evidence]
    widest = max((display_width(what) for what, _ in shown if display_width(what) <= MOST_BESIDE), default=0)
    lines = []
    for number, (what, value) in enumerate(shown):
        label = "" if number else "found"
        fits = display_width(what) <= MOST_BESIDE and INDENT + widest + 2 + display_width(value) <= WIDTH
        lines.append(f"{margin(label)}{padded(what, widest)}  {value}" if fits else hanging(label, f"{what}: {value}"))
    return lines


def text_after_a_guess(finding: Finding, recipe: Recipe) -> str:
    """What a finding is where its numbers were shown already."""
    return "\n".join([title_line(finding), *reason_lines(finding, recipe)])


def reason_lines(finding: Finding, recipe: Recipe) -> list[str]:
    """Why it matters, what to change, what to expect of it, and what came of trying it."""
    parts = [("why", finding.explanation)]
    if finding.remedy is not None:
        parts += [("change", _change_words(recipe, finding.remedy)), ("expect", finding.remedy.expected)]
    if finding.advice:
        parts.append(("advice", finding.advice))
    if finding.trial:
        parts.append(("trial", finding.trial))
    if finding.source:
        parts.append(("see", finding.source))
    return [hanging(label, text) for label, text in parts]


def change_line(recipe: Recipe, remedy: Remedy) -> str:
    """What a remedy changes and what for."""
    return hanging("change", _change_words(recipe, remedy))


def _change_words(recipe: Recipe, remedy: Remedy) -> str:
    return f"{changes_in_words(recipe, remedy)}; {PROMISES[remedy.gain]}"


def changes_in_words(recipe: Recipe, remedy: Remedy) -> str:
    """What a remedy changes, old to new; as it is written, where it makes no recipe."""
    try:
        return all_in_words(diff(recipe, override(recipe, remedy.changes)))
    except UsageError:
        return ", ".join(remedy.changes)


def value_in_words(value: EvidenceValue, *, is_share: bool = False) -> str:
    """A value of evidence as a person reads it: four digits that count, thousands apart, shares in percent.

    >>> value_in_words(5923), value_in_words(0.123456), value_in_words(0.0987, is_share=True), value_in_words(True)
    ('5,923', '0.1235', '9.87%', 'yes')
    >>> value_in_words(12345.6), value_in_words(1.3e-7), value_in_words(float("nan"))
    ('12,346', '1.3e-07', 'not a number')
    """
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "not a number"
    if is_share and 0 <= value <= 1:
        return f"{value:.2%}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e12 else f"{value:.4g}"


def _is_share(evidence: Evidence) -> bool:
    return any(word in evidence.what for word in SHARES)


def counted_by_severity(findings: Sequence[Ranked]) -> str:
    """How many there are of each kind, the worst first."""
    if not findings:
        return "nothing found"
    counts = {kind: sum(one.severity == kind for one in findings) for kind in SEVERITIES}
    parts = ", ".join(counted(count, kind) for kind, count in counts.items() if count)
    return f"{counted(len(findings), 'finding')}: {parts}"


def _unjudged(diagnosis: Diagnosis, *, is_whole: bool) -> list[str]:
    """The checks that could not run, by reason; before a run most of them only wait for one."""
    if not diagnosis.unjudged:
        return []
    if not is_whole:
        return [hanging("not judged", "what a run must show; train it, then ask the doctor again")]
    by_reason: dict[str, list[str]] = {}
    for one in diagnosis.unjudged:
        by_reason.setdefault(one.reason, []).append(one.code)
    reasons = [f"{codes_in_words(codes)}: {reason}" for reason, codes in by_reason.items()]
    return [hanging("" if number else "not judged", text) for number, text in enumerate(reasons)]


def codes_in_words(codes: Sequence[str]) -> str:
    """Codes in their order; three or more that follow each other are named by their ends.

    >>> codes_in_words(["SI02", "DA01", "DA02", "DA03", "DA05", "DA06"])
    'SI02, DA01 to DA03, DA05, DA06'
    """
    groups = groupby(codes, lambda code: code[:2])
    return ", ".join(by_their_ends(of_group, lambda code: int(code[2:])) for _, of_group in groups)


def next_lines(commands: Sequence[str]) -> list[str]:
    """What one may type next; a command stays whole, however long."""
    return [margin("" if number else "next") + command for number, command in enumerate(commands)]


def next_commands(
    diagnosis: Diagnosis,
    subject: str,
    *,
    changes: Sequence[str] = (),
    is_recipe: bool,
    tried: Mapping[str, bool] | None = None,
    options: str = "",
) -> list[str]:
    """How to try the first remedy that is proposed, and how to follow it.

    subject: the run, or the recipe with its changes (KEY=VALUE). tried: by code, whether a remedy has helped already;
    one that has not is no longer proposed, but where several have not, the walk that tries them together is. options:
    what else is needed, as " --home elsewhere".
    """
    tried = tried or {}
    doctor = f"flyweight doctor {shlex.quote(subject)}{_set(changes)}"
    fix = f"{doctor} --fix fixed.toml{options}"
    failed = [one.remedy for one in diagnosis.alarms if one.remedy is not None and not tried.get(one.code, True)]
    if sum(remedy.gain == "accuracy" for remedy in failed) > 1:
        return [fix]
    found = (one for one in diagnosis.alarms if one.remedy is not None and tried.get(one.code, True))
    first = next(found, None)
    if first is None or first.remedy is None:
        return []
    train = train_command(subject, (*changes, *first.remedy.changes), options)
    is_short = is_recipe and INDENT + display_width(train) <= WIDTH
    trial = [] if first.code in tried else [f"{doctor} --trial{options}"]
    return [*trial, train if is_short else fix]


def train_command(recipe: str, changes: Sequence[str], options: str = "") -> str:
    """Train a recipe with these changes; of those of one key the last counts."""
    last = {key_of(change): change for change in changes}
    return f"flyweight train {shlex.quote(recipe)}{_set(list(last.values()))}{options}"


def key_of(change: str) -> str:
    """
    >>> key_of("train.lr = 0.1")
    'train.lr'
    """
    return change.partition("=")[0].strip()


def _set(changes: Sequence[str]) -> str:
    return "".join(f" --set {shlex.quote(change)}" for change in changes)


def diagnosis_values(
    diagnosis: Diagnosis, subject: Subject, *, record: RunRecord | None = None, n_rules: int
) -> dict[str, Any]:
    """All of a diagnosis as plain values, evidence with its sources."""
    return {
        "recipe": subject.recipe.name,
        "run": None if record is None else record.id,
        "status": None if record is None else record.status,
        "rules": n_rules,
        "asked": n_rules - len(diagnosis.unjudged),
        "findings": [finding_values(one, subject.recipe) for one in diagnosis.findings],
        "unjudged": [asdict(one) for one in diagnosis.unjudged],
    }


def finding_values(finding: Finding, recipe: Recipe) -> dict[str, Any]:
    values = asdict(finding)
    if finding.remedy is not None:
        values["remedy"]["words"] = changes_in_words(recipe, finding.remedy)
    return values
