"""Tracing counts somebody's own module as the closed form counts a net."""

import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from random_nets import nets
from torch import Tensor, nn

from flyweight.errors import UsageError
from flyweight.model.build import build
from flyweight.model.cost import Cost, Row
from flyweight.model.count import count
from flyweight.model.spec import CONVOLUTIONS, Flatten, Net, RowKind
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
    return [(row.path, _class_kind(row), row.in_shape, row.out_shape, row.params, row.macs) for row in rows]


def _class_kind(row: Row) -> RowKind:
    # A depthwise convolution is of torch's class for every convolution.
    return "conv" if row.kind in CONVOLUTIONS else row.kind


@given(nets())
def test_tracing_a_built_net_gives_its_closed_form(drawn: tuple[Net, tuple[int, ...]]) -> None:
    """Parameters, registered parameters, buffers, MACs, and every layer's kind and shapes."""
    net, image = drawn
    if len(count(net, image).out_shape) != 1:
        net = Net((*net.nodes, Flatten()))
    cost = count(net, image)

    traced = trace(build(net, image), image)

    assert (traced.params, traced.registered_params) == (cost.params, cost.registered_params)
    assert (traced.macs, traced.buffers, traced.out_shape) == (cost.macs, cost.buffers, cost.out_shape)
    assert called(traced) == called(cost)
    assert all(math.isnan(value) for row in traced.rows for value in row.receptive_field)
