"""`flyweight doctor --teach`: a quiz that shows numbers first and asks what they mean."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from flyweight.cli.output import say

if TYPE_CHECKING:
    from flyweight.diagnose.examine import Examined
    from flyweight.diagnose.fix import FixStep
    from flyweight.doctor.finding import Finding
    from flyweight.doctor.rule import Rule


def ask_before(examined: Examined, rules: Sequence[Rule]) -> None:
    """Print the findings; each alarm is a question first, unless nobody answers."""
    from flyweight.report.diagnosis.text import finding_text, text_after_a_guess

    found, recipe = examined.diagnosis.findings, examined.recipe
    seed = examined.record.id if examined.record else recipe.name
    codes = {one.code for one in found}
    has_reader = is_answered()
    for number, finding in enumerate(found, 1):
        if finding.severity == "note" or not has_reader:
            say("\n" + finding_text(finding, recipe))
            continue
        say(f"\n{number} of {len(found)}")
        has_reader = _asked(finding, rules, codes=codes, seed=seed)
        say(text_after_a_guess(finding, recipe))


def _asked(finding: Finding, rules: Sequence[Rule], *, codes: Collection[str], seed: str) -> bool:
    """Ask one question and judge the answer; returns whether there was an answer."""
    from flyweight.report.diagnosis.teaching import question_of, question_text, verdict_on

    question = question_of(finding, rules, found=codes, seed=seed)
    say(question_text(question))
    answer = guess(f"  which one, 1 to {len(question.titles)}? ")
    verdict = verdict_on(question, answer or "")
    print(f"  {verdict}\n" if verdict else "")
    return answer is not None


def is_answered() -> bool:
    """Whether a person can answer: stdin is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def guess(question: str) -> str | None:
    """The typed line; None at the end of the input."""
    print(question, end="", flush=True)
    line = sys.stdin.readline()
    return line if line else None


def is_guessed(step: FixStep, *, seed: str) -> bool:
    """Ask about each finding of a step; returns whether all were answered. Repeated findings are not asked again."""
    from flyweight.doctor.table import RULES

    if len(step.findings) > 1 and step.remedy.gain != "honesty":
        return False
    return all(is_answered() and _asked(one, RULES, codes={one.code}, seed=seed) for one in step.findings)
