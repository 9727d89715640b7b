"""How much is measured: all sections read their sizes here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flyweight.bench.task import STEPS_PER_EPOCH


@dataclass(frozen=True, kw_only=True)
class Size:
    """rounds of `steps` steps each; seeds for `seeds` and `time-to`.

    whole_steps: of an epoch of all images, of which the `train` section really runs five from process start; 0 reckons
    them from the rounds. test_images: how many answer for accuracy. train_limit: training images of a seed, None for
    all. epochs: schedules that `time-to` runs. matrix_sides: of square matrix products. single_images: how many are
    read one by one. grown_*: the points of `growth`, threads up to `grown_threads` or all cores; more images than
    `mapped_beyond` are read from a file.
    """

    rounds: int
    steps: int
    whole_steps: int
    test_images: int
    matrix_sides: tuple[int, ...]
    bulk_images: int
    single_images: int
    seeds: int
    seed_rounds: int
    train_limit: int | None
    epochs: tuple[int, ...]
    grown_images: tuple[int, ...]
    mapped_beyond: int
    grown_batches: tuple[int, ...]
    grown_widths: tuple[int, ...]
    grown_epochs: tuple[int, ...]
    grown_threads: int | None
    grown_steps: int


FULL: Final = Size(
    rounds=7,
    steps=60,
    whole_steps=STEPS_PER_EPOCH,
    test_images=10_000,
    matrix_sides=(512, 1024, 2048),
    bulk_images=10_000,
    single_images=500,
    seeds=5,
    seed_rounds=2,
    train_limit=None,
    epochs=(2, 3, 5),
    grown_images=(60_000, 125_000, 250_000, 500_000, 1_000_000),
    mapped_beyond=250_000,
    grown_batches=(16, 32, 64, 128, 256, 512, 1024),
    grown_widths=(1, 2, 4, 8, 16, 32),
    grown_epochs=(1, 2, 4, 8, 16),
    grown_threads=None,
    grown_steps=40,
)
QUICK: Final = Size(
    rounds=3,
    steps=8,
    whole_steps=0,
    test_images=1000,
    matrix_sides=(1024,),
    bulk_images=1000,
    single_images=50,
    seeds=2,
    seed_rounds=1,
    train_limit=512,
    epochs=(1,),
    grown_images=(4_000, 16_000),
    mapped_beyond=8_000,
    grown_batches=(32, 256),
    grown_widths=(1, 8),
    grown_epochs=(1, 4),
    grown_threads=2,
    grown_steps=4,
)
