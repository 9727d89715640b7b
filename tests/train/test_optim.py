"""Schedules against torch's own schedulers, optimizers against the textbook."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from flyweight.recipe import OptimizerName, TrainSection, optimizer_traits
from flyweight.train.optim import OptimizerSettings, optimizer_for
from flyweight.train.schedules import ScheduleName, ScheduleSettings, factor

STEPS = 200


def ours(name: ScheduleName, **settings: float) -> list[float]:
    schedule = ScheduleSettings(name=name, **settings)
    return [factor(step / STEPS, schedule) for step in range(STEPS)]


def torchs(make) -> list[float]:
    """The learning rates of a torch scheduler on an optimizer with lr 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_step_is_torchs_step_lr():
    """Four drops over the run equal StepLR with a quarter of the steps."""
    assert ours("step", drops=4, gamma=0.3) == pytest.approx(
        torchs(lambda optimizer: lr_scheduler.StepLR(optimizer, STEPS // 4, gamma=0.3))
    )


def test_cosine_is_torchs_cosine_annealing():
    """Without warm-up it is CosineAnnealingLR down to the final share."""
    assert ours("cosine", final=0.05) == pytest.approx(
        torchs(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=0.05)), rel=1e-6
    )


def test_one_cycle_is_torchs_one_cycle():
    """The same rise from 1/25 and the same fall; torch ends one step earlier, so its clock is ours stretched."""

    def at(progress: float) -> float:
        return factor(progress, ScheduleSettings(name="one-cycle", warmup=0.3))

    rates = torchs(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer, 1.0, total_steps=STEPS + 1, pct_start=(0.3 * STEPS + 1) / (STEPS + 1), final_div_factor=1e12
        )
    )

    assert rates == pytest.approx([at(step / STEPS) for step in range(STEPS)], abs=1e-9)


def test_triangular_is_two_straight_lines():
    """Up from 0 over the warm-up, down to the final share: torch's LinearLR twice."""

    def make(optimizer):
        up = lr_scheduler.LinearLR(optimizer, 1e-12, 1.0, total_iters=50)
        down = lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=150)
        return lr_scheduler.SequentialLR(optimizer, [up, down], [50])

    assert ours("triangular", warmup=0.25, final=0.1) == pytest.approx(torchs(make), abs=1e-6)


@pytest.mark.parametrize("name", get_args(ScheduleName))
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.9])
def test_a_schedule_is_a_share_of_the_rate(name, warmup):
    """Every schedule stays within 0..1 and reaches 1 somewhere, for any warm-up."""
    rates = ours(name, warmup=warmup)

    assert all(0 <= rate <= 1 for rate in rates)
    assert max(rates) == pytest.approx(1, abs=0.02)


def test_there_are_five_schedules():
    """The loops above ran over something, and a recipe may name each."""
    assert len(get_args(ScheduleName)) == 5
    assert set(get_args(ScheduleName)) == set(get_args(TrainSection.model_fields["schedule"].annotation))


def weights_after(name: str, steps: int = 5, **settings: object) -> torch.Tensor:
    """A parameter after some steps on the fixed loss 0.5 * sum(w^2 * curvature)."""
    weight = nn.Parameter(torch.tensor([[1.0, -2.0, 3.0]]))
    holder = nn.ParameterList([weight])
    chosen = {"lr": 0.1, "nesterov": True, "beta2": 0.99, "weight_decay": 0.05, **settings}
    optimizer = optimizer_for(holder, OptimizerSettings(name=name, **chosen))  # type: ignore[arg-type]
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (weight**2 * torch.tensor([1.0, 2.0, 3.0])).sum()).backward()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_is_the_textbooks(nesterov):
    """Momentum, Nesterov's look ahead and coupled weight decay, by hand (Sutskever et al. 2013, as torch has it)."""
    weight, velocity = torch.tensor([[1.0, -2.0, 3.0]]), torch.zeros(1, 3)
    for _ in range(5):
        gradient = weight * torch.tensor([1.0, 2.0, 3.0]) + 0.05 * weight
        velocity = 0.9 * velocity + gradient
        weight = weight - 0.1 * (gradient + 0.9 * velocity if nesterov else velocity)

    assert torch.allclose(weights_after("sgd", nesterov=nesterov), weight, atol=1e-6)


@pytest.mark.parametrize("decoupled", [True, False])
def test_adam_and_adamw_are_the_textbooks(decoupled):
    """Adam adds decay to the gradient (Kingma and Ba 2015), AdamW takes it from the weight (Loshchilov and Hutter)."""
    weight = torch.tensor([[1.0, -2.0, 3.0]])
    first, second = torch.zeros(1, 3), torch.zeros(1, 3)
    for t in range(1, 6):
        gradient = weight * torch.tensor([1.0, 2.0, 3.0])
        if decoupled:
            weight = weight - 0.1 * 0.05 * weight
        else:
            gradient = gradient + 0.05 * weight
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        weight = weight - 0.1 * (first / (1 - 0.9**t)) / ((second / (1 - 0.99**t)).sqrt() + 1e-8)

    assert torch.allclose(weights_after("adamw" if decoupled else "adam"), weight, atol=1e-5)


def test_decay_on_weights_spares_biases_and_batch_norm():
    """Only tensors of two and more dimensions decay, and every parameter is in exactly one group."""
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    optimizer = optimizer_for(
        net, OptimizerSettings(name="sgd", lr=0.1, nesterov=True, weight_decay=0.1, weight_decay_on="weights")
    )

    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    grouped = [id(p) for p in itertools.chain(*(group["params"] for group in optimizer.param_groups))]

    assert decayed == {id(net[0].weight), id(net[3].weight)}
    assert sorted(grouped) == sorted(id(p) for p in net.parameters())


def test_a_net_of_vectors_only_has_no_empty_group():
    """Where nothing decays the optimizer still trains."""
    net = nn.BatchNorm2d(3)

    optimizer = optimizer_for(net, OptimizerSettings(name="adamw", lr=0.1, weight_decay=0.1, weight_decay_on="weights"))

    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_what_is_known_of_an_optimizer_is_so(name):
    """Adaptive: a loss times 8 gives the same steps. Coupled: the decay is part of the gradient that makes them."""

    def moved(scale: float, weight_decay: float = 0.0) -> torch.Tensor:
        weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        settings = OptimizerSettings(name=name, lr=0.01, weight_decay=weight_decay)
        optimizer = optimizer_for(nn.ParameterList([weight]), settings)
        (scale * weight.square().sum()).backward()
        optimizer.step()
        return weight.detach()

    traits = optimizer_traits(name)

    assert torch.allclose(moved(1.0), moved(8.0), rtol=1e-5) == traits.is_adaptive
    # A decay is the same shrinking at any size of the gradient only where it is no part of it.
    shrunk = [moved(scale, 0.5) - moved(scale) for scale in (1e-3, 8.0)]
    is_shrinking_alone = torch.allclose(shrunk[0], shrunk[1], rtol=1e-3)
    assert is_shrinking_alone == (not traits.is_decay_coupled or not traits.is_adaptive)
    assert traits.swept_lrs[0] < traits.usual_lr < traits.swept_lrs[1]
    assert 0 < float(traits.usual_weight_decay) <= traits.strong_weight_decay
