"""Dropout whose mask is a function of one random number: equal on every device, with and without the kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flyweight.kernels.functions import drop


class SeededDropout(nn.Dropout):
    """nn.Dropout (Srivastava et al. 2014), with one number of torch's CPU generator drawn per call."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        seed = int(torch.randint(2**32, (), dtype=torch.int64))
        return drop(x, p=self.p, seed=seed)
