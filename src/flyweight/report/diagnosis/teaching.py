"""Quiz questions: the numbers of a finding, and four titles to choose from.

In: a finding and the table of rules. Out: a question; the seed decides the order of the titles.
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
    """Evidence and titles to choose from. right: the number of the right title, counted from 1."""

    evidence: tuple[str, ...]
    titles: tuple[str, ...]
    right: int


def question_of(finding: Finding, rules: Sequence[Rule], *, found: Collection[str], seed: str) -> Question:
    """The title of the finding among three that were not found.

    found: the codes of all findings. seed: any text, such as the id of a run.
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
    """The reply to an answer; empty for an empty answer."""
    answer = answer.strip()
    if not answer:
        return ""
    if answer == str(question.right):
        return "right."
    return f"wrong: it is {question.right}, {question.titles[question.right - 1]}."
