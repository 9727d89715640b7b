"""The kernels compute what torch's own layers compute, forwards and backwards."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from flyweight.kernels import functions
from flyweight.kernels.dropout import SeededDropout
from flyweight.kernels.library import library, why_missing

pytestmark = pytest.mark.skipif(library() is None, reason=f"no kernels here: {why_missing()}")

TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2e-2}
ACTIVATIONS = {"none": None, "relu": nn.ReLU(), "leaky": nn.LeakyReLU(0.2), "silu": nn.SiLU()}


def pictures(shape: tuple[int, ...], *, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Values with a mean and a spread of their own per channel, in channels-last memory, waiting for a gradient."""
    generator = torch.Generator().manual_seed(seed)
    channels = shape[1]
    values = torch.randn(shape, generator=generator) * torch.rand((channels, 1, 1), generator=generator).add(0.2)
    values += 3 * torch.randn((channels, 1, 1), generator=generator)
    return values.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()


def assert_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    found, expected = found.detach().double(), expected.detach()
    assert float((found - expected).abs().max()) <= tolerance * max(float(expected.abs().max()), 1e-3)


@given(
    n=st.integers(2, 5),
    channels=st.sampled_from([1, 3, 8, 14, 16, 20, 33]),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    name=st.sampled_from(sorted(ACTIVATIONS)),
    pools=st.booleans(),
    affine=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_norm_is_torchs_batch_norm_activation_and_pooling(n, channels, height, width, name, pools, affine, seed):
    """Output, running averages and all gradients are those of torch in double precision, within rounding."""
    x = pictures((n, channels, height, width), seed=seed)
    module = nn.BatchNorm2d(channels, affine=affine)
    if affine:
        nn.init.normal_(module.weight)
        nn.init.normal_(module.bias)
    activation = ACTIVATIONS[name]
    reference, x64 = copy.deepcopy(module).double(), x.detach().double().requires_grad_()
    expected = reference(x64)
    expected = activation(expected) if activation else expected
    expected = F.max_pool2d(expected, 2) if pools else expected
    dy = torch.randn(expected.shape, generator=torch.Generator().manual_seed(seed + 1))
    expected.backward(dy.double())

    y = functions.norm(x, module, functions.fusable_activation(activation) or functions.IDENTITY, pools=pools)
    y.backward(dy)

    assert_close(y, expected, 2e-5)
    assert_close(module.running_mean, reference.running_mean, 1e-5)
    assert_close(module.running_var, reference.running_var, 1e-5)
    assert int(module.num_batches_tracked) == 1
    # A value at the bend of an activation, or as large as its neighbour, may fall to the other side.
    off = (x.grad.double() - x64.grad).abs() > 1e-3 * float(x64.grad.abs().max())
    assert int(off.sum()) <= 0.02 * off.numel() or int(off.sum()) <= 2
    if affine and not off.any():
        assert_close(module.weight.grad, reference.weight.grad, 1e-3)
        assert_close(module.bias.grad, reference.bias.grad, 1e-3)


@pytest.mark.parametrize("pools", [False, True])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_bfloat16_rounds_once(name, pools):
    """In bfloat16 the result is the one of single precision, rounded at the end; gradients agree to its precision."""
    x = pictures((8, 14, 12, 12), seed=1, dtype=torch.bfloat16)
    wide = x.detach().float().requires_grad_()
    module = nn.BatchNorm2d(14)
    settings = functions.fusable_activation(ACTIVATIONS[name]) or functions.IDENTITY
    expected = functions.norm(wide, copy.deepcopy(module), settings, pools=pools)
    dy = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).bfloat16()
    expected.backward(dy.float())

    y = functions.norm(x, module, settings, pools=pools)
    y.backward(dy)

    assert torch.equal(y, expected.bfloat16())
    assert_close(x.grad, wide.grad.double(), TOLERANCE[torch.bfloat16])


def test_a_large_mean_does_not_swallow_the_spread():
    """Channels whose mean is a thousand spreads away keep their variance (no difference of large squares)."""
    x = 1000 + torch.randn((16, 4, 20, 20), generator=torch.Generator().manual_seed(0))
    module = nn.BatchNorm2d(4, momentum=1.0)

    functions.norm(x, module)

    assert torch.allclose(module.running_var, x.double().var((0, 2, 3)).float(), rtol=1e-3)


@pytest.mark.parametrize("dtype", functions.DTYPES)
@pytest.mark.parametrize(("height", "width"), [(2, 2), (7, 6), (12, 13), (28, 28)])
@pytest.mark.parametrize("channels", [1, 14, 16, 20, 40])
def test_max_pool_is_torchs(dtype, height, width, channels):
    """Values and gradients equal torch's to the bit, ties and odd sides included."""
    generator = torch.Generator().manual_seed(3)
    values = torch.randint(-3, 4, (3, channels, height, width), generator=generator).to(dtype)  # many ties
    x, other = (values.contiguous(memory_format=torch.channels_last).requires_grad_() for _ in range(2))
    expected = F.max_pool2d(other, 2)
    dy = torch.randn(expected.shape, generator=generator).to(dtype)
    expected.backward(dy)

    y = functions.max_pool(x)
    y.backward(dy)

    assert torch.equal(y, expected)
    assert torch.equal(x.grad, other.grad)


def test_what_is_not_a_number_is_passed_on():
    """One NaN in a channel comes out of norm and pooling, so that a diverged run is noticed."""
    for pools in (False, True):
        x = torch.ones((2, 3, 4, 4))
        x[0, 1, 1, 2] = math.nan

        found = functions.norm(x, nn.BatchNorm2d(3), functions.fusable_activation(nn.ReLU()), pools=pools)

        assert found[:, 1].isnan().all()
        assert not found[:, [0, 2]].isnan().any()
    assert functions.max_pool(x)[0, 1, 0, 1].isnan()
    assert int(functions.max_pool(x).isnan().sum()) == 1


@pytest.mark.parametrize("shape", [(6, 50), (4, 14, 7, 7), (3, 1, 5, 2)])
@pytest.mark.parametrize("dtype", functions.DTYPES)
@given(p=st.floats(0.01, 0.95), seed=st.integers(0, 2**32 - 1))
def test_dropout_keeps_what_its_seed_says(shape, dtype, p, seed):
    """The kernel's mask is the one that torch alone computes, for values and for gradients."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    mask = functions.dropout_mask(x.shape, p, seed)

    y = functions.drop(x, p=p, seed=seed)
    y.sum().backward()

    assert torch.equal(y != 0, mask & (x != 0))
    assert torch.allclose(y.float(), (x.float() / (1 - p)).to(dtype).float() * mask, rtol=1e-2)
    assert torch.equal(x.grad != 0, mask)


def test_dropout_drops_its_share_independently():
    """Over a million values the share is p within five standard errors, and so is that of pairs, rows and seeds."""
    p, n = 0.3, 1_000_000
    one, other = (~functions.dropout_mask(torch.Size((n,)), p, seed) for seed in (1, 2))

    shares = {
        "values": (one.double().mean(), p),
        "neighbours": ((one[1:] & one[:-1]).double().mean(), p * p),
        "a row apart": ((one[28:] & one[:-28]).double().mean(), p * p),
        "seeds": ((one & other).double().mean(), p * p),
    }

    for found, expected in shares.values():
        assert abs(float(found) - expected) < 5 * math.sqrt(expected * (1 - expected) / n)


def test_dropout_follows_torchs_generator_and_rests_in_evaluation():
    """The same state of the generator drops the same values; evaluation and p = 0 pass everything."""
    x, layer = torch.ones((4, 8, 5, 5)), SeededDropout(0.5)
    torch.manual_seed(7)
    first, second = layer(x), layer(x)
    torch.manual_seed(7)

    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert layer.eval()(x) is x
    assert SeededDropout(0.0)(x) is x


def _convolved(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """By the kernel where it is; torch's own sums gradients in an order of its own for each number of threads."""
    return functions.convolve(x, convolution) if functions.can_convolve(x, convolution) else x


def test_bits_do_not_depend_on_threads():
    """One thread and two give the same bits, forwards and backwards."""
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        x, convolution, module = pictures((64, 14, 28, 28), seed=5), nn.Conv2d(14, 14, 3), nn.BatchNorm2d(14)
        for pools in (False, True):
            y = functions.norm(_convolved(x, convolution), module, functions.fusable_activation(nn.ReLU()), pools=pools)
            functions.drop(y, p=0.2, seed=3).square().sum().backward()
        found.append([x.grad, *(p.grad for p in (*convolution.parameters(), *module.parameters())), *module.buffers()])
    torch.set_num_threads(1)

    assert len(found[0]) == 8
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


@given(
    n=st.integers(1, 4),
    channels=st.sampled_from([1, 2, 3, 14, 16, 17, 40, 64]),
    out=st.sampled_from([1, 5, 16, 20, 33, 48, 64]),
    height=st.integers(1, 9),
    width=st.integers(1, 31),
    kernel=st.sampled_from([1, 2, 3, 5]),
    padding=st.integers(0, 4),
    bias=st.booleans(),
    dtype=st.sampled_from(functions.DTYPES),
    seed=st.integers(0, 1000),
)
def test_convolve_is_torchs_convolution(n, channels, out, height, width, kernel, padding, bias, dtype, seed):
    """Output and all gradients are those of torch in double precision, for weights rounded as the type has them."""
    x = pictures((n, channels, height, width), seed=seed, dtype=dtype)
    module = nn.Conv2d(channels, out, kernel, padding=padding, bias=bias)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        assume(functions.can_convolve(x, module))
        y = functions.convolve(x, module)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    y.backward(dy)

    reference, x64 = copy.deepcopy(module).double(), x.detach().double().requires_grad_()
    reference.weight.data = module.weight.detach().to(dtype).double()
    expected = reference(x64)
    expected.backward(dy.double())

    rounding = 1e-5 if dtype == torch.float32 else 5e-3
    assert_close(y, expected, rounding)
    assert_close(x.grad, x64.grad, rounding)
    assert_close(module.weight.grad, reference.weight.grad, 1e-5)
    if bias:
        assert_close(module.bias.grad, reference.bias.grad, 1e-5)


@pytest.mark.parametrize(
    "settings",
    [{"stride": 2}, {"dilation": 2}, {"groups": 2}, {"padding_mode": "reflect", "padding": 1}, {"padding": 3}],
    ids=str,
)
def test_other_convolutions_are_left_to_torch(settings):
    """Strides, dilation, groups, other borders and padding beyond the kernel are torch's; so are many channels."""
    x = torch.ones((1, 4, 9, 9))

    assert not functions.can_convolve(x, nn.Conv2d(4, 4, 3, **settings))
    assert not functions.can_convolve(x, nn.Conv2d(4, functions.MAX_CHANNELS + 1, 3))
    assert not functions.can_convolve(x[:, :, :2], nn.Conv2d(4, 4, 3))
