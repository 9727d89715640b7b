"""A drawing becomes the same 28 x 28 on the page and in Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
from drawings import digits, drawn, strokes
from javascript import needs_node, run_script
from PIL import Image

from flyweight.inference.pictures import Picture
from flyweight.inference.prepare import as_mnist

EACH = """
const out = [];
const [header, ...rest] = [given.readUInt32LE(0)];
let at = 4 + header;
for (const [width, height] of JSON.parse(given.subarray(4, at).toString())) {
  const data = given.subarray(at, (at += 4 * width * height));
  const found = prepareDigit({ width, height, data }, 28, 28);
  out.push(Buffer.from([found.image ? found.parts : 0]), Buffer.from(found.image || new Uint8Array(784)));
}
process.stdout.write(Buffer.concat(out));
"""


def prepared_by_the_page(folder, pictures):
    """(N, 28, 28) and how many things were found, of arrays (H, W, 4) uint8."""
    sizes = json.dumps([(one.shape[1], one.shape[0]) for one in pictures]).encode()
    given = len(sizes).to_bytes(4, "little") + sizes + b"".join(one.tobytes() for one in pictures)
    found = np.frombuffer(run_script(folder, ("prepare.js",), EACH, given), np.uint8).reshape(len(pictures), 785)
    return found[:, 1:].reshape(-1, 28, 28), found[:, 0]


def prepared_by_python(picture):
    return as_mnist(Picture(name="drawing", path=None, image=Image.fromarray(picture))).image[0]


def some_drawings(count, seed=0):
    rng = np.random.default_rng(seed)
    images, _ = digits(count)
    return [drawn(strokes(digit, rng), rng.uniform(6, 30)) for digit in images]


def rgba(grey):
    return np.dstack([grey, grey, grey, np.full_like(grey, 255)])


@needs_node
@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_drawing_becomes_the_same_input_as_in_python(tmp_path, count):
    """At least 99.9 % of the values are equal, and none is off by more than 1; white on black and black on white."""
    pictures = [rgba(255 - one if i % 3 == 0 else one) for i, one in enumerate(some_drawings(count))]

    found, things = prepared_by_the_page(tmp_path, pictures)
    expected = np.stack([prepared_by_python(one[:, :, :3]) for one in pictures])

    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference == 0).mean() >= 0.999
    assert len(found) == count
    assert (things == 1).mean() > 0.9
