"""The integer net: near the net that it came from, whole in its JSON file, and equal to the bit in JavaScript."""

import json
import shutil
import subprocess
from importlib.resources import files
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings

from flyweight.errors import DataError, UsageError
from flyweight.export.format import as_json, from_json
from flyweight.export.int8 import quantise
from flyweight.export.integer import MAX_SUM, scores
from flyweight.model.fold import fold, run
from flyweight.model.lowered import OperationKind, lower
from tests.export.made_nets import exportable, made_net

NODE = shutil.which("node")
SEVERAL = [
    "c8 bn r m2 c8p1 bn r m2 flat fc5",
    "c6p1 silu m2 dwp1 bn hswish c8/1 gelu gap flat fc4",
    "c8p1 bn r +(c8p1 bn r c8p1 bn) r +(dwp1 c6/1 | c6/1) elu aap3 flat fc7 ls",
    "bn c6 prelu m3s2 c6g2 leaky.1 amp2 flat tanh fc6 sigmoid fc3",
]


@given(exportable())
def test_scores_are_near_the_logits(drawn) -> None:
    """Of nets of every kind of layer: within a few of the 255 steps of a map, in the scale of the logits."""
    net, image, seed = drawn
    made, folded, images = made_net(net, image, seed)

    found = scores(made.net, images) * made.net.score_scale
    wanted = run(folded, images)

    spread = max(float(np.ptp(wanted)), 1e-6)
    assert np.abs(found - wanted).mean() <= 0.2 * spread


@given(exportable())
def test_a_file_computes_what_the_net_computes(drawn) -> None:
    """The JSON file has all that running the net needs, and is the same text when it is written again."""
    made, _, images = made_net(*drawn)

    read = from_json(as_json(made))

    assert np.array_equal(scores(read.net, images), scores(made.net, images))
    assert as_json(read) == as_json(made)


@given(exportable())
def test_no_sum_can_leave_32_bits(drawn) -> None:
    """The worst sum of each convolution fits."""
    made, _, _ = made_net(*drawn)

    assert all(one.worst_sum <= MAX_SUM for one in made.net.operations)
    assert len(made.net.operations) >= 1


def test_a_layer_whose_sums_may_overflow_is_refused_by_name() -> None:
    """255 * 127 * 70,000 is above 2^31."""
    net, image = "flat fc1", (1, 280, 280)
    weights = {"linear1.weight": np.ones((1, 78400), np.float32), "linear1.bias": np.zeros(1, np.float32)}
    lowered = lower(net, image)

    with pytest.raises(UsageError, match=r"linear1: its sums must fit 32 bits"):
        quantise(lowered, fold(lowered, weights, [0.1], [0.3]), np.full((1, *image), 255, np.uint8))


def test_every_kind_of_operation_is_drawn() -> None:
    """Otherwise the tests of this file prove too little."""
    found = set()

    @settings(max_examples=200)
    @given(exportable())
    def draw(drawn):
        found.update(one.kind for one in lower(*drawn[:2]).operations)

    draw()

    assert found == set(get_args(OperationKind))


def in_javascript(made, images):
    script = f"{files('flyweight.export') / 'int8.js'}"
    program = (
        "const [, script] = process.argv; const f = require(script);"
        "const given = JSON.parse(require('fs').readFileSync(0));"
        "console.log(JSON.stringify(given.map(([net, images]) => {"
        " const made = f.flyweightNet(net); return images.map((one) => f.flyweightScores(made, one)); })))"
    )
    given = [
        [json.loads(as_json(one)), batch.transpose(0, 2, 3, 1).reshape(len(batch), -1).tolist()]
        for one, batch in zip(made, images, strict=True)
    ]
    done = subprocess.run(
        [NODE, "-e", program, script], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_javascript_gives_the_same_scores() -> None:
    """To the bit, for nets of every kind of layer."""
    found = [made_net(net, (channels, 13, 12), seed) for seed, net in enumerate(SEVERAL) for channels in (1, 3)]

    @settings(max_examples=60)
    @given(exportable())
    def draw(drawn):
        made, folded, images = made_net(*drawn)
        found.append((made, folded, images[:3]))

    draw()
    answers = in_javascript([made for made, _, _ in found], [images for _, _, images in found])

    assert len(found) >= 60
    for (made, _, images), answer in zip(found, answers, strict=True):
        assert np.array_equal(scores(made.net, images), answer), made.net.lowered.net


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda net: net | {"version": 2}, "version 1 is known, found 2"),
        (lambda net: net | {"format": "other"}, "its format must be flyweight-int8"),
        (lambda net: net | {"classes": ["a"]}, "one score for each of 1 classes"),
        (lambda net: net | {"operations": []}, "only the last operation gives scores"),
        (lambda net: {key: value for key, value in net.items() if key != "memory"}, "no 'memory'"),
    ],
)
def test_a_damaged_file_is_one_line(change, fault) -> None:
    """It says what must hold and what was found."""
    made, _, _ = made_net(SEVERAL[0], (1, 12, 12), 0)

    with pytest.raises(DataError) as error:
        from_json(json.dumps(change(json.loads(as_json(made)))))

    assert fault in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("weights", "AAAA"),
        ("bias", [1]),
        ("shifts", [99] * 8),
        ("kernel", [30, 30]),
        ("inputs", [7]),
        ("kind", "eval"),
        ("out_shape", [10**6, 10**6, 8]),
        ("multipliers", None),
    ],
)
def test_a_damaged_operation_is_one_line(key, value) -> None:
    """Nothing is computed, and no large memory asked for, before shapes and ranges have been checked."""
    made, _, _ = made_net(SEVERAL[0], (1, 12, 12), 0)
    net = json.loads(as_json(made))
    net["operations"][0][key] = value

    with pytest.raises(
        DataError, match=r"an integer net must be a JSON file of flyweight export, found a fault: .+\.$"
    ):
        from_json(json.dumps(net))


@pytest.mark.parametrize(
    ("net", "fault"),
    [
        ("c4 ls flat fc3", "log_softmax1|must stand|flat"),
        ("flat fc4 ls fc3", "log_softmax1: the exports have log-softmax only at the end"),
        ("c4 r", "the output of the net must be flat"),
        ("c4 flat", "found a flattened map"),
        ("c4 +(c8p1 m2 flat | m2 c8p1/1 flat) fc3", "residual1|must have equal"),
        ("nets.py:Tiny", "is a module of your own"),
    ],
)
def test_what_the_exports_cannot_do_is_refused_by_name(net, fault) -> None:
    """The message names the layer."""
    with pytest.raises(UsageError, match=fault):
        lower(net, (1, 12, 12))
