"""A training as bytes and back: one safetensors file (no pickle) with everything that a resumed run needs.

Tensors are stored by name. The metadata of the file has the counters and the history as JSON, and a SHA-256 over
tensors and JSON, which is checked on load. The caller stores the bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from flyweight.errors import DataError
from flyweight.model.tied import stored_once
from flyweight.train.metrics import EpochMetrics
from flyweight.train.optim import Optimizer
from flyweight.train.training import Training

COUNTERS: Final = ("epoch", "step", "best_epoch", "seconds", "epoch_seconds", "loss_sum", "correct", "count")


def to_bytes(training: Training) -> bytes:
    """The complete state of a training; `from_bytes` restores it exactly."""
    state = {name: getattr(training, name) for name in COUNTERS}
    state["history"] = [dataclasses.asdict(metrics) for metrics in training.history]
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(training).items()}
    shared = tensors.keys() - stored_once(tensors).keys()
    tensors |= {name: tensors[name].clone() for name in shared}  # safetensors refuses tied weights
    text = json.dumps(state, sort_keys=True)
    return save(tensors, {"state": text, "sha256": _digest(tensors, text)})


def from_bytes(content: bytes, training: Training) -> None:
    """Restore a checkpoint into a new `training` of the same recipe.

    Raises:
        DataError: the file is truncated, changed, or of another net.
    """
    tensors, state = _read(content)
    _restore(training.model.state_dict(), _under("model", tensors))
    if training.average is not None:
        _restore(training.average.state_dict(), _under("average", tensors))
    training.best_weights = _under("best", tensors)
    _restore_optimizer(training.optimizer, _under("optimizer", tensors))
    last_batch = _under("last_batch", tensors)
    training.last_batch = (last_batch["logits"], last_batch["labels"]) if last_batch else None
    training.history = [EpochMetrics(**line) for line in state["history"]]
    for name in COUNTERS:
        setattr(training, name, state[name])


def _tensors(training: Training) -> dict[str, Tensor]:
    parts: dict[str, Mapping[str, Tensor]] = {
        "model": training.model.state_dict(),
        "best": training.best_weights,
        "optimizer": _optimizer_state(training.optimizer),
    }
    if training.average is not None:
        parts["average"] = training.average.state_dict()
    if training.last_batch is not None:
        parts["last_batch"] = dict(zip(("logits", "labels"), training.last_batch, strict=True))
    return {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}


def _under(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}/"): t for name, t in tensors.items() if name.startswith(f"{part}/")}


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _optimizer_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """State tensors such as momentum, named "index of the parameter/name"; learning rates need no state."""
    return {
        f"{number}/{name}": value
        for number, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def _restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """A state tensor gets the memory layout of its parameter, which the fused kernels rely on."""
    parameters = _parameters(optimizer)
    for key, value in tensors.items():
        number, name = key.split("/")
        parameter = parameters[int(number)]
        like = parameter.detach() if value.shape == parameter.shape else value
        optimizer.state[parameter][name] = torch.empty_like(like, dtype=value.dtype).copy_(value)


def _restore(into: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy by name into the existing tensors, which keeps their memory layout."""
    for name, tensor in into.items():
        found = tensors.get(name)
        if found is None or found.shape != tensor.shape:
            raise DataError(
                f"a checkpoint of this recipe must have {name!r} of shape {tuple(tensor.shape)}, "
                f"found {'none' if found is None else tuple(found.shape)}; start a new run."
            )
        tensor.copy_(found)


def _read(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        tensors = load(content)
        metadata = _metadata(content)
        text, expected = metadata["state"], metadata["sha256"]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the checkpoint must be a complete safetensors file, cannot read it ({error}); start a new run."
        ) from error
    found = _digest(tensors, text)
    if found != expected:
        raise DataError(
            f"the checkpoint was changed or truncated: its checksum must be {expected[:12]}, found {found[:12]}; "
            "start a new run."
        )
    return tensors, json.loads(text)


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata in the header: eight bytes of length, then JSON (safetensors reads it only from files)."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return metadata


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
