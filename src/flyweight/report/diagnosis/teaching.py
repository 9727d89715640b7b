"""A finding as a question: its numbers are shown, and somebody guesses what they mean before it is shown.

Goes in: a finding and the table of rules. Comes out: four titles, one of them right, in an order that a seed decides.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from flyweight.doctor.finding import Finding
from flyweight.doctor.rule import Rule
from flyweight.report.diagnosis.text import evidence_lines
from flyweight.report.wording import hanging

CHOICES: Final = 4


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the evidence shows, and what it may mean. right: the number of the right title, counted from 1."""

    evidence: tuple[str, ...]
    titles: tuple[str, ...]
    right: int


def question_of(finding: Finding, rules: Sequence[Rule], *, found: Collection[str], seed: str) -> Question:
    """Four titles of the table: that of the finding, and others that were not found, so that one is right.

    found: the codes of all findings. seed: any text, as the id of a run; the same seed gives the same question.
    """
    draw = random.Random(f"{seed} {finding.code}")  # noqa: S311, an order of titles is no secret
    others = [rule.title for rule in rules if rule.code not in found and rule.title != finding.title]
    titles = [finding.title, *draw.sample(others, min(CHOICES - 1, len(others)))]
    draw.shuffle(titles)
    return Question(
        evidence=tuple(evidence_lines(finding.evidence)),
        titles=tuple(titles),
        right=titles.index(finding.title) + 1,
    )


def question_text(question: Question) -> str:
    """The numbers, and the titles to choose from."""
    numbered = enumerate(question.titles, 1)
    choices = [hanging("guess" if number == 1 else "", f"{number}  {title}") for number, title in numbered]
    return "\n".join([*question.evidence, *choices])


def verdict_on(question: Question, answer: str) -> str:
    """What to say to an answer; nothing to an empty one."""
    answer = answer.strip()
    if not answer:
        return ""
    if answer == str(question.right):
        return "right."
    return f"not this time: it is {question.right}, {question.titles[question.right - 1]}."
