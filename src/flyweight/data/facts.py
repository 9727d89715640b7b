"""Sizes of the images that a recipe trains on, known without looking at one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """n_train: images that train in each epoch. n_validation: images that each epoch is judged on."""

    n_train: int
    n_validation: int
    n_classes: int
    shape: tuple[int, int, int]
