"""Tracing counts somebody's own module as the closed form counts a net."""

import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_nets import nets
from torch import Tensor, nn
from torch.nn import functional

from flyweight.errors import UsageError
from flyweight.model.build import build
from flyweight.model.cost import Cost, Row
from flyweight.model.count import count
from flyweight.model.spec import CONVOLUTIONS, Flatten, Net, RowKind
from flyweight.model.table import cost_text
from flyweight.model.trace import load_module, trace

NETS_PY = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.idle = nn.Conv2d(8, 8, 3)
        self.linear = nn.Linear(8 * 13 * 13, classes)

    def forward(self, x):
        return self.linear(torch.max_pool2d(self.conv(x).relu(), 2).flatten(1))

class Wide(Tiny):
    def __init__(self, width):
        super().__init__()

class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        raise ValueError("no such width")

class Images(nn.Module):
    def forward(self, x):
        return x

class Pair(nn.Module):
    def forward(self, x):
        return x, x

class Unfit(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 10)

    def forward(self, x):
        return self.linear(x)

class NoModule:
    pass

def make():
    return Tiny(classes=5)

ready = Tiny()
number = 3
"""


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a user's files in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_nets.py").write_text(NETS_PY)
    (tmp_path / "faulty.py").write_text("1 / 0")
    (tmp_path / "leaving.py").write_text("raise SystemExit(2)")
    (tmp_path / "needy.py").write_text("import a_package_that_is_not_there")
    for name in ("own_nets", "faulty", "leaving", "needy"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize(("target", "params"), [("Tiny", 13_610), ("make", 6_845), ("ready", 13_610)])
def test_own_module_is_imported_from_the_current_folder(own_folder: Path, target: str, params: int) -> None:
    """A class, a function that makes a module, or an instance; what forward never calls is named as unused."""
    cost = trace(f"own_nets:{target}", trust_code=True)

    assert cost.params == params
    assert cost.registered_params == params + 584
    assert [row.name for row in cost.rows if not row.is_executed] == ["idle"]
    assert str(own_folder) not in sys.path


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("own_nets", "as 'file:Class'"),
        (":Tiny", "as 'file:Class'"),
        ("own_net:Tiny", "Did you mean 'own_nets'?"),
        ("own_nets:Tyny", "Did you mean 'Tiny'?"),
        ("own_nets:Wide", "needs width"),
        ("own_nets:Broken", "ValueError: no such width"),
        ("own_nets:NoModule", "must be a torch.nn.Module"),
        ("own_nets:number", "must be a torch.nn.Module, found int"),
        ("own_nets:Images", "must return (1, classes) for one image, found shape (1, 1, 28, 28)"),
        ("own_nets:Pair", "must return (1, classes) for one image, found tuple"),
        ("own_nets:Unfit", "running it on one image of 1x28x28 failed: RuntimeError"),
        ("faulty:Net", "ZeroDivisionError: division by zero"),
        ("leaving:Net", "SystemExit: 2"),
        ("needy:Net", "imports 'a_package_that_is_not_there', which is not installed"),
    ],
)
def test_what_cannot_be_traced_is_a_usage_error(own_folder: Path, target: str, told: str) -> None:
    """One line that says what is wrong; nothing of the user's own code escapes as a traceback."""
    with pytest.raises(UsageError) as caught:
        trace(target, trust_code=True)

    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_module_is_left_as_it_was(own_folder: Path) -> None:
    """Mode, gradients and hooks are the same after as before."""
    module = load_module("own_nets:Tiny", trust_code=True).train()
    module.conv.weight.requires_grad_(False)

    trace(module)

    assert module.training
    assert not module.conv.weight.requires_grad
    assert module.linear.weight.requires_grad
    assert module.linear.weight.grad is None
    assert not module.conv._forward_hooks


class LayerNorm2d(nn.Module):
    """As many nets have it: a norm of channels, written by hand."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)


class Halved(nn.Conv2d):
    """A layer of torch with a change of one's own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


def test_kinds_are_those_of_the_classes() -> None:
    """By inheritance first, by name for norms that inherit from none; names of the attributes say nothing."""
    net = nn.Sequential()
    for name, layer in (("relu", Halved(1, 4, 3)), ("conv", nn.GroupNorm(2, 4)), ("x", LayerNorm2d())):
        net.add_module(name, layer)
    net.extend([nn.LocalResponseNorm(2), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 26 * 26, 10)])

    kinds = [row.kind for row in trace(net).rows]

    assert kinds == ["conv", "other_norm", "other_norm", "other", "other", "flatten", "linear"]


class Direct(nn.Module):
    """Weights used without a layer call: a parameter of its own, and a layer's weight by function."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 8, 1, 1))
        self.forgotten = nn.Parameter(torch.ones(7))
        self.conv = nn.Conv2d(1, 8, 3, bias=False)
        self.linear = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.conv2d(x, self.conv.weight) * self.scale
        return self.linear(x.mean((2, 3)))


def test_parameters_used_by_functions_are_executed() -> None:
    """A conv done by torch.conv2d and a scale count, a forgotten parameter is told as unused."""
    cost = trace(Direct())

    assert cost.params == 8 * 9 + 8 + 90
    assert cost.registered_params == cost.params + 7
    assert cost.macs == 8 * 26 * 26 * 9 + 80
    assert cost.out_shape == (10,)


class Mixed(nn.Module):
    """Functions between layers, a frozen layer, tied weights, and a parameter that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.body, self.relu = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.idle = nn.Parameter(torch.zeros(5))
        self.stem.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.relu(self.norm(self.stem(x))), 2)
        x = self.relu(x + self.body(x))
        x = torch.cat([functional.avg_pool2d(x, 2), functional.max_pool2d(x, 2)], 1)[:, :8]
        return self.second(functional.relu(self.first(x.mean((2, 3)))))


def test_functions_are_rows_with_their_field() -> None:
    """Pools, additions, concatenations and activations, numbered as in the notation, with field and stride."""
    rows = {(row.name, _pixels(row)[::2]) for row in trace(Mixed()).rows if row.layer == "in forward"}

    assert rows == {
        ("maxpool1", (4, 2)),
        ("add1", (8, 2)),
        ("avgpool1", (10, 4)),
        ("maxpool2", (10, 4)),
        ("cat1", (10, 4)),
        ("avgpool2", (10 + 6 * 4, 28)),
        ("relu1", (10 + 6 * 4, 28)),
    }


def test_frozen_tied_shared_and_idle_parameters_are_told_apart() -> None:
    """Frozen ones count, tied ones name their layer, shared is what has parameters, idle ones are not executed."""
    cost = trace(Mixed())
    by_name = {row.name: row for row in cost.rows}

    assert (cost.params, cost.registered_params, cost.frozen_params) == (72 + 16 + 584 + 72 + 8, 72 + 16 + 589 + 80, 72)
    assert by_name["stem"].frozen == 72
    assert by_name["second"].params == 8
    assert [row.name for row in cost.rows if row.tied_to] == ["second"]
    assert by_name["second"].tied_to == "first"
    assert not any(row.is_shared for row in cost.rows)
    assert [(row.name, row.params) for row in cost.rows if not row.is_executed] == [("idle", 5)]
    text = cost_text(cost)
    assert "tied        second uses weights of first" in text
    assert "5 unused: idle, 72 frozen" in text


class OwnLayer(nn.Module):
    """A layer without children that uses one of its two parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.forgotten = nn.Parameter(torch.ones(10, 784)), nn.Parameter(torch.ones(7))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def test_a_parameter_that_its_own_layer_does_not_use_is_not_executed() -> None:
    """Whatever reads it counts, a gradient or not; what nothing reads does not."""
    cost = trace(nn.Sequential(OwnLayer(), nn.ReLU()))

    assert (cost.params, cost.registered_params) == (7840, 7847)
    assert [row.name for row in cost.rows if not row.is_executed] == ["0.forgotten"]


class Recurrent(nn.Module):
    """Reads an image row by row."""

    def __init__(self, kind: type[nn.RNNBase], *, layers: int, both_ways: bool) -> None:
        super().__init__()
        self.cell = kind(28, 16, num_layers=layers, batch_first=True, bidirectional=both_ways)
        self.out = nn.Linear(16 * (1 + both_ways), 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(x.squeeze(1))[0][:, -1])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize(("layers", "both_ways"), [(1, False), (2, True)])
def test_a_recurrent_layer_multiplies_by_each_weight_once_a_step(
    kind: type[nn.RNNBase], layers: int, both_ways: bool
) -> None:
    """28 steps over the rows of an image, whether or not torch has the layer as one operation."""
    net = Recurrent(kind, layers=layers, both_ways=both_ways)
    weights = sum(one.numel() for one in net.cell.parameters() if one.dim() == 2)
    cost = trace(net)

    assert cost.macs == 28 * weights + net.out.weight.numel()
    assert cost.uncounted == ()
    assert math.isnan(cost.rows[0].receptive_field[0])


def test_macs_that_nobody_counts_are_named() -> None:
    """Rather than a silent 0."""

    class Twofold(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.product = nn.Bilinear(784, 784, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.product(x.flatten(1), x.flatten(1))

    cost = trace(Twofold())

    assert cost.uncounted == ("trilinear in product",)
    assert "those of trilinear in product are not counted" in cost_text(cost)


def test_a_parametrized_layer_is_one_readable_row() -> None:
    """The layer as it is, with what makes its weights; parameters are the values that are trained."""
    norm, orthogonal = nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.orthogonal
    net = nn.Sequential(norm(nn.Conv2d(1, 8, 3)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), orthogonal(nn.Linear(8, 10)))
    cost = trace(net)

    assert [row.layer for row in cost.rows] == [
        "Conv2d (WeightNorm)",
        "AdaptiveAvgPool2d",
        "Flatten",
        "Linear (Orthogonal)",
    ]
    assert cost.rows[0].kind == "conv"
    assert cost.rows[0].receptive_field == (3, 3)
    assert cost.params == cost.registered_params == sum(one.numel() for one in net.parameters())


def _same(x: Tensor, reach: int) -> Tensor:
    """A convolution with ones over `reach` pixels to each side, of the same size."""
    side = 2 * reach + 1
    return functional.conv2d(x, torch.ones(2, x.shape[1], side, side, dtype=x.dtype), padding=reach)


def _shuffled(x: Tensor) -> Tensor:
    return x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


# What people do in `forward`, on two channels; all of it is linear with weights of one.
STEPS = (
    lambda x: functional.avg_pool2d(x, 2),
    lambda x: functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1)), 3, stride=2),
    lambda x: torch.conv2d(x, torch.ones(2, 2, 1, 3, dtype=x.dtype), dilation=2),
    lambda x: functional.conv2d(x, torch.ones(2, 1, 3, 2, dtype=x.dtype), stride=(2, 1), groups=2),
    lambda x: x + _same(x, 1),
    lambda x: torch.cat([_same(x, 2)[:, :1], x[:, 1:]], dim=1).contiguous(),
    lambda x: sum(x.chunk(2, 1)).expand(-1, 2, -1, -1).clone(),
    lambda x: _shuffled(x) * 2 - _same(_same(x, 1), 1),
    lambda x: x.mul_(2).add_(1),
    lambda x: x + x.mean(1, keepdim=True),
    lambda x: x + functional.adaptive_avg_pool2d(x, 1),
)
WHOLE = len(STEPS) - 1  # the last of them sees the whole image


class Steps(nn.Module):
    def __init__(self, chosen: list[int]) -> None:
        super().__init__()
        self.chosen = chosen

    def forward(self, x: Tensor) -> Tensor:
        x = x * torch.ones(1, 2, 1, 1, dtype=x.dtype)
        for number in self.chosen:
            x = STEPS[number](x)
        self.last = x
        return x.flatten(1)


@given(st.lists(st.integers(0, len(STEPS) - 1), min_size=1, max_size=5))
def test_the_field_of_what_a_forward_does_is_the_support_of_the_gradient(chosen: list[int]) -> None:
    """Pools, padding, rectangular kernels, branches, parts of the channels and whole-image means: one unit in the
    middle depends on exactly the pixels of its field. The field of a whole-image mean includes padding, which is none
    of them."""
    net, side = Steps(chosen), 160
    cost = trace(net, (1, side, side))
    field = cost.rows[-1].receptive_field
    image = torch.zeros(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    net(image)
    out = net.last
    (gradient,) = torch.autograd.grad(out[0, :, out.shape[2] // 2, out.shape[3] // 2].sum(), image)
    seen = gradient[0, 0].nonzero()
    extent = (seen.max(0).values - seen.min(0).values + 1).tolist()

    assert not math.isnan(field[0])
    if WHOLE in chosen:
        assert all(found <= one and found > side // 2 for found, one in zip(extent, field, strict=True))
    else:
        assert extent == [min(one, side) for one in field]


class Twice(nn.Module):
    """One layer called twice, and one weight held by two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.first, self.second = nn.Linear(784, 784), nn.Linear(784, 784)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(self.conv(self.conv(x)).flatten(1)))


def test_shared_weights_count_once_and_multiply_each_time() -> None:
    """Parameters once, MACs per call."""
    cost = trace(Twice())

    assert cost.params == 10 + 784 * 784 + 2 * 784
    assert cost.macs == 2 * 784 * 9 + 2 * 784 * 784
    assert [row.is_shared for row in cost.rows if row.name == "conv"] == [False, True]


def called(cost: Cost) -> list[tuple[object, ...]]:
    # An identity shortcut is an empty chain in the built net, and nothing in the closed form.
    rows = [row for row in cost.rows if row.is_executed and row.layer not in ("in forward", "Chain")]
    # A trace does not know what the gate of squeeze-and-excitation sees, nor what comes after it.
    is_known = not any(row.kind == "squeeze_excite" for row in rows)
    return [
        (row.path, _class_kind(row), row.in_shape, row.out_shape, row.params, row.macs, is_known and _pixels(row))
        for row in rows
    ]


def _pixels(row: Row) -> tuple[float, ...]:
    return (*row.receptive_field, *row.effective_stride)


def _class_kind(row: Row) -> RowKind:
    # A depthwise convolution is of torch's class for every convolution.
    return "conv" if row.kind in CONVOLUTIONS else row.kind


@given(nets())
def test_tracing_a_built_net_gives_its_closed_form(drawn: tuple[Net, tuple[int, ...]]) -> None:
    """Parameters, registered parameters, buffers, MACs, and every layer's kind, shapes, receptive field and stride."""
    net, image = drawn
    if len(count(net, image).out_shape) != 1:
        net = Net((*net.nodes, Flatten()))
    cost = count(net, image)

    traced = trace(build(net, image), image)

    assert (traced.params, traced.registered_params) == (cost.params, cost.registered_params)
    assert (traced.macs, traced.buffers, traced.out_shape) == (cost.macs, cost.buffers, cost.out_shape)
    assert called(traced) == called(cost)
