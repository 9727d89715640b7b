"""Every rule in one place; adding one is adding a line to the table of its file."""

from __future__ import annotations

from typing import Final

from flyweight.doctor.rule import Rule
from flyweight.doctor.rules import evaluation, fitting, images, learning_rate, net, regularisation, signal, updates

RULES: Final[tuple[Rule, ...]] = (
    *learning_rate.RULES,
    *updates.RULES,
    *signal.RULES,
    *net.RULES,
    *regularisation.RULES,
    *fitting.RULES,
    *evaluation.RULES,
    *images.RULES,
)


def rule(code: str) -> Rule:
    """The rule of a code, such as LR01.

    Raises:
        KeyError: no such rule.
    """
    return {one.code: one for one in RULES}[code]
