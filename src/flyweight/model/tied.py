"""Tied weights: one tensor under several names is stored once, and tied again by the module that it is loaded into."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def stored_once(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state, each under the first of its names."""
    seen: set[tuple[int, tuple[int, ...], tuple[int, ...]]] = set()
    found = {}
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if key not in seen or not tensor.numel():
            found[name] = tensor
        seen.add(key)
    return found
