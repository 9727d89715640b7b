"""A rule of the doctor: what it is called, what it needs, how it judges, and how it is explained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from flyweight.doctor.finding import Judgement
from flyweight.doctor.subject import Need, Subject

Judge: TypeAlias = Callable[[Subject], Judgement | None]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of the table. judge: a pure function that says nothing (None) where there is nothing to say.

    explanation: three sentences for a learner: what it is, what it does, what helps. source: paper or document.
    """

    code: str
    title: str
    judge: Judge
    explanation: str
    needs: tuple[Need, ...] = ()
    source: str = ""


def rule(code: str, title: str, *, needs: tuple[Need, ...] = (), source: str = "") -> Callable[[Judge], Rule]:
    """Make a rule of the function that judges; its docstring is the explanation that people read."""

    def made(judge: Judge) -> Rule:
        explanation = " ".join((judge.__doc__ or "").split())
        return Rule(code=code, title=title, judge=judge, explanation=explanation, needs=needs, source=source)

    return made
