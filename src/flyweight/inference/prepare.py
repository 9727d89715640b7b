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
from flyweight.inference.pictures import Picture

Grey = NDArray[np.float64]  # (H, W), 0 black to 255 white
Mask = NDArray[np.bool_]

WORKING_SIDE: Final = 480  # a larger picture is shrunk to this before the search for ink
BOX_FRACTION: Final = 20 / 28

# Minimum contrast between ink and paper, in grey levels (of 255) and in standard deviations of the noise of the paper.
MIN_CONTRAST: Final = 24.0
MIN_CONTRAST_SIGMAS: Final = 5.0
# A part belongs to the digit if it has at least this share of the ink of the largest part (as the bar of a 5).
MIN_PART: Final = 0.08


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The input of the net, `image` (C, H, W) uint8, and notes on what was done to the picture."""

    image: NDArray[np.uint8]
    notes: tuple[str, ...]


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
    grey = _shrink(_grey(image))
    ink, was_inverted = _ink(grey)
    digit = _digit(ink, picture.name)
    top, bottom, left, right = _bounds(digit > 0)
    framed = _framed(digit[top:bottom, left:right], shape[1], shape[2])
    notes = (
        f"read {image.width} x {image.height} pixels",
        "dark ink on light paper: inverted" if was_inverted else "light ink on a dark background",
        _size_note(top, bottom, left, right, grey.shape),
        f"scaled into a box of {_box_side(shape[1], shape[2])} pixels and centred by mass",
    )
    return Prepared(image=_channels(framed, shape[0]), notes=notes)


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


def _shrink(grey: Grey) -> Grey:
    side = max(grey.shape)
    if side <= WORKING_SIDE:
        return grey
    size = (max(1, round(grey.shape[1] * WORKING_SIDE / side)), max(1, round(grey.shape[0] * WORKING_SIDE / side)))
    return _resized(grey, size)


def _resized(grey: Grey, size: tuple[int, int], resampling: Image.Resampling = Image.Resampling.BOX) -> Grey:
    """Resize to `size` (width, height); the default averages the pixels when shrinking."""
    return np.asarray(Image.fromarray(grey.astype(np.float32)).resize(size, resampling), dtype=np.float64)


def _ink(grey: Grey) -> tuple[Grey, bool]:
    """The contrast of each pixel with the paper (0 for paper), and whether the ink is darker than the paper.

    Few pixels are ink, so the sign of the third moment around the paper tells whether ink is lighter or darker.
    """
    paper = _paper(grey)
    rest = grey - paper
    if float((rest**3).sum()) >= 0:
        return rest, False
    # Ink and paper get the same light, so a shadow cancels in their ratio, but not in their difference.
    return np.asarray(-rest * (255 / np.maximum(paper, 32.0))), True


def _paper(grey: Grey) -> Grey:
    """Brightness of the paper at each pixel: a cubic surface, fitted repeatedly until ink has no influence.

    The first fit uses the border, which rarely has ink; then each pixel is weighted by its distance to the surface
    (Tukey's biweight), so ink is ignored and uneven light is included.
    """
    small = _resized(grey, (min(64, grey.shape[1]), min(64, grey.shape[0])))
    terms = _surface_terms(*small.shape)
    values = small.ravel()
    rim = np.ones(small.shape)
    rim[small.shape[0] // 8 : -(small.shape[0] // 8) or None, small.shape[1] // 8 : -(small.shape[1] // 8) or None] = 0
    weights = rim.ravel()
    surface = np.full(values.shape, np.median(values[weights > 0]))
    weights = _closeness(values - surface, weights > 0) * weights
    for round_number in range(12):
        # A plane first: a cubic surface fitted only to the border oscillates in the middle.
        used = terms[:, : 3 if round_number < 2 else 6 if round_number < 6 else 10]
        surface = used @ _least_squares(used, values, weights)
        weights = _closeness(values - surface, weights > 0 if round_number < 1 else np.ones(values.shape, dtype=bool))
    fit = _surface_terms(*grey.shape) @ _least_squares(terms, values, weights)
    return np.asarray(np.clip(fit.reshape(grey.shape), 0, 255))


def _closeness(residuals: Grey, among: Mask) -> Grey:
    """Tukey's biweight: 1 on the surface, 0 beyond about five robust standard deviations."""
    reach = 4.7 * max(_deviation(residuals[among]), 1.0)
    return np.asarray(np.clip(1 - (residuals / reach) ** 2, 0, None) ** 2)


def _deviation(values: Grey) -> float:
    """A robust standard deviation: the scaled median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _surface_terms(height: int, width: int) -> Grey:
    """The ten monomials up to degree 3 at each pixel's centre, coordinates -1..1: (height * width, 10)."""
    y, x = np.meshgrid(_coordinates(height), _coordinates(width), indexing="ij")
    terms = [np.ones_like(x), x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3]
    return np.stack([term.ravel() for term in terms], axis=1)


def _coordinates(n: int) -> Grey:
    return np.asarray((np.arange(n) + 0.5) * (2 / n) - 1)


def _least_squares(terms: Grey, values: Grey, weights: Grey) -> Grey:
    weighted = terms * weights[:, None]
    # A trace of ridge: weights may leave fewer pixels than terms.
    normal = weighted.T @ terms + 1e-6 * np.eye(terms.shape[1])
    return np.asarray(np.linalg.solve(normal, weighted.T @ values))


def _digit(ink: Grey, name: str) -> Grey:
    """The ink of the digit, 0 to 255, and 0 everywhere else.

    Raises:
        DataError: nothing stands out from the background.
    """
    smooth = _smoothed(ink)
    noise = _deviation(smooth)
    strong = smooth > _otsu(smooth)
    level = float(np.percentile(smooth[strong], 85)) if strong.any() else 0.0
    if level < max(MIN_CONTRAST, MIN_CONTRAST_SIGMAS * noise):
        raise DataError(
            f"{name}: no digit found, since nothing stands out from the background. Give a darker or closer picture."
        )
    faintest = max(3.5 * noise, 0.06 * level)
    kept = _main_parts(smooth > min(faintest, 0.5 * level), smooth, level)
    # Ink is saturated in MNIST: strokes become 255, their soft edges are scaled in proportion.
    full = float(np.percentile(smooth[kept & strong], 75))
    return np.asarray(np.clip(np.where(kept, smooth, 0) * (255 / full), 0, 255))


def _smoothed(ink: Grey) -> Grey:
    """Smooth the noise of paper and sensor; small pictures stay unchanged."""
    radius = min(ink.shape) / 250
    if radius < 0.4:
        return ink
    from scipy import ndimage  # type: ignore[import-untyped]

    shifted = np.clip(ink + 128, 0, 510).astype(np.float32).astype(np.float64)
    return np.asarray(ndimage.gaussian_filter(shifted, radius, mode="nearest", truncate=3.0) - 128)


def _otsu(values: Grey) -> float:
    """The threshold between two groups of values with the largest variance between the groups (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * middles)
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1 + np.argmax(below * above * (mean_below - mean_above) ** 2)])


def _main_parts(mask: Mask, ink: Grey, level: float) -> Mask:
    """The connected parts of `mask` that belong to the digit: with a strong stroke, and not too small."""
    from scipy import ndimage

    labels, n = ndimage.label(mask, structure=np.ones((3, 3)))  # corners touch too
    mass = np.bincount(labels[mask], weights=ink[mask], minlength=n + 1)
    has_stroke = np.zeros(n + 1, dtype=bool)
    has_stroke[labels[mask & (ink > 0.5 * level)]] = True
    is_kept = has_stroke & (mass >= MIN_PART * np.where(has_stroke, mass, 0).max())
    return np.asarray(is_kept[labels])


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    """The bounding box: top, bottom, left, right; bottom and right are exclusive."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _size_note(top: int, bottom: int, left: int, right: int, size: tuple[int, ...]) -> str:
    height, width = size
    across, down = 100 * (right - left) / width, 100 * (bottom - top) / height
    return f"found the digit on {across:.0f} % of the width and {down:.0f} % of the height"


def _framed(digit: Grey, height: int, width: int) -> NDArray[np.uint8]:
    """The digit scaled into the box, in a black frame with its centre of mass in the middle."""
    side = _box_side(height, width)
    scale = side / max(digit.shape)
    size = (max(1, round(digit.shape[1] * scale)), max(1, round(digit.shape[0] * scale)))
    small = _resized(digit, size, Image.Resampling.BOX if scale <= 1 else Image.Resampling.BICUBIC)
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
