"""The smallest size at which every section still does all that it does."""

from __future__ import annotations

from flyweight.bench.sizes import ON_CPU, Size

TINY = Size(
    rounds=2,
    steps=2,
    full_run_steps=0,
    test_images=100,
    matrix_sides=(64, 128),
    bulk_images=100,
    single_images=5,
    seeds=2,
    seed_rounds=1,
    train_limit=128,
    epochs=(1, 2),
    scaling_images=(256, 1024),
    mapped_beyond=512,
    scaling_batches=(16, 32),
    scaling_widths=(1, 2),
    scaling_epochs=(1, 2),
    scaling_threads=1,
    scaling_steps=2,
    device=ON_CPU,
)
