"""S nets of the same notation as one module, so that one operation computes a layer of all of them.

The channels of the nets ("members") are side by side: member s of S has channels s * C to (s + 1) * C - 1 of a layer
with S * C. Its parameters and buffers are rows of the stacked ones, which have the same names.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import assert_never

import torch
from torch import Tensor, nn

from flyweight.kernels.dropout import drop_stacked
from flyweight.model import build
from flyweight.model.arithmetic import Shape
from flyweight.model.build import Chain, module_of
from flyweight.model.layout import ShapedNode, infer_shapes, leaves
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
    SqueezeExcite,
)


class Stack(nn.Module):
    """S nets as one: (N, S * channels, H, W) float32 to logits (N, S, classes).

    n_dropouts: how many dropout layers a forward pass in training goes through, each of which needs a seed per member.

    Raises:
        NotationError: text that does not parse, or layers that do not fit the image.
    """

    def __init__(self, net: Net | str, input_shape: Shape, *, members: int) -> None:
        super().__init__()
        nodes = infer_shapes(parse_net(net) if isinstance(net, str) else net, input_shape)
        self.members, self.n_dropouts = members, _n_dropouts(nodes)
        self._seeds = _Seeds()
        with torch.random.fork_rng(devices=[]):  # the first weights mean nothing
            self.chain = Chain(nodes, prefix="", make=functools.partial(_stacked, members=members, seeds=self._seeds))

    def forward(self, x: Tensor, dropout_seeds: Tensor | None = None) -> Tensor:
        """dropout_seeds: (n_dropouts, S) int64 on the device of x, below 2**32; only read in training."""
        self._seeds.start(dropout_seeds)
        logits: Tensor = self.chain(x)
        return by_member(logits, self.members, dim=1)

    def tensors(self) -> dict[str, Tensor]:
        """The stacked parameters and buffers by the names that they have in a single net."""
        return dict(self.chain.state_dict(keep_vars=True))

    def of_member(self, number: int) -> dict[str, Tensor]:
        """The parameters and buffers of one member: views, so that a change of one is a change of the other."""
        return {name: rows_of(tensor, number, self.members) for name, tensor in self.tensors().items()}

    @torch.no_grad()
    def load_member(self, number: int, tensors: Mapping[str, Tensor]) -> None:
        """Copy the state dict of a single net into a member."""
        for name, view in self.of_member(number).items():
            view.copy_(tensors[name])


def by_member(x: Tensor, members: int, *, dim: int = 0) -> Tensor:
    """A dimension of S * n as two, (S, n)."""
    split: Tensor = x.unflatten(dim, (members, -1))  # type: ignore[no-untyped-call]
    return split


def rows_of(stacked: Tensor, number: int, members: int) -> Tensor:
    """The part of one member: a view. A tensor without dimensions in a single net has one row for each member."""
    stacked = stacked.detach()
    rows = len(stacked) // members
    is_counter = stacked.ndim == 1 and not stacked.is_floating_point()
    return stacked[number] if is_counter else stacked[number * rows : (number + 1) * rows]


class _Seeds:
    """The dropout seeds of a forward pass, which its dropout layers take in turn."""

    def __init__(self) -> None:
        self._rows: Iterator[Tensor] = iter(())

    def start(self, seeds: Tensor | None) -> None:
        self._rows = iter(()) if seeds is None else iter(seeds.unbind())

    def take(self) -> Tensor:
        return next(self._rows)


class _Dropout(nn.Module):
    """Dropout in which each member has its own seed."""

    def __init__(self, layer: Dropout, seeds: _Seeds) -> None:
        super().__init__()
        self.p, self.whole_channels, self._seeds = layer.p, layer.spatial, seeds

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return drop_stacked(x, p=self.p, seeds=self._seeds.take(), whole_channels=self.whole_channels)


class _Linear(nn.Module):
    """(N, S * features) to (N, S * out_features), one matrix product for each member."""

    def __init__(self, features: int, out_features: int, *, members: int, bias: bool) -> None:
        super().__init__()
        self.members = members
        self.weight = nn.Parameter(torch.empty((members * out_features, features)))
        self.bias = nn.Parameter(torch.empty(members * out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        rows = by_member(x, self.members, dim=1).transpose(0, 1)
        matrices = by_member(self.weight, self.members).transpose(1, 2)
        if self.bias is None:
            out = torch.bmm(rows, matrices)
        else:
            out = torch.baddbmm(by_member(self.bias, self.members).unsqueeze(1), rows, matrices)
        return out.transpose(0, 1).flatten(1)


class _LogSoftmax(nn.Module):
    def __init__(self, members: int) -> None:
        super().__init__()
        self.members = members

    def forward(self, x: Tensor) -> Tensor:
        return by_member(x, self.members, dim=1).log_softmax(2).flatten(1, 2)


def _stacked(layer: Layer, in_shape: Shape, *, members: int, seeds: _Seeds) -> nn.Module:
    """The stacked module of a layer. in_shape: of one image in a single net."""
    channels, wide = in_shape[0], (members * in_shape[0], *in_shape[1:])
    match layer:
        case Conv(out, kernel, stride, padding, dilation, groups, bias):
            sizes = (members * channels, members * out, kernel, stride, padding, dilation, members * groups, bias)
            return nn.Conv2d(*sizes)
        case BatchNorm():
            norm = module_of(layer, wide)
            norm.register_buffer("num_batches_tracked", torch.zeros(members, dtype=torch.int64))
            return norm
        case Dropout():
            return _Dropout(layer, seeds)
        case SqueezeExcite():
            return build.SqueezeExcite(channels, layer.hidden(channels), members=members)
        case Linear(features, bias):
            return _Linear(channels, features, members=members, bias=bias)
        case LogSoftmax():
            return _LogSoftmax(members)
        case DepthwiseConv() | Activation() | Pool() | GlobalPool() | AdaptivePool() | Flatten():
            return module_of(layer, wide)
        case _:
            assert_never(layer)


def _n_dropouts(nodes: tuple[ShapedNode, ...]) -> int:
    used = leaves(nodes, with_unused=False)
    return sum(isinstance(leaf.layer, Dropout) and leaf.layer.p > 0 for leaf in used)
