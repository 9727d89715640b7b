"""Finds what is drawn on a picture: one digit or letter, on paper or on a board.

Goes in: a grey picture of any size, with uneven light, noise, specks, a table around the sheet. Comes out: the ink of
the digit, cut out, with warnings of what makes a prediction doubtful. It knows nothing about nets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flyweight.errors import DataError
from flyweight.inference.sheet import sheet_of
from flyweight.inference.threshold import deviation, otsu

Grey: TypeAlias = NDArray[np.float64]  # (H, W), 0 black to 255 white
Mask: TypeAlias = NDArray[np.bool_]

WORKING_SIDE: Final = 480  # a larger picture is shrunk to this before the search for ink
FINE_SIDE: Final = 1600  # and to this if nothing was found, so that thin strokes stay
# A digit that is smaller than this in the shrunk picture is cut out of the picture itself, with this margin.
SMALL_DIGIT: Final = 160
MARGIN: Final = 0.6

# Minimum contrast between ink and paper, in grey levels (of 255) and in standard deviations of the noise of the paper.
MIN_CONTRAST: Final = 24.0
MIN_CONTRAST_SIGMAS: Final = 5.0
# A part belongs to what is drawn if it has at least this share of the ink of the largest part (as the bar of a 5).
MIN_PART: Final = 0.08
# It is a thing of its own if it is this large in comparison, and this far away, in heights of the largest part.
MIN_THING: Final = 0.5
MIN_GAP: Final = 0.12


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """ink: (h, w) 0 to 255, 0 where nothing is drawn, cut at the drawing's bounding box.

    width, height: shares of the picture that it takes. warnings: why a prediction may be wrong.
    """

    ink: Grey
    was_inverted: bool
    is_on_sheet: bool
    width: float
    height: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Box:
    """Bounds in pixels; bottom and right are exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def side(self) -> int:
        return max(self.height, self.width)

    def of(self, grey: Grey) -> Grey:
        return grey[self.top : self.bottom, self.left : self.right]

    def scaled(self, factor: float) -> _Box:
        return _Box(
            top=int(self.top * factor),
            bottom=int(np.ceil(self.bottom * factor)),
            left=int(self.left * factor),
            right=int(np.ceil(self.right * factor)),
        )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The ink of a digit, in a shrunk view; `scale`: pixels of the view for one of its own."""

    ink: Grey
    box: _Box
    was_inverted: bool
    touches_edge: bool
    n_things: int
    scale: float


def drawing_on(grey: Grey, name: str) -> Drawing:
    """What is drawn on a grey picture. name: of the picture, for errors.

    Raises:
        DataError: nothing stands out from the background.
    """
    small = _shrink(grey, WORKING_SIDE)
    sheet = sheet_of(small)
    if sheet is not None:
        around = _bounds(sheet).scaled(max(grey.shape) / max(small.shape))
        large = around.of(resized(sheet.astype(np.float64), (grey.shape[1], grey.shape[0]))) > 0.99
        try:
            return replace(_drawing(around.of(grey), np.asarray(large), name), is_on_sheet=True)
        except DataError:
            pass  # an empty sheet; the drawing may be beside it, or be what was taken for a sheet
    return _drawing(grey, None, name)


def _drawing(view: Grey, sheet: Mask | None, name: str) -> Drawing:
    try:
        found = _found(view, sheet, name, side=WORKING_SIDE)
    except DataError:
        if max(view.shape) <= WORKING_SIDE:
            raise
        found = _found(view, sheet, name, side=FINE_SIDE)
    fine = _closer(view, sheet, found, name)
    touches = ("touches the edge",) if found.touches_edge else ()
    n_things = max(found.n_things, fine.n_things)
    things = (f"{n_things} things drawn",) if n_things > 1 else ()
    return Drawing(
        ink=fine.box.of(fine.ink),
        was_inverted=fine.was_inverted,
        is_on_sheet=False,
        width=found.box.width * found.scale / view.shape[1],
        height=found.box.height * found.scale / view.shape[0],
        warnings=(*touches, *things),
    )


def _closer(view: Grey, sheet: Mask | None, found: _Found, name: str) -> _Found:
    """The same digit, found again around its place in the picture itself if shrinking left few pixels of it."""
    if found.scale == 1 or found.box.side >= SMALL_DIGIT:
        return found
    box = found.box.scaled(found.scale)
    margin = round(MARGIN * box.side) + 8
    around = _Box(
        top=max(0, box.top - margin),
        bottom=min(view.shape[0], box.bottom + margin),
        left=max(0, box.left - margin),
        right=min(view.shape[1], box.right + margin),
    )
    try:
        closer_sheet = None if sheet is None else around.of(sheet.astype(np.float64)) > 0.5
        return _found(around.of(view), closer_sheet, name, side=WORKING_SIDE)
    except DataError:
        return found


def _found(view: Grey, sheet: Mask | None, name: str, *, side: int) -> _Found:
    """The digit on a view that is shrunk to this side.

    Raises:
        DataError: nothing stands out from the background.
    """
    grey = _shrink(view, side)
    on = None if sheet is None else resized(sheet.astype(np.float64), (grey.shape[1], grey.shape[0])) > 0.99
    ink, was_inverted = _ink(grey, on)
    parts, smooth, full = _parts(ink, on, name, max_blur=None if side == WORKING_SIDE else 0.8)
    kept = parts > 0
    return _Found(
        ink=np.asarray(np.clip(np.where(kept, smooth, 0) * (255 / full), 0, 255)),
        box=_bounds(kept),
        was_inverted=was_inverted,
        touches_edge=_touches_edge(kept, on),
        n_things=_n_things(parts),
        scale=max(view.shape) / max(grey.shape),
    )


def _touches_edge(kept: Mask, on: Mask | None) -> bool:
    """Whether the drawing reaches the edge of the picture or of its sheet."""
    from scipy import ndimage  # type: ignore[import-untyped]

    inner = ndimage.binary_erosion(np.ones_like(kept) if on is None else on)
    return bool((kept & ~inner).any())


def _n_things(parts: NDArray[np.int32]) -> int:
    """How many things the connected parts, numbered from 1, make: large ones that are apart from each other."""
    from scipy import ndimage

    numbers = np.unique(parts[parts > 0])
    boxes = {number: _bounds(parts == number) for number in numbers}
    large = max(box.side for box in boxes.values())
    seeds = [number for number in numbers if boxes[number].side >= MIN_THING * large]
    things: list[Mask] = []
    for number in seeds:
        part = parts == number
        reach = ndimage.distance_transform_edt(~part) <= MIN_GAP * large
        near = [thing for thing in things if (thing & reach).any()]
        things = [thing for thing in things if not (thing & reach).any()]
        things.append(np.logical_or.reduce([part, *near]))
    return len(things)


def _shrink(grey: Grey, longest: int) -> Grey:
    side = max(grey.shape)
    if side <= longest:
        return grey
    size = (max(1, round(grey.shape[1] * longest / side)), max(1, round(grey.shape[0] * longest / side)))
    return resized(grey, size)


def resized(grey: Grey, size: tuple[int, int], resampling: Image.Resampling = Image.Resampling.BOX) -> Grey:
    """Resize to `size` (width, height); the default averages the pixels when shrinking."""
    return np.asarray(Image.fromarray(grey.astype(np.float32)).resize(size, resampling), dtype=np.float64)


def _ink(grey: Grey, on: Mask | None) -> tuple[Grey, bool]:
    """The contrast of each pixel with the paper (0 for paper), and whether the ink is darker than the paper.

    on: the pixels of the sheet. Few of them are ink, so the sign of the third moment around the paper tells whether ink
    is lighter or darker.
    """
    paper = _paper(grey, on)
    rest = grey - paper if on is None else np.where(on, grey - paper, 0)
    if float((rest**3).sum()) >= 0:
        return rest, False
    # Ink and paper get the same light, so a shadow cancels in their ratio, but not in their difference.
    return np.asarray(-rest * (255 / np.maximum(paper, 32.0))), True


def _paper(grey: Grey, on: Mask | None) -> Grey:
    """Brightness of the paper at each pixel: a cubic surface, fitted repeatedly until ink has no influence.

    The first fit uses the border, which rarely has ink; then each pixel is weighted by its distance to the surface
    (Tukey's biweight), so ink is ignored and uneven light is included. Pixels beside the sheet have no weight.
    """
    size = (min(64, grey.shape[1]), min(64, grey.shape[0]))
    small = resized(grey, size)
    terms = _surface_terms(*small.shape)
    values = small.ravel()
    sheet = np.ones(small.shape) if on is None else (resized(on.astype(np.float64), size) > 0.99).astype(np.float64)
    if not sheet.any():
        sheet[:] = 1
    rim = sheet.copy()
    rim[small.shape[0] // 8 : -(small.shape[0] // 8) or None, small.shape[1] // 8 : -(small.shape[1] // 8) or None] = 0
    weights = (rim if rim.any() else sheet).ravel()
    surface = np.full(values.shape, np.median(values[weights > 0]))
    weights = _closeness(values - surface, weights > 0) * weights
    everywhere = sheet.ravel()
    for round_number in range(12):
        # A plane first: a cubic surface fitted only to the border oscillates in the middle.
        used = terms[:, : 3 if round_number < 2 else 6 if round_number < 6 else 10]
        surface = used @ _least_squares(used, values, weights)
        weights = _closeness(values - surface, (weights if round_number < 1 else everywhere) > 0) * everywhere
    fit = _surface_terms(*grey.shape) @ _least_squares(terms, values, weights)
    return np.asarray(np.clip(fit.reshape(grey.shape), 0, 255))


def _closeness(residuals: Grey, among: Mask) -> Grey:
    """Tukey's biweight: 1 on the surface, 0 beyond about five robust standard deviations."""
    reach = 4.7 * max(deviation(residuals[among]), 1.0)
    return np.asarray(np.clip(1 - (residuals / reach) ** 2, 0, None) ** 2)


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


def _parts(ink: Grey, on: Mask | None, name: str, *, max_blur: float | None) -> tuple[NDArray[np.int32], Grey, float]:
    """The connected parts of the drawing, numbered from 1; the ink, smoothed; and the ink of a full stroke.

    Raises:
        DataError: nothing stands out from the background.
    """
    smooth = _smoothed(ink, max_blur)
    on_sheet = smooth if on is None else smooth[on]
    noise = deviation(on_sheet)
    # Few thin strokes are too few for Otsu's method, which then divides the noise.
    strong = smooth > max(otsu(on_sheet), MIN_CONTRAST_SIGMAS * noise)
    level = float(np.percentile(smooth[strong], 85)) if strong.any() else 0.0
    if level < max(MIN_CONTRAST, MIN_CONTRAST_SIGMAS * noise):
        raise DataError(
            f"{name}: no digit found, since nothing stands out from the background. Give a darker or closer picture."
        )
    faintest = max(3.5 * noise, 0.06 * level)
    parts = _main_parts(smooth > min(faintest, 0.5 * level), smooth, level)
    # Ink is saturated in MNIST: strokes become 255, their soft edges are scaled in proportion.
    return parts, smooth, float(np.percentile(smooth[(parts > 0) & strong], 75))


def _smoothed(ink: Grey, max_blur: float | None) -> Grey:
    """Smooth the noise of paper and sensor, by `max_blur` pixels at most; small pictures stay unchanged."""
    radius = min(ink.shape) / 250
    if radius < 0.4:
        return ink
    from scipy import ndimage

    shifted = np.clip(ink + 128, 0, 510).astype(np.float32).astype(np.float64)
    radius = radius if max_blur is None else min(radius, max_blur)
    return np.asarray(ndimage.gaussian_filter(shifted, radius, mode="nearest", truncate=3.0) - 128)


def _main_parts(mask: Mask, ink: Grey, level: float) -> NDArray[np.int32]:
    """The connected parts of `mask` that are drawn: with a strong stroke, and not too small. The others become 0."""
    from scipy import ndimage

    labels, n = ndimage.label(mask, structure=np.ones((3, 3)))  # corners touch too
    mass = np.bincount(labels[mask], weights=ink[mask], minlength=n + 1)
    has_stroke = np.zeros(n + 1, dtype=bool)
    has_stroke[labels[mask & (ink > 0.5 * level)]] = True
    is_kept = has_stroke & (mass >= MIN_PART * np.where(has_stroke, mass, 0).max())
    return np.asarray(np.where(is_kept[labels], labels, 0), dtype=np.int32)


def _bounds(mask: Mask) -> _Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return _Box(top=int(rows[0]), bottom=int(rows[-1]) + 1, left=int(columns[0]), right=int(columns[-1]) + 1)
