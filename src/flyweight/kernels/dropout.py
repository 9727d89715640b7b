"""Dropout whose mask is a function of one random number: equal on every device, with and without the kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flyweight.kernels import stacked
from flyweight.kernels.functions import drop, dropout_mask, dropout_masks


class SeededDropout(nn.Dropout):
    """nn.Dropout (Srivastava et al. 2014), with one number of torch's CPU generator drawn per call."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return drop(x, p=self.p, seed=_drawn())


class SeededDropout2d(nn.Dropout2d):
    """nn.Dropout2d (Tompson et al. 2015), which zeroes whole channels, with its random number drawn in the same way."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = dropout_mask(x.shape[:2], self.p, _drawn(), x.device)
        return torch.where(_over_pixels(keep, x), x / (1 - self.p), 0)


def call_seeds(seed: int, *, count: int) -> Tensor:
    """(count,) int64: the numbers that the dropout layers of a net draw in turn after `torch.manual_seed(seed)`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2**32, (count,), generator=generator, dtype=torch.int64)


def drop_stacked(x: Tensor, *, p: float, seeds: Tensor, whole_channels: bool = False) -> Tensor:
    """Dropout of S nets at once: each drops what it drops alone with its own seed.

    x: (N, S * C, H, W) or (N, S * C), the channels of each net side by side. seeds: (S,) int64, on the device of x.
    """
    if not whole_channels and stacked.supports(x.dtype, x.device):
        return stacked.drop(x if x.ndim == 4 else x.view(len(x), len(seeds), -1), p=p, seeds=seeds).view_as(x)
    own = torch.Size((len(x), x.shape[1] // len(seeds), *x.shape[2:]))
    keep = dropout_masks(own[:2] if whole_channels else own, p, seeds).transpose(0, 1).flatten(1, 2)
    # torch.where would copy its 0 from the host, which a captured step must not.
    return (x / (1 - p)).masked_fill(~_over_pixels(keep, x), 0)


def _drawn() -> int:
    return int(torch.randint(2**32, (), dtype=torch.int64))


def _over_pixels(keep: Tensor, x: Tensor) -> Tensor:
    """A mask of whole channels, (N, C), as one that fits x."""
    return keep.view(*keep.shape, *(1,) * (x.ndim - keep.ndim))
