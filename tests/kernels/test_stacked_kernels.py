"""The kernels for stacks compute what torch's own layers compute for each member alone, forwards and backwards."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from triton_interpreter import DEVICE, interpret

from flyweight.data.augment import Augmentation, affine_grid, affine_matrices, warp
from flyweight.kernels import functions, stacked

interpret()

# The interpreter computes in numpy, which warns where a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

# The interpreter cuts the last digits off where a GPU rounds.
BFLOAT16 = 2**-7
FEW = settings(max_examples=6)
ACTIVATIONS = {"none": None, "relu": nn.ReLU(), "leaky": nn.LeakyReLU(0.2), "silu": nn.SiLU()}


def whole_numbers(*shape: int, most: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(-most, most + 1, shape, generator=generator).to(DEVICE, dtype)
    return numbers.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else numbers


def maps(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Values with a mean and a spread of their own per channel, in channels-last memory."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator) * torch.rand((shape[1], 1, 1), generator=generator).add(0.2)
    values += 3 * torch.randn((shape[1], 1, 1), generator=generator)
    return values.to(DEVICE, dtype).contiguous(memory_format=torch.channels_last)


def assert_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    found, expected = found.detach().double(), expected.detach()
    assert float((found - expected).abs().max()) <= tolerance * max(float(expected.abs().max()), 1e-3)


def each_alone(x: Tensor, weight: Tensor, bias: Tensor | None, members: int, padding: int, pools: bool) -> Tensor:
    """Each member's convolution by torch, side by side."""
    biases = [None] * members if bias is None else bias.chunk(members)
    parts = zip(x.chunk(members, 1), weight.chunk(members), biases, strict=True)
    outputs = [F.conv2d(own, kernel, offset, padding=padding) for own, kernel, offset in parts]
    return torch.cat([F.max_pool2d(one, 2) if pools else one for one in outputs], dim=1)


@FEW
@given(
    n=st.integers(1, 5),
    members=st.integers(1, 4),
    channels=st.sampled_from([1, 2, 3, 8, 9, 20]),
    out=st.sampled_from([1, 4, 17]),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    kernel=st.integers(1, 5),
    padding=st.integers(0, 2),
    pools=st.booleans(),
    has_bias=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 1000),
)
@example(3, 2, 1, 20, 9, 8, 5, 0, True, False, torch.bfloat16, 0)
@example(2, 1, 33, 40, 5, 4, 3, 1, False, True, torch.float32, 1)
@example(2, 2, 40, 9, 4, 5, 3, 1, True, True, torch.bfloat16, 2)
@example(2, 1, 2, 3, 8, 9, 7, 3, True, True, torch.float32, 3)
@example(40, 1, 9, 4, 3, 3, 3, 0, False, True, torch.float32, 4)
@example(1, 2, 64, 64, 3, 2, 2, 1, False, False, torch.bfloat16, 5)
def test_convolution_is_that_of_each_member(
    n, members, channels, out, height, width, kernel, padding, pools, has_bias, dtype, seed
):
    """With whole numbers no sum is rounded, so output and gradients are torch's to the bit, ties included."""
    assume(padding < kernel and min(height, width) + 2 * padding - kernel + 1 >= 1 + pools)
    x = whole_numbers(n, members * channels, height, width, most=1, seed=seed, dtype=dtype)
    x = x.contiguous() if seed % 2 and channels < 8 else x
    weight = whole_numbers(members * out, channels, kernel, kernel, most=1, seed=seed + 1)
    bias = whole_numbers(members * out, most=2, seed=seed + 2) if has_bias else None
    ours = [None if one is None else one.clone().requires_grad_() for one in (x, weight, bias)]
    reference = [None if one is None else one.double().requires_grad_() for one in (x, weight, bias)]
    expected = each_alone(*reference, members, padding, pools)
    dy = whole_numbers(*expected.shape, most=1, seed=seed + 3, dtype=dtype)
    expected.backward(dy.double())

    y = stacked.convolve(*ours, members=members, padding=padding, pools=pools)
    y.backward(dy)

    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y.double(), expected)
    for found, wanted in zip(ours, reference, strict=True):
        assert found is None or torch.equal(found.grad.double(), wanted.grad.to(found.dtype).double())


def test_input_without_gradient_is_given_none():
    x, weight = maps(2, 2, 5, 5, seed=0), torch.ones((6, 1, 3, 3), device=DEVICE, requires_grad=True)

    stacked.convolve(x, weight, None, members=2, padding=0).sum().backward()

    assert x.grad is None
    assert weight.grad is not None


@pytest.mark.parametrize("pools", [False, True])
def test_sums_of_bfloat16_are_float32(pools):
    """The output is rounded once, and the gradients of weights not at all."""
    x, weight = maps(2, 16, 5, 6, seed=0, dtype=torch.bfloat16), torch.randn((6, 8, 3, 3), device=DEVICE).bfloat16()
    ours, reference = weight.float().requires_grad_(), weight.double().requires_grad_()
    expected = each_alone(x.double(), reference, None, 2, 1, pools)
    dy = torch.randn(expected.shape, device=DEVICE).bfloat16()
    expected.backward(dy.double())

    y = stacked.convolve(x, ours, None, members=2, padding=1, pools=pools)
    y.backward(dy)

    assert_close(y, expected, BFLOAT16)
    assert ours.grad.dtype == torch.float32
    if not pools:  # else rounding makes ties
        assert_close(ours.grad, reference.grad, 1e-5)


@FEW
@given(
    n=st.integers(2, 5),
    channels=st.sampled_from([1, 3, 8, 20, 70]),
    height=st.integers(2, 7),
    width=st.integers(2, 7),
    name=st.sampled_from(sorted(ACTIVATIONS)),
    pools=st.booleans(),
    affine=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 1000),
)
@example(20, 17, 9, 9, "relu", True, True, torch.float32, 0)
@example(40, 33, 8, 8, "silu", False, True, torch.float32, 1)
def test_norm_is_torchs_batch_norm_activation_and_pooling(n, channels, height, width, name, pools, affine, dtype, seed):
    """Output, running averages and all gradients are those of torch in double precision, within rounding."""
    x = maps(n, channels, height, width, seed=seed, dtype=dtype).requires_grad_()
    module = nn.BatchNorm2d(channels, affine=affine, device=DEVICE)
    if affine:
        nn.init.normal_(module.weight)
        nn.init.normal_(module.bias)
    activation = ACTIVATIONS[name]
    reference, x64 = copy.deepcopy(module).double(), x.detach().double().requires_grad_()
    expected = reference(x64)
    expected = activation(expected) if activation else expected
    expected = F.max_pool2d(expected, 2) if pools else expected
    dy = torch.randn(expected.shape, generator=torch.Generator().manual_seed(seed + 1)).to(DEVICE, dtype)
    expected.backward(dy.double())

    y = norm(x, module, functions.fusable_activation(activation) or functions.IDENTITY, pools=pools)
    y.backward(dy)

    rounding = 2e-5 if dtype == torch.float32 else BFLOAT16
    assert_close(y, expected, rounding)
    assert_close(module.running_mean, reference.running_mean, 1e-5)
    assert_close(module.running_var, reference.running_var, 1e-5)
    # A value at the bend of an activation, or as large as its neighbour after rounding, may fall to the other side.
    off = (x.grad.double() - x64.grad).abs() > max(1e-3, 2 * rounding) * float(x64.grad.abs().max())
    assert int(off.sum()) <= 0.02 * off.numel() or int(off.sum()) <= 2 or (pools and dtype == torch.bfloat16)
    if affine and not off.any():
        assert_close(module.weight.grad, reference.weight.grad, 1e-3)
        assert_close(module.bias.grad, reference.bias.grad, 1e-3)


def norm(x: Tensor, module: nn.BatchNorm2d, activation: tuple[int, float], *, pools: bool = False) -> Tensor:
    return stacked.norm(
        *(x, module.weight, module.bias, module.running_mean, module.running_var),
        momentum=module.momentum,
        eps=module.eps,
        activation=activation,
        pools=pools,
    )


def test_variance_of_a_small_spread_far_from_zero_keeps_its_digits():
    """The squares of values near 1000 would leave no digit for a spread of 0.01."""
    noise = torch.randn((8, 3, 20, 20), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (1000 + 0.01 * noise).float().to(DEVICE)
    module = nn.BatchNorm2d(3, momentum=1.0, device=DEVICE)

    norm(x, module, functions.IDENTITY)

    expected = x.double().transpose(0, 1).flatten(1).var(1)
    assert_close(module.running_var, expected, 1e-3)


@pytest.mark.parametrize("shape", [(2, 5, 7, 6), (1, 70, 2, 3)])
def test_pooling_takes_the_first_maximum_and_any_nan(shape):
    """As torch, forwards and backwards, with ties and NaN."""
    x = whole_numbers(*shape, most=1, seed=0)
    x[0, 0, 0, 0], x[0, 1, 1, 1] = float("nan"), float("nan")
    ours, reference = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected = F.max_pool2d(reference, 2)
    dy = torch.randn(expected.shape, device=DEVICE)
    expected.backward(dy)

    y = stacked.max_pool(ours)
    y.backward(dy)

    assert torch.equal(y.nan_to_num(9), expected.nan_to_num(9))
    assert torch.equal(ours.grad, reference.grad)


@pytest.mark.parametrize("shape", [(3, 6, 5, 4), (4, 2, 37)])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.95])
def test_a_member_drops_what_it_drops_alone(shape, p):
    """The mask is that of `functions.dropout_mask` for the member's own tensor and seed, backwards, too."""
    x = torch.randn(shape, device=DEVICE, requires_grad=True)
    seeds = torch.tensor([2**32 - 1, 7], device=DEVICE)
    own = [part[:, 0] if x.ndim == 3 else part for part in x.detach().chunk(2, 1)]
    masks = [functions.dropout_mask(part.shape, p, int(seed), DEVICE) for part, seed in zip(own, seeds, strict=True)]
    kept = torch.stack(masks, 1) if x.ndim == 3 else torch.cat(masks, 1)

    y = stacked.drop(x, p=p, seeds=seeds)
    y.sum().backward()

    torch.testing.assert_close(y, torch.where(kept, x / (1 - p), 0))
    assert torch.equal(x.grad != 0, kept)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("has_field", [False, True])
def test_batch_is_the_warp_of_each_members_images(interpolation, has_field):
    """As `augment.warp` and normalisation of the selected images, with the numbers of each member."""
    members, n, channels, height, width = 3, 4, 2, 9, 7
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (11, channels, height, width), dtype=torch.uint8, generator=generator).to(DEVICE)
    rows = torch.randint(0, 11, (members, n), generator=generator).to(DEVICE)
    shape = torch.Size((members * n, channels, height, width))
    drawn = torch.rand((5, members * n), generator=generator)
    matrices = affine_matrices(drawn, shape, Augmentation(rotate=30, translate=0.3, scale=0.2, shear=9)).to(DEVICE)
    field = torch.randn((members, n, height, width, 2), generator=generator).to(DEVICE) if has_field else None
    scale, offset = torch.rand((2, members, channels), generator=generator).to(DEVICE)
    grid = affine_grid(matrices, shape)
    grid = grid if field is None else grid + field.flatten(0, 1)
    warped = warp(images[rows.flatten()].float(), grid, interpolation).view(members, n, channels, height, width)
    expected = warped * scale.view(members, 1, channels, 1, 1) + offset.view(members, 1, channels, 1, 1)

    found = stacked.batch(
        *(images, rows, matrices.view(members, n, 2, 3)),
        scale=scale,
        offset=offset,
        interpolation=interpolation,
        dtype=torch.float32,
        field=field,
    )

    torch.testing.assert_close(found, expected.transpose(0, 1).flatten(1, 2), rtol=0, atol=1e-3)


def test_batch_without_matrices_selects_and_normalises():
    images = torch.arange(3 * 2 * 5 * 4, dtype=torch.uint8, device=DEVICE).view(3, 2, 5, 4)
    rows = torch.tensor([[2, 0], [1, 1]], device=DEVICE)
    scale, offset = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]], device=DEVICE)
    expected = images[rows].float() * scale.view(2, 1, 2, 1, 1) + offset.view(2, 1, 2, 1, 1)

    found = stacked.batch(
        images, rows, None, scale=scale, offset=offset, interpolation="bilinear", dtype=torch.bfloat16
    )

    assert torch.equal(found, expected.transpose(0, 1).flatten(1, 2).bfloat16())


def test_nan_of_a_member_reaches_no_other():
    """A member that diverges spoils neither values nor gradients of its neighbours."""
    clean = maps(3, 3 * 5, 7, 6, seed=0)
    weight = torch.randn((3 * 6, 5, 3, 3), device=DEVICE)
    results = []
    for is_spoilt in (False, True):
        x, kernel = clean.clone(), weight.clone()
        if is_spoilt:
            x[:, 5:10], kernel[6:12] = float("nan"), float("inf")
        x, kernel = x.requires_grad_(), kernel.requires_grad_()
        y = stacked.convolve(x, kernel, None, members=3, padding=1)
        y = norm(y, nn.BatchNorm2d(18, device=DEVICE), (1, 0.0), pools=True)
        y = stacked.drop(y, p=0.3, seeds=torch.tensor([1, 2, 3], device=DEVICE))
        y.square().sum().backward()
        results.append((y.chunk(3, 1), x.grad.chunk(3, 1), kernel.grad.chunk(3)))

    for kept, spoilt in zip(*results, strict=True):
        assert torch.equal(kept[0], spoilt[0])
        assert torch.equal(kept[2], spoilt[2])
        assert not spoilt[1].isfinite().all()


def test_kernels_are_refused_where_they_cannot_run(monkeypatch):
    x, weight = torch.ones((2, 8, 5, 5)), torch.ones((8, 4, 3, 3))

    assert stacked.why_unusable(torch.device("cpu")) == "Triton kernels need an NVIDIA GPU"
    assert not stacked.can_convolve(x, weight, members=2, padding=1)
    assert not stacked.can_normalise(x)
    monkeypatch.setattr(stacked, "supports", lambda dtype, _device: dtype in stacked.DTYPES)
    assert stacked.can_convolve(x, weight, members=2, padding=1)
    assert stacked.can_normalise(x)
    assert not stacked.can_convolve(x, weight, members=2, padding=3)
    assert not stacked.can_convolve(x, weight[:, :, :1], members=2, padding=0)
    assert not stacked.can_convolve(x, weight, members=4, padding=1)
    assert not stacked.can_convolve(x[:, :, :2], weight, members=2, padding=0)
    assert not stacked.can_convolve(x[:, :, :3], weight, members=2, padding=0, pools=True)
    assert not stacked.can_convolve(x.half(), weight, members=2, padding=1)
    assert not stacked.can_normalise(x[:1, :, :1, :1])


def test_reason_is_known_without_triton_and_when_switched_off(monkeypatch):
    reason = stacked._why_missing.__wrapped__
    monkeypatch.setitem(sys.modules, "triton", None)

    assert reason(torch.device("cuda")) == "triton is not installed"
    monkeypatch.setenv("FLYWEIGHT_KERNELS", "off")
    assert reason(torch.device("cuda")) == "FLYWEIGHT_KERNELS=off"


@pytest.mark.slow
@pytest.mark.parametrize("capability", [75, 80, 90])
def test_no_kernel_spills_registers(capability):
    """Every kernel of usual nets, and of the largest layers, is compiled for a GPU that need not be there."""
    script = Path(__file__).with_name("compiled_kernels.py")

    compiling = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(script), str(capability)]

    done = subprocess.run(command, capture_output=True, text=True, check=False, env=compiling)

    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) > 30
    assert not [line for line in lines if int(line.split()[-1]) > 32]
