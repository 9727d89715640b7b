"""From a subject to what is wrong with it: every rule is asked once, and what they say is put in order.

What is worse stands before what is less bad, and what is equally bad is a tie. Where something is found that can have
caused them, symptoms stand behind all other alarms. A remedy that was tried and did not help costs its finding the
rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from flyweight.doctor.finding import SEVERITIES, Diagnosis, Finding, Judgement, Unjudged
from flyweight.doctor.rule import Rule
from flyweight.doctor.subject import Need, Subject
from flyweight.doctor.table import RULES

MEANT: Final[Mapping[Need, str]] = {
    "history": "a run that has finished an epoch",
    "ending": "a run that is over",
    "predictions": "the predictions of a finished run",
    "reported": "the metrics that the protocol reported",
    "claims": "figures that somebody wrote of the run",
    "parent": "the result that the run was changed from",
    "images": "the images",
    "reads": "the images, read twice",
    "start": "the first steps of a new net",
    "trained": "the weights of a finished run",
}


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What came of trying the remedy of a finding: whether it helped, and all of it in one line."""

    code: str
    has_helped: bool
    line: str


def diagnose(subject: Subject, *, rules: Sequence[Rule] = RULES, tried: Iterable[Tried] = ()) -> Diagnosis:
    """Ask every rule whose needs are there; those that could not run are listed with the reason."""
    outcomes = {one.code: one for one in tried}
    found, unjudged = [], []
    for rule in rules:
        missing = [need for need in rule.needs if getattr(subject, need) is None]
        if missing:
            unjudged.append(Unjudged(code=rule.code, title=rule.title, reason=_reason(subject, missing[0])))
            continue
        try:
            judgement = rule.judge(subject)
        except Exception as error:  # a fault of ours in one rule must not hide what the others find
            what = " ".join(f"{type(error).__name__}: {error}".split())
            unjudged.append(Unjudged(code=rule.code, title=rule.title, reason=f"failed, please report it ({what})"))
            continue
        if judgement is not None:
            found.append(_finding(rule, judgement, outcomes.get(rule.code)))
    return Diagnosis(findings=_ranked(found, outcomes), unjudged=tuple(unjudged))


def _reason(subject: Subject, need: Need) -> str:
    why = subject.why_missing.get(need)
    return f"needs {MEANT[need]}" + (f": {why}" if why else "")


def _finding(rule: Rule, judgement: Judgement, tried: Tried | None) -> Finding:
    return Finding(
        code=rule.code,
        title=rule.title,
        severity=judgement.severity,
        rank=0,
        evidence=judgement.evidence,
        explanation=rule.explanation,
        remedy=judgement.remedy,
        advice=judgement.advice,
        source=rule.source,
        is_symptom=judgement.is_symptom,
        trial=tried.line if tried else "",
    )


def _ranked(found: Sequence[Finding], tried: Mapping[str, Tried]) -> tuple[Finding, ...]:
    """Ranks as in a race: two firsts are followed by a third."""
    has_cause = any(_can_cause(finding) for finding in found)

    def place(finding: Finding) -> tuple[bool, bool, bool, int]:
        has_failed = finding.code in tried and not tried[finding.code].has_helped
        is_note = finding.severity == "note"
        return has_failed, is_note, finding.is_symptom and has_cause, SEVERITIES.index(finding.severity)

    ranked: list[Finding] = []
    for _, tied in groupby(sorted(found, key=place), key=place):
        rank = len(ranked) + 1
        ranked += [replace(finding, rank=rank) for finding in tied]
    return tuple(ranked)


def _can_cause(finding: Finding) -> bool:
    """Whether a net that learns badly may do so because of it."""
    is_about_learning = finding.remedy is not None and finding.remedy.gain == "accuracy"
    return is_about_learning and finding.severity != "note" and not finding.is_symptom
