"""One step against the same step with torch's own optimizers, and the plan of an epoch against its numbers."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flyweight.data.augment import Augmentation
from flyweight.data.batches import Batch, Batches, Stream, seeds
from flyweight.model.build import build
from flyweight.recipe import OptimizerName
from flyweight.train import checkpoint
from flyweight.train.epoch import plan_epoch
from flyweight.train.evaluate import Evaluation
from flyweight.train.loop import fit
from flyweight.train.loss import CrossEntropy, Reduction, cross_entropy
from flyweight.train.optim import Optimizer, OptimizerSettings, optimizer_for
from flyweight.train.settings import FitSettings
from flyweight.train.step import averaged, backward, forward, update
from flyweight.train.training import Training, start

NET = "c4nb bn r do.3 m2 flat fc3"  # a bias before batch norm has no gradient but rounding, which Adam blows up
LR, MOMENTUM, BETA2, DECAY = 0.02, 0.9, 0.99, 0.01


def net() -> nn.Module:
    return build(NET, (1, 8, 8), generator=torch.Generator().manual_seed(0))


def source(**settings: object) -> Batches:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (29, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 3, (29,), generator=generator)
    chosen = {"mean": [0.5], "std": [0.25], "batch_size": 7, "seed": 3, **settings}
    return Batches(images, labels, **chosen)  # type: ignore[arg-type]


def ours(model: nn.Module, name: str) -> Optimizer:
    chosen = {"lr": 1.0, "momentum": MOMENTUM, "nesterov": True, "beta2": BETA2, "weight_decay": DECAY}
    return optimizer_for(model, OptimizerSettings(name=name, **chosen))  # type: ignore[arg-type]


TORCHS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=LR, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY),
    "adam": lambda p: torch.optim.Adam(p, lr=LR, betas=(MOMENTUM, BETA2), weight_decay=DECAY),
    "adamw": lambda p: torch.optim.AdamW(p, lr=LR, betas=(MOMENTUM, BETA2), weight_decay=DECAY),
}


FUSED = {
    "sgd": lambda groups, m: torch.optim.SGD(groups, lr=LR, momentum=m, nesterov=m > 0, fused=True),
    "adam": lambda groups, m: torch.optim.Adam(groups, lr=LR, betas=(m, BETA2), fused=True),
    "adamw": lambda groups, m: torch.optim.AdamW(groups, lr=LR, betas=(m, BETA2), fused=True),
}


@pytest.mark.parametrize("momentum", [0.0, MOMENTUM])
@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_the_classes_of_torch_give_the_same_bits(name, momentum):
    """Weights and states of six steps, with groups of parameters and two dtypes."""
    found: list[list[Tensor]] = []
    for is_ours in (True, False):
        generator = torch.Generator().manual_seed(5)
        kinds = [((4, 3), torch.float32), ((5,), torch.float32), ((2, 2), torch.float64), ((3, 3), torch.float32)]
        module = nn.Module()
        for number, (shape, dtype) in enumerate(kinds):
            module.register_parameter(f"p{number}", nn.Parameter(torch.randn(shape, generator=generator).to(dtype)))
        parameters = list(module.parameters())
        if is_ours:
            chosen = {"nesterov": True, "momentum": momentum, "beta2": BETA2, "weight_decay": DECAY}
            settings = OptimizerSettings(name=name, lr=LR, weight_decay_on="weights", **chosen)
            optimizer = optimizer_for(module, settings)
        else:
            flat = [parameter for parameter in parameters if parameter.ndim <= 1]
            deep = [parameter for parameter in parameters if parameter.ndim > 1]
            groups = [{"params": deep, "weight_decay": DECAY}, {"params": flat, "weight_decay": 0.0}]
            optimizer = FUSED[name](groups, momentum)
        for step in range(6):
            optimizer.zero_grad(set_to_none=True)
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            update(optimizer, lr=LR / (1 + step))
        state = [value for one in parameters for _, value in sorted(optimizer.state[one].items()) if value is not None]
        found.append([parameter.detach().clone() for parameter in parameters] + state)

    assert len(found[0]) == len(found[1]) == 4 + {"sgd": 4 * (momentum > 0), "adam": 12, "adamw": 12}[name]
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_a_parameter_may_get_its_first_gradient_later(name):
    """torch.optim.SGD with fused=True ends in a TypeError then. Until then the parameter keeps its value."""
    module = nn.ParameterList([nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))])
    first, late = module
    optimizer = ours(module, name)
    for with_late in (False, True, True):
        first.grad, late.grad = torch.ones(3), torch.ones(3) if with_late else None
        update(optimizer, lr=LR)
        assert torch.equal(late.detach(), torch.ones(3)) is not with_late
    assert (first < late).all()


def test_a_step_does_not_load_the_compiler_of_torch():
    """It takes a second of each start, and no training needs it."""
    script = """if True:
        import sys, torch
        from torch import nn
        from flyweight.train.optim import OptimizerSettings, optimizer_for
        from flyweight.train.step import averaged, backward, update
        model = nn.Linear(3, 2)
        for name in ("sgd", "adam", "adamw"):
            optimizer = optimizer_for(model, OptimizerSettings(name=name, lr=0.1))
            average = averaged(model, decay=0.9)
            backward(model(torch.ones(1, 3)).sum(), optimizer)
            update(optimizer, lr=0.1)
            average.update_parameters(model)
        print("torch._dynamo" in sys.modules)
    """

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_steps_are_those_of_torchs_own_optimizers(name, reduction: Reduction, label_smoothing):
    """Some steps on augmented batches move every weight as a loop in plain torch does, with the same dropout."""
    batches = source(augmentation=Augmentation(rotate=9))
    loss_of = CrossEntropy(label_smoothing=label_smoothing, reduction=reduction)
    model, reference = net().train(), net().train()
    optimizer, expected = ours(model, name), TORCHS[name](reference.parameters())

    with torch.random.fork_rng(devices=[]):
        for step in range(3):
            batch = batches(1, step)
            logits = forward(model, batch.images, dropout_seed=step, precision="float32")
            backward(loss_of(logits, batch), optimizer)
            update(optimizer, lr=LR)

            torch.manual_seed(step)
            loss = F.cross_entropy(
                reference(batch.images), batch.labels, label_smoothing=label_smoothing, reduction=reduction
            )
            expected.zero_grad()
            loss.backward()
            expected.step()

    for found, wanted in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_gradients_are_those_of_this_step_alone():
    """`backward` forgets what was there before."""
    model, batch = net().train(), source()(1, 0)
    optimizer = ours(model, "sgd")
    loss_of, gradients = CrossEntropy(), []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            backward(loss_of(forward(model, batch.images, dropout_seed=0, precision="float32"), batch), optimizer)
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])

    assert all(torch.equal(first, second) for first, second in zip(*gradients, strict=True))


def test_an_average_follows_the_weights_after_each_update():
    """Step n moves it by 1 - min(decay, (1 + n) / (10 + n)); the first step takes the weights over."""
    model = nn.Linear(2, 1)
    average, expected = averaged(model, decay=0.5), torch.zeros(1, 2)
    for n in range(12):
        with torch.no_grad():
            model.weight.fill_(float(n**2))
        average.update_parameters(model)
        decay = min(0.5, (1 + n) / (10 + n)) if n else 0.0
        expected = decay * expected + (1 - decay) * float(n**2)

    assert torch.allclose(average.module.weight, expected, rtol=1e-5)


def test_a_plan_holds_the_rates_and_seeds_of_every_step():
    """As drawn and computed step by step: rates of the complete run's progress, a dropout seed for each step."""
    batches, epochs = source(), 3

    plans = [
        plan_epoch(batches, epoch, epochs=epochs, lr=lambda progress: 0.3 * (1 - progress) ** 2) for epoch in (1, 3)
    ]

    for epoch, plan in zip((1, 3), plans, strict=True):
        done = [(epoch - 1) * 4 + step for step in range(4)]
        assert plan.n_steps == batches.n_steps == 4
        assert plan.lrs.tolist() == [0.3 * (1 - step / 12) ** 2 for step in done]
        assert plan.dropout_seeds.tolist() == seeds(3, Stream.DROPOUT, epoch, count=4)
        assert len(plan.draws.order) == 28  # the 29th image would be alone


def not_validated(_model: nn.Module) -> Evaluation:
    return Evaluation(loss=0.0, correct=0, count=1, probabilities=torch.zeros(0))


def fitted(training: Training, settings: FitSettings, *, stop_after: int | None = None) -> Training:
    asked = iter(range(1, 10**6))
    fit(
        training,
        source(augmentation=Augmentation(rotate=9, elastic=0.5, probability=0.5)),
        settings,
        validate=not_validated,
        should_stop=lambda: next(asked) == stop_after,
    )
    return training


@pytest.mark.parametrize("steps", [1, 3, 4, 7, 8])
def test_an_epoch_that_continues_is_the_same_epoch(steps):
    """Stopped after any step, also the last of an epoch, it ends with the same weights and the same rates on record."""
    settings = FitSettings(epochs=3, lr=lambda progress: LR * (1 - progress))
    whole, stopped, resumed = (start(model := net(), ours(model, "sgd"), ema=0.0) for _ in range(3))

    fitted(whole, settings)
    fitted(stopped, settings, stop_after=steps)
    checkpoint.from_bytes(checkpoint.to_bytes(stopped), resumed)
    fitted(resumed, settings)

    assert [line.lr for line in resumed.history] == [line.lr for line in whole.history]
    assert all(
        torch.equal(found, wanted)
        for found, wanted in zip(resumed.model.parameters(), whole.model.parameters(), strict=True)
    )


def test_a_loss_of_ones_own_finds_its_targets_by_row():
    """Another net's predictions, one row for each image of the set, train a net through the rows of the batches."""
    batches = source()
    table = torch.eye(3)[(batches.labels + 1) % 3] * 0.8 + 0.2 / 3
    seen: list[Tensor] = []

    class ByRow:
        reduction: Reduction = "mean"

        def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
            seen.append(batch.rows)
            return cross_entropy(logits, table[batch.rows])

    training = start(model := net(), ours(model, "adam"), ema=0.0)
    settings = FitSettings(epochs=60, lr=lambda _: LR, loss=ByRow())

    fit(training, batches, settings, validate=not_validated)

    assert torch.cat(seen[:4]).unique().numel() == 28
    with torch.no_grad():
        logits = model.eval()(batches.alike(batch_size=29, shuffle=False)(1, 0).images)
    assert (logits.argmax(1) == table.argmax(1)).float().mean() > 0.9
