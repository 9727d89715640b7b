"""The layer in which a diverged training first has non-finite values."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


@torch.no_grad()
def first_not_finite(model: nn.Module, images: Tensor) -> str:
    """Path of the first executed layer with non-finite weights or output; "the loss" if there is none."""
    found: list[str] = []

    def watch(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, _inputs: object, output: Tensor) -> None:
            values = [output, *module.parameters(recurse=False)]
            if not found and not all(bool(value.isfinite().all()) for value in values):
                found.append(path)

        return hook

    leaves = [(path, module) for path, module in model.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(watch(path)) for path, module in leaves]
    try:
        with torch.random.fork_rng(devices=[]):  # dropout draws
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else "the loss"
