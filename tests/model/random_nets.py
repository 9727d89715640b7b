"""Random nets that fit their images, for property tests; every kind of layer and block can come up."""

from typing import get_args

from hypothesis import strategies as st

from flyweight.errors import NotationError
from flyweight.model.count import count
from flyweight.model.spec import (
    Activation,
    ActivationKind,
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
    Node,
    Pool,
    Repeat,
    Residual,
    Shared,
    SqueezeExcite,
    Unused,
)

KINDS = st.sampled_from(["max", "average"])
FRACTIONS = st.floats(0, 1, exclude_max=True, allow_subnormal=False) | st.sampled_from([0.1, 0.25, 0.5])
WINDOW = {"kernel": st.integers(1, 4), "stride": st.integers(1, 2), "padding": st.integers(0, 2)}


def sides(low: int, high: int) -> st.SearchStrategy[int | tuple[int, int]]:
    """Mostly one number for both axes, and two at times."""
    one = st.integers(low, high)
    return one | one | one | st.tuples(one, one)


DILATED = WINDOW | {"kernel": sides(1, 4), "padding": sides(0, 2), "dilation": st.integers(1, 2), "bias": st.booleans()}

CONVS = st.builds(Conv, st.integers(1, 8), groups=st.sampled_from([1, 1, 1, 2, 3]), **DILATED)
DEPTHWISE_CONVS = st.builds(DepthwiseConv, st.integers(1, 2), **DILATED)
ACTIVATIONS = st.builds(Activation, st.sampled_from(get_args(ActivationKind))) | st.builds(
    Activation, st.just("leaky_relu"), FRACTIONS
)
POOLS = st.builds(
    Pool, KINDS, st.integers(1, 3), stride=st.none() | st.integers(1, 2), padding=st.integers(0, 1)
)  # padding beyond half the window is refused by the walk
SPATIAL = (
    CONVS
    | DEPTHWISE_CONVS
    | POOLS
    | st.builds(BatchNorm, st.booleans())
    | ACTIVATIONS
    | st.builds(Dropout, FRACTIONS, st.booleans())
    | st.builds(AdaptivePool, KINDS, st.integers(1, 4))
    | st.builds(SqueezeExcite, st.integers(1, 6))
)
FLAT = (
    st.builds(Linear, st.integers(1, 12), st.booleans())
    | st.builds(BatchNorm, st.booleans())
    | ACTIVATIONS
    | st.builds(Dropout, FRACTIONS)
    | st.just(LogSoftmax())
)
SAME_SIZE = (
    st.builds(Conv, st.integers(1, 8), kernel=st.just(3), padding=st.just(1)) | ACTIVATIONS | st.just(BatchNorm())
)
POINTWISE = st.builds(Conv, st.integers(1, 8), kernel=st.just(1))


def bodies(layers: st.SearchStrategy[Node]) -> st.SearchStrategy[tuple[Node, ...]]:
    return st.lists(layers, min_size=1, max_size=3).map(tuple)


def blocks(layers: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return (
        st.builds(Repeat, st.integers(1, 3), bodies(layers))
        | st.builds(Shared, st.integers(1, 3), bodies(layers))
        | st.builds(Residual, bodies(layers), st.just(()) | bodies(layers))
        | st.builds(Unused, bodies(layers))
    )


def _projection(body: tuple[Node, ...], channels: int) -> Residual:
    """A residual whose body and shortcut end in the same number of channels."""
    return Residual((*body, Conv(channels, padding=1)), (Conv(channels, kernel=1),))


FITTING_BLOCKS = (
    blocks(SAME_SIZE)
    | blocks(blocks(SAME_SIZE) | SAME_SIZE)
    | st.builds(_projection, bodies(SAME_SIZE), st.integers(1, 8))
    | st.builds(
        Shared, st.integers(2, 3), bodies(ACTIVATIONS | st.builds(DepthwiseConv, st.just(1), padding=st.just(1)))
    )
    | st.builds(Residual, bodies(ACTIVATIONS | st.builds(DepthwiseConv, st.just(1), padding=st.just(1))))
)
ANY_NODE = st.recursive(SPATIAL | FLAT | st.builds(GlobalPool, KINDS) | st.just(Flatten()), blocks, max_leaves=8)
ANY_NET = st.builds(Net, bodies(ANY_NODE))
"""Nets as values, whether or not their layers fit together: for the notation."""

IMAGES = st.tuples(st.integers(1, 3), st.integers(5, 14), st.integers(5, 14))


def fits(nodes: list[Node], image: tuple[int, ...]) -> bool:
    try:
        count(Net(tuple(nodes)), image)
    except NotationError:
        return False
    return True


@st.composite
def nets(draw: st.DrawFn) -> tuple[Net, tuple[int, ...]]:
    """A net and the shape of an image that it takes; what would not fit is left out."""
    image = draw(IMAGES)
    nodes: list[Node] = []
    for node in draw(st.lists(SPATIAL | FITTING_BLOCKS, min_size=1, max_size=6)):
        if fits([*nodes, node], image):
            nodes.append(node)
    if draw(st.booleans()):
        nodes += [draw(st.builds(GlobalPool, KINDS))]
    if draw(st.integers(0, 3)):
        nodes += [Flatten(), *draw(st.lists(FLAT | blocks(ACTIVATIONS), max_size=3)), Linear(draw(st.integers(2, 12)))]
        nodes += draw(st.sampled_from([[], [LogSoftmax()]]))
    return Net(tuple(nodes or [Activation("relu")])), image


LAYER_KINDS: tuple[type, ...] = (*get_args(Layer), Repeat, Shared, Residual, Unused)
