"""The table of all faults in code; adding one is adding it to the `FAULTS` of its file."""

from __future__ import annotations

from typing import Final

from flyweight.code_check.faults import evaluating, images, losses, nets, training
from flyweight.code_check.findings import Fault

FAULTS: Final[tuple[Fault, ...]] = tuple(
    sorted(
        (*evaluating.FAULTS, *images.FAULTS, *losses.FAULTS, *nets.FAULTS, *training.FAULTS), key=lambda one: one.code
    )
)
