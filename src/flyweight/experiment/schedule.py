"""The learning rate of a recipe, without torch."""

from __future__ import annotations

from flyweight.recipe import Recipe
from flyweight.train.schedules import ScheduleSettings, factor


def learning_rate(progress: float, *, recipe: Recipe) -> float:
    """The learning rate of a recipe at a point between its first step (0) and its end (1)."""
    train = recipe.train
    schedule = ScheduleSettings(
        name=train.schedule,
        warmup=train.warmup,
        final=train.final_lr,
        drops=train.epochs / train.step_epochs,
        gamma=train.gamma,
    )
    return train.lr * factor(progress, schedule)
