"""Optimizers and their settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, assert_never

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

EPSILON: Final = 1e-8  # torch's default of Adam


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """momentum: beta1 for Adam and AdamW. weight_decay_on: all tensors, or only those of 2 or more dimensions."""

    name: Literal["sgd", "adam", "adamw"]
    lr: float
    momentum: float = 0.9
    nesterov: bool = False
    beta2: float = 0.999
    weight_decay: float = 0.0
    weight_decay_on: Literal["all", "weights"] = "all"


class Optimizer(Protocol):
    """What a training needs of an optimizer; those of torch.optim fit too.

    state: of each parameter, tensors by name.
    """

    param_groups: list[dict[str, Any]]
    state: Any

    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def step(self) -> Any: ...


def optimizer_for(model: nn.Module, settings: OptimizerSettings) -> Optimizer:
    """The optimizer of the trainable parameters of `model`."""
    groups = _groups(model.parameters(), settings)
    match settings.name:
        case "sgd":
            return _SGD(groups, settings)
        case "adam" | "adamw":
            return _Adam(groups, settings)
        case _:
            assert_never(settings.name)


class _Fused:
    """The classes of torch.optim load the compiler of torch, a second of each start, so their functions are called."""

    def __init__(self, groups: list[dict[str, Any]], settings: OptimizerSettings) -> None:
        self.param_groups = [{**group, "lr": settings.lr} for group in groups]
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.settings = settings

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad.detach_().zero_()

    @torch.no_grad()
    def step(self) -> None:
        """Update each parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._update(parameters, [parameter.grad for parameter in parameters], group)

    def _update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        raise NotImplementedError


class _SGD(_Fused):
    def _update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        momentum = self.settings.momentum
        buffers = [self.state[parameter].get("momentum_buffer") for parameter in parameters]
        is_new = [buffer is None for buffer in buffers]
        # The function takes all buffers or none; a parameter may get its first gradient later than the others.
        for new in {*is_new}:
            chosen = [number for number, one in enumerate(is_new) if one == new]
            moved = [buffers[number] for number in chosen]
            sgd(
                [parameters[number] for number in chosen],
                [gradients[number] for number in chosen],
                moved,
                fused=True,
                lr=group["lr"],
                momentum=momentum,
                nesterov=self.settings.nesterov and momentum > 0,
                weight_decay=group["weight_decay"],
                dampening=0.0,
                maximize=False,
            )
            if momentum:
                for number, buffer in zip(chosen, moved, strict=True):
                    self.state[parameters[number]]["momentum_buffer"] = buffer


class _Adam(_Fused):
    def _update(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        states = [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        (adam if self.settings.name == "adam" else adamw)(
            parameters,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=self.settings.momentum,
            beta2=self.settings.beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=EPSILON,
            maximize=False,
        )


def _groups(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> list[dict[str, object]]:
    """Parameter groups with decay on all tensors, or without decay on biases and batch norm (one dimension)."""
    trainable, on = [parameter for parameter in parameters if parameter.requires_grad], settings.weight_decay_on
    weights = [p for p in trainable if on == "all" or p.ndim > 1]
    others = [p for p in trainable if on == "weights" and p.ndim <= 1]
    groups: list[dict[str, object]] = [{"params": weights, "weight_decay": settings.weight_decay}]
    return [*groups, {"params": others, "weight_decay": 0.0}] if others else groups
