"""The loop: deterministic, resumable at any step, honest about how it ended."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from flyweight.data.augment import Augmentation
from flyweight.data.batches import Batches, normalise
from flyweight.errors import DataError
from flyweight.model.build import build
from flyweight.recipe import OptimizerName
from flyweight.train import checkpoint
from flyweight.train.evaluate import evaluate
from flyweight.train.loop import fit
from flyweight.train.loss import CrossEntropy
from flyweight.train.optim import OptimizerSettings, optimizer_for
from flyweight.train.outcome import Outcome
from flyweight.train.settings import FitSettings
from flyweight.train.training import Training, start

NET = "c4p1nb bn r do.2 m2 c6nb bn r gmp flat fc3"
SETTINGS = {"mean": (0.5,), "std": (0.25,)}
EPOCHS = 3


def striped(n: int = 90) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes that a tiny net can distinguish: stripes across, down, and none."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    images = torch.randint(0, 60, (n, 1, 12, 12), generator=generator, dtype=torch.uint8)
    images[labels == 0, :, ::3] = 220
    images[labels == 1, :, :, ::3] = 220
    return images, labels


def batches(**settings: object) -> Batches:
    chosen = {**SETTINGS, "batch_size": 16, "seed": 5, "augmentation": Augmentation(rotate=5, translate=0.05)}
    return Batches(*striped(), **{**chosen, **settings})  # type: ignore[arg-type]


def training(net: str = NET, *, optimizer: str = "sgd", lr: float = 0.05, ema: float = 0.0) -> Training:
    model = build(net, (1, 12, 12), generator=torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last)
    settings = OptimizerSettings(
        name=optimizer,  # type: ignore[arg-type]
        lr=lr,
        nesterov=True,
        beta2=0.99,
        weight_decay=1e-3,
        weight_decay_on="weights",
    )
    return start(model, optimizer_for(model, settings), ema=ema)


def trained(work: Training, *, source: Batches | None = None, lr: float = 0.05, **settings: object) -> Outcome:
    images, labels = striped(30)
    validate = functools.partial(evaluate, images=images, labels=labels, **SETTINGS)
    watching = {name: settings.pop(name) for name in ("on_step", "on_epoch", "should_stop") if name in settings}
    chosen: dict[str, object] = {"epochs": EPOCHS, "lr": lambda progress: lr * (1 - progress), **settings}
    return fit(work, source or batches(), FitSettings(**chosen), validate=validate, **watching)  # type: ignore[arg-type]


def weights(work: Training) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in work.result.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stop_after(n: int) -> Callable[[], bool]:
    asked = iter(range(1, 10**9))
    return lambda: next(asked) == n


def test_a_net_learns():
    """Stripes are distinguished after a few epochs, and the history has one line for each."""
    work = training()

    outcome = trained(work, epochs=15)

    assert outcome.status == "finished"
    assert [line.epoch for line in work.history] == list(range(1, 16))
    assert work.best.validation_accuracy > 0.9
    assert work.history[-1].train_loss < work.history[0].train_loss


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_two_runs_are_equal_bit_for_bit(optimizer):
    """The same seed gives the same weights and history, whatever the global random state."""
    first, second = training(optimizer=optimizer), training(optimizer=optimizer)
    torch.manual_seed(1)
    trained(first)
    torch.manual_seed(2)
    trained(second)

    assert same(weights(first), weights(second))
    assert [line.train_loss for line in first.history] == [line.train_loss for line in second.history]
    assert all(torch.equal(p, q) for p, q in zip(first.model.parameters(), second.model.parameters(), strict=True))


def test_another_seed_is_another_run():
    """Order, augmentation and dropout depend on the seed."""
    first, second = training(), training()
    trained(first)
    trained(second, source=batches(seed=6))

    assert not same(weights(first), weights(second))


def test_training_leaves_the_global_random_state_alone():
    """Dropout is seeded inside a fork."""
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)

    trained(training())

    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
@pytest.mark.parametrize("steps", [1, 4, 6, 13])
def test_a_resumed_run_ends_with_the_weights_of_the_uninterrupted_one(steps, optimizer, ema):
    """Stopped after any step, written to bytes, read into a fresh process's state: the same run, bit for bit."""
    make = functools.partial(training, optimizer=optimizer, ema=ema)
    whole, stopped, resumed = make(), make(), make()
    trained(whole)

    outcome = trained(stopped, should_stop=stop_after(steps))
    checkpoint.from_bytes(checkpoint.to_bytes(stopped), resumed)
    trained(resumed)

    assert outcome.status == "interrupted"
    assert same(weights(whole), weights(resumed))
    assert same(whole.best_weights, resumed.best_weights)
    measured = [[(m.train_loss, m.train_accuracy, m.validation_loss) for m in w.history] for w in (whole, resumed)]
    assert measured[0] == measured[1]


def test_a_checkpoint_knows_when_it_was_changed():
    """Cut off or with one bit turned, it is refused with what was expected."""
    work = training()
    trained(work, epochs=1)
    content = checkpoint.to_bytes(work)
    changed = bytearray(content)
    changed[-3] ^= 1

    for bad in (content[: len(content) // 2], bytes(changed), b"", b"not a checkpoint at all"):
        with pytest.raises(DataError, match=r"the checkpoint .*start a new run"):
            checkpoint.from_bytes(bad, training())


def test_a_checkpoint_of_another_net_is_refused():
    """The first tensor that does not fit is named."""
    work = training()
    trained(work, epochs=1)

    with pytest.raises(DataError, match=r"'conv1\.weight' of shape"):
        checkpoint.from_bytes(checkpoint.to_bytes(work), training("c5 r gmp flat fc3"))


def test_not_a_number_stops_within_one_step_and_names_the_layer():
    """A learning rate far too high ends as `diverged` with epoch, step and layer."""
    work = training()

    outcome = trained(work, lr=1e38)

    assert outcome.status == "diverged"
    assert "epoch 1, step" in outcome.message
    assert work.epoch == 1
    assert work.step <= 3
    assert "conv1" in outcome.message or "bn1" in outcome.message


def test_a_broken_layer_is_found_where_it_is():
    """A weight that is not a number is blamed on its own layer, not on those after it."""
    work = training()
    with torch.no_grad():
        dict(work.model.named_parameters())["conv2.weight"][0, 0, 0, 0] = math.nan

    outcome = trained(work)

    assert outcome.status == "diverged"
    assert "step 1; first seen in conv2" in outcome.message


def test_an_average_of_weights_is_what_is_judged():
    """With EMA the result is w_avg = d w_avg + (1 - d) w, step by step, d growing at first to what was asked."""
    work, decay = training("flat fc3", ema=0.7), 0.7
    expected: list[torch.Tensor] = []

    def follow() -> bool:
        weight, n = work.model.state_dict()["linear1.weight"].clone(), len(expected)
        d = min(decay, (1 + n) / (10 + n))
        expected.append(weight if not expected else d * expected[-1] + (1 - d) * weight)
        return False

    trained(work, should_stop=follow)

    assert torch.allclose(work.result.state_dict()["linear1.weight"], expected[-1], atol=1e-6)
    assert not torch.allclose(work.model.state_dict()["linear1.weight"], expected[-1], atol=1e-6)


def test_a_slow_average_has_forgotten_the_start_after_a_short_training():
    """Twelve steps with a decay of 0.999 are judged by what was learned, not by the initial weights."""
    work = training("flat fc3", ema=0.999, lr=0.02)
    before = {name: tensor.clone() for name, tensor in work.model.state_dict().items()}["linear1.weight"]

    trained(work, epochs=2, lr=0.02)

    average, end = (net.state_dict()["linear1.weight"] for net in (work.result, work.model))
    assert (average - end).norm() < (average - before).norm()


def test_label_smoothing_and_summed_losses_are_torchs():
    """One step on one batch equals cross entropy with the same settings, written out."""
    for label_smoothing, reduction in ((0.1, "mean"), (0.0, "sum"), (0.2, "sum")):
        work, other = training("flat fc3", lr=0.01), training("flat fc3", lr=0.01)
        source = batches(augmentation=None)
        trained(
            work,
            source=source,
            lr=0.01,
            loss=CrossEntropy(label_smoothing=label_smoothing, reduction=reduction),
            should_stop=lambda: True,
        )

        batch = source(1, 0)
        loss = F.cross_entropy(
            other.model(batch.images), batch.labels, label_smoothing=label_smoothing, reduction=reduction
        )
        loss.backward()
        other.optimizer.step()

        assert same(weights(work), weights(other))


def test_the_best_epoch_is_the_best_by_validation():
    """Weights of the epoch with the highest validation accuracy, the lower loss among ties, are kept."""
    work = training()
    trained(work, epochs=8, lr=0.3)

    best = max(work.history, key=lambda line: (line.validation_accuracy, -line.validation_loss))

    assert work.best == best
    work.result.load_state_dict(work.best_weights)
    images, labels = striped(30)
    assert evaluate(work.result, images, labels, **SETTINGS).loss == pytest.approx(best.validation_loss)


def test_it_stops_at_a_target_early_or_at_a_time_limit():
    """Each reason is given in words, and the epoch in hand is measured."""
    target, patient, timed = training(), training(), training()

    assert "target reached" in trained(target, epochs=50, stop_at_accuracy=0.5).message
    assert "stopped early" in trained(patient, epochs=50, lr=0.0, patience=2).message
    assert "time budget" in trained(timed, epochs=50, seconds_limit=1e-6).message
    assert len(target.history) < 50
    assert len(patient.history) == 3
    assert len(timed.history) == 1


def test_evaluation_is_the_mean_per_image_for_any_batches():
    """Loss and answers do not depend on the batch size, and the net's mode is left as it was."""
    net = training().model
    images, labels = striped(25)
    found = [evaluate(net, images, labels, batch_size=size, **SETTINGS) for size in (1, 7, 1000)]

    net.eval()
    logits = net(normalise(images, **SETTINGS))
    expected = nn.CrossEntropyLoss()(logits, labels).item()
    net.train()

    for evaluation in found:
        assert evaluation.loss == pytest.approx(expected, rel=1e-5)
        assert evaluation.correct == int((logits.argmax(1) == labels).sum())
        assert evaluation.count == 25
        assert torch.allclose(evaluation.probabilities.sum(1), torch.ones(25))
    assert net.training


def test_watch_receives_running_figures():
    """A look has the step, and means over the epoch so far."""
    looks: list[tuple[int, float]] = []
    watched = training()

    def on_step(n_steps: int) -> None:
        assert n_steps == 6
        looks.append((watched.step, watched.correct / watched.count))

    trained(watched, on_step=on_step)

    assert looks
    assert all(0 <= accuracy <= 1 for _, accuracy in looks)
