"""The rules of nets: what can be seen from the text of a net and its costs, before any training."""

from __future__ import annotations

from typing import Final

from flyweight.doctor.rule import Rule
from flyweight.doctor.rules.net_layers import (
    ACTIVATION_ON_LOGITS,
    BATCH_NORM_MISSING,
    BIAS_BEFORE_BATCH_NORM,
    LOG_SOFTMAX,
    NEVER_CALLED,
    NO_ACTIVATION,
    SATURATING_ACTIVATIONS,
)
from flyweight.doctor.rules.net_maps import (
    FULL_RESOLUTION,
    POOLING_AT_THE_END,
    RECEPTIVE_FIELD_LARGE_EARLY,
    RECEPTIVE_FIELD_SMALL,
)
from flyweight.doctor.rules.net_widths import FEW_FIRST_FILTERS, LINEAR_EATS_BUDGET, WIDTH_BOTTLENECK

RULES: Final[tuple[Rule, ...]] = (
    BATCH_NORM_MISSING,
    BIAS_BEFORE_BATCH_NORM,
    LINEAR_EATS_BUDGET,
    POOLING_AT_THE_END,
    RECEPTIVE_FIELD_SMALL,
    RECEPTIVE_FIELD_LARGE_EARLY,
    WIDTH_BOTTLENECK,
    NEVER_CALLED,
    FULL_RESOLUTION,
    NO_ACTIVATION,
    LOG_SOFTMAX,
    ACTIVATION_ON_LOGITS,
    SATURATING_ACTIVATIONS,
    FEW_FIRST_FILTERS,
)
