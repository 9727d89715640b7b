"""A rule of the doctor: what it is called, what it needs, how it judges, and how it is explained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flyweight.doctor.finding import Judgement
from flyweight.doctor.subject import Need, Subject


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of the table. judge: a pure function that says nothing (None) where there is nothing to say.

    explanation: three sentences for a learner: what it is, what it does, what helps. source: paper or document.
    """

    code: str
    title: str
    judge: Callable[[Subject], Judgement | None]
    explanation: str
    needs: tuple[Need, ...] = ()
    source: str = ""
