"""The batches of several seeds at once: those of each seed alone, in order, labels, rows and pixels."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flyweight.data import augment as augmentations
from flyweight.data import stacked_batches
from flyweight.data.augment import Augmentation, add_field, draw_epoch
from flyweight.data.batches import Batches
from flyweight.data.stacked_batches import StackedBatches, side_by_side
from flyweight.kernels.functions import normal_numbers

AFFINE = {"rotate": 9.0, "translate": 0.1, "scale": 0.1, "shear": 5.0}
SMOOTH = {"elastic_smoothness": 1.5}
AUGMENTATIONS = {
    "none": Augmentation(),
    "affine": Augmentation(**AFFINE),
    "whole pixels": Augmentation(translate=0.2, whole_pixels=True),
    "nearest": Augmentation(**AFFINE, interpolation="nearest"),
    "some": Augmentation(**AFFINE, probability=0.5),
    "elastic": Augmentation(elastic=1.0, **SMOOTH),
    "some elastic": Augmentation(rotate=5.0, elastic=1.0, **SMOOTH, probability=0.5),
    "filled": Augmentation(**AFFINE, fill=(30.0, 200.0)),
    "nearest, filled": Augmentation(**AFFINE, interpolation="nearest", fill=(30.0, 200.0)),
    "flip": Augmentation(flip_probability=0.5),
    "brightness": Augmentation(brightness=0.4),
    "crop": Augmentation(crop_size=9, crop_probability=0.5),
    "erase": Augmentation(erase_probability=0.5, erase_size=0.3),
    "all": Augmentation(
        **AFFINE,
        **SMOOTH,
        elastic=0.7,
        probability=0.6,
        crop_size=9,
        crop_probability=0.4,
        erase_probability=0.3,
        flip_probability=0.5,
        brightness=0.3,
        fill=(30.0, 200.0),
    ),
}
STATISTICS = {"mean": (0.3, 0.5), "std": (0.2, 0.3)}
BATCH = 8
EACH_AUGMENTATION = pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=AUGMENTATIONS)


def images_of(n: int, channels: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, channels, 12, 11), generator=generator, dtype=torch.uint8)
    return images, torch.randint(0, 10, (n,), generator=generator)


def batches_of(seeds: tuple[int, ...], *, n: int = 27, augmentation: Augmentation | None = None) -> list[Batches]:
    images, labels = images_of(n)
    return [
        Batches(images, labels, **STATISTICS, batch_size=BATCH, seed=seed, augmentation=augmentation) for seed in seeds
    ]


def assert_equal_to_each(stacked: StackedBatches, alone: list[Batches], *, epoch: int) -> int:
    """Every step against the batch of each seed; returns how many images were compared."""
    stacked.load(epoch)
    compared = 0
    for step in range(stacked.n_steps):
        size = stacked.size_of(step)
        batch = stacked.batch(torch.tensor([step]), size)
        by_seed = batch.images.unflatten(1, (len(alone), -1))
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        for number, one in enumerate(alone):
            expected = one(epoch, step)
            assert len(expected.rows) == size
            assert torch.equal(batch.rows[number], expected.rows)
            assert torch.equal(batch.labels[number], expected.labels)
            assert torch.allclose(by_seed[:, number], expected.images, atol=2e-4)
            compared += size
    return compared


def test_every_setting_of_the_augmentation_is_among_those_tested():
    """A new one must be tried here too."""
    default = Augmentation()
    names = [one.name for one in fields(Augmentation)]

    tried = {name for name in names for one in AUGMENTATIONS.values() if getattr(one, name) != getattr(default, name)}

    assert tried == set(names)
    assert len(names) >= 16


@EACH_AUGMENTATION
def test_each_seed_has_the_batches_that_it_has_alone(augmentation):
    """With every kind of change, several channels, a smaller last batch, epoch after epoch and back again."""
    alone = batches_of((3, 0, 5), augmentation=augmentation)
    stacked = StackedBatches(batches_of((3, 0, 5), augmentation=augmentation))

    assert stacked.n_steps == alone[0].n_steps == 4
    assert [stacked.size_of(step) for step in range(4)] == [8, 8, 8, 3]
    for epoch in (1, 2, 1):
        assert assert_equal_to_each(stacked, alone, epoch=epoch) == 3 * 27


@pytest.mark.parametrize(
    ("n", "sizes"), [(16, [8, 8]), (17, [8, 8]), (18, [8, 8, 2]), (8, [8]), (5, [5]), (2, [2]), (9, [8]), (1, [1])]
)
def test_one_image_alone_is_left_out_of_an_epoch(n, sizes):
    """As batch norm needs two; a set that is smaller than a batch is one batch."""
    alone = batches_of((1, 2), n=n, augmentation=AUGMENTATIONS["some"])
    stacked = StackedBatches(batches_of((1, 2), n=n, augmentation=AUGMENTATIONS["some"]))

    assert [stacked.size_of(step) for step in range(stacked.n_steps)] == sizes
    assert assert_equal_to_each(stacked, alone, epoch=1) == 2 * sum(sizes)


@EACH_AUGMENTATION
def test_seeds_may_have_rows_and_statistics_of_their_own(augmentation):
    """With a split of each seed, over the same images."""
    images, labels = images_of(60)
    generator = torch.Generator().manual_seed(1)

    def make() -> list[Batches]:
        generator.manual_seed(1)
        return [
            Batches(
                images,
                labels,
                rows=torch.randperm(60, generator=generator)[:19],
                mean=(0.1 * seed, 0.2),
                std=(0.2, 0.1 + 0.1 * seed),
                batch_size=BATCH,
                seed=seed,
                augmentation=augmentation,
            )
            for seed in (1, 4, 2)
        ]

    alone = make()
    assert len({tuple(one.rows.tolist()) for one in alone}) == 3
    assert assert_equal_to_each(StackedBatches(make()), alone, epoch=2) == 3 * 19


def test_without_a_shuffle_the_order_is_that_of_the_rows():
    """For every seed the same."""
    images, labels = images_of(20)
    rows = torch.arange(19, -1, -1)
    alone = [
        Batches(images, labels, rows=rows, **STATISTICS, batch_size=BATCH, seed=seed, shuffle=False) for seed in (0, 1)
    ]
    stacked = StackedBatches(alone)
    stacked.load(1)

    found = [stacked.batch(torch.tensor([step]), stacked.size_of(step)).rows for step in range(stacked.n_steps)]

    assert torch.equal(torch.cat(found, dim=1), rows.expand(2, 20))


def test_an_epoch_is_loaded_into_the_same_memory():
    """A captured step reads the memory of the first epoch; what is prepared is not read before it is loaded."""
    stacked = StackedBatches(batches_of((0, 1), augmentation=AUGMENTATIONS["all"]))
    stacked.load(1)
    assert stacked._draws is not None
    before = stacked._draws.order.data_ptr(), stacked._draws.changes.matrices.data_ptr()  # type: ignore[union-attr]
    first = stacked.batch(torch.tensor([1]), BATCH)

    stacked.prepare(2)
    prepared = stacked.batch(torch.tensor([1]), BATCH)
    stacked.load(2)
    second = stacked.batch(torch.tensor([1]), BATCH)

    assert torch.equal(prepared.images, first.images)
    assert not torch.equal(second.rows, first.rows)
    assert (stacked._draws.order.data_ptr(), stacked._draws.changes.matrices.data_ptr()) == before  # type: ignore[union-attr]


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The elastic field comes from hashes, as where copying it from the host would be slow."""
    for module in (augmentations, stacked_batches):
        monkeypatch.setattr(module, "draws_field_on_cpu", lambda *_: False)


@pytest.mark.parametrize("name", ["elastic", "some elastic", "all"])
def test_the_field_of_a_gpu_is_the_same_alone_and_in_a_stack(name, monkeypatch):
    """Each image of each seed is displaced as alone, and otherwise than in other epochs and seeds."""
    as_on_a_gpu(monkeypatch)
    alone = batches_of((3, 0, 5), augmentation=AUGMENTATIONS[name])

    stacked = StackedBatches(batches_of((3, 0, 5), augmentation=AUGMENTATIONS[name]))

    for epoch in (1, 2):
        assert assert_equal_to_each(stacked, alone, epoch=epoch) == 3 * 27


def test_the_field_of_a_gpu_has_the_displacement_that_is_wanted(monkeypatch):
    """Its root mean square per axis is that of the settings, and only warped images have one."""
    as_on_a_gpu(monkeypatch)
    chosen = Augmentation(rotate=1.0, elastic=2.0, elastic_smoothness=2.0, probability=0.5)
    shape, seeds = torch.Size((400, 1, 12, 12)), [11, 12]
    changes = draw_epoch(shape, chosen, seeds=seeds, batch_size=200)

    field = add_field(changes, shape, chosen, torch.tensor(seeds)).field

    assert field is not None
    assert changes.is_warped is not None
    assert field.shape == (400, 12, 12, 2)
    assert not field[~changes.is_warped].any()
    warped = field[changes.is_warped]
    assert warped.square().mean((0, 1, 2)).sqrt().tolist() == pytest.approx([2.0, 2.0], rel=0.1)
    assert warped.mean((0, 1, 2)).abs().max() < 0.2
    together = add_field(replace(changes, is_warped=None), shape, chosen, torch.tensor(seeds)).field
    parts = [
        add_field(replace(changes[rows], is_warped=None), torch.Size((200, 1, 12, 12)), chosen, torch.tensor([seed]))
        for rows, seed in ((slice(0, 200), 11), (slice(200, 400), 12))
    ]
    assert together is not None
    assert torch.allclose(together, torch.cat([part.field for part in parts]), atol=1e-5)  # type: ignore[misc]


SEEDS = st.integers(0, 2**63 - 1)


@settings(max_examples=20)
@given(SEEDS)
def test_normal_numbers_are_standard_normal(seed):
    """Mean, variance, skewness, kurtosis and tails of 100,000 of them; each is finite."""
    n = 100_000

    (numbers,) = normal_numbers(torch.tensor([seed]), count=n).double()

    assert bool(numbers.isfinite().all())
    assert abs(numbers.mean()) < 5 / math.sqrt(n)
    assert abs(numbers.var() - 1) < 5 * math.sqrt(2 / n)
    assert abs(numbers.pow(3).mean()) < 5 * math.sqrt(15 / n)
    assert abs(numbers.pow(4).mean() - 3) < 5 * math.sqrt(96 / n)
    for limit, share in ((1.0, 0.3173), (2.0, 0.0455), (3.0, 0.0027)):
        assert abs((numbers.abs() > limit).double().mean() - share) < 5 * math.sqrt(share / n)


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 2**40))
def test_normal_numbers_of_seeds_and_positions_are_independent(seed, step):
    """No correlation between seeds near or far, nor between neighbouring positions."""
    n = 50_000
    others = torch.tensor([seed, (seed + 1) % 2**63, (seed + step) % 2**63, seed ^ 1])

    numbers = normal_numbers(others, count=n).double()

    limit = 5 / math.sqrt(n)
    for number in range(1, 4):
        assert abs((numbers[0] * numbers[number]).mean()) < limit
        assert abs((numbers[0].square() * numbers[number].square()).mean() - 1) < 5 * math.sqrt(8 / n)
    for distance in (1, 2, 12, n // 2):
        assert abs((numbers[0, distance:] * numbers[0, :-distance]).mean()) < 2 * limit


@given(st.lists(SEEDS, min_size=1, max_size=4), st.integers(1, 50))
def test_normal_numbers_of_a_seed_are_the_same_alone_and_among_others(seeds, count):
    """Its numbers do not depend on the other seeds nor on its place."""
    together = normal_numbers(torch.tensor(seeds), count=count)

    assert together.shape == (len(seeds), count)
    for number, seed in enumerate(seeds):
        assert torch.allclose(together[number], normal_numbers(torch.tensor([seed]), count=count)[0], atol=1e-6)


def test_images_of_seeds_come_side_by_side():
    """Seed after seed become channels of one image."""
    images = torch.arange(3 * 2 * 2 * 4 * 5, dtype=torch.float32).view(3 * 2, 2, 4, 5)

    wide = side_by_side(images, 3)

    assert wide.shape == (2, 6, 4, 5)
    assert wide.is_contiguous(memory_format=torch.channels_last)
    for number in range(3):
        assert torch.equal(wide[:, 2 * number : 2 * number + 2], images[2 * number : 2 * number + 2])
