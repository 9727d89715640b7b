"""What a trained net makes of images that it was trained on: channels that are always 0, and gradients by layer.

Goes in: a net and clean images. Comes out: a `TrainedProbe`. How the net was trained is not known here.
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

MOST_IMAGES: Final = 512  # enough to see a channel that is alive, and a second of work for a large net
AT_ONCE: Final = 128  # all activations of so many are in memory, for the gradients
EXACT_ZEROS: Final = (nn.ReLU, nn.ReLU6, nn.Hardswish)  # activations that give 0 and not something small


class _Counts:
    """Of one activation over all images: values, zeros, and the channels that were ever anything but 0."""

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
    """images (N, C, H, W) uint8 and labels (N,), all of which are looked at. names: of layers, by their path."""
    counts: dict[str, _Counts] = {}
    handles = [
        module.register_forward_hook(_counting(counts, names.get(path, path)))
        for path, module in trained.module.named_modules()
        if isinstance(module, EXACT_ZEROS)
    ]
    try:
        _learn_nothing(trained, torch.from_numpy(images), torch.from_numpy(labels))
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


def _learn_nothing(trained: TrainedNet, images: Tensor, labels: Tensor) -> None:
    """Leave the gradients of the mean loss with the weights, in evaluation mode and without a step."""
    trained.module.zero_grad(set_to_none=True)
    for start in range(0, len(images), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        logits = trained.module(trained.normalised(images[some])).float()
        (cross_entropy(logits, labels[some], reduction="sum") / len(images)).backward()  # type: ignore[no-untyped-call]
