"""Random changes of batches of images; nothing here loops over images.

The random draws are a value, `Changes`, of one batch or of all batches of an epoch; `changed` applies them to images
(N, C, H, W) float32. All geometry is one warp (mirroring, rotation, scale, shear, translation and elastic together);
the centre crop comes before it, erasing and brightness after. Every draw is deterministic from its generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from flyweight.kernels.functions import normal_numbers

Interpolation = Literal["bilinear", "nearest"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The augmentation of a training batch; by default there is none.

    rotate: degrees, U(-rotate, rotate). translate: fraction of the side, per axis, in whole pixels when
    `whole_pixels`. scale: factor U(1 - scale, 1 + scale). shear: degrees, along x. elastic: r.m.s. displacement in
    pixels, smoothed with a Gaussian of `elastic_smoothness` pixels (Simard et al. 2003). probability: share
    of the images that are warped. crop_size, crop_probability: centre crop, resized back (bilinear).
    erase_probability, erase_size: one square of that fraction of the side is set to `fill` (Zhong et al. 2017).
    flip_probability: share of the images that are mirrored left to right. brightness: factor U(1 - b, 1 + b), cut
    off at 0 and 255. fill: per channel, what a warp brings in; () is 0.
    """

    rotate: float = 0.0
    translate: float = 0.0
    whole_pixels: bool = False
    scale: float = 0.0
    shear: float = 0.0
    crop_size: int | None = None
    crop_probability: float = 0.0
    elastic: float = 0.0
    elastic_smoothness: float = 4.0
    erase_probability: float = 0.0
    erase_size: float = 0.25
    interpolation: Interpolation = "bilinear"
    probability: float = 1.0
    flip_probability: float = 0.0
    brightness: float = 0.0
    fill: tuple[float, ...] = ()

    @property
    def is_affine(self) -> bool:
        return any((self.rotate, self.translate, self.scale, self.shear))

    @property
    def is_idle(self) -> bool:
        return not (self.warps or self.crops or self.erase_probability or self.brightness)

    @property
    def crops(self) -> bool:
        return self.crop_size is not None and self.crop_probability > 0

    @property
    def warps(self) -> bool:
        return bool(self.is_affine or self.elastic or self.flip_probability)

    @property
    def is_one_warp(self) -> bool:
        """Whether the warp is the only change."""
        return self.warps and not (self.crops or self.erase_probability or self.brightness)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The random draws of N images, a row each; None where the settings have no such change.

    is_cropped, is_erased: (N,) bool. matrices: (N, 2, 3) float32, as of `affine_matrices`. is_warped: (N,) bool, where
    only some images are warped; the matrices of the others only mirror. field: (N, H, W, 2) displacements in pixels.
    corners: (N, 2) float32, top and left of the erased square, whole numbers. brightness: (N,) float32, factors.
    """

    is_cropped: Tensor | None = None
    matrices: Tensor | None = None
    is_warped: Tensor | None = None
    field: Tensor | None = None
    corners: Tensor | None = None
    is_erased: Tensor | None = None
    brightness: Tensor | None = None

    def __getitem__(self, rows: slice) -> Changes:
        return combined([self], lambda values: values[0][rows])


def combined(changes: Sequence[Changes], combine: Callable[[list[Tensor]], Tensor]) -> Changes:
    """One `Changes` of several with the same settings: `combine` gets the tensors of each kind of change."""
    named = {one.name: [getattr(each, one.name) for each in changes] for one in fields(Changes)}
    return Changes(**{name: None if values[0] is None else combine(values) for name, values in named.items()})


def augment(images: Tensor, generator: Generator, settings: Augmentation) -> Tensor:
    """`images` (N, C, H, W) float32, 0 to 255, background `settings.fill`; each image changed at random."""
    return changed(images, draw(images.shape, generator, settings, device=images.device), settings)


def changed(images: Tensor, changes: Changes, settings: Augmentation) -> Tensor:
    """`images` (N, C, H, W) float32, 0 to 255, background `settings.fill`, after the changes drawn for each."""
    if any(settings.fill) and not settings.is_idle:
        fill = background(settings, images)
        return _lit(_moved(images - fill, changes, settings) + fill, changes)
    return _lit(_moved(images, changes, settings), changes)


def background(settings: Augmentation, images: Tensor) -> Tensor:
    """(C, 1, 1) float32: the fill of each channel of the images, on their device."""
    found = torch.zeros((images.shape[1], 1, 1), device=images.device)
    for channel, value in enumerate(settings.fill):
        found[channel].fill_(value)  # assigning would copy from the host, which a captured step must not
    return found


def _lit(images: Tensor, changes: Changes) -> Tensor:
    return images if changes.brightness is None else (images * _by_image(changes.brightness)).clamp(0, 255)


def _moved(images: Tensor, changes: Changes, settings: Augmentation) -> Tensor:
    """The crop, the warp and the erasing, for background 0."""
    if changes.is_cropped is not None and settings.crop_size is not None:
        images = torch.where(_by_image(changes.is_cropped), centre_crop(images, size=settings.crop_size), images)
    if changes.matrices is not None:
        grid = affine_grid(changes.matrices, images.shape)
        images = warp(images, grid if changes.field is None else grid + changes.field, settings.interpolation)
    if changes.corners is not None and changes.is_erased is not None:
        square = squares(changes.corners, images.shape, side=_erased_side(images.shape, settings))
        images = images.masked_fill(square & _by_image(changes.is_erased), 0)
    return images


def draw(
    shape: torch.Size, generator: Generator, settings: Augmentation, *, device: torch.device | str = "cpu"
) -> Changes:
    """The changes of one batch of `shape`, with all numbers drawn on the CPU."""
    first = _before_field(shape, generator, settings).to(device)
    return _with_field(_first_changes(first, shape, settings), shape, generator, settings, device)


def draw_epoch(
    shape: torch.Size,
    settings: Augmentation,
    *,
    seeds: Sequence[int],
    batch_size: int,
    device: torch.device | str = "cpu",
) -> Changes:
    """The changes that `draw` gives for each batch of an epoch, concatenated, without the elastic field.

    shape: of all images of the epoch; the last batch may be smaller. seeds: one for each batch. `draw_rest` adds the
    elastic field to a batch, and on the CPU the draws after it.
    """
    generator, first, last = Generator(), [], []
    for step, seed in enumerate(seeds):
        batch = torch.Size((min(batch_size, shape[0] - step * batch_size), *shape[1:]))
        generator.manual_seed(seed)
        first.append(_before_field(batch, generator, settings))
        if not draws_field_on_cpu(settings, device):
            last.append(_after_field(batch, generator, settings))
    changes = _first_changes(torch.cat(first, dim=1).to(device), shape, settings)
    return _last_changes(changes, torch.cat(last, dim=1).to(device), settings) if last else changes


def draw_rest(changes: Changes, shape: torch.Size, settings: Augmentation, *, seed: int) -> Changes:
    """One batch of `draw_epoch`, completed with the elastic field, if any, and the draws after it."""
    if changes.matrices is None or not settings.elastic:
        return changes
    device = changes.matrices.device
    if not draws_field_on_cpu(settings, device):
        return add_field(changes, shape, settings, torch.full((1,), seed, device=device))
    generator = Generator().manual_seed(seed)
    _before_field(shape, generator, settings)
    return _with_field(changes, shape, generator, settings, device)


def draws_field_on_cpu(settings: Augmentation, device: torch.device | str) -> bool:
    """Whether torch's generator draws the elastic field; a GPU computes it from the seed, since copying it is slow."""
    return settings.elastic > 0 and torch.device(device).type == "cpu"


def add_field(changes: Changes, shape: torch.Size, settings: Augmentation, seeds: Tensor) -> Changes:
    """`changes` with the elastic field of one or more batches; shape: of all their images. seeds: one for each batch.

    No number comes from the host, so it can be part of a captured step.
    """
    wanted = _noise_shape(shape, settings.elastic_smoothness)
    noise = normal_numbers(seeds, count=math.prod(wanted) // len(seeds)).view(wanted)
    field = _smoothed(noise, pixels=settings.elastic, smoothness=settings.elastic_smoothness)
    return replace(changes, field=field if changes.is_warped is None else field * _by_image(changes.is_warped))


def _with_field(
    changes: Changes, shape: torch.Size, generator: Generator, settings: Augmentation, device: torch.device | str
) -> Changes:
    if settings.elastic:
        amount = {"pixels": settings.elastic, "smoothness": settings.elastic_smoothness}
        changes = replace(changes, field=elastic_field(shape, generator, **amount, device=device))
    return _last_changes(changes, _after_field(shape, generator, settings).to(device), settings)


def _before_field(shape: torch.Size, generator: Generator, settings: Augmentation) -> Tensor:
    """(K, N) numbers in U(0, 1): whether an image is cropped, and the five numbers of its affine warp."""
    return torch.rand((settings.crops + 5 * settings.warps, shape[0]), generator=generator)


def _after_field(shape: torch.Size, generator: Generator, settings: Augmentation) -> Tensor:
    """(K, N) numbers, of what the settings have: whether an image is warped at all, whether it is mirrored, where its
    square is erased (top, left), whether, and its brightness."""
    is_rare = settings.warps and settings.probability < 1
    numbers = [torch.rand((is_rare + (settings.flip_probability > 0), shape[0]), generator=generator)]
    if settings.erase_probability:
        side = _erased_side(shape, settings)
        numbers += [torch.randint(0, length - side + 1, (1, shape[0]), generator=generator) for length in shape[2:]]
        numbers.append(torch.rand((1, shape[0]), generator=generator))
    numbers.append(torch.rand((int(settings.brightness > 0), shape[0]), generator=generator))
    return torch.cat(numbers)


def _first_changes(numbers: Tensor, shape: torch.Size, settings: Augmentation) -> Changes:
    is_cropped = numbers[0] < settings.crop_probability if settings.crops else None
    matrices = affine_matrices(numbers[-5:], shape, settings) if settings.warps else None
    return Changes(is_cropped=is_cropped, matrices=matrices)


def _last_changes(changes: Changes, numbers: Tensor, settings: Augmentation) -> Changes:
    rest = iter(numbers)
    if changes.matrices is not None and settings.probability < 1:
        is_warped = next(rest) < settings.probability
        warped = _by_image(is_warped)
        changes = replace(
            changes,
            matrices=torch.where(warped[..., 0], changes.matrices, torch.eye(2, 3, device=numbers.device)),
            is_warped=is_warped,
            field=None if changes.field is None else changes.field * warped,
        )
    if changes.matrices is not None and settings.flip_probability:
        mirrored = (next(rest) < settings.flip_probability).view(-1, 1)
        across, *others = changes.matrices.unbind(2)
        changes = replace(changes, matrices=torch.stack((torch.where(mirrored, -across, across), *others), dim=2))
    if settings.erase_probability:
        corners = torch.stack((next(rest), next(rest)), dim=1)
        changes = replace(changes, corners=corners, is_erased=next(rest) < settings.erase_probability)
    if settings.brightness:
        changes = replace(changes, brightness=1 + (2 * next(rest) - 1) * settings.brightness)
    return changes


def affine_matrices(numbers: Tensor, shape: torch.Size, settings: Augmentation) -> Tensor:
    """(N, 2, 3) float32: for each output pixel, where in the input to look, both in pixels from the centre.

    numbers: (5, N) in U(0, 1), for angle, scale, shear and shifts. The change of the picture is: scale, shear along
    x, rotate, then translate; the matrix is its inverse.
    """
    height, width = shape[2:]
    angle, factor, slope, shift_x, shift_y = 2 * numbers - 1
    shift_x, shift_y = shift_x * (settings.translate * width), shift_y * (settings.translate * height)
    if settings.whole_pixels:
        shift_x, shift_y = shift_x.round(), shift_y.round()
    slope = torch.tan(slope * math.radians(settings.shear))
    return inverse_affine(angle * math.radians(settings.rotate), 1 + factor * settings.scale, slope, shift_x, shift_y)


def inverse_affine(angle: Tensor, factor: Tensor, slope: Tensor, shift_x: Tensor, shift_y: Tensor) -> Tensor:
    """The (N, 2, 3) matrices that undo x -> R(angle) [[1, slope], [0, 1]] factor x + shift.

    angle in radians, positive turns the picture counter-clockwise as it is seen (y points down).
    """
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Inverse of the linear part: (1 / factor) [[1, -slope], [0, 1]] R(-angle), in image axes.
    a, b = (cos - slope * sin) / factor, (-sin - slope * cos) / factor
    c, d = sin / factor, cos / factor
    return torch.stack((a, b, -(a * shift_x + b * shift_y), c, d, -(c * shift_x + d * shift_y)), dim=1).view(-1, 2, 3)


def affine_grid(matrices: Tensor, shape: torch.Size) -> Tensor:
    """(N, H, W, 2) positions to sample, in pixels from the centre of the image."""
    _, _, height, width = shape
    positions = _positions(height, width, matrices.device)
    return torch.matmul(positions, matrices.transpose(1, 2)).view(-1, height, width, 2)


def warp(images: Tensor, grid: Tensor, interpolation: Interpolation) -> Tensor:
    """Sample the images at the positions of the grid; outside the frame they are 0."""
    height, width = images.shape[2:]
    to_unit = torch.full((2,), 2 / width, device=grid.device)
    to_unit[1:].fill_(2 / height)  # assigning would copy from the host, which a captured step must not
    return F.grid_sample(images, grid * to_unit, interpolation, padding_mode="zeros", align_corners=False)


def elastic_field(
    shape: torch.Size, generator: Generator, *, pixels: float, smoothness: float, device: torch.device | str = "cpu"
) -> Tensor:
    """(N, H, W, 2) smooth random displacements with a root mean square of `pixels` per axis."""
    noise = torch.randn(_noise_shape(shape, smoothness), generator=generator).to(device)
    return _smoothed(noise, pixels=pixels, smoothness=smoothness)


def _noise_shape(shape: torch.Size, smoothness: float) -> tuple[int, int, int, int]:
    n, _, height, width = shape
    radius = _radius(smoothness)
    return 2 * n, 1, height + 2 * radius, width + 2 * radius


def _smoothed(noise: Tensor, *, pixels: float, smoothness: float) -> Tensor:
    """The field (N, H, W, 2) of standard normal noise of the shape `_noise_shape`."""
    radius = _radius(smoothness)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=noise.device) / smoothness) ** 2)
    kernel /= kernel.square().sum().sqrt()  # keeps unit variance per separable pass
    smooth = F.conv2d(F.conv2d(noise, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return pixels * smooth.view(-1, 2, *smooth.shape[2:]).permute(0, 2, 3, 1)


def _radius(smoothness: float) -> int:
    return max(1, math.ceil(3 * smoothness))


def centre_crop(images: Tensor, *, size: int) -> Tensor:
    """The central size x size square of each image, resized to the full frame (bilinear)."""
    height, width = images.shape[2:]
    size_h, size_w = min(size, height), min(size, width)
    top, left = (height - size_h) // 2, (width - size_w) // 2
    centre = images[:, :, top : top + size_h, left : left + size_w]
    resized: Tensor = F.interpolate(centre, (height, width), mode="bilinear", align_corners=False)
    return resized


def squares(corners: Tensor, shape: torch.Size, *, side: int) -> Tensor:
    """(N, 1, H, W) bool: which pixels are in the square of each image. corners: (N, 2), top and left."""
    height, width = shape[2:]
    top, left = corners.T.view(2, -1, 1, 1, 1).unbind()
    rows = torch.arange(height, device=corners.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=corners.device).view(1, 1, 1, -1)
    return (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)


def _erased_side(shape: torch.Size, settings: Augmentation) -> int:
    return max(1, round(settings.erase_size * min(shape[2:])))


def _by_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _positions(height: int, width: int, device: torch.device | str) -> Tensor:
    """(H * W, 3) pixel centres as (x, y, 1), x and y from the middle of the frame."""
    y = torch.arange(height, device=device) - (height - 1) / 2
    x = torch.arange(width, device=device) - (width - 1) / 2
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((columns, rows, torch.ones_like(rows)), dim=-1).view(-1, 3)
