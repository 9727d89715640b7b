"""Batches are pure functions of (seed, epoch, step)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.data.augment import (
    Augmentation,
    affine_grid,
    centre_crop,
    draw,
    draw_epoch,
    draw_rest,
    elastic_field,
    inverse_affine,
    warp,
)
from flyweight.data.batches import Batch, Batches, Stream, normalise, seeds
from flyweight.data.splits import channel_statistics, usable_spread

ROTATED = Augmentation(rotate=30)


def numbered(n: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that all differ, labelled by their place."""
    images = torch.randint(0, 256, (n, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return images, torch.arange(n)


def batches(n: int = 20, **settings: object) -> Batches:
    chosen = {"mean": [0.5], "std": [0.25], "batch_size": 6, "seed": 3, **settings}
    return Batches(*numbered(n), **chosen)  # type: ignore[arg-type]


def epoch_of(source: Batches, epoch: int) -> list[Batch]:
    return [source(epoch, step) for step in range(source.n_steps)]


@given(n=st.integers(2, 60), batch_size=st.integers(2, 30))
def test_an_epoch_shows_every_image_once(n, batch_size):
    """The labels of an epoch are the labels of the set, except one image that would be a batch of its own."""
    source = batches(n, batch_size=batch_size)

    seen = torch.cat([batch.labels for batch in epoch_of(source, 1)]).tolist()

    assert len(set(seen)) == len(seen) == n - (n % batch_size == 1)


def test_any_step_can_be_computed_alone():
    """The batch of epoch 2, step 2 is the same after a full epoch as out of the blue."""
    walked, jumped = batches(augmentation=ROTATED), batches(augmentation=ROTATED)
    for epoch in (1, 2):
        last = epoch_of(walked, epoch)

    batch = jumped(2, 2)

    assert torch.equal(batch.images, last[2].images)
    assert torch.equal(batch.labels, last[2].labels)


def test_epochs_and_seeds_differ_in_order_and_augmentation():
    """Another epoch or another seed gives another order, and other pictures of the same image."""
    first, second = epoch_of(batches(augmentation=ROTATED), 1), epoch_of(batches(augmentation=ROTATED), 2)
    other = epoch_of(batches(augmentation=ROTATED, seed=4), 1)

    orders = [torch.cat([batch.labels for batch in found]).tolist() for found in (first, second, other)]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    unshuffled = batches(augmentation=ROTATED, shuffle=False)
    assert not torch.equal(unshuffled(1, 0).images, unshuffled(2, 0).images)


def test_without_shuffle_the_order_is_the_order_of_the_set():
    """shuffle=False reads from the first image to the last, in every epoch."""
    source = batches(shuffle=False)

    for epoch in (1, 2):
        assert torch.cat([batch.labels for batch in epoch_of(source, epoch)]).tolist() == list(range(20))


def test_training_and_evaluation_normalise_alike():
    """A batch without augmentation is `normalise` of its images, and both are (x / 255 - mean) / std."""
    images, _ = numbered()
    source = batches(shuffle=False, batch_size=20)

    found = source(1, 0).images

    assert torch.equal(found, normalise(images, mean=[0.5], std=[0.25]))
    expected = (images.numpy().astype(np.float64) / 255 - 0.5) / 0.25
    assert np.allclose(found.numpy(), expected, atol=1e-5)


def test_the_images_themselves_are_never_changed():
    """The shared uint8 tensor is the same after an augmented epoch."""
    images, labels = numbered()
    before = images.clone()
    source = Batches(images, labels, mean=[0.5], std=[0.25], batch_size=6, seed=0, augmentation=ROTATED)

    epoch_of(source, 1)

    assert torch.equal(images, before)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), augmentation=st.deferred(lambda: AUGMENTATIONS))
def test_what_an_augmentation_brings_in_is_the_fill(data, augmentation):
    """Images that are nothing but the fill of each channel stay so, whatever is done to them, whoever computes it."""
    fill = tuple(data.draw(st.lists(st.integers(0, 255), min_size=3, max_size=3)))
    images = torch.tensor(fill, dtype=torch.uint8).view(1, 3, 1, 1).repeat(9, 1, 6, 7)
    source = Batches(
        images,
        torch.arange(9),
        mean=[0.1, 0.5, 0.9],
        std=[0.3, 0.2, 1.0],
        batch_size=9,
        seed=1,
        augmentation=dataclasses.replace(augmentation, fill=fill, brightness=0.0),
    )

    found, expected = source(1, 0).images, normalise(images, mean=[0.1, 0.5, 0.9], std=[0.3, 0.2, 1.0])

    assert torch.allclose(found, expected, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    low=st.lists(st.integers(0, 255), min_size=3, max_size=3),
    high=st.lists(st.integers(0, 255), min_size=3, max_size=3),
)
def test_no_spread_of_a_channel_makes_an_input_enormous(low, high):
    """Channels of any mean and spread, constant ones too, give inputs near 0, and other pictures bounded ones."""
    generator = np.random.default_rng(0)
    low, high = np.minimum(low, high), np.maximum(low, high)
    pixels = generator.integers(low[:, None, None], high[:, None, None] + 1, (20, 3, 6, 6)).astype(np.uint8)
    pixels[:, :, :1] = low[:, None, None]
    mean, std = channel_statistics(pixels, np.arange(20))
    usable = usable_spread(std)
    augmentation = Augmentation(rotate=40, translate=0.3, erase_probability=0.5, fill=tuple(low))

    batch = Batches(
        *(torch.from_numpy(pixels), torch.arange(20)),
        mean=mean,
        std=usable,
        batch_size=20,
        seed=0,
        augmentation=augmentation,
    )(1, 0)

    assert batch.images.abs().max() < 20
    for channel in range(3):
        if std[channel] == 0:
            assert batch.images[:, channel].abs().max() < 1e-4
    other = normalise(255 - torch.from_numpy(pixels), mean=mean, std=usable)
    assert other.abs().max() <= (10 / max(std) if max(std) else 1.0) + 1e-3


def as_drawn_step_by_step(source: Batches, epoch: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and images of a step by hand: a generator for the order of the epoch, and one for each step."""
    generator = torch.Generator().manual_seed(seeds(source.seed, Stream.ORDER, epoch)[0])
    order = source.rows[torch.randperm(len(source.rows), generator=generator)]
    rows = order[step * source.batch_size : (step + 1) * source.batch_size]
    seed = seeds(source.seed, Stream.AUGMENTATION, epoch, count=source.n_steps)[step]
    images = drawn_one_by_one(source.images[rows].float(), torch.Generator().manual_seed(seed), source.augmentation)
    return rows, images / 255


def drawn_one_by_one(images: torch.Tensor, generator: torch.Generator, settings: Augmentation) -> torch.Tensor:
    """Each number drawn when its turn comes: crop, five of the warp, field, warped at all, square, erased at all."""
    n, _, height, width = images.shape

    def uniform(limit: float) -> torch.Tensor:
        return (2 * torch.rand(n, generator=generator) - 1) * limit

    def chosen(probability: float) -> torch.Tensor:
        return torch.rand((n, 1, 1, 1), generator=generator) < probability

    if settings.crops:
        zoomed = centre_crop(images, size=settings.crop_size)
        images = torch.where(chosen(settings.crop_probability), zoomed, images)
    if settings.warps:
        angle, factor = uniform(math.radians(settings.rotate)), 1 + uniform(settings.scale)
        slope = torch.tan(uniform(math.radians(settings.shear)))
        shift_x, shift_y = uniform(settings.translate * width), uniform(settings.translate * height)
        if settings.whole_pixels:
            shift_x, shift_y = shift_x.round(), shift_y.round()
        matrices, field = inverse_affine(angle, factor, slope, shift_x, shift_y), torch.zeros(n, height, width, 2)
        if settings.elastic:
            smoothness = settings.elastic_smoothness
            field = elastic_field(images.shape, generator, pixels=settings.elastic, smoothness=smoothness)
        if settings.probability < 1:
            warped = chosen(settings.probability)
            matrices, field = torch.where(warped[..., 0], matrices, torch.eye(2, 3)), field * warped
        mirrored = torch.zeros(n, 1, 1, 1, dtype=torch.bool)
        if settings.flip_probability:
            mirrored = chosen(settings.flip_probability)
        across = matrices * torch.tensor([-1.0, 1.0, 1.0])
        grid = affine_grid(torch.where(mirrored[..., 0], across, matrices), images.shape)
        images = warp(images, grid + field, settings.interpolation)
    if settings.erase_probability:
        side = max(1, round(settings.erase_size * min(height, width)))
        top = torch.randint(0, height - side + 1, (n, 1, 1, 1), generator=generator)
        left = torch.randint(0, width - side + 1, (n, 1, 1, 1), generator=generator)
        y, x = torch.arange(height).view(1, 1, -1, 1), torch.arange(width).view(1, 1, 1, -1)
        square = (y >= top) & (y < top + side) & (x >= left) & (x < left + side)
        images = images.masked_fill(square & chosen(settings.erase_probability), 0)
    if settings.brightness:
        images = (images * (1 + uniform(settings.brightness)).view(n, 1, 1, 1)).clamp(0, 255)
    return images


AUGMENTATIONS = st.builds(
    Augmentation,
    rotate=st.sampled_from([0.0, 20.0]),
    translate=st.sampled_from([0.0, 0.2]),
    whole_pixels=st.booleans(),
    shear=st.sampled_from([0.0, 9.0]),
    crop_size=st.sampled_from([None, 4]),
    crop_probability=st.sampled_from([0.0, 0.4]),
    elastic=st.sampled_from([0.0, 0.7]),
    elastic_smoothness=st.just(1.0),
    erase_probability=st.sampled_from([0.0, 0.6]),
    probability=st.sampled_from([0.5, 1.0]),
    interpolation=st.sampled_from(["bilinear", "nearest"]),
    flip_probability=st.sampled_from([0.0, 0.5]),
    brightness=st.sampled_from([0.0, 0.3]),
)


@settings(max_examples=60)
@given(
    augmentation=AUGMENTATIONS,
    n=st.integers(1, 40),
    batch_size=st.integers(1, 17),
    epoch=st.integers(1, 3),
    data=st.data(),
)
def test_draws_gathered_for_an_epoch_are_those_of_its_steps(augmentation, n, batch_size, epoch, data):
    """Order, images and rows equal those of a generator for each step; with the kernel within its rounding."""
    source = batches(n, mean=[0.0], std=[1.0], batch_size=batch_size, augmentation=augmentation)
    step = data.draw(st.integers(0, source.n_steps - 1))

    rows, images = as_drawn_step_by_step(source, epoch, step)
    found = source(epoch, step)

    assert torch.equal(found.rows, rows)
    assert torch.equal(found.labels, source.labels[rows])
    close = torch.isclose(found.images, images, atol=1e-4)
    # A place half-way between two pixels may be rounded to either of them by another order of operations.
    assert close.float().mean() > (0.98 if augmentation.interpolation == "nearest" else 0.9999)


@settings(max_examples=60)
@given(augmentation=AUGMENTATIONS, n=st.integers(1, 70), batch_size=st.integers(1, 33), seed=st.integers(0, 99))
def test_gathered_changes_are_equal_to_the_bit(augmentation, n, batch_size, seed):
    """`draw_epoch`, completed by `draw_rest`, is `draw` of each batch with a generator of its own."""
    counts = [min(batch_size, n - start) for start in range(0, n, batch_size)]
    of_steps = seeds(seed, Stream.AUGMENTATION, count=len(counts))
    shape = torch.Size((n, 1, 9, 7))

    gathered = draw_epoch(shape, augmentation, seeds=of_steps, batch_size=batch_size)

    for step, (count, one) in enumerate(zip(counts, of_steps, strict=True)):
        batch = torch.Size((count, *shape[1:]))
        part = gathered[step * batch_size : (step + 1) * batch_size]
        found = draw_rest(part, batch, augmentation, seed=one)
        expected = draw(batch, torch.Generator().manual_seed(one), augmentation)
        for name in ("is_cropped", "matrices", "field", "corners", "is_erased", "brightness"):
            left, right = getattr(found, name), getattr(expected, name)
            assert (left is None and right is None) or torch.equal(left, right), name


def test_other_batches_of_the_same_images_are_read_alike():
    """`alike` changes how the images are dealt out, and leaves the source as it was."""
    source = batches(augmentation=ROTATED)
    before = source(1, 0)

    other = source.alike(batch_size=4, rows=torch.tensor([3, 1, 2, 0]), shuffle=False)

    assert other(1, 0).rows.tolist() == [3, 1, 2, 0]
    assert other.n_steps == 1
    assert torch.equal(source(1, 0).images, before.images)


@pytest.mark.parametrize("stream", list(Stream))
def test_streams_are_independent_and_stable(stream):
    """Each purpose has its own numbers; a longer list begins with the shorter one."""
    longer = seeds(0, stream, 1, count=5)

    assert longer[:2] == seeds(0, stream, 1, count=2)
    assert all(0 <= number < 2**63 for number in longer)
    others = {number for other in Stream if other != stream for number in seeds(0, other, 1, count=5)}
    assert not others & set(longer)
