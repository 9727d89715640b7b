"""Names, shapes and receptive fields of a net's layers, from the image to the logits: `infer_shapes(net, input_shape)`.

Goes in: a `Net` and the shape of one image. Comes out: a tree of layers with shapes, which `count.py` folds into counts
and `build.py` turns into torch modules, so that the two cannot disagree about a name or a shape.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias, assert_never

from flyweight.errors import NotationError
from flyweight.model.arithmetic import ReceptiveField, Shape, State, after, counts, misfit, shape_text, wider
from flyweight.model.spec import Layer, LayerKind, Net, Node, Repeat, Residual, Shared, Unused, kind_of
from flyweight.model.tree import n_unrolled

MAX_LAYERS = 10_000
"""Limit, since nested repetitions multiply and a typo could need terabytes."""


@dataclass(frozen=True)
class ShapedLayer:
    """A layer with its shapes; `path` is its name in the state dict of the built net."""

    layer: Layer
    name: str
    path: str
    in_shape: Shape
    out_shape: Shape
    field: ReceptiveField


@dataclass(frozen=True)
class ShapedShared:
    path: str
    passes: tuple[tuple[ShapedNode, ...], ...]  # the same layers, once per pass, shapes per pass


@dataclass(frozen=True)
class ShapedResidual:
    path: str
    in_shape: Shape
    out_shape: Shape
    body: tuple[ShapedNode, ...]
    shortcut: tuple[ShapedNode, ...]


@dataclass(frozen=True)
class ShapedUnused:
    path: str
    body: tuple[ShapedNode, ...]


ShapedNode: TypeAlias = ShapedLayer | ShapedShared | ShapedResidual | ShapedUnused

# The name of a layer is its kind and a number. Weight files have these names, so they must not change.
_NAMES: Final[dict[LayerKind, str]] = {
    "depthwise_conv": "depthwise",
    "batch_norm": "bn",
    "max_pool": "maxpool",
    "average_pool": "avgpool",
    "squeeze_excite": "se",
}


def infer_shapes(net: Net, input_shape: Shape) -> tuple[ShapedNode, ...]:
    """Every layer of `net` with name, shapes and receptive field; input_shape: (C, H, W) of an image.

    Raises:
        NotationError: a layer does not fit its input.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise NotationError(f"an image is (channels, height, width), each at least 1, found {input_shape}")
    n_layers = n_unrolled(net.nodes)
    if n_layers > MAX_LAYERS:
        raise NotationError(f"a net has at most {MAX_LAYERS:,} layers, repetitions counted; found {n_layers:,}.")
    one = (Fraction(1), Fraction(1))
    start = State(input_shape, ReceptiveField(one, one, (input_shape[1], input_shape[2])))
    return _Inference().sequence(net.nodes, start, prefix="")[0]


class _Inference:
    """Counts the numbers in the names of layers (conv1, conv2, ...)."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def name(self, kind: str) -> str:
        self.counts[kind] += 1
        return f"{kind}{self.counts[kind]}"

    def sequence(self, nodes: tuple[Node, ...], state: State, prefix: str) -> tuple[tuple[ShapedNode, ...], State]:
        shaped: list[ShapedNode] = []
        one: ShapedNode
        for node in nodes:
            match node:
                case Repeat():
                    for _ in range(node.times):
                        inner, state = self.sequence(node.body, state, prefix)
                        shaped += inner
                    continue
                case Shared():
                    one, state = self.shared(node, state, prefix)
                case Residual():
                    one, state = self.residual(node, state, prefix)
                case Unused():
                    path = prefix + self.name("unused")
                    one = ShapedUnused(path, self.sequence(node.body, state, path + ".")[0])
                case _:
                    name = self.name(_NAMES.get(kind := kind_of(node), kind))
                    behind = after(node, name, state)
                    one = ShapedLayer(node, name, prefix + name, state.shape, behind.shape, behind.field)
                    state = behind
            shaped.append(one)
        return tuple(shaped), state

    def shared(self, node: Shared, state: State, prefix: str) -> tuple[ShapedShared, State]:
        path = prefix + self.name("shared")
        before = self.counts.copy()
        passes = []
        for _ in range(node.times):
            self.counts = before.copy()  # the same layers again: the same names
            body, state = self.sequence(node.body, state, path + ".")
            passes.append(body)
        _same_weights(path, passes)
        return ShapedShared(path, tuple(passes)), state

    def residual(self, node: Residual, state: State, prefix: str) -> tuple[ShapedResidual, State]:
        path = prefix + self.name("residual")
        body, behind = self.sequence(node.body, state, f"{path}.body.")
        shortcut, beside = self.sequence(node.shortcut, state, f"{path}.shortcut.")
        if behind.shape != beside.shape:
            raise NotationError(
                f"net, {path}: body and shortcut must have equal output shapes, found {shape_text(behind.shape)} and "
                f"{shape_text(beside.shape)}."
            )
        shaped = ShapedResidual(path, state.shape, behind.shape, body, shortcut)
        return shaped, State(behind.shape, wider(behind.field, beside.field))


def _same_weights(path: str, passes: list[tuple[ShapedNode, ...]]) -> None:
    """Check that all passes have the same input channels (or features), as shared weights need."""
    for later in passes[1:]:
        for first, again in zip(leaves(passes[0]), leaves(later), strict=True):
            own = counts(first.layer, first.in_shape, first.out_shape)
            sizes = (first.in_shape[0], len(first.in_shape)), (again.in_shape[0], len(again.in_shape))
            if (own.params or own.buffers) and sizes[0] != sizes[1]:
                seen = shape_text(first.in_shape)
                misfit(path, f"{first.name} sees {seen} first, so each pass must give it that", again.in_shape)


def leaves(nodes: tuple[ShapedNode, ...], *, with_unused: bool = True) -> list[ShapedLayer]:
    """Every layer in the order of execution, including those in blocks; shared layers once per pass."""
    found: list[ShapedLayer] = []
    for node in nodes:
        match node:
            case ShapedLayer():
                found.append(node)
            case ShapedShared():
                for one in node.passes:
                    found += leaves(one, with_unused=with_unused)
            case ShapedResidual():
                for branch in (node.body, node.shortcut):
                    found += leaves(branch, with_unused=with_unused)
            case ShapedUnused():
                found += leaves(node.body) if with_unused else []
            case _:
                assert_never(node)
    return found
