"""Augmentation against references that work image by image: numpy, scipy.ndimage, Pillow."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Generator

from flyweight.data.augment import (
    Augmentation,
    affine_grid,
    augment,
    centre_crop,
    draw,
    elastic_field,
    inverse_affine,
    warp,
)

EVERYTHING = Augmentation(
    rotate=20,
    translate=0.2,
    scale=0.2,
    shear=10,
    crop_size=20,
    crop_probability=0.5,
    elastic=1.0,
    erase_probability=0.5,
    probability=0.7,
)


@pytest.fixture
def images() -> torch.Tensor:
    """(12, 2, 24, 28) smooth random pictures with a black edge, so that every direction and size differs."""
    noise = np.random.default_rng(0).normal(size=(12, 2, 24, 28))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 2, 2))
    smooth[..., :2, :] = smooth[..., -2:, :] = smooth[..., :2] = smooth[..., -2:] = 0
    return torch.from_numpy(np.abs(smooth) * 1000).float()


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float32)


def placed(image: np.ndarray, forward: np.ndarray, shift: tuple[float, float], *, order: int) -> np.ndarray:
    """Move every channel by x -> forward x + shift, about the centre, with scipy; forward acts on (x, y)."""
    height, width = image.shape[1:]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    inverse = np.linalg.inv(forward)
    y, x = np.mgrid[:height, :width]
    out = np.stack([x, y], axis=-1) - centre - np.array(shift)
    looked_up = out @ inverse.T + centre
    coordinates = [looked_up[..., 1], looked_up[..., 0]]
    return np.stack([ndimage.map_coordinates(c, coordinates, order=order, mode="grid-constant") for c in image])


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("seed", range(5))
def test_an_affine_warp_is_what_scipy_makes_of_each_image(images, interpolation, seed):
    """Scale, shear, rotate and shift, batched, equal the composed matrix applied image by image."""
    rng = np.random.default_rng(seed)
    n = len(images)
    angle, slope = rng.uniform(-0.6, 0.6, n), rng.uniform(-0.3, 0.3, n)
    factor, shift = rng.uniform(0.8, 1.2, n), rng.uniform(-4, 4, (n, 2))
    matrices = inverse_affine(*(torch.from_numpy(v).float() for v in (angle, factor, slope, shift[:, 0], shift[:, 1])))

    found = warp(images, affine_grid(matrices, images.shape), interpolation).numpy()

    close = 0
    for i in range(n):
        # Counter-clockwise as seen, with y pointing down.
        turn = np.array([[math.cos(angle[i]), math.sin(angle[i])], [-math.sin(angle[i]), math.cos(angle[i])]])
        forward = factor[i] * turn @ np.array([[1, slope[i]], [0, 1]])
        expected = placed(images[i].numpy(), forward, tuple(shift[i]), order=1 if interpolation == "bilinear" else 0)
        same = np.isclose(found[i], expected, atol=2e-3 * float(images.max()))
        # Nearest may round a place that lies half-way to the other side, in another precision.
        close += same.mean() > (0.9999 if interpolation == "bilinear" else 0.99)
    assert close == n


def test_a_quarter_turn_is_counter_clockwise():
    """A rotation of +90 degrees is numpy's rot90."""
    image = torch.arange(25.0).view(1, 1, 5, 5)
    matrices = inverse_affine(one(math.pi / 2), one(1), one(0), one(0), one(0))

    found = warp(image, affine_grid(matrices, image.shape), "nearest")

    assert np.array_equal(found[0, 0].numpy(), np.rot90(image[0, 0].numpy()))


def test_a_shift_moves_right_and_down_and_brings_in_zeros():
    """A shift of (2, 1) puts the top left pixel at column 2, row 1."""
    image = torch.arange(1.0, 26.0).view(1, 1, 5, 5)
    matrices = inverse_affine(one(0), one(1), one(0), one(2), one(1))

    found = warp(image, affine_grid(matrices, image.shape), "bilinear")[0, 0].numpy()

    expected = np.zeros((5, 5))
    expected[1:, 2:] = image[0, 0, :-1, :-2]
    assert np.allclose(found, expected, atol=1e-4)


def test_the_drawn_changes_stay_inside_their_limits():
    """Over 4,000 draws, rotation, scale and shift fill their ranges and never leave them."""
    settings = Augmentation(rotate=10, translate=0.1, scale=0.2)
    matrices = draw(torch.Size((4000, 1, 20, 40)), generator(), settings).matrices.double().numpy()

    linear = np.linalg.inv(matrices[:, :, :2])
    shift = -(linear @ matrices[:, :, 2:])[..., 0]
    angle = np.degrees(np.arctan2(-linear[:, 1, 0], linear[:, 0, 0]))
    factor = np.sqrt(np.linalg.det(linear))

    for values, low, high in (
        (angle, -10, 10),
        (factor, 0.8, 1.2),
        (shift[:, 0], -4, 4),
        (shift[:, 1], -2, 2),
    ):
        reach = high - low
        assert low - 1e-4 <= values.min() < low + 0.02 * reach
        assert high - 0.02 * reach < values.max() <= high + 1e-4


def test_whole_pixel_shifts_keep_every_grey_value(images):
    """With `whole_pixels` a shifted image has only values that the original has (and 0)."""
    found = augment(images, generator(), Augmentation(translate=0.1, whole_pixels=True))

    assert not torch.equal(found, images)
    for before, after in zip(images, found, strict=True):
        gaps = np.abs(after.numpy().ravel()[:, None] - np.append(before.numpy().ravel(), 0)[None]).min(1)
        assert gaps.max() < 0.05


def test_a_centre_crop_is_pillows_crop_and_resize(images):
    """Each chosen image equals Pillow's crop of the middle, resized with its bilinear filter."""
    found = centre_crop(images, size=20).numpy()

    for before, after in zip(images.numpy().reshape(-1, 24, 28), found.reshape(-1, 24, 28), strict=True):
        cropped = Image.fromarray(before).crop((4, 2, 24, 22))
        expected = np.asarray(cropped.resize((28, 24), Image.Resampling.BILINEAR))
        assert np.allclose(after, expected, atol=1e-2)


def test_probabilities_are_shares_of_the_images():
    """A probability of 0.3 changes about 30 % of 3,000 images, and leaves the others bit for bit."""
    images = torch.rand((3000, 1, 8, 8), generator=generator()) + 1
    for settings in (
        Augmentation(rotate=45, probability=0.3),
        Augmentation(crop_size=6, crop_probability=0.3),
        Augmentation(erase_probability=0.3),
    ):
        found = augment(images, generator(1), settings)
        changed = (~torch.isclose(found, images, atol=1e-4).flatten(1).all(1)).float().mean()
        assert 0.26 < changed < 0.34


def test_an_elastic_field_is_smooth_and_as_strong_as_requested():
    """Displacements have the requested r.m.s. in pixels and the correlation of a Gaussian of the asked width."""
    field = elastic_field(torch.Size((400, 1, 28, 28)), generator(), pixels=1.5, smoothness=4)

    assert field.shape == (400, 28, 28, 2)
    assert field.square().mean().sqrt().item() == pytest.approx(1.5, rel=0.05)
    # White noise through a Gaussian of width s has the correlation exp(-d^2 / 4 s^2).
    beside = (field[:, :, 4:] * field[:, :, :-4]).mean() / field.square().mean()
    assert beside.item() == pytest.approx(math.exp(-(4**2) / (4 * 4**2)), abs=0.04)


def test_an_elastic_warp_is_what_scipy_makes_of_each_image(images):
    """The picture is looked up at its places plus the field, as map_coordinates does it."""
    field = elastic_field(images.shape, generator(), pixels=2.0, smoothness=3)
    still = affine_grid(torch.eye(2, 3).expand(len(images), 2, 3), images.shape)

    found = warp(images, still + field, "bilinear").numpy()

    y, x = np.mgrid[:24, :28]
    for image, moved, shift in zip(images.numpy(), found, field.numpy(), strict=True):
        coordinates = [y + shift[..., 1], x + shift[..., 0]]
        for channel, result in zip(image, moved, strict=True):
            expected = ndimage.map_coordinates(channel, coordinates, order=1, mode="grid-constant")
            assert np.allclose(result, expected, atol=2e-3 * float(images.max()))


def test_erasing_sets_one_square_inside_the_frame_to_zero():
    """Every image loses exactly one square of the requested side, over all channels."""
    images = torch.ones((200, 3, 12, 16))

    found = augment(images, generator(), Augmentation(erase_probability=1.0, erase_size=0.25))

    side = 3
    assert torch.equal((found == 0).sum((1, 2, 3)), torch.full((200,), 3 * side * side))
    for image in found[:, 0]:
        rows, columns = torch.nonzero(image == 0, as_tuple=True)
        assert rows.max() - rows.min() == columns.max() - columns.min() == side - 1
    assert len({tuple(torch.nonzero(image[0] == 0)[0].tolist()) for image in found}) > 50


def test_the_same_generator_gives_the_same_images(images):
    """Augmentation depends on the generator alone: neither on the global seed nor on what ran before."""
    torch.manual_seed(1)
    first = augment(images, generator(7), EVERYTHING)
    torch.manual_seed(2)
    second = augment(images, generator(7), EVERYTHING)
    other = augment(images, generator(8), EVERYTHING)

    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_nothing_is_changed_by_default(images):
    """Default settings are idle and return the very images."""
    assert Augmentation().is_idle
    assert augment(images, generator(), Augmentation()) is images
    assert not EVERYTHING.is_idle


def test_a_flip_mirrors_and_nothing_else(images):
    """Every image is itself or mirrored left to right, about as many as the probability has it."""
    found = augment(images, generator(), Augmentation(flip_probability=0.5))

    is_same = (found - images).abs().amax((1, 2, 3)) < 1e-3
    is_mirrored = (found - images.flip(3)).abs().amax((1, 2, 3)) < 1e-3
    assert (is_same ^ is_mirrored).all()
    assert 2 < int(is_mirrored.sum()) < 10


def test_brightness_scales_each_image_and_stays_within_a_byte(images):
    """One factor for each image within the limits; what is beyond 255 is cut off."""
    images = images.clamp(1, 255)

    found = augment(images, generator(), Augmentation(brightness=0.4))

    factors = found[:, 0, 0, 0] / images[:, 0, 0, 0]
    assert float(factors.min()) >= 0.6
    assert float(factors.max()) <= 1.4
    assert len(set(factors.tolist())) == len(images)
    torch.testing.assert_close(found, (images * factors.view(-1, 1, 1, 1)).clamp(0, 255))


def test_a_set_with_a_constant_channel_keeps_it_constant(images):
    """White shapes on red: after every change there is nothing in the red channel but red."""
    red = torch.cat((torch.full_like(images[:, :1], 255), images), dim=1)

    found = augment(red, generator(), dataclasses.replace(EVERYTHING, fill=(255, 0, 0)))

    torch.testing.assert_close(found[:, 0], red[:, 0])
