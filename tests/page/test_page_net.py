"""The page computes the integers that Python computes, whatever the net is made of."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from javascript import needs_node, run_script

from flyweight.export.format import IntegerFile, as_json, as_values
from flyweight.export.int8 import quantise
from flyweight.export.integer import maps, scores
from flyweight.model.build import build
from flyweight.model.fold import fold
from flyweight.model.lowered import lower

# Every kind of operation, with padding, strides, groups, dilation, pools fused and alone, tables, and flattened maps.
NETS = {
    "plain": ("c6/5nb m2 bn r c8nb bn r m2 flat fc10", (1, 28, 28)),
    "padded": ("c6/3p1s2 silu dw/3p1 bn silu c8/1 gelu gap flat fc10", (1, 12, 12)),
    "residual": ("c6p1 bn r +(c6p1 bn r c6p1 bn) r m2 flat fc5", (1, 10, 10)),
    "shortcut": ("c4 +(c6p1 | c6/1) prelu a2 gmp flat fc3", (3, 9, 9)),
    "linear": ("flat fc12 tanh fc10 ls", (1, 7, 7)),
    "grouped": ("c8p2d2 r c8g4p1 leaky m3s2p1 aap2 flat fc4", (2, 11, 11)),
}

SCRIPT = """
const { file, count, size } = JSON.parse(given.subarray(4, 4 + given.readUInt32LE(0)).toString());
const net = readNet(file);
const found = [];
for (let i = 0; i < count; i++) {
  const start = 4 + given.readUInt32LE(0) + i * size;
  const all = computeMaps(net, Uint8Array.from(given.subarray(start, start + size)));
  const sums = all.slice(1).map((map) => map.reduce((a, v, k) => a + v * (k % 97), 0));
  found.push({ scores: lastScores(net, all), sums });
}
process.stdout.write(JSON.stringify(found));
"""


def integer_net(notation, shape, seed=0):
    """A net with random weights, its batch norms trained a little, as integers."""
    generator = torch.Generator().manual_seed(seed)
    module = build(notation, shape, generator=generator)
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (600, *shape), dtype=np.uint8)
    module.train()
    with torch.no_grad():
        module(torch.from_numpy(images[:200]).float() / 255)
    weights = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    lowered = lower(notation, shape)
    channels = (0.4,) * shape[0], (0.3,) * shape[0]
    return quantise(lowered, fold(lowered, weights, *channels), images)


@needs_node
@pytest.mark.parametrize(("notation", "shape"), NETS.values(), ids=NETS.keys())
def test_every_map_and_score_is_that_of_python(tmp_path, notation, shape):
    """For 20 images of noise and extremes, to the bit."""
    net = integer_net(notation, shape)
    images = np.random.default_rng(1).integers(0, 256, (20, *shape), dtype=np.uint8)
    images[0], images[1] = 0, 255
    file = IntegerFile(name="net", class_names=tuple("0123456789"[: net.lowered.operations[-1].out_shape[2]]), net=net)
    channels_last = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    head = json.dumps({"file": as_values(file), "count": 20, "size": channels_last[0].size}).encode()

    given = len(head).to_bytes(4, "little") + head + channels_last.tobytes()
    found = json.loads(run_script(tmp_path, ("net.js",), SCRIPT, given))

    assert as_json(file)
    assert [one["scores"] for one in found] == scores(net, images).tolist()
    places = [(map_.reshape(20, -1), np.arange(map_[0].size) % 97) for map_ in maps(net.operations, images)]
    assert [one["sums"] for one in found] == [
        [int((map_[i].astype(np.int64) * weights).sum()) for map_, weights in places] for i in range(20)
    ]
    assert len(found) == 20
