"""`flyweight doctor --teach`: numbers are shown first, and somebody guesses what they mean."""

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
    """Each alarm as a question first, as long as somebody answers; notes as they are."""
    from flyweight.report.diagnosis.text import finding_text, text_after_a_guess

    found, recipe = examined.diagnosis.findings, examined.recipe
    seed = examined.record.id if examined.record else recipe.name
    codes = {one.code for one in found}
    somebody = is_answered()
    for number, finding in enumerate(found, 1):
        if finding.severity == "note" or not somebody:
            say("\n" + finding_text(finding, recipe))
            continue
        say(f"\n{number} of {len(found)}")
        somebody = _asked(finding, rules, codes=codes, seed=seed)
        say(text_after_a_guess(finding, recipe))


def _asked(finding: Finding, rules: Sequence[Rule], *, codes: Collection[str], seed: str) -> bool:
    """Show numbers and titles, and judge the answer; whether there was one."""
    from flyweight.report.diagnosis.teaching import question_of, question_text, verdict_on

    question = question_of(finding, rules, found=codes, seed=seed)
    say(question_text(question))
    answer = guess(f"  which one, 1 to {len(question.titles)}? ")
    verdict = verdict_on(question, answer or "")
    print(f"  {verdict}\n" if verdict else "")
    return answer is not None


def is_answered() -> bool:
    """Whether there is a person to ask; without a terminal nobody is kept waiting."""
    return sys.stdin is not None and sys.stdin.isatty()


def guess(question: str) -> str | None:
    """The line that was typed; None at the end of all input."""
    print(question, end="", flush=True)
    line = sys.stdin.readline()
    return line if line else None


def is_guessed(step: FixStep, *, seed: str) -> bool:
    """Show the numbers of each finding and ask what they mean, if there is somebody to ask, and each is new."""
    from flyweight.doctor.table import RULES

    if len(step.findings) > 1 and step.remedy.gain != "honesty":
        return False
    return all(is_answered() and _asked(one, RULES, codes={one.code}, seed=seed) for one in step.findings)
