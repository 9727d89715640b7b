"""How much each section measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from flyweight.bench.task import STEPS_PER_EPOCH


@dataclass(frozen=True, kw_only=True)
class DeviceSize:
    """How much `device` measures.

    train_images, test_images, max_epochs: None for all. rounds: of about `round_seconds` each. stacks: (seeds, batch
    size) of the speeds; by_torch: those that are also measured without Triton kernels. nets: how many are drawn to
    compare stacked with alone. seeds, many: trained at once. starts: processes that train one net.
    """

    train_images: int | None
    test_images: int | None
    max_epochs: int | None
    rounds: int
    round_seconds: float
    stacks: tuple[tuple[int, int], ...]
    by_torch: tuple[tuple[int, int], ...]
    nets: int
    seeds: int
    many: int
    starts: int
    copied_bytes: int
    matrix_side: int


ON_GPU: Final = DeviceSize(
    train_images=None,
    test_images=None,
    max_epochs=None,
    rounds=7,
    round_seconds=0.15,
    stacks=((1, 64), (4, 64), (16, 64), (64, 64), (1, 512), (16, 512)),
    by_torch=((1, 64), (16, 64), (64, 64)),
    nets=50,
    seeds=10,
    many=64,
    starts=1,
    copied_bytes=2**30,
    matrix_side=8192,
)
ON_GPU_QUICK: Final = replace(
    ON_GPU, train_images=12_000, max_epochs=2, rounds=3, round_seconds=0.1, nets=10, seeds=3, many=16, starts=1
)
# Only to check that it works.
ON_CPU: Final = DeviceSize(
    train_images=192,
    test_images=64,
    max_epochs=1,
    rounds=2,
    round_seconds=0.0,
    stacks=((1, 64), (2, 64), (2, 512)),
    by_torch=((2, 64),),
    nets=3,
    seeds=2,
    many=3,
    starts=1,
    copied_bytes=2**20,
    matrix_side=64,
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """rounds of `steps` steps each; seeds for `seeds` and `time-to`.

    full_run_steps: steps of a complete epoch, of which the `train` section runs five; 0 only estimates them from the
    rounds. test_images: number that measures accuracy. train_limit: training images of a seed, None for all. epochs:
    schedules of `time-to`. matrix_sides: of square matrix products. single_images: number predicted one at a time.
    scaling_*: the points of `scaling`, with up to `scaling_threads` threads or all cores; more images than
    `mapped_beyond` are read from a file. device: of `device`.
    """

    rounds: int
    steps: int
    full_run_steps: int
    test_images: int
    matrix_sides: tuple[int, ...]
    bulk_images: int
    single_images: int
    seeds: int
    seed_rounds: int
    train_limit: int | None
    epochs: tuple[int, ...]
    scaling_images: tuple[int, ...]
    mapped_beyond: int
    scaling_batches: tuple[int, ...]
    scaling_widths: tuple[int, ...]
    scaling_epochs: tuple[int, ...]
    scaling_threads: int | None
    scaling_steps: int
    device: DeviceSize


FULL: Final = Size(
    rounds=7,
    steps=60,
    full_run_steps=STEPS_PER_EPOCH,
    test_images=10_000,
    matrix_sides=(512, 1024, 2048),
    bulk_images=10_000,
    single_images=500,
    seeds=5,
    seed_rounds=2,
    train_limit=None,
    epochs=(2, 3, 5),
    scaling_images=(60_000, 125_000, 250_000, 500_000, 1_000_000),
    mapped_beyond=250_000,
    scaling_batches=(16, 32, 64, 128, 256, 512, 1024),
    scaling_widths=(1, 2, 4, 8, 16, 32),
    scaling_epochs=(1, 2, 4, 8, 16),
    scaling_threads=None,
    scaling_steps=40,
    device=ON_GPU,
)
QUICK: Final = Size(
    rounds=3,
    steps=8,
    full_run_steps=0,
    test_images=1000,
    matrix_sides=(1024,),
    bulk_images=1000,
    single_images=50,
    seeds=2,
    seed_rounds=1,
    train_limit=512,
    epochs=(1,),
    scaling_images=(4_000, 16_000),
    mapped_beyond=8_000,
    scaling_batches=(32, 256),
    scaling_widths=(1, 8),
    scaling_epochs=(1, 4),
    scaling_threads=2,
    scaling_steps=4,
    device=ON_GPU_QUICK,
)
