"""Finds a sheet of paper on a table, or a board on a wall, in a picture.

Goes in: a grey picture. Comes out: the pixels of the sheet, or None if the picture shows no border of one. A sheet is
the largest region that is lighter (or darker) than the rest, with straight and sharp borders and little else on it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from flyweight.inference.threshold import otsu

Grey = NDArray[np.float64]  # (H, W), 0 black to 255 white
Mask = NDArray[np.bool_]

# A sheet takes this share of the picture; above it there is no border to be found.
AREA: Final = (0.08, 0.97)
# What is written takes a small part of its sheet; the ring of a 0 leaves more.
MIN_BLANK: Final = 0.7
# Shares that tell a sheet from a thick digit: of its hull that is filled (an 8 has a waist), and of the smallest
# rectangle around its hull (pi / 4 for the ellipse of a 0). Perspective takes some of the second.
MIN_CONVEX: Final = 0.93
MIN_RECTANGLE: Final = 0.82
# Minimum contrast of sheet and table, and the share of it within a few pixels of the border; a shadow is softer.
MIN_CONTRAST: Final = 40.0
MIN_SHARPNESS: Final = 0.6


def sheet_of(grey: Grey) -> Mask | None:
    """The pixels of the sheet, without a rim along its border, or None."""
    if min(grey.shape) < 40:
        return None
    above = grey > otsu(grey)
    for bright in (above, ~above):
        sheet = _sheet(bright, grey)
        if sheet is not None:
            return sheet
    return None


def _sheet(region: Mask, grey: Grey) -> Mask | None:
    from scipy import ndimage  # type: ignore[import-untyped]

    labels, n = ndimage.label(region)
    if not n:
        return None
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    if largest.mean() < AREA[0] * MIN_BLANK:
        return None
    corners = _hull(largest)
    if len(corners) < 3:
        return None
    hull = _polygon(corners, grey.shape)
    filled = ndimage.binary_fill_holes(largest)
    has_form = (
        AREA[0] <= hull.mean() <= AREA[1]
        and (largest & hull).sum() >= MIN_BLANK * hull.sum()
        and (filled & hull).sum() >= MIN_CONVEX * hull.sum()
        and hull.sum() >= MIN_RECTANGLE * _rectangle_area(corners)
    )
    if not has_form:
        return None
    rim = 2 + min(grey.shape) // 80
    inside = ndimage.binary_erosion(hull, iterations=rim, border_value=1)
    outside = ~ndimage.binary_dilation(hull, iterations=rim)
    if not inside.any() or not outside.any():
        return None
    contrast = abs(np.median(grey[inside]) - np.median(grey[outside]))
    # From some pixels inside of the border to some pixels outside of it.
    near_inside = inside & ~ndimage.binary_erosion(inside, border_value=1)
    near_outside = ~outside & ~hull & ndimage.binary_dilation(outside)
    if contrast < MIN_CONTRAST or not near_inside.any() or not near_outside.any():
        return None
    step = abs(np.median(grey[near_inside]) - np.median(grey[near_outside]))
    return np.asarray(inside) if step >= MIN_SHARPNESS * contrast else None


def _hull(mask: Mask) -> NDArray[np.float64]:
    """Corners (n, 2) of the convex hull, as x and y; fewer than 3 if there is none."""
    from scipy.spatial import ConvexHull, QhullError  # type: ignore[import-untyped]

    rows = np.flatnonzero(mask.any(1))
    first, last = mask[rows].argmax(1), mask.shape[1] - 1 - mask[rows, ::-1].argmax(1)
    points = np.concatenate([np.stack([first, rows], 1), np.stack([last, rows], 1)]).astype(float)
    try:
        return np.asarray(points[ConvexHull(points).vertices])
    except (QhullError, ValueError):
        return np.empty((0, 2))


def _polygon(corners: NDArray[np.float64], shape: tuple[int, ...]) -> Mask:
    picture = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in corners], fill=1, outline=1)
    return np.asarray(picture, dtype=bool)


def _rectangle_area(corners: NDArray[np.float64]) -> float:
    """Area of the smallest rectangle around a convex polygon; one of its sides lies on a side of the polygon."""
    sides = np.roll(corners, -1, axis=0) - corners
    angles = np.arctan2(sides[:, 1], sides[:, 0])
    areas = []
    for angle in angles:
        along = corners @ np.array([np.cos(angle), np.sin(angle)])
        across = corners @ np.array([-np.sin(angle), np.cos(angle)])
        areas.append((np.ptp(along) + 1) * (np.ptp(across) + 1))
    return float(min(areas))
