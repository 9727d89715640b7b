"""Folding changes nothing: the operations of an export against the trained net in torch, in float64."""

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from random_nets import nets

from flyweight.errors import UsageError
from flyweight.model.build import build
from flyweight.model.fold import fold, run
from flyweight.model.lowered import lower


def trained_like(net, image, seed):
    """A net in float64 whose batch norms have random statistics and scales of both signs."""
    generator = torch.Generator().manual_seed(seed)
    module = build(net, image, generator=generator).double().eval()
    for name, tensor in module.state_dict().items():
        if tensor.dtype.is_floating_point and ("bn" in name or "prelu" in name):
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(noise.abs() + 0.1 if name.endswith("running_var") else noise)
    return module


def logits(module, images, mean, std):
    from flyweight.model.spec import LogSoftmax  # noqa: F401

    channels = images.shape[1]
    mean, std = (torch.tensor(one, dtype=torch.float64).view(1, channels, 1, 1) for one in (mean, std))
    with torch.inference_mode():
        return module((torch.from_numpy(images).double() / 255 - mean) / std).numpy()


def folded_like(net, image, seed):
    module = trained_like(net, image, seed)
    generator = np.random.default_rng(seed)
    mean, std = generator.uniform(0.1, 0.6, image[0]), generator.uniform(0.1, 0.5, image[0])
    images = generator.integers(0, 256, (3, *image), np.uint8)
    folded = fold(lower(net, image), {k: v.numpy() for k, v in module.state_dict().items()}, mean, std)
    return run(folded, images), logits(module, images, mean, std)


def shifted(values):
    """Without what log-softmax takes away."""
    return values - values.max(1, keepdims=True)


@given(nets(), st.integers(0, 99))
def test_folded_nets_compute_what_torch_computes(drawn, seed) -> None:
    """Batch norm, normalisation, pooling, order of flat vectors: equal within 1e-10 for nets of every kind of layer."""
    net, image = drawn
    try:
        lower(net, image)
    except UsageError:
        assume(False)

    found, wanted = folded_like(net, image, seed)

    if str(net).split()[-1] in ("ls",):
        found = found - np.log(np.exp(shifted(found)).sum(1, keepdims=True)) - found.max(1, keepdims=True)
    scale = max(1.0, float(np.abs(wanted).max()))
    assert np.abs(found - wanted).max() <= 1e-10 * scale
