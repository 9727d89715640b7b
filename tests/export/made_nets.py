"""Integer nets of random layers, made as a real export makes them, but of random weights and images."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from flyweight.errors import UsageError
from flyweight.export.format import IntegerFile
from flyweight.export.int8 import quantise
from flyweight.model.fold import fold
from flyweight.model.layout import infer_shapes, leaves
from flyweight.model.lowered import lower
from flyweight.model.notation import parse_net
from flyweight.model.spec import BatchNorm, Conv, DepthwiseConv, Linear, Net, both
from tests.model.random_nets import nets


def random_weights(net, image, seed):
    """Weights by name, of the size that torch begins with; batch norms with statistics and scales of both signs."""
    generator = np.random.default_rng(seed)
    found = {}
    net = parse_net(net) if isinstance(net, str) else net
    for one in leaves(infer_shapes(net, image)):
        channels, layer = one.in_shape[0], one.layer
        shapes = {}
        match layer:
            case Conv():
                shapes = {"weight": (layer.channels, channels // layer.groups, *both(layer.kernel))}
            case DepthwiseConv():
                shapes = {"weight": (channels * layer.multiplier, 1, *both(layer.kernel))}
            case Linear():
                shapes = {"weight": (layer.features, channels)}
            case BatchNorm():
                names = ("weight", "bias") * layer.affine + ("running_mean", "running_var")
                shapes = dict.fromkeys(names, (channels,))
            case _ if getattr(layer, "kind", "") == "prelu":
                shapes = {"weight": (channels,)}
        if getattr(layer, "bias", False):
            shapes["bias"] = shapes["weight"][:1]
        for name, shape in shapes.items():
            values = generator.normal(size=shape)
            if isinstance(layer, Conv | DepthwiseConv | Linear):
                values *= np.prod(shapes["weight"][1:]) ** -0.5
            values = np.abs(values) + 0.1 if name == "running_var" else values
            found.setdefault(f"{one.path}.{name}", values.astype(np.float32))
    return found


def made_net(net, image, seed):
    """(its file, its folded net, images): images are smooth, as real ones are."""
    generator = np.random.default_rng(seed)
    lowered = lower(net, image)
    mean, std = generator.uniform(0.1, 0.6, image[0]), generator.uniform(0.1, 0.5, image[0])
    images = generator.integers(0, 256, (40, *image)).astype(np.uint8)
    folded = fold(lowered, random_weights(net, image, seed), mean, std)
    classes = tuple(f"class {number}" for number in range(lowered.n_classes))
    return IntegerFile(name="drawn", class_names=classes, net=quantise(lowered, folded, images)), folded, images


@st.composite
def exportable(draw):
    """(net, image shape, seed) of a net that the exports can do."""
    net, image = draw(nets())
    try:
        lower(net, image)
    except UsageError:
        net = Net((*parse_net("c4p1 silu").nodes, *parse_net("m2 flat fc3").nodes))
    return net, image, draw(st.integers(0, 999))
