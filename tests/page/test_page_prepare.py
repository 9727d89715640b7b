"""A drawing becomes the same 28 x 28 on the page and in Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
from drawings import digits, drawn, strokes
from javascript import needs_node, run_script
from PIL import Image

from flyweight.inference.pictures import Picture
from flyweight.inference.prepare import as_mnist, resize_only

EACH = """
const out = [];
const [header, ...rest] = [given.readUInt32LE(0)];
let at = 4 + header;
for (const [width, height] of JSON.parse(given.subarray(4, at).toString())) {
  const data = given.subarray(at, (at += 4 * width * height));
  const found = prepareDigit({ width, height, data }, 28, 28);
  out.push(Buffer.from([found.parts, Number(found.touchesEdge)]), Buffer.from(found.image || new Uint8Array(784)));
}
process.stdout.write(Buffer.concat(out));
"""


def as_given(pictures):
    """Arrays (H, W, 4) uint8 as bytes, after their sizes."""
    sizes = json.dumps([(one.shape[1], one.shape[0]) for one in pictures]).encode()
    return len(sizes).to_bytes(4, "little") + sizes + b"".join(one.tobytes() for one in pictures)


def prepared_by_the_page(folder, pictures):
    """(N, 28, 28) images, and the warnings of each; of pictures (H, W, 4) uint8."""
    found = np.frombuffer(run_script(folder, ("prepare.js",), EACH, as_given(pictures)), np.uint8)
    found = found.reshape(len(pictures), 786)
    warnings = [
        (*(("touches the edge",) if edge else ()), *((f"{things} things drawn",) if things > 1 else ()))
        for things, edge in found[:, :2]
    ]
    return found[:, 2:].reshape(-1, 28, 28), warnings


def prepared_by_python(picture):
    return as_mnist(Picture(name="drawing", path=None, image=Image.fromarray(picture)))


def some_drawings(count, seed=0):
    rng = np.random.default_rng(seed)
    images, _ = digits(count)
    return [drawn(strokes(digit, rng), rng.uniform(6, 30)) for digit in images]


def rgba(grey):
    return np.dstack([grey, grey, grey, np.full_like(grey, 255)])


def compare(folder, pictures):
    """Compares the page with Python; returns the warnings. The page looks for no sheet of paper, which Python does."""
    expected = [prepared_by_python(one[:, :, :3]) for one in pictures]
    on_sheet = ["found a sheet in it" in one.notes for one in expected]
    assert sum(on_sheet) <= 0.002 * len(pictures)
    pictures = [one for one, is_on_sheet in zip(pictures, on_sheet, strict=True) if not is_on_sheet]
    expected = [one for one, is_on_sheet in zip(expected, on_sheet, strict=True) if not is_on_sheet]
    found, warnings = prepared_by_the_page(folder, pictures)

    difference = np.abs(found.astype(int) - np.stack([one.image[0] for one in expected]))
    assert difference.max() <= 1
    assert (difference == 0).mean() >= 0.999
    assert warnings == [one.warnings for one in expected]
    assert len(found) == len(pictures) > 0
    return warnings


@needs_node
@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.soak)])
def test_a_drawing_becomes_the_same_input_as_in_python(tmp_path, count):
    """At least 99.9 % of the values are equal, and none is off by more than 1; white on black and black on white."""
    pictures = [rgba(255 - one if i % 3 == 0 else one) for i, one in enumerate(some_drawings(count))]

    compare(tmp_path, pictures)


@needs_node
def test_large_small_and_several_drawings_are_prepared_alike(tmp_path):
    """A digit on a large picture, a small one, two, one at the edge, and thin strokes: with the warnings of Python."""
    first, second, *_ = some_drawings(2, seed=5)
    large = np.zeros((900, 1300), np.uint8)
    large[500:780, 700:980] = first
    small = np.zeros((700, 700), np.uint8)
    small[300:370, 200:270] = np.asarray(Image.fromarray(first).resize((70, 70), Image.Resampling.BOX))
    rng = np.random.default_rng(7)
    thin = [drawn(strokes(digit, rng), 3) for digit in digits(6)[0]]
    at_edge = first[:, np.flatnonzero(first.any(0))[0] :]

    warnings = compare(tmp_path, [rgba(one) for one in (large, small, np.hstack([first, second]), at_edge, *thin)])

    assert warnings[2:4] == [("2 things drawn",), ("touches the edge",)]


@needs_node
def test_an_empty_picture_has_nothing_on_it(tmp_path):
    """Black, white, and one that is too small."""
    pictures = [rgba(np.full(size, value, np.uint8)) for size, value in (((60, 80), 0), ((60, 80), 255), ((3, 9), 9))]

    found, warnings = prepared_by_the_page(tmp_path, pictures)

    assert not found.any()
    assert warnings == [()] * 3


@needs_node
@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_that_is_only_resized_is_that_of_python(tmp_path, channels, fit):
    """For a net that is not of handwriting: larger, smaller and of another shape; no value is off by more than 1."""
    rng = np.random.default_rng(0)
    sizes = [(37, 61), (90, 41), (9, 7), (12, 12)]
    pictures = [np.dstack([rng.integers(0, 256, (*size, 3)), np.full(size, 255)]).astype(np.uint8) for size in sizes]
    script = EACH.replace("prepareDigit({ width, height, data }, 28, 28)", "null").replace(
        "out.push(Buffer.from([found.parts, Number(found.touchesEdge)]), "
        "Buffer.from(found.image || new Uint8Array(784)));",
        f"out.push(resizeOnly({{ width, height, data }}, 12, 10, {channels}, {{ ground: 0, fit: '{fit}' }}));",
    )

    found = np.frombuffer(run_script(tmp_path, ("prepare.js",), script, as_given(pictures)), np.uint8)

    for picture, one in zip(pictures, found.reshape(len(pictures), 12, 10, channels), strict=True):
        given = Picture(name="picture", path=None, image=Image.fromarray(picture[:, :, :3]))
        expected = resize_only(given, (channels, 12, 10), fit=fit).image
        assert np.abs(one.transpose(2, 0, 1).astype(int) - expected).max() <= 1
