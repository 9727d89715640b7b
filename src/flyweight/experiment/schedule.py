"""The learning rate of a recipe, without torch."""

from __future__ import annotations

from flyweight.recipe import Recipe
from flyweight.train.schedules import SCHEDULES


def learning_rate(progress: float, *, recipe: Recipe) -> float:
    """The learning rate of a recipe at a point between its first step (0) and its end (1)."""
    settings = recipe.train
    return settings.lr * SCHEDULES[settings.schedule](
        progress,
        warmup=settings.warmup,
        final=settings.final_lr,
        drops=settings.epochs / settings.step_epochs,
        gamma=settings.gamma,
    )
