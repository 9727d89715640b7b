"""Select a batch of uint8 images, warp and normalise it in one pass.

Equal within rounding to `augment.warp` of the selected images and normalisation.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from flyweight.kernels.library import library


def can_warp(images: Tensor) -> bool:
    """True for contiguous uint8 images on the CPU, if the kernels are available."""
    return (
        images.device.type == "cpu"
        and images.dtype == torch.uint8
        and images.is_contiguous()
        and images[0].numel() > 0
        and library() is not None
    )


def warped(
    images: Tensor,
    rows: Tensor,
    matrices: Tensor,
    field: Tensor | None,
    *,
    fill: Tensor,
    scale: Tensor,
    offset: Tensor,
    interpolation: Literal["bilinear", "nearest"],
) -> Tensor:
    """The warped images at `rows`: (len(rows), C, H, W) float32, times scale plus offset.

    images: (N, C, H, W) uint8. matrices: (len(rows), 2, 3), from a position in the result to one in the image, in
    pixels from the centre; field: (len(rows), H, W, 2), added to it. fill, scale, offset: one float32 per
    channel; outside the image is `fill`.
    """
    found = library()
    assert found is not None, "the kernels were not built"
    rows, matrices = rows.contiguous(), matrices.contiguous()
    if int(rows.amin()) < 0 or int(rows.amax()) >= len(images):
        raise IndexError(f"rows must be 0 to {len(images) - 1}, found {int(rows.amin())} to {int(rows.amax())}")
    out = torch.empty((len(rows), *images.shape[1:]))
    field = None if field is None else field.contiguous()
    found.warp(
        *(images.data_ptr(), rows.data_ptr(), matrices.data_ptr(), None if field is None else field.data_ptr()),
        *(out.data_ptr(), *out.shape, fill.data_ptr(), scale.data_ptr(), offset.data_ptr()),
        *(interpolation == "nearest", torch.get_num_threads()),
    )
    return out
