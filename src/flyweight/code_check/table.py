"""The table of all faults in code; adding one is adding it to the `FAULTS` of its file."""

from __future__ import annotations

from typing import Final

from flyweight.code_check.faults import evaluating, figures, images, losses, nets, schedules, splits, training, weights
from flyweight.code_check.findings import Fault

FAULTS: Final[tuple[Fault, ...]] = tuple(
    sorted(
        (
            *evaluating.FAULTS,
            *figures.FAULTS,
            *images.FAULTS,
            *losses.FAULTS,
            *nets.FAULTS,
            *schedules.FAULTS,
            *splits.FAULTS,
            *training.FAULTS,
            *weights.FAULTS,
        ),
        key=lambda one: one.code,
    )
)
