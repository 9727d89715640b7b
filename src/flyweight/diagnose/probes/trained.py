"""Measure a trained net on some of its training images: channels that are always 0, and gradients by layer.

In: a net and clean images. Out: a `TrainedProbe`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from flyweight.diagnose.probes.start import gradients
from flyweight.doctor.probes import TrainedProbe
from flyweight.inference.net import TrainedNet
from flyweight.train.loss import cross_entropy

MAX_IMAGES: Final = 512  # enough to find live channels; a second of work for a large net
AT_ONCE: Final = 128  # images per batch; all their activations are in memory
EXACT_ZEROS: Final = (nn.ReLU, nn.ReLU6, nn.Hardswish)  # activations with exact zeros


class _Counts:
    """Counts of one activation over all images: values, zeros, and the channels that were ever non-zero."""

    def __init__(self) -> None:
        self.values = self.zeros = 0
        self.alive: Tensor = torch.zeros(())

    def add(self, output: Tensor) -> None:
        by_channel = (output != 0).transpose(0, 1).flatten(1)
        self.values += by_channel.numel()
        self.zeros += by_channel.numel() - int(by_channel.sum())
        self.alive = self.alive + by_channel.any(1)


def probe_trained(
    trained: TrainedNet, images: np.ndarray, labels: np.ndarray, *, names: Mapping[str, str]
) -> TrainedProbe:
    """images: (N, C, H, W) uint8; labels: (N,). names: of layers, by their path."""
    counts: dict[str, _Counts] = {}
    handles = [
        module.register_forward_hook(_counting(counts, names.get(path, path)))
        for path, module in trained.module.named_modules()
        if isinstance(module, EXACT_ZEROS)
    ]
    try:
        _accumulate_gradients(trained, torch.from_numpy(images), torch.from_numpy(labels))
    finally:
        for handle in handles:
            handle.remove()
    return TrainedProbe(
        n=len(images),
        channels={name: len(one.alive) for name, one in counts.items()},
        dead_channels={name: int((one.alive == 0).sum()) for name, one in counts.items()},
        zero_share={name: one.zeros / one.values for name, one in counts.items()},
        gradient=gradients(trained.module),
    )


def _counting(counts: dict[str, _Counts], name: str) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        counts.setdefault(name, _Counts()).add(output.detach())

    return hook


def _accumulate_gradients(trained: TrainedNet, images: Tensor, labels: Tensor) -> None:
    """Compute the gradients of the mean loss in evaluation mode, without a step."""
    trained.module.zero_grad(set_to_none=True)
    for start in range(0, len(images), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        logits = trained.module(trained.normalised(images[some])).float()
        (cross_entropy(logits, labels[some], reduction="sum") / len(images)).backward()  # type: ignore[no-untyped-call]
