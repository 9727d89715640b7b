"""Several trainings of one net as one stacked net: the tensors of each training become views of stacked tensors.

One operation advances all of them, and each remains a `Training` that can be evaluated, saved and resumed alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from flyweight.model.stacked import Stack, rows_of
from flyweight.train.device import to_device
from flyweight.train.optim import Optimizer
from flyweight.train.training import Training

MakeOptimizer = Callable[[nn.Module], Optimizer]


class Population:
    """The stacked state of S trainings, which must be at the same epoch and step.

    stack: the nets. average: their averaged weights, with decay `ema` per step, if they have any. lr: the learning rate
    of the next step, a tensor on the device, so that a captured step can read it.
    """

    def __init__(
        self, trainings: Sequence[Training], stack: Stack, make_optimizer: MakeOptimizer, *, ema: float = 0.0
    ) -> None:
        self.trainings, self.ema = trainings, ema
        self.stack = to_device(stack, _device(trainings[0]))
        self.average = copy.deepcopy(self.stack) if trainings[0].average is not None else None
        self.n_averaged = torch.zeros(len(trainings), dtype=torch.int64, device=self.device)
        self.optimizer = make_optimizer(self.stack)
        self.lr = torch.zeros((), device=self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
            if "capturable" in group:
                group["capturable"] = self.device.type == "cuda"
        _create_state(self.optimizer)
        for number, training in enumerate(trainings):
            self._adopt(number, training)

    @property
    def device(self) -> torch.device:
        return _device(self.trainings[0])

    @property
    def result(self) -> Stack:
        """The nets to evaluate: the averaged ones, if there are any."""
        return self.average if self.average is not None else self.stack

    def state(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        state = [value for values in self.optimizer.state.values() for value in values.values()]
        averages = [] if self.average is None else [*self.average.tensors().values(), self.n_averaged]
        return [tensor.detach() for tensor in (*self.stack.tensors().values(), *state, *averages)]

    @torch.no_grad()
    def mask(self, number: int) -> None:
        """Set the weights of a member to 0, so that it computes nothing that is not finite; its training keeps them.

        The training gets tensors of its own.
        """
        training = self.trainings[number]
        models = [training.model] if training.average is None else [training.model, training.average.module]
        tensors = [tensor for model in models for tensor in model.state_dict(keep_vars=True).values()]
        states = [value for values in training.optimizer.state.values() for value in values.values()]
        for tensor in (*tensors, *states):
            view = _separated(tensor)
            if view.ndim or not view.is_floating_point():
                view.zero_()
        if training.average is not None:
            _separated(training.average.n_averaged)

    def gradients(self, losses: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of each stacked parameter, None for an unused one. losses: (S,), one of each member."""
        return torch.autograd.grad(losses.sum(), list(self.stack.parameters()), allow_unused=True)

    def update(self, losses: Tensor) -> None:
        """Take a step of the optimizer and the averages. losses: (S,), one of each member."""
        for parameter, gradient in zip(self.stack.parameters(), self.gradients(losses), strict=True):
            if gradient is not None and gradient.stride() != parameter.stride():  # fused optimizers need the same
                gradient = torch.empty_like(parameter).copy_(gradient)
            parameter.grad = gradient
        self.optimizer.step()
        if self.average is not None:
            self._average()

    @torch.no_grad()
    def _average(self) -> None:
        """The running average of `train.step.averaged`, without reading its counter on the host."""
        assert self.average is not None
        count = self.n_averaged[0]
        share = (1 - (1 + count) / (10 + count)).clamp_min(1 - self.ema).masked_fill(count == 0, 1.0)
        for average, value in zip(self.average.tensors().values(), self.stack.tensors().values(), strict=True):
            if average.is_floating_point():
                average.detach().lerp_(value.detach(), share)
            else:
                average.copy_(value)
        self.n_averaged += 1

    @torch.no_grad()
    def _adopt(self, number: int, training: Training) -> None:
        """Move the tensors of a training into the stack, and leave views of the stack in their place."""
        _replace(training.model, self.stack.of_member(number))
        if training.average is not None and self.average is not None:
            _replace(training.average.module, self.average.of_member(number))
            _move(training.average.n_averaged, self.n_averaged[number])
        self._adopt_optimizer(number, training)

    def _adopt_optimizer(self, number: int, training: Training) -> None:
        stacked, own = self.stack.tensors(), dict(training.model.named_parameters())
        for name, parameter in own.items():
            found = training.optimizer.state[parameter]
            for key, value in self.optimizer.state[stacked[name]].items():
                view = value.detach() if value.ndim == 0 else rows_of(value, number, len(self.trainings))
                if key in found:
                    view.copy_(found[key])
                found[key] = view


def _device(training: Training) -> torch.device:
    return next(training.model.parameters()).device


def _replace(model: nn.Module, views: Mapping[str, Tensor]) -> None:
    for name, tensor in model.state_dict(keep_vars=True).items():
        _move(tensor, views[name])


def _move(tensor: Tensor, view: Tensor) -> None:
    """Copy the values of a tensor into a view, and let it be that view."""
    view.copy_(tensor)
    tensor.data = view


def _separated(tensor: Tensor) -> Tensor:
    """Give a tensor memory of its own, and return the view that it was."""
    view = tensor.detach()
    tensor.data = view.clone()
    return view


def _create_state(optimizer: Optimizer) -> None:
    """Let the optimizer make its state tensors, all zero, in which the first step has the result of an empty state."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    before = [parameter.detach().clone() for parameter in parameters]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for parameter, value in zip(parameters, before, strict=True):
        parameter.detach().copy_(value)
        parameter.grad = None
    for values in optimizer.state.values():
        for name in [name for name, value in values.items() if not isinstance(value, Tensor)]:
            del values[name]  # plain SGD keeps an empty momentum
        for value in values.values():
            value.zero_()
