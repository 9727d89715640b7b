"""A picture made ready for a net: handwriting as MNIST's makers would have made it, anything else in the net's size.

Goes in: a picture. Comes out: a uint8 image of the net's shape, and notes on what was done to it. Nets are not known
here. MNIST itself was made so (LeCun et al. 1998): the digit scaled into a box of 20 x 20 with its aspect kept,
white on black, and set into 28 x 28 with its centre of mass in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flyweight.data.folders import plain_picture
from flyweight.errors import DataError
from flyweight.inference.pictures import Picture

Grey = NDArray[np.float64]  # (H, W), 0 black to 255 white
Mask = NDArray[np.bool_]

# Image sets of handwriting, white on black and centred, of which people make photos with dark ink on paper.
HANDWRITING: Final = ("mnist", "qmnist", "kmnist", "emnist-letters", "emnist-balanced")

WORKING_SIDE: Final = 480  # ink is looked for in a picture of at most this side
BOX_FRACTION: Final = 20 / 28

# Grey levels (of 255) that ink must stand out from its paper by, and by how many deviations of the paper's noise.
MIN_CONTRAST: Final = 24.0
MIN_CONTRAST_SIGMAS: Final = 5.0
# What counts as the same digit: parts with at least this share of the ink of the largest part (the bar of a 5).
MIN_PART: Final = 0.08


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the net is fed: `image` uint8 (C, H, W); `notes` says in words what was done to the picture."""

    image: NDArray[np.uint8]
    notes: tuple[str, ...]


def prepare(picture: Picture, shape: tuple[int, int, int], *, data: str) -> Prepared:
    """The picture for a net with this input, (C, H, W), that was trained on this image set.

    Raises:
        DataError: one without anything that stands out from its background, or of a kind that has no 8 bits.
    """
    return as_mnist(picture, shape) if data in HANDWRITING else as_it_is(picture, shape)


def as_it_is(picture: Picture, shape: tuple[int, int, int]) -> Prepared:
    """The whole picture in the net's size, grey or in colour as the net has it."""
    channels, height, width = shape
    plain = plain_picture(picture.image, picture.name).convert("L" if channels == 1 else "RGB")
    image = np.asarray(plain.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, channels)
    return Prepared(
        image=np.ascontiguousarray(image.transpose(2, 0, 1)), notes=(f"taken as it is, {width} x {height} pixels",)
    )


def as_mnist(picture: Picture, shape: tuple[int, int, int] = (1, 28, 28)) -> Prepared:
    """The digit on a picture as a net with this input, (C, H, W), expects it: light on dark.

    An image that already is what MNIST holds, of the net's size and centred, passes unchanged, or only inverted.

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
        "dark ink on light paper: inverted" if was_inverted else "light ink on a dark ground: kept",
        _place_in_words(top, bottom, left, right, grey.shape),
        f"scaled into a box of {_box_side(shape[1], shape[2])} pixels and centred by mass",
    )
    return Prepared(image=_channels(framed, shape[0]), notes=notes)


def _already_prepared(picture: Image.Image, shape: tuple[int, int, int]) -> Prepared | None:
    """The picture itself if it is what MNIST holds: the net's size, an even border, the mass in the middle."""
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
    note = "inverted, otherwise unchanged" if was_inverted else "unchanged: already as MNIST has them"
    image = pixels.transpose(2, 0, 1) if pixels.shape[2] == channels else _channels(grey, channels)
    return Prepared(image=np.ascontiguousarray(image, dtype=np.uint8), notes=(note,))


def _grey(picture: Image.Image) -> Grey:
    """Luminance 0..255; what is transparent becomes the ground that the drawn pixels stand out from."""
    if picture.mode.startswith(("I", "F")):
        return _stretched(np.asarray(picture, dtype=np.float64))
    if not picture.has_transparency_data:
        return np.asarray(picture.convert("L"), dtype=np.float64)
    both = np.asarray(picture.convert("LA") if picture.mode == "LA" else picture.convert("RGBA"), dtype=np.float64)
    grey, alpha = np.asarray(picture.convert("RGBA").convert("L"), dtype=np.float64), both[..., -1] / 255
    drawn = float((grey * alpha).sum() / alpha.sum()) if alpha.any() else 0.0
    ground = 255.0 if drawn < 128 else 0.0
    return np.asarray(grey * alpha + ground * (1 - alpha))


def _stretched(values: Grey) -> Grey:
    """16-bit and floating-point pictures have no agreed white: their own range becomes 0..255."""
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
    """`grey` at (width, height) of `size`; where it shrinks, each new pixel is the mean of what it covers."""
    return np.asarray(Image.fromarray(grey.astype(np.float32)).resize(size, resampling), dtype=np.float64)


def _ink(grey: Grey) -> tuple[Grey, bool]:
    """How much each pixel stands out from its paper, 0 for the paper itself, and whether the ink is the darker one.

    Ink is the minority to one side, so the third moment of what is left without the paper gives its side.
    """
    paper = _paper(grey)
    rest = grey - paper
    if float((rest**3).sum()) >= 0:
        return rest, False
    # Light falls on ink and paper alike: their ratio is free of a shadow's edge, their difference is not.
    return np.asarray(-rest * (255 / np.maximum(paper, 32.0))), True


def _paper(grey: Grey) -> Grey:
    """The paper's own brightness at each pixel: a cubic surface, refitted until ink no longer pulls it.

    Starts from the rim, where digits seldom are; then every pixel counts by how near it is to the surface (Tukey's
    biweight), so strokes drop out and a lamp's gradient stays.
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
        # A plane first: a cubic fitted to the rim alone swings in the middle.
        used = terms[:, : 3 if round_number < 2 else 6 if round_number < 6 else 10]
        surface = used @ _least_squares(used, values, weights)
        weights = _closeness(values - surface, weights > 0 if round_number < 1 else np.ones(values.shape, dtype=bool))
    fit = _surface_terms(*grey.shape) @ _least_squares(terms, values, weights)
    return np.asarray(np.clip(fit.reshape(grey.shape), 0, 255))


def _closeness(residuals: Grey, among: Mask) -> Grey:
    """Tukey's biweight: 1 on the surface, 0 from about five robust deviations on."""
    reach = 4.7 * max(_deviation(residuals[among]), 1.0)
    return np.asarray(np.clip(1 - (residuals / reach) ** 2, 0, None) ** 2)


def _deviation(values: Grey) -> float:
    """The standard deviation that normal values with the same interquartile range as `values` would have."""
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
    """The ink of the digit alone, 0..255 and 0 everywhere else.

    Raises:
        DataError: nothing stands out from the background.
    """
    smooth = _smoothed(ink)
    noise = _deviation(smooth)
    strong = smooth > _otsu(smooth)
    level = float(np.percentile(smooth[strong], 85)) if strong.any() else 0.0
    if level < max(MIN_CONTRAST, MIN_CONTRAST_SIGMAS * noise):
        raise DataError(
            f"{name}: no digit found, nothing stands out from the background. Give a darker or closer picture."
        )
    faintest = max(3.5 * noise, 0.06 * level)
    kept = _main_parts(smooth > min(faintest, 0.5 * level), smooth, level)
    # Ink is saturated in MNIST: full strokes become 255, their soft edges stay in proportion.
    full = float(np.percentile(smooth[kept & strong], 75))
    return np.asarray(np.clip(np.where(kept, smooth, 0) * (255 / full), 0, 255))


def _smoothed(ink: Grey) -> Grey:
    """Without the grain of paper and sensor; small pictures have no pixels to spare and stay as they are."""
    radius = min(ink.shape) / 250
    if radius < 0.4:
        return ink
    from scipy import ndimage  # type: ignore[import-untyped]

    shifted = np.clip(ink + 128, 0, 510).astype(np.float32).astype(np.float64)
    return np.asarray(ndimage.gaussian_filter(shifted, radius, mode="nearest", truncate=3.0) - 128)


def _otsu(values: Grey) -> float:
    """The threshold that parts `values` best into two groups (Otsu 1979): largest variance between them."""
    counts, edges = np.histogram(values, bins=256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * middles)
    mean_below = sums[:-1] / np.maximum(below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    return float(edges[1 + np.argmax(below * above * (mean_below - mean_above) ** 2)])


def _main_parts(mask: Mask, ink: Grey, level: float) -> Mask:
    """The connected parts of `mask` that belong to the digit: with a full stroke in them, and not a speck."""
    from scipy import ndimage

    labels, n = ndimage.label(mask, structure=np.ones((3, 3)))  # corners touch too
    mass = np.bincount(labels[mask], weights=ink[mask], minlength=n + 1)
    has_stroke = np.zeros(n + 1, dtype=bool)
    has_stroke[labels[mask & (ink > 0.5 * level)]] = True
    is_kept = has_stroke & (mass >= MIN_PART * np.where(has_stroke, mass, 0).max())
    return np.asarray(is_kept[labels])


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    """The tight box: first and one past the last row, then column."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _place_in_words(top: int, bottom: int, left: int, right: int, size: tuple[int, ...]) -> str:
    height, width = size
    across, down = 100 * (right - left) / width, 100 * (bottom - top) / height
    return f"found the digit on {across:.0f} % of the width and {down:.0f} % of the height"


def _framed(digit: Grey, height: int, width: int) -> NDArray[np.uint8]:
    """`digit` scaled into the box and set into a black frame so that its centre of mass is the frame's middle."""
    side = _box_side(height, width)
    scale = side / max(digit.shape)
    size = (max(1, round(digit.shape[1] * scale)), max(1, round(digit.shape[0] * scale)))
    small = _resized(digit, size, Image.Resampling.BOX if scale <= 1 else Image.Resampling.BICUBIC)
    frame = np.zeros((height, width))
    top, left = (
        # MNIST rounds to whole pixels around index side / 2; a lopsided digit stays inside the frame.
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
