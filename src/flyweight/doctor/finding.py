"""What a rule finds: a judgement with its evidence and its remedy, and the finding that is made of it.

Values only. How a remedy is tried is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

# fault: learning failed, or the figure is not what it is called. warning: it costs accuracy, parameters or time.
# note: true and harmless, or too little to act on; no note is an alarm.
Severity: TypeAlias = Literal["fault", "warning", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("fault", "warning", "note")

# What a remedy promises: a better net, a figure that means what it says, or the same net for less.
Gain: TypeAlias = Literal["accuracy", "honesty", "cost"]

EvidenceValue: TypeAlias = str | bool | int | float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One number that speaks for a finding. source: how it follows from the files of a run (docs/doctor.md)."""

    what: str
    value: EvidenceValue
    source: str


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """A change of the recipe, as `--set` takes it (KEY=VALUE), and what it should do."""

    changes: tuple[str, ...]
    gain: Gain
    expected: str


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a rule says of a subject. is_symptom: something else that is found as well is likely to be its cause.

    advice: what to do where no change of the recipe can mend it.
    """

    severity: Severity
    evidence: tuple[Evidence, ...]
    remedy: Remedy | None = None
    advice: str = ""
    is_symptom: bool = False


def judgement(
    severity: Severity,
    *evidence: Evidence,
    changes: Sequence[str] = (),
    gain: Gain = "accuracy",
    expected: str = "",
    advice: str = "",
    fallback: str = "",
    is_symptom: bool = False,
) -> Judgement:
    """A judgement whose remedy is `changes`, if there are any. fallback: the advice where there are none."""
    return Judgement(
        severity=severity,
        evidence=evidence,
        remedy=Remedy(changes=tuple(changes), gain=gain, expected=expected) if changes else None,
        advice=advice or ("" if changes else fallback),
        is_symptom=is_symptom,
    )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A rule that spoke. rank: 1 is first; equal ranks are ties. trial: what came of trying the remedy, if it was."""

    code: str
    title: str
    severity: Severity
    rank: int
    evidence: tuple[Evidence, ...]
    explanation: str
    remedy: Remedy | None = None
    advice: str = ""
    source: str = ""
    is_symptom: bool = False
    trial: str = ""


@dataclass(frozen=True, kw_only=True)
class Unjudged:
    """A rule that could not speak, and what it would have needed."""

    code: str
    title: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All that was found, the first first, and all that could not be judged."""

    findings: tuple[Finding, ...]
    unjudged: tuple[Unjudged, ...] = ()

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """What is more than a note."""
        return tuple(finding for finding in self.findings if finding.severity != "note")
