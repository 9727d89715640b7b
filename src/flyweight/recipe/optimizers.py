"""Facts of each optimizer that need no torch: usual settings, and how it uses the gradient and the weight decay.

A new optimizer begins here; the type checker then names what is left to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, assert_never

OptimizerName: TypeAlias = Literal["sgd", "adam", "adamw"]


@dataclass(frozen=True, kw_only=True)
class OptimizerTraits:
    """is_adaptive: gradients are divided by their size, so the scale of the loss has no effect.

    is_decay_coupled: weight decay is part of the gradient. usual_lr: with momentum 0.9. swept_lrs: from far too low to
    far too high. usual_weight_decay: as `--set` takes it. strong_weight_decay: against overfitting.
    """

    is_adaptive: bool
    is_decay_coupled: bool
    usual_lr: float
    swept_lrs: tuple[float, float]
    usual_weight_decay: str
    strong_weight_decay: float


def optimizer_traits(name: OptimizerName) -> OptimizerTraits:
    """By name, as a recipe has it."""
    match name:
        case "sgd":
            return OptimizerTraits(
                is_adaptive=False,
                is_decay_coupled=True,
                usual_lr=0.1,
                swept_lrs=(1e-5, 10.0),
                usual_weight_decay="5e-4",
                strong_weight_decay=5e-4,
            )
        case "adam":
            return OptimizerTraits(
                is_adaptive=True,
                is_decay_coupled=True,
                usual_lr=0.005,
                swept_lrs=(1e-6, 1.0),
                usual_weight_decay="1e-4",
                strong_weight_decay=1e-4,
            )
        case "adamw":
            return OptimizerTraits(
                is_adaptive=True,
                is_decay_coupled=False,
                usual_lr=0.005,
                swept_lrs=(1e-6, 1.0),
                usual_weight_decay="0.01",
                strong_weight_decay=0.05,
            )
        case _:
            assert_never(name)
