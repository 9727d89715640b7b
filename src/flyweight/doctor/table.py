"""Every rule in one place; adding one is adding it to the `RULES` of its file."""

from __future__ import annotations

from typing import Final

from flyweight.doctor.rule import Rule
from flyweight.doctor.rules import (
    claims,
    dropout,
    evaluation,
    fitting,
    images,
    learning_rate,
    net_layers,
    net_maps,
    net_widths,
    regularisation,
    reported_losses,
    signal,
    transforms,
    updates,
)

# What the codes of rules begin with, in the order in which findings of one rank are shown.
GROUPS: Final = ("LR", "ST", "SI", "NE", "RE", "FI", "EV", "CL", "DA")

RULES: Final[tuple[Rule, ...]] = tuple(
    sorted(
        (
            *claims.RULES,
            *dropout.RULES,
            *evaluation.RULES,
            *fitting.RULES,
            *images.RULES,
            *learning_rate.RULES,
            *net_layers.RULES,
            *net_maps.RULES,
            *net_widths.RULES,
            *regularisation.RULES,
            *reported_losses.RULES,
            *signal.RULES,
            *transforms.RULES,
            *updates.RULES,
        ),
        key=lambda rule: (GROUPS.index(rule.code[:2]), rule.code),
    )
)
