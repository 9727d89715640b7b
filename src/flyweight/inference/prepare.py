"""Prepare a picture for a net: handwriting like the images of MNIST, other pictures only resized.

A picture goes in; a uint8 image of the shape of the net and notes on the changes come out. MNIST was made like this
(LeCun et al. 1998): the digit is scaled into a box of 20 x 20 with its aspect ratio, white on black, and placed into
28 x 28 with its centre of mass in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flyweight.data.catalogue import CATALOGUE
from flyweight.data.pictures import BLACK, Fit, drawn, fitted, plain_picture
from flyweight.errors import DataError
from flyweight.inference.drawing import Grey, drawing_on, resized
from flyweight.inference.pictures import Picture

BOX_FRACTION: Final = 20 / 28
MIN_STROKE: Final = 2.0  # width of a stroke in the box, in pixels; the median of MNIST is 2.3


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The input of the net, `image` (C, H, W) uint8.

    notes: what was done to the picture. warnings: why the prediction may be wrong.
    """

    image: NDArray[np.uint8]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def prepare(
    picture: Picture, shape: tuple[int, int, int], *, data: str, ground: int = BLACK, fit: Fit = "stretch"
) -> Prepared:
    """Prepare a picture for a net with this input shape, (C, H, W), trained on the image set `data`.

    ground, fit: how the pictures of that set were read, for nets that are not of handwriting.

    Raises:
        DataError: nothing in it stands out from the background, or its pixels do not have 8 bits.
    """
    named = CATALOGUE.get(data)
    return as_mnist(picture, shape) if named and named.is_handwriting else resize_only(picture, shape, ground, fit)


def resize_only(picture: Picture, shape: tuple[int, int, int], ground: int = BLACK, fit: Fit = "stretch") -> Prepared:
    """The picture resized to the input of the net, in grey or colour."""
    channels, height, width = shape
    plain = plain_picture(picture.image, picture.name, ground=ground).convert("L" if channels == 1 else "RGB")
    image = np.asarray(fitted(plain, (width, height), fit)).reshape(height, width, channels)
    how = {"stretch": "", "pad": ", with bars", "crop": ", cut"}[fit]
    return Prepared(
        image=np.ascontiguousarray(image.transpose(2, 0, 1)),
        notes=(f"only resized, to {width} x {height} pixels{how}",),
    )


def as_mnist(picture: Picture, shape: tuple[int, int, int] = (1, 28, 28)) -> Prepared:
    """The digit on a picture, prepared like MNIST for an input of this shape, (C, H, W): light on dark.

    An image that is already like MNIST, of the size of the net and centred, stays unchanged or is only inverted.

    Raises:
        DataError: nothing stands out from the background.
    """
    image = picture.image
    if min(image.size) < 5:
        raise DataError(
            f"{picture.name} has {image.width} x {image.height} pixels; a digit needs at least 5 x 5. Give a larger "
            "image."
        )
    ready = _already_prepared(image, shape)
    if ready is not None:
        return ready
    drawing = drawing_on(_grey(image), picture.name)
    framed = _framed(_thickened(drawing.ink, _box_side(shape[1], shape[2])), shape[1], shape[2])
    where = " of the sheet" if drawing.is_on_sheet else ""
    notes = (
        f"read {image.width} x {image.height} pixels",
        *(("found a sheet in it",) if drawing.is_on_sheet else ()),
        "dark ink on light paper: inverted" if drawing.was_inverted else "light ink on a dark background",
        f"found the digit on {drawing.width:.0%} of the width and {drawing.height:.0%} of the height{where}".replace(
            "%", " %"
        ),
        f"scaled into a box of {_box_side(shape[1], shape[2])} pixels and centred by mass",
    )
    return Prepared(image=_channels(framed, shape[0]), notes=notes, warnings=drawing.warnings)


def _already_prepared(picture: Image.Image, shape: tuple[int, int, int]) -> Prepared | None:
    """The picture itself if it is like MNIST: the size of the net, an even border, centred by mass."""
    channels, height, width = shape
    if (picture.height, picture.width) != (height, width) or picture.mode not in ("L", "RGB"):
        return None
    pixels = np.asarray(picture).reshape(height, width, -1)
    grey = np.asarray(picture.convert("L"))
    ground = float(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))
    if 4 < ground < 251:
        return None
    was_inverted = ground >= 251
    if was_inverted:
        pixels, grey = 255 - pixels, 255 - grey
    # MNIST's own centres lie within half a pixel of the middle, in all 70,000 images.
    is_centred = all(abs(at - side / 2) < 0.75 for at, side in zip(_centre(grey), (height, width), strict=True))
    if grey.max() < 128 or not is_centred:
        return None
    note = "inverted, otherwise unchanged" if was_inverted else "unchanged: already like MNIST"
    image = pixels.transpose(2, 0, 1) if pixels.shape[2] == channels else _channels(grey, channels)
    return Prepared(image=np.ascontiguousarray(image, dtype=np.uint8), notes=(note,))


def _grey(picture: Image.Image) -> Grey:
    """Luminance 0 to 255; transparent pixels become a background with contrast to the drawn ones."""
    if picture.mode.startswith(("I", "F")):
        return _stretched(np.asarray(picture, dtype=np.float64))
    if not picture.has_transparency_data:
        return np.asarray(picture.convert("L"), dtype=np.float64)
    grey, alpha = drawn(picture)
    ground = 255.0 if not alpha.any() or (grey * alpha).sum() < 128 * alpha.sum() else 0.0
    return np.asarray(grey * alpha + ground * (1 - alpha))


def _stretched(values: Grey) -> Grey:
    """16-bit and float pictures have no standard white: their range is scaled to 0 to 255."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    return np.asarray((values - low) * (255 / (high - low)) if high > low else np.zeros_like(values))


def _thickened(digit: Grey, box_side: int) -> Grey:
    """The ink with strokes of at least MIN_STROKE once it is scaled into the box; thin strokes would become faint."""
    from scipy import ndimage  # type: ignore[import-untyped]

    padded = np.pad(digit, 1)
    # In a stroke the distance to its edge is a quarter of its width on average; the pixel itself counts as a half.
    inside = ndimage.distance_transform_edt(padded > 127)
    width = 4 * float(inside[inside > 0].mean() - 0.5) if inside.any() else 0.0
    missing = MIN_STROKE * max(digit.shape) / box_side - width
    if missing < 0.5:
        return digit
    reach = int(np.ceil(missing / 2))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(ndimage.grey_dilation(np.pad(digit, reach), footprint=y * y + x * x <= (missing / 2 + 0.25) ** 2))


def _framed(digit: Grey, height: int, width: int) -> NDArray[np.uint8]:
    """The digit scaled into the box, in a black frame with its centre of mass in the middle."""
    side = _box_side(height, width)
    scale = side / max(digit.shape)
    size = (max(1, round(digit.shape[1] * scale)), max(1, round(digit.shape[0] * scale)))
    small = resized(digit, size, Image.Resampling.BOX if scale <= 1 else Image.Resampling.BICUBIC)
    frame = np.zeros((height, width))
    top, left = (
        # MNIST rounds to whole pixels around index side / 2; an asymmetric digit stays inside the frame.
        int(np.clip(np.floor(full / 2 + 0.5 - at), 0, full - part))
        for at, full, part in zip(_centre(small), (height, width), small.shape, strict=True)
    )
    frame[top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)


def _box_side(height: int, width: int) -> int:
    return max(1, round(BOX_FRACTION * min(height, width)))


def _centre(image: NDArray[np.uint8] | Grey) -> tuple[float, float]:
    """Row and column of the centre of mass, as pixel indices; the middle of an image without mass."""
    values = np.clip(image.astype(np.float64), 0, None)
    mass = values.sum()
    if not mass:
        return values.shape[0] / 2, values.shape[1] / 2
    rows, columns = np.arange(values.shape[0]), np.arange(values.shape[1])
    return float(values.sum(1) @ rows / mass), float(values.sum(0) @ columns / mass)


def _channels(image: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.broadcast_to(image, (channels, *image.shape)))
