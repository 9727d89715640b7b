"""The runs of the fault bench: fault, design, images, seed and half of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.fault_bench.healthy import DESIGNS, TRAIN_SIZES, Design, healthy_recipe
from benchmarks.fault_bench.images import image_file
from benchmarks.fault_bench.planting import KINDS, Kind
from flyweight.recipe import Recipe, override

HEALTHY_PER_DESIGN: Final = 20

# Healthy settings are not one point: rates and batches that train as well, or nearly.
HEALTHY_CHANGES: Final = (
    (),
    ("train.batch_size=64",),
    ("train.warmup=0.3",),
    ("augment.rotate=8", "augment.scale=0.05"),
    ("train.label_smoothing=0.05",),
)


@dataclass(frozen=True, kw_only=True)
class BenchCase:
    """One run of the bench; kind is None for a healthy recipe."""

    name: str
    design: Design
    kind: Kind | None
    strength: int
    n_train: int
    seed: int
    draw: int
    changes: tuple[str, ...]

    def recipe(self, images: Path) -> Recipe:
        """The recipe, on images that are made in the folder where they are missing."""
        variant = self.kind.variant if self.kind else "sound"
        file = image_file(images, half=self.design.half, n_train=self.n_train, variant=variant, draw=self.draw)
        recipe = healthy_recipe(self.design, str(file.resolve()), n_train=self.n_train)
        planted = self.kind.planted(self.design, self.strength) if self.kind else ()
        return override(recipe, [f"name={self.name}", *self.changes, *planted])


def cases() -> tuple[BenchCase, ...]:
    """All cases, faulty ones first; sizes, draws and seeds rotate, so that no kind depends on one of them."""
    return (*_faulty(), *_healthy())


def _faulty() -> tuple[BenchCase, ...]:
    made = []
    for place, kind in enumerate(KINDS):
        for turn, design in enumerate(one for one in DESIGNS if kind.suits(one)):
            # Kinds of one strength come once a design, those of several with each.
            for strength in range(kind.strengths):
                number = place + turn + strength
                made.append(
                    BenchCase(
                        name=f"{kind.name}, {design.name}, {strength}",
                        design=design,
                        kind=kind,
                        strength=strength,
                        n_train=TRAIN_SIZES[number % len(TRAIN_SIZES)],
                        seed=100 * place + 10 * turn + strength,
                        draw=number % 3,
                        changes=(),
                    )
                )
    return tuple(made)


def _healthy() -> tuple[BenchCase, ...]:
    return tuple(
        BenchCase(
            name=f"healthy, {design.name}, {number}",
            design=design,
            kind=None,
            strength=0,
            n_train=TRAIN_SIZES[number % len(TRAIN_SIZES)],
            seed=10_000 + 100 * turn + number,
            draw=number % 3,
            changes=HEALTHY_CHANGES[number // 2 % len(HEALTHY_CHANGES)],
        )
        for turn, design in enumerate(DESIGNS)
        for number in range(HEALTHY_PER_DESIGN)
    )
