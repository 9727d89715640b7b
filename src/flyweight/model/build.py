"""From a net in the notation to a torch module: `build(net, input_shape)`.

The name of each parameter in the state dict is the `path` of its layer in `layout.py`, so counts, records and files of
weights use the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, assert_never

import torch
from torch import Tensor, nn

from flyweight.errors import in_one_line
from flyweight.kernels import chain
from flyweight.kernels.dropout import SeededDropout, SeededDropout2d
from flyweight.model import spec
from flyweight.model.arithmetic import Shape
from flyweight.model.layout import ShapedLayer, ShapedNode, ShapedResidual, ShapedShared, ShapedUnused, infer_shapes
from flyweight.model.notation import parse_net
from flyweight.model.spec import (
    Activation,
    AdaptivePool,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Dropout,
    Flatten,
    GlobalPool,
    Layer,
    Linear,
    LogSoftmax,
    Net,
    Pool,
)


@in_one_line
def build(net: Net | str, input_shape: Shape = (1, 28, 28), *, generator: torch.Generator | None = None) -> nn.Module:
    """The net as a module: (N, *input_shape) float32 to (N, classes) logits.

    Weights are torch's defaults (Kaiming uniform, He et al. 2015, as nn.Conv2d and nn.Linear have them); with a
    CPU `generator` they depend on it alone and the global random state stays as it was.

    Raises:
        NotationError: text that does not parse, or layers that do not fit the image.
    """
    if isinstance(net, str):
        net = parse_net(net)
    nodes = infer_shapes(net, input_shape)
    if generator is None:
        return Chain(nodes, prefix="", make=module_of)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**63 - 1, (1,), generator=generator)))
        return Chain(nodes, prefix="", make=module_of)


# Makes the module of a layer from the layer and the shape of its input.
MakeModule: TypeAlias = Callable[[Layer, Shape], nn.Module]


class Chain(nn.Module):
    """Layers in a row, each made by `make`; unused ones are registered and never called."""

    def __init__(self, nodes: Sequence[ShapedNode], prefix: str, make: MakeModule) -> None:
        super().__init__()
        self.order: list[str] = []
        for node in nodes:
            name, module = _named(node, prefix, make)
            self.add_module(name, module)
            if not isinstance(node, ShapedUnused):
                self.order.append(name)

    def forward(self, x: Tensor) -> Tensor:
        return chain.run([self._modules[name] for name in self.order], x)  # type: ignore[misc]


class _Shared(Chain):
    """The same chain, `times` in a row."""

    def __init__(self, node: ShapedShared, make: MakeModule) -> None:
        super().__init__(node.passes[0], prefix=node.path + ".", make=make)
        self.times = len(node.passes)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = super().forward(x)
        return x


class _Residual(nn.Module):
    """body(x) + shortcut(x)."""

    def __init__(self, node: ShapedResidual, make: MakeModule) -> None:
        super().__init__()
        self.body = Chain(node.body, prefix=f"{node.path}.body.", make=make)
        self.shortcut = Chain(node.shortcut, prefix=f"{node.path}.shortcut.", make=make)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)  # type: ignore[no-any-return]


class GlobalAverage(nn.Module):
    """The plain mean: the backward pass of AdaptiveAvgPool2d is not deterministic on CUDA."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


class GlobalMax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.amax((2, 3), keepdim=True)


class SqueezeExcite(nn.Module):
    """Each channel times a gate from the means of all channels, for nets side by side (`members`; 1 is a single net).

    The weights of member s are rows of the stacked ones. They begin as those of nn.Linear.
    """

    def __init__(self, channels: int, hidden: int, *, members: int = 1) -> None:
        super().__init__()
        self.members = members
        self.reduce_weight, self.reduce_bias = _linear_weights(channels, hidden, members)
        self.expand_weight, self.expand_bias = _linear_weights(hidden, channels, members)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self._linear(x.mean((2, 3)), self.reduce_weight, self.reduce_bias).relu()
        gate = self._linear(hidden, self.expand_weight, self.expand_bias).sigmoid()
        return x * gate[:, :, None, None]

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """x: (N, members * features)."""
        if self.members == 1:
            return nn.functional.linear(x, weight, bias)
        rows = x.view(len(x), self.members, -1).transpose(0, 1)
        matrices = weight.view(self.members, -1, weight.shape[1]).transpose(1, 2)
        return torch.baddbmm(bias.view(self.members, 1, -1), rows, matrices).transpose(0, 1).flatten(1)


def _linear_weights(features: int, out_features: int, members: int) -> tuple[nn.Parameter, nn.Parameter]:
    linear = nn.Linear(features, members * out_features)
    return linear.weight, linear.bias  # type: ignore[return-value]


def _named(node: ShapedNode, prefix: str, make: MakeModule) -> tuple[str, nn.Module]:
    match node:
        case ShapedLayer():
            return node.name, make(node.layer, node.in_shape)
        case ShapedShared():
            return node.path.removeprefix(prefix), _Shared(node, make)
        case ShapedResidual():
            return node.path.removeprefix(prefix), _Residual(node, make)
        case ShapedUnused():
            return node.path.removeprefix(prefix), Chain(node.body, prefix=node.path + ".", make=make)
        case _:
            assert_never(node)


def module_of(layer: Layer, in_shape: Shape) -> nn.Module:
    """The module of one layer, whose input is of shape (N, *in_shape)."""
    channels = in_shape[0]
    match layer:
        case Conv(out, kernel, stride, padding, dilation, groups, bias):
            return nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias)
        case DepthwiseConv(multiplier, kernel, stride, padding, dilation, bias):
            return nn.Conv2d(channels, channels * multiplier, kernel, stride, padding, dilation, channels, bias)
        case BatchNorm(affine):
            kind = nn.BatchNorm2d if len(in_shape) == 3 else nn.BatchNorm1d
            return kind(channels, affine=affine)
        case Activation():
            return _activation(layer, channels)
        case Pool("max", kernel, _, padding):
            return nn.MaxPool2d(kernel, layer.step, padding)
        case Pool(_, kernel, _, padding):
            return nn.AvgPool2d(kernel, layer.step, padding)
        case GlobalPool(kind="max"):
            return GlobalMax()
        case GlobalPool():
            return GlobalAverage()
        case AdaptivePool("max", size):
            return nn.AdaptiveMaxPool2d(size)
        case AdaptivePool(_, size):
            return nn.AdaptiveAvgPool2d(size)
        case Dropout(p, spatial):
            return SeededDropout2d(p) if spatial else SeededDropout(p)
        case spec.SqueezeExcite():
            return SqueezeExcite(channels, layer.hidden(channels))
        case Flatten():
            return nn.Flatten()
        case Linear(features, bias):
            return nn.Linear(channels, features, bias)
        case LogSoftmax():
            return nn.LogSoftmax(dim=1)
        case _:
            assert_never(layer)


def _activation(layer: Activation, channels: int) -> nn.Module:
    match layer.kind:
        case "relu":
            return nn.ReLU()
        case "relu6":
            return nn.ReLU6()
        case "leaky_relu":
            return nn.LeakyReLU(layer.slope)
        case "prelu":
            return nn.PReLU(channels)
        case "elu":
            return nn.ELU()
        case "gelu":
            return nn.GELU()
        case "silu":
            return nn.SiLU()
        case "hardswish":
            return nn.Hardswish()
        case "tanh":
            return nn.Tanh()
        case "sigmoid":
            return nn.Sigmoid()
        case _:
            assert_never(layer.kind)
