"""Random changes of whole batches of images; nothing here loops over images.

Goes in: images (N, C, H, W) float32 and a generator. Comes out: the same shape. All geometry is one warp
(rotation, scale, shear, translation and elastic together); the centre crop comes before it, erasing after.
Every function is deterministic from its generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Interpolation = Literal["bilinear", "nearest"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to a training batch, all zero (nothing) by default.

    rotate: degrees, U(-rotate, rotate). translate: fraction of the side, per axis, in whole pixels when
    `whole_pixels`. scale: factor U(1 - scale, 1 + scale). shear: degrees, along x. elastic: r.m.s. displacement in
    pixels, smoothed with a Gaussian of `elastic_smoothness` pixels (Simard et al. 2003). probability: share
    of the images that are warped. crop_size, crop_probability: centre crop, resized back (bilinear).
    erase_probability, erase_size: one square of that fraction of the side is set to 0 (Zhong et al. 2017).
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

    @property
    def is_affine(self) -> bool:
        return any((self.rotate, self.translate, self.scale, self.shear))

    @property
    def is_idle(self) -> bool:
        return not (self.is_affine or self.elastic or self.crops or self.erase_probability)

    @property
    def crops(self) -> bool:
        return self.crop_size is not None and self.crop_probability > 0

    @property
    def is_one_warp(self) -> bool:
        """Pixels are looked up at other places, and nothing else is done."""
        return bool(self.is_affine or self.elastic) and not (self.crops or self.erase_probability)


def augment(images: Tensor, generator: Generator, settings: Augmentation) -> Tensor:
    """`images` (N, C, H, W) float32, any range, background 0; the same shape, each image changed at random."""
    if settings.crop_size is not None and settings.crop_probability > 0:
        images = centre_crop(images, generator, size=settings.crop_size, probability=settings.crop_probability)
    if settings.is_affine or settings.elastic:
        matrices, field = draw_warp(images.shape, generator, settings, device=images.device)
        grid = affine_grid(matrices, images.shape)
        images = warp(images, grid if field is None else grid + field, settings.interpolation)
    if settings.erase_probability > 0:
        images = erase(images, generator, probability=settings.erase_probability, size=settings.erase_size)
    return images


def draw_warp(
    shape: torch.Size, generator: Generator, settings: Augmentation, *, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor | None]:
    """The warp of a batch: (N, 2, 3) matrices as of `affine_matrices`, and (N, H, W, 2) displacements if elastic."""
    matrices = affine_matrices(shape, generator, settings, device=device)
    field = None
    if settings.elastic:
        amount = {"pixels": settings.elastic, "smoothness": settings.elastic_smoothness}
        field = elastic_field(shape, generator, **amount, device=device)
    if settings.probability < 1:
        chosen = _chosen(shape[0], generator, settings.probability, device)
        matrices = torch.where(chosen[..., 0], matrices, _identity(shape[0], device))
        field = None if field is None else field * chosen
    return matrices, field


def affine_matrices(
    shape: torch.Size, generator: Generator, settings: Augmentation, *, device: torch.device | str = "cpu"
) -> Tensor:
    """(N, 2, 3) float32: for each output pixel, where in the input to look, both in pixels from the centre.

    The change of the picture is: scale, shear along x, rotate, then translate; the matrix is its inverse.
    """
    n, _, height, width = shape
    angle = _uniform(n, generator, math.radians(settings.rotate), device)
    factor = 1 + _uniform(n, generator, settings.scale, device)
    slope = torch.tan(_uniform(n, generator, math.radians(settings.shear), device))
    shift_x = _uniform(n, generator, settings.translate * width, device)
    shift_y = _uniform(n, generator, settings.translate * height, device)
    if settings.whole_pixels:
        shift_x, shift_y = shift_x.round(), shift_y.round()
    return inverse_affine(angle, factor, slope, shift_x, shift_y)


def inverse_affine(angle: Tensor, factor: Tensor, slope: Tensor, shift_x: Tensor, shift_y: Tensor) -> Tensor:
    """The (N, 2, 3) matrices that undo x -> R(angle) [[1, slope], [0, 1]] factor x + shift.

    angle in radians, positive turns the picture counter-clockwise as it is seen (y points down).
    """
    cos, sin = torch.cos(angle), torch.sin(angle)
    # Inverse of the linear part: (1 / factor) [[1, -slope], [0, 1]] R(-angle), in image axes.
    a, b = (cos - slope * sin) / factor, (-sin - slope * cos) / factor
    c, d = sin / factor, cos / factor
    return torch.stack(
        (a, b, -(a * shift_x + b * shift_y), c, d, -(c * shift_x + d * shift_y)),
        dim=1,
    ).view(-1, 2, 3)


def affine_grid(matrices: Tensor, shape: torch.Size) -> Tensor:
    """(N, H, W, 2) places to look at, in pixels from the centre of the image."""
    _, _, height, width = shape
    places = _places(height, width, matrices.device)
    return torch.matmul(places, matrices.transpose(1, 2)).view(-1, height, width, 2)


def warp(images: Tensor, grid: Tensor, interpolation: Interpolation) -> Tensor:
    """Look the grid's places up; what lies outside the frame is 0."""
    height, width = images.shape[2:]
    to_unit = torch.tensor((2 / width, 2 / height), device=grid.device)
    return F.grid_sample(images, grid * to_unit, interpolation, padding_mode="zeros", align_corners=False)


def elastic_field(
    shape: torch.Size,
    generator: Generator,
    *,
    pixels: float,
    smoothness: float,
    device: torch.device | str = "cpu",
) -> Tensor:
    """(N, H, W, 2) smooth random displacements with a root mean square of `pixels` per axis."""
    n, _, height, width = shape
    radius = max(1, math.ceil(3 * smoothness))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=device) / smoothness) ** 2)
    kernel /= kernel.square().sum().sqrt()  # keeps unit variance per separable pass
    noise = torch.randn((2 * n, 1, height + 2 * radius, width + 2 * radius), generator=generator).to(device)
    smooth = F.conv2d(F.conv2d(noise, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return pixels * smooth.view(n, 2, height, width).permute(0, 2, 3, 1)


def centre_crop(images: Tensor, generator: Generator, *, size: int, probability: float) -> Tensor:
    """With `probability` per image, its central size x size square resized to the full frame (bilinear)."""
    height, width = images.shape[2:]
    size_h, size_w = min(size, height), min(size, width)
    top, left = (height - size_h) // 2, (width - size_w) // 2
    centre = images[:, :, top : top + size_h, left : left + size_w]
    zoomed = F.interpolate(centre, (height, width), mode="bilinear", align_corners=False)
    return torch.where(_chosen(len(images), generator, probability, images.device), zoomed, images)


def erase(images: Tensor, generator: Generator, *, probability: float, size: float) -> Tensor:
    """With `probability` per image, one square of `size` times the shorter side set to 0, fully inside the frame."""
    n, _, height, width = images.shape
    side = max(1, round(size * min(height, width)))
    top = torch.randint(0, height - side + 1, (n, 1, 1, 1), generator=generator).to(images.device)
    left = torch.randint(0, width - side + 1, (n, 1, 1, 1), generator=generator).to(images.device)
    rows = torch.arange(height, device=images.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, 1, -1)
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return images.masked_fill(inside & _chosen(n, generator, probability, images.device), 0)


def _uniform(n: int, generator: Generator, reach: float, device: torch.device | str) -> Tensor:
    """U(-reach, reach), drawn on the CPU so that the numbers do not depend on the device."""
    return ((2 * torch.rand(n, generator=generator) - 1) * reach).to(device)


def _chosen(n: int, generator: Generator, probability: float, device: torch.device | str) -> Tensor:
    return (torch.rand((n, 1, 1, 1), generator=generator) < probability).to(device)


def _identity(n: int, device: torch.device | str) -> Tensor:
    return torch.eye(2, 3, device=device).expand(n, 2, 3)


def _places(height: int, width: int, device: torch.device | str) -> Tensor:
    """(H * W, 3) pixel centres as (x, y, 1), x and y from the middle of the frame."""
    y = torch.arange(height, device=device) - (height - 1) / 2
    x = torch.arange(width, device=device) - (width - 1) / 2
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((columns, rows, torch.ones_like(rows)), dim=-1).view(-1, 3)
