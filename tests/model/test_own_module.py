"""Modules of users as they are written: what is never trained is refused, what can be trained is stored and used."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flyweight.cli.app import run as command
from flyweight.errors import UsageError
from flyweight.experiment.run import run
from flyweight.inference.net import load
from flyweight.model.trace import trace
from flyweight.records.store import Store
from tiny import tiny_recipe


class Kept(nn.Module):
    """A net with convolutions, wherever they are kept, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = self.keep(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4, affine=False))
        self.out = nn.Linear(4, 10)

    def keep(self, *layers: nn.Module) -> object:
        return list(layers)

    def layers(self) -> list[nn.Module]:
        return list(self.kept)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers():
            x = layer(x)
        found: Tensor = self.out(x.amax((2, 3)))
        return found


class InATuple(Kept):
    def keep(self, *layers: nn.Module) -> object:
        return layers


class InADict(Kept):
    def keep(self, *layers: nn.Module) -> object:
        return {str(number): layer for number, layer in enumerate(layers)}

    def layers(self) -> list[nn.Module]:
        return list(self.kept.values())  # type: ignore[attr-defined]


class InANestedList(Kept):
    def keep(self, *layers: nn.Module) -> object:
        return [[layers[0]], [layers[1]]]

    def layers(self) -> list[nn.Module]:
        return [layer for group in self.kept for layer in group]  # type: ignore[attr-defined]


class MadeInForward(Kept):
    def layers(self) -> list[nn.Module]:
        return [nn.Conv2d(1, 4, 3)]


class Frozen(Kept):
    def layers(self) -> list[nn.Module]:
        return [layer.requires_grad_(False) for layer in super().layers()]


class OnlyAverages(Kept):
    def keep(self, *layers: nn.Module) -> object:
        self.conv = layers[0]
        return [layers[0], layers[1]]


class PlainParameters(Kept):
    def keep(self, *layers: nn.Module) -> object:
        return [nn.Parameter(torch.ones(len(layers) + 2, 1, 1))]

    def layers(self) -> list[nn.Module]:
        return []

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.kept[0])  # type: ignore[index]


@pytest.mark.parametrize(
    ("kind", "n_values"),
    [
        (Kept, "48"),
        (InATuple, "48"),
        (InADict, "48"),
        (InANestedList, "48"),
        (MadeInForward, "40"),
        (Frozen, "48"),
        (OnlyAverages, "8"),
        (PlainParameters, "4"),
    ],
)
def test_weights_that_a_net_uses_and_does_not_hold_are_refused(kind: type[Kept], n_values: str) -> None:
    """They would be neither trained nor saved; the batch norm's counter is one of 8 + 1 values."""
    with pytest.raises(UsageError, match=r"weights that it does not hold.*Use nn\.ModuleList") as caught:
        trace(kind())

    found = int(str(caught.value).split("uses ")[1].split(" ")[0])
    assert found - int(n_values) in (0, 1)


class InAModuleList(Kept):
    def keep(self, *layers: nn.Module) -> object:
        return nn.ModuleList(layers)


class WithConstants(InAModuleList):
    def forward(self, x: Tensor) -> Tensor:
        self.steps = [torch.ones(1)]
        return super().forward(x * torch.full((1, 1, 1), 2.0) * self.steps[0])


@pytest.mark.parametrize("kind", [InAModuleList, WithConstants])
def test_a_module_list_and_constants_are_counted(kind: type[Kept]) -> None:
    """The same net with its layers registered."""
    assert trace(kind()).params == 40 + 50


NETS = """
import warnings
import torch
from torch import nn

warnings.simplefilter("ignore")  # lazy and scripted modules warn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(49, 10), nn.Linear(10, 10)
        self.third = nn.Linear(10, 10)
        self.third.weight = self.second.weight
        self.again = self.first

    def forward(self, x):
        x = self.again(torch.max_pool2d(x, 4).flatten(1)).relu()
        return self.third(self.second(x).relu())

class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.out = nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.LazyLinear(10)

    def forward(self, x):
        return self.out(torch.max_pool2d(self.norm(self.conv(x)), 9).relu().flatten(1))

class Flattening(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(784, 2), nn.Linear(2, 10)

    def forward(self, x):
        return self.out(self.hidden(x.flatten(1)).relu())

scripted = torch.jit.script(Flattening())
wrapped = nn.Sequential(torch.jit.script(Flattening()))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a user's file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLYWEIGHT_HOME", str(tmp_path / "home"))
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path


@pytest.mark.parametrize(("name", "n_params"), [("Tied", 620), ("Lazy", 218), ("Flattening", 1600)])
def test_a_net_is_trained_examined_and_used(folder: Path, name: str, n_params: int) -> None:
    """Tied weights count and are stored once, lazy layers get their sizes, and the doctor judges all of them."""
    store = Store.open(home=folder / "home")
    recipe = tiny_recipe(folder, f"model.net=nets:{name}", "train.epochs=1")

    record = run(recipe, seed=0, store=store, threads=1, trust_code=True)
    net = load(record.id, store=store)

    assert (record.status, record.params) == ("finished", n_params)
    stored = store.folder(record.id).weights().tensors
    assert sum(tensor.size for key, tensor in stored.items() if "running" not in key and "num_" not in key) == n_params
    with np.load(store.folder(record.id).file("predictions")) as kept, np.load("digits.npz") as arrays:
        assert np.allclose(net.probabilities(arrays["x_test"][:, None]), kept["test_probabilities"], atol=1e-6)
    assert command(["doctor", record.id, "--all"]) == 0


def test_a_run_with_tied_weights_is_resumed_to_the_bit(folder: Path) -> None:
    """From its checkpoint."""
    store = Store.open(home=folder / "home")
    recipe = tiny_recipe(folder, "model.net=nets:Tied", "train.epochs=2")
    whole = run(recipe, seed=0, store=store, threads=1, trust_code=True)
    steps = iter(range(20))

    stopped = run(recipe, seed=0, store=store, threads=1, should_stop=lambda: next(steps, 20) >= 18)
    from flyweight.experiment.run import resume

    resumed = resume(stopped.id, store=store)

    first, second = (store.folder(one.id).weights().tensors for one in (whole, resumed))
    assert stopped.status == "interrupted"
    assert all(np.array_equal(first[name], second[name]) for name in first.keys() | second.keys())


@pytest.mark.parametrize("name", ["scripted", "wrapped"])
def test_a_scripted_module_is_refused(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says what to name instead."""
    assert command(["show", f"nets:{name}"]) == 2
    assert "must not be scripted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("net", "code"),
    [
        ("c4 r gap bn flat fc10", 2),
        ("c4 r gmp flat fc8 bn fc10", 2),
        ("c4 bn r gap flat fc10", 0),
        ("c4 r gap flat unused(bn) fc10", 0),
    ],
)
def test_batches_of_one_image_and_batch_norm_of_one_value_are_refused(
    folder: Path, net: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first step; a map of more than one pixel has a spread."""
    assert command(["check", net, "--batch-size", "1"]) == code
    assert ("gets one value per channel" in capsys.readouterr().out) == (code == 2)
