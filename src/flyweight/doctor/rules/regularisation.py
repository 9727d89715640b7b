from __future__ import annotations

from typing import Final

from flyweight.doctor.finding import Rule

RULES: Final[tuple[Rule, ...]] = ()
