"""A chain of layers gives what its layers give, fused or not."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from flyweight.kernels import chain, functions
from flyweight.kernels import library as built
from flyweight.kernels.library import library, why_missing
from flyweight.model.build import build

needs_kernels = pytest.mark.skipif(library() is None, reason=f"no kernels here: {why_missing()}")

NETS = [
    "c14p1 bn r c14p1 bn r m2 do.1 c24p1 bn r c16p1 bn r gap flat do.1 fc50 r fc10",
    "c20/5nb m2 bn r c20nb bn r c22nb bn r c24nb bn r m2 c28nb bn r flat fc10",
    "c12nb bn silu c20nb m2 bn silu c28nb bn silu gap flat fc10",
    "c8 r bn m2 c8 bn leaky.1 c8 bn0 m2 flat fc10 bn",
    "c8p1 bn r +(c8p1 bn r c8p1 bn) r m2 sdo.2 c8 bn gelu m3 flat fc10",
    "c6 bn m2s1 c6 bn r a2 flat fc10",
    "c8/1x5p0x2 bn r c8/5x1 bn r m2 c8/3x1p1 bn r flat fc10",
]


@pytest.fixture
def without_kernels(monkeypatch):
    """Switches the kernels off while the test asks for it."""

    def switch(*, off: bool) -> None:
        monkeypatch.undo()
        if off:
            monkeypatch.setattr(built, "_found", lambda: (None, "switched off"))

    return switch


def step(model: nn.Module, *, precision: str = "float32") -> torch.Tensor:
    """Loss, gradients and running averages of one training step over the same 32 images, in a row."""
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn((32, 1, 28, 28), generator=generator), torch.arange(32) % 10
    twin = copy.deepcopy(model)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        logits = twin(images)
    loss = F.cross_entropy(logits.float(), labels)
    loss.backward()
    parts = [loss, *(p.grad for p in twin.parameters()), *twin.buffers()]
    assert len(parts) > 10
    return torch.cat([part.detach().double().flatten() for part in parts])


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@needs_kernels
@pytest.mark.parametrize("net", NETS)
def test_a_training_step_is_the_same_with_and_without_kernels(net, without_kernels):
    """Loss, gradients and running averages of a step agree to 3e-4 of their length; at a bend a value may cross it."""
    model = build(net, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    fused = step(model)
    without_kernels(off=True)

    plain = step(model)

    assert 0 < distance(fused, plain) < 3e-4


@needs_kernels
@pytest.mark.parametrize("net", NETS)
def test_bfloat16_is_as_near_to_the_truth_as_torchs(net, without_kernels):
    """In bfloat16 a step lies no further from the one in single precision than torch's own, give or take a fifth."""
    model = build(net, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    fused = step(model, precision="bfloat16")
    without_kernels(off=True)
    plain, truth = step(model, precision="bfloat16"), step(model)

    assert 0 < distance(fused, truth) < 1.2 * distance(plain, truth) < 0.2


@needs_kernels
@pytest.mark.parametrize("net", NETS)
def test_evaluation_is_the_same_with_and_without_kernels(net, without_kernels):
    """A trained net's answers agree to 1e-4, with its running averages and without dropout."""
    images = torch.randn((16, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    model = build(net, (1, 28, 28), generator=torch.Generator().manual_seed(0))
    model(images)  # moves the running averages
    model.eval()

    with torch.no_grad():
        fused = model(images)
        without_kernels(off=True)
        plain = model(images)

    assert torch.allclose(fused, plain, atol=1e-4)


@needs_kernels
def test_norm_takes_what_follows_along(monkeypatch):
    """Batch norm, activation and pooling are one call, and a pooling before it one more."""
    calls: list[str] = []
    real_norm, real_pool = functions.norm, functions.max_pool
    monkeypatch.setattr(functions, "norm", lambda *a, **k: [calls.append(f"norm {k['pools']}"), real_norm(*a, **k)][1])
    monkeypatch.setattr(functions, "max_pool", lambda *a: [calls.append("pool"), real_pool(*a)][1])
    model = build("c8 m2 bn r c8 bn m2 c4 r bn flat fc10", (1, 28, 28))

    model(torch.randn((4, 1, 28, 28)))

    assert calls == ["pool", "norm False", "norm True", "norm False"]


@needs_kernels
def test_a_watched_layer_is_called_itself():
    """A hook on any layer sees its input and output, as without kernels."""
    model = build("c8 bn r m2 flat fc10", (1, 28, 28))
    seen: list[str] = []
    for name, layer in model.named_children():
        layer.register_forward_hook(lambda *_things, name=name: seen.append(name))

    model(torch.randn((2, 1, 28, 28)))

    assert seen == [name for name, _ in model.named_children()]
    assert len(seen) == 6


@needs_kernels
def test_an_export_sees_plain_layers():
    """torch.export records torch's own operators, and its answers are the net's."""
    model = build("c8 bn r m2 c8 bn silu flat fc10", (1, 28, 28)).eval()
    images = torch.randn((2, 1, 28, 28))

    exported = torch.export.export(model, (images,))

    names = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert any("batch_norm" in name for name in names)
    with torch.no_grad():
        assert torch.allclose(exported.module()(images), model(images), atol=1e-5)


def test_a_gradient_through_evaluation_is_torchs():
    """With a gradient asked of a net in evaluation, batch norm is torch's own: the kernels have no such way back."""
    model = build("c4 bn r flat fc10", (1, 28, 28)).eval()
    images = torch.randn((2, 1, 28, 28), requires_grad=True)

    model(images).sum().backward()

    assert float(images.grad.abs().sum()) > 0


def test_one_value_per_channel_is_refused_as_by_torch():
    """Batch norm over a single value has no variance; torch's own error says so."""
    with pytest.raises(ValueError, match="more than 1 value"):
        chain.run([nn.BatchNorm2d(3)], torch.ones((1, 3, 1, 1)))
