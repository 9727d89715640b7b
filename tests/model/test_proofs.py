"""The closed form against torch: random nets are built, run and differentiated, and every count must agree.

FLYWEIGHT_HYPOTHESIS=thorough draws thousands of nets for each promise.
"""

import torch
from hypothesis import Phase, assume, example, given, settings
from hypothesis import strategies as st
from random_nets import ANY_NET, LAYER_KINDS, bodies, nets, sides
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from flyweight.errors import NotationError
from flyweight.model.build import build
from flyweight.model.count import count
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
    Linear,
    Net,
    Node,
    Pool,
    Repeat,
    Residual,
    Shared,
    SqueezeExcite,
    Unused,
)

Drawn = tuple[Net, tuple[int, ...]]


def kinds_in(nodes: tuple[Node, ...]) -> set[type]:
    found: set[type] = set()
    for node in nodes:
        found.add(type(node))
        for branch in ("body", "shortcut"):
            found |= kinds_in(getattr(node, branch, ()))
    return found


def test_random_nets_hold_every_kind_of_layer() -> None:
    """Each kind of layer and block comes up among nets that fit their image; otherwise the proofs prove too little."""
    found: set[type] = set()

    @settings(max_examples=300, phases=[Phase.generate])
    @given(nets())
    def draw(drawn: Drawn) -> None:
        found.update(kinds_in(drawn[0].nodes))

    draw()

    assert found == set(LAYER_KINDS)
    assert len(found) >= 15


@given(nets())
def test_counted_parameters_are_those_of_the_built_net(drawn: Drawn) -> None:
    """Closed form = numel of the module = sum of the rows, path by path; buffers too."""
    net, image = drawn
    cost, module = count(net, image), build(net, image)
    paths = {row.path for row in cost.rows}
    counted = {row.path: row.params for row in cost.rows if not row.is_shared and row.params}
    built: dict[str, int] = {}
    for name, parameter in module.named_parameters():
        path = name.rpartition(".")[0]
        built[path] = built.get(path, 0) + parameter.numel()

    assert cost.registered_params == sum(parameter.numel() for parameter in module.parameters())
    assert counted == built
    assert set(built) <= paths
    assert sum(row.buffers for row in cost.rows) == sum(one.numel() for one in module.buffers() if one.dim())


@given(nets())
def test_unused_layers_are_those_that_the_answer_does_not_depend_on(drawn: Drawn) -> None:
    """Executed parameters are exactly those that get a gradient."""
    net, image = drawn
    module = build(net, image).eval()
    output = module(torch.zeros(1, *image, requires_grad=True))
    gradients = (
        torch.autograd.grad(output.sum(), list(module.parameters()), allow_unused=True) if walked(module) else ()
    )
    reached = zip(module.parameters(), gradients, strict=True)

    assert count(net, image).params == sum(one.numel() for one, gradient in reached if gradient is not None)


def walked(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


@given(nets())
def test_counted_shapes_are_those_of_the_forward_pass(drawn: Drawn) -> None:
    """Every layer's call, in order: the path, what comes in and what goes out."""
    net, image = drawn
    module = build(net, image).eval()
    calls: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for path, one in module.named_modules():
        if not any(True for _ in one.children()) and type(one).__name__ != "Chain":
            one.register_forward_hook(
                lambda _, inputs, output, path=path: calls.append(
                    (path, tuple(inputs[0].shape[1:]), tuple(output.shape[1:]))
                )
            )
    output = module(torch.zeros(2, *image))

    rows = [row for row in count(net, image).rows if row.is_executed]
    assert [(row.path, row.in_shape, row.out_shape) for row in rows] == calls
    assert tuple(output.shape) == (2, *count(net, image).out_shape)


@given(nets(), st.integers(1, 3))
def test_macs_are_half_of_what_the_flop_counter_of_torch_counts(drawn: Drawn, images: int) -> None:
    """A multiplication and an addition are two FLOPs; bias, batch norm and pooling count on neither side."""
    net, image = drawn
    module = build(net, image).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(images, *image))

    assert counter.get_total_flops() == 2 * images * count(net, image).macs


# Receptive fields. Where every weight is one, the gradient of one unit is above zero exactly on the pixels it sees, so
# the extent of the gradient is the receptive field. Average pools stand for max pools, which see the same windows.


def linear_windows(padding: st.SearchStrategy[int]) -> st.SearchStrategy[Node]:
    kernels = {"kernel": sides(1, 4), "stride": st.integers(1, 2), "padding": padding}
    return (
        st.builds(
            Conv, st.just(2), dilation=st.integers(1, 3), groups=st.integers(1, 2), bias=st.just(False), **kernels
        )
        | st.builds(DepthwiseConv, st.just(1), dilation=st.integers(1, 2), bias=st.just(False), **kernels)
        | st.builds(Pool, st.just("average"), st.integers(1, 3), stride=st.none() | st.integers(1, 2))
    )


def symmetric_blocks() -> st.SearchStrategy[Node]:
    """Blocks whose branches see round the same centre, so that the wider one contains the other."""
    same = st.builds(
        lambda reach, dilation: Conv(2, 2 * reach + 1, padding=reach * dilation, dilation=dilation, bias=False),
        st.integers(0, 2),
        st.integers(1, 2),
    )
    return (
        st.builds(Residual, bodies(same), st.just(()) | bodies(same))
        | st.builds(Repeat, st.integers(1, 2), bodies(same))
        | st.builds(Shared, st.integers(1, 2), bodies(same))
        | st.builds(Unused, bodies(same))
    )


def seen_pixels(net: Net, image: tuple[int, ...], unit: tuple[slice | int, ...]) -> tuple[list[int], list[int]]:
    """First and last row, first and last column of the pixels that move one unit of the answer."""
    module = build(net, image).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(1)
    pixels = torch.zeros(1, *image, dtype=torch.float64, requires_grad=True)
    answer: Tensor = module(pixels)[0]
    (gradient,) = torch.autograd.grad(answer[unit].sum(), pixels)
    seen = gradient[0].sum(0).nonzero()
    return [int(seen[:, 0].min()), int(seen[:, 0].max())], [int(seen[:, 1].min()), int(seen[:, 1].max())]


def extents(rows_and_columns: tuple[list[int], list[int]]) -> tuple[int, ...]:
    return tuple(last - first + 1 for first, last in rows_and_columns)


@given(st.lists(linear_windows(st.just(0)), min_size=1, max_size=5), st.integers(0, 6), st.integers(0, 6))
@example([Conv(2, 3, stride=2, dilation=3, bias=False), Conv(2, 4, bias=False)], 0, 5)
def test_receptive_field_is_the_support_of_the_gradient(layers: list[Node], taller: int, wider: int) -> None:
    """Without padding no window leaves the frame: it is exact for the first unit and for the last, the stride too."""
    net = Net((Conv(2, kernel=1, bias=False), *layers))
    image = (1, 40 + taller, 40 + wider)
    assume(fits(net, image))
    row = count(net, image).rows[-1]
    height, width = row.out_shape[1:]

    first = seen_pixels(net, image, (0, 0, 0))
    last = seen_pixels(net, image, (0, height - 1, width - 1))

    assert extents(first) == extents(last) == row.receptive_field
    assert last[0][0] - first[0][0] == row.effective_stride[0] * (height - 1)
    assert last[1][0] - first[1][0] == row.effective_stride[1] * (width - 1)


@given(st.lists(linear_windows(sides(0, 2)) | symmetric_blocks(), min_size=1, max_size=4))
def test_receptive_field_is_the_support_with_padding_and_blocks(layers: list[Node]) -> None:
    """A unit in the middle of a large image, away from the frame, sees exactly its field."""
    net = Net((Conv(2, kernel=1, bias=False), *layers))
    assume(fits(net, (1, 400, 400)))
    widest = max(row.receptive_field[0] for row in count(net, (1, 400, 400)).rows)
    image = (1, *(int(2 * widest) + 24,) * 2)
    # A 1x1 layer after the net sees what the net's answer sees, whichever branch was the wider.
    row = count(Net((*net.nodes, Pool("average", 1))), image).rows[-1]
    middle = row.out_shape[1] // 2

    seen = seen_pixels(net, image, (0, middle, middle))

    assume(min(seen[0][0], seen[1][0]) > 0 and max(seen[0][1], seen[1][1]) < image[1] - 1)
    assert extents(seen) == row.receptive_field


@given(st.lists(linear_windows(st.just(0)), max_size=4), st.sampled_from(["gap", "linear", "adaptive"]), st.data())
def test_global_layers_see_everything_that_came_before(layers: list[Node], head: str, data: st.DataObject) -> None:
    """A global pool or a linear layer sees the union of its inputs; of adaptive windows the widest is told."""
    tail: dict[str, tuple[Node, ...]] = {
        "gap": (GlobalPool("average"),),
        "linear": (Flatten(), Linear(1, bias=False)),
        "adaptive": (AdaptivePool("average", data.draw(st.integers(1, 3))),),
    }
    net = Net((Conv(2, kernel=1, bias=False), *layers, *tail[head]))
    image = (1, 40, 43)
    assume(fits(net, image))
    row = count(net, image).rows[-1]
    sides = row.out_shape[1:] if head == "adaptive" else (1, 1)
    units = [(0, i, j) if len(row.out_shape) == 3 else (0,) for i in range(sides[0]) for j in range(sides[1])]

    seen = [extents(seen_pixels(net, image, unit)) for unit in units]

    assert (max(height for height, _ in seen), max(width for _, width in seen)) == row.receptive_field


ZERO_STAYS_ZERO = ["relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "silu", "hardswish", "tanh"]


@given(
    st.lists(
        linear_windows(st.just(0))
        | st.builds(Pool, st.just("max"), st.integers(1, 3), stride=st.none() | st.integers(1, 2))
        | st.builds(Activation, st.sampled_from(ZERO_STAYS_ZERO))
        | st.builds(BatchNorm, st.booleans())
        | st.builds(Dropout, st.just(0.5), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(
        [(), (GlobalPool("max"),), (GlobalPool("average"), Flatten(), Linear(1)), (AdaptivePool("max", 1),)]
    ),
)
def test_receptive_field_is_what_lit_pixels_can_change(layers: list[Node], tail: tuple[Node, ...]) -> None:
    """For what is not linear too: one image for each pixel, lit in black; a unit changes exactly where it sees."""
    net = Net((Conv(2, kernel=1, bias=False), *layers, *tail))
    image = (1, 18, 19)
    assume(fits(net, image))
    module = build(net, image).double().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(0 if name.endswith("bias") else 1)  # black stays 0, so that nothing saturates
        lit = torch.eye(18 * 19, dtype=torch.float64).reshape(-1, *image)
        unit = module(torch.cat([torch.zeros_like(lit[:1]), lit])).flatten(1)[:, 0]
    seen = (unit[1:] != unit[0]).reshape(18, 19).nonzero()
    told = count(net, image).rows[-1].receptive_field

    assert tuple((seen.max(0).values - seen.min(0).values + 1).tolist()) == told


def fits(net: Net, image: tuple[int, ...]) -> bool:
    try:
        count(net, image)
    except NotationError:
        return False
    return True


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 99))
def test_squeeze_and_excitation_is_that_of_its_paper(channels: int, reduction: int, seed: int) -> None:
    """Composed of torch's own layers, with 1x1 convolutions for its two linear layers, and the same counts."""
    net, image = Net((SqueezeExcite(reduction),)), (channels, 5, 4)
    own = build(net, image).double()
    hidden = max(1, channels // reduction)
    theirs = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1), nn.Sigmoid()
    ).double()
    for mine, other in zip(own.parameters(), theirs.parameters(), strict=True):
        other.data.copy_(mine.data.view_as(other))
    x = torch.randn((3, *image), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    assert torch.allclose(own(x), x * theirs(x), atol=1e-12)
    assert count(net, image).params == sum(one.numel() for one in theirs.parameters())


def test_a_gate_sees_the_whole_image() -> None:
    """And so does every unit after it; the stride stays that of the map."""
    net, image = parse_net("c4/3 r se2 c2/3"), (1, 12, 13)
    module = build(net, image, generator=torch.Generator().manual_seed(0)).double()
    pixels = torch.rand((1, *image), generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(module(pixels)[0, :, 0, 0].sum(), pixels)
    gate, last = count(net, image).rows[2:]

    assert (gradient != 0).all()
    assert gate.receptive_field == image[1:]
    assert last.receptive_field == (image[1] + 2, image[2] + 2)
    assert gate.effective_stride == last.effective_stride == (1, 1)


@given(ANY_NET)
def test_notation_gives_back_the_net_that_it_printed(net: Net) -> None:
    """parse(format(net)) == net for any net, whether or not its layers fit together."""
    assert parse_net(str(net)) == net
    assert str(parse_net(str(net))) == str(net)


@given(nets(), st.integers(0, 2**63 - 1))
def test_weights_depend_on_the_generator_alone(drawn: Drawn, seed: int) -> None:
    """The same seed gives the same weights bit for bit, and the global random state stays as it was."""
    net, image = drawn
    before = torch.get_rng_state()
    first = build(net, image, generator=torch.Generator().manual_seed(seed)).state_dict()
    untouched = torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    second = build(net, image, generator=torch.Generator().manual_seed(seed)).state_dict()

    assert untouched
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_different_seeds_give_different_weights() -> None:
    one, other = (build("c8", generator=torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 2))

    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])
