"""Drawings of digits as a pen on a page makes them: test digits thinned to strokes, moved, scaled, drawn again."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Strokes: TypeAlias = list[list[tuple[float, float]]]

SIDE = 280  # of the page's canvas
FINER = 4


def digits(count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The first test images of MNIST, (N, 28, 28), and their labels."""
    with np.load(str(files("flyweight.data") / "mnist.npz")) as mnist:
        return mnist["x_test"][:count], mnist["y_test"][:count]


def strokes(digit: NDArray[np.uint8], rng: np.random.Generator) -> Strokes:
    """The lines in the middle of a digit's ink, at a random place and size on the canvas."""
    skeleton = thinned(digit > 110)
    scale = rng.uniform(5.0, 9.5)
    place = np.array([SIDE / 2 - 14 * scale + rng.uniform(-20, 20) for _ in range(2)])
    return [[tuple((np.array(point) + 0.5) * scale + place) for point in line] for line in _lines(skeleton)]


def drawn(lines: Strokes, width: float) -> NDArray[np.uint8]:
    """(280, 280) white on black, smooth edges, round ends."""
    picture = Image.new("L", (SIDE * FINER, SIDE * FINER))
    pen = ImageDraw.Draw(picture)
    radius = width * FINER / 2
    for line in lines:
        points = [(x * FINER, y * FINER) for x, y in line]
        pen.line(points, fill=255, width=round(2 * radius), joint="curve")
        for x, y in points:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


def thinned(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Zhang and Suen 1984: ink is taken away from its edges as long as nothing is cut."""
    found = np.pad(mask, 1)
    while True:
        before = found.copy()
        for odd in (False, True):
            n, ne, e, se, s, sw, w, nw = (
                np.roll(found, shift, (0, 1))
                for shift in ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))
            )
            ring = [n, ne, e, se, s, sw, w, nw]
            count = sum(one.astype(int) for one in ring)
            turns = sum((~a & b).astype(int) for a, b in zip(ring, [*ring[1:], n], strict=True))
            open_sides = (~(n & e & w) & ~(n & s & w)) if odd else (~(n & e & s) & ~(e & s & w))
            found &= ~(found & (count >= 2) & (count <= 6) & (turns == 1) & open_sides)
        if np.array_equal(before, found):
            return found[1:-1, 1:-1]


def _lines(skeleton: NDArray[np.bool_]) -> Iterator[list[tuple[float, float]]]:
    """The skeleton as lines of (x, y): each pixel with its neighbours to the right and below."""
    ys, xs = np.nonzero(skeleton)
    pixels = set(zip(xs.tolist(), ys.tolist(), strict=True))
    for x, y in sorted(pixels):
        near = [(x + dx, y + dy) for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)) if (x + dx, y + dy) in pixels]
        yield from ([(x, y), other] for other in near)
        if not near:
            yield [(x, y), (x + 0.1, y)]
