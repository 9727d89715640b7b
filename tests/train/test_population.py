"""Seeds that train together: each has the training that it has alone, and ends by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from made_population import (
    BATCH,
    N_STEPS,
    OPTIMIZERS,
    SGD,
    Made,
    alone,
    distance,
    images_of,
    outcome_alone,
    same,
    settings,
    stop_after,
    together,
    weights,
)
from safetensors.torch import load
from torch import Tensor

from flyweight.data.augment import Augmentation
from flyweight.train import checkpoint, population_loop
from flyweight.train.captured import StackedSteps
from flyweight.train.loss import CrossEntropy, Reduction
from flyweight.train.training import Training

SEEDS = (3, 0, 8)
# Rounding differs between stacked and alone, and grows over the steps of a training.
CLOSE = 1e-3


def assert_close(found: Training, expected: Training) -> None:
    """Weights, best weights, history and counters agree within rounding."""
    assert distance(weights(found), weights(expected)) < CLOSE
    assert (found.epoch, found.step, found.count) == (expected.epoch, expected.step, expected.count)
    assert len(found.history) == len(expected.history)
    for ours, theirs in zip(found.history, expected.history, strict=True):
        assert (ours.epoch, ours.lr) == (theirs.epoch, theirs.lr)
        for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=CLOSE), name
        assert ours.seconds > 0
        assert ours.images_per_second > 0
    assert found.best_epoch == expected.best_epoch
    if expected.best_epoch:
        assert distance(found.best_weights, expected.best_weights) < CLOSE


def assert_same(found: Training, expected: Training) -> None:
    """Bit for bit."""
    assert same(weights(found), weights(expected))
    assert same(found.best_weights, expected.best_weights)
    measured = [[(m.train_loss, m.train_accuracy, m.validation_loss) for m in w.history] for w in (found, expected)]
    assert measured[0] == measured[1]


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_seed_trains_as_it_does_alone(optimizer, ema):
    """History, weights, averages, statistics and counters of batch norm are those of `fit`, within rounding."""
    made, chosen = Made(optimizer=OPTIMIZERS[optimizer], ema=ema), settings()
    steps = made.steps(SEEDS)

    ended = together(steps, chosen)

    assert [(number, outcome.status) for number, outcome in ended.items()] == [(n, "finished") for n in range(3)]
    for seed, found in zip(SEEDS, steps.population.trainings, strict=True):
        expected = alone(made, seed, chosen)
        assert_close(found, expected)
        assert found.model.state_dict()["bn1.num_batches_tracked"] == 3 * N_STEPS
        if expected.average is not None:
            assert found.average.n_averaged == expected.average.n_averaged == 3 * N_STEPS
        logits, labels = expected.last_batch
        assert torch.equal(found.last_batch[1], labels)
        assert torch.allclose(found.last_batch[0], logits, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", get_args(Reduction))
def test_every_loss_is_that_of_a_single_net(reduction, label_smoothing):
    """Sums and means, smoothed or not; with whole and with smaller batches."""
    loss = CrossEntropy(label_smoothing=label_smoothing, reduction=reduction)
    rate = 0.05 if reduction == "mean" else 0.003
    made, chosen = Made(), settings(loss=loss, epochs=2, lr=lambda _progress: rate)
    steps = made.steps(SEEDS, loss=loss)

    together(steps, chosen)

    for seed, found in zip(SEEDS, steps.population.trainings, strict=True):
        assert_close(found, alone(made, seed, chosen))


def test_nets_with_unused_layers_keep_them_unchanged():
    """Weight decay does not reach weights without a gradient, as alone."""
    made, chosen = Made(net="c4 unused(c5 bn) silu gap flat fc3"), settings(epochs=1)
    steps = made.steps(SEEDS)
    before = steps.population.trainings[1].model.state_dict()["unused1.conv2.weight"].clone()

    together(steps, chosen)

    for seed, found in zip(SEEDS, steps.population.trainings, strict=True):
        assert_close(found, alone(made, seed, chosen))
    assert torch.equal(steps.population.trainings[1].model.state_dict()["unused1.conv2.weight"], before)


def test_a_training_is_the_same_in_any_population():
    """With other members, in another place; the bits are equal in populations of the same size."""
    made, chosen = Made(ema=0.9), settings()
    first, second, third = made.steps((3, 0, 8)), made.steps((4, 0, 5)), made.steps((0, 1))

    for steps in (first, second, third):
        together(steps, chosen)

    assert_same(first.population.trainings[1], second.population.trainings[1])
    assert_close(third.population.trainings[0], second.population.trainings[1])


def test_the_global_random_state_is_left_alone():
    """In training, and where a layer that diverged is searched, which runs a net with dropout."""
    made = Made()
    trainings = [made.training(seed) for seed in (0, 1)]
    with torch.no_grad():
        next(trainings[0].model.parameters()).fill_(torch.nan)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)

    ended = together(made.steps((0, 1), trainings), settings(epochs=1))

    assert ended[0].status == "diverged"
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("n", [1, N_STEPS - 1, N_STEPS, N_STEPS + 2])
def test_stopped_members_continue_to_the_bits_of_an_uninterrupted_population(n, optimizer):
    """Stopped after any step, written to bytes, read into new trainings: the same weights, best epoch and history."""
    made, chosen = Made(optimizer=OPTIMIZERS[optimizer], ema=0.9), settings()
    whole, stopped = made.steps(SEEDS), made.steps(SEEDS)
    together(whole, chosen)

    ended = together(stopped, chosen, should_stop=stop_after(n))
    resumed = _resumed(made, SEEDS, stopped.population.trainings)
    together(resumed, chosen)

    assert [outcome.status for outcome in ended.values()] == ["interrupted"] * 3
    assert [one.epoch * N_STEPS + one.step for one in stopped.population.trainings] == [N_STEPS + n] * 3
    for found, expected in zip(resumed.population.trainings, whole.population.trainings, strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("n", [4, N_STEPS, 2 * N_STEPS + 3])
def test_a_stopped_member_can_continue_alone_and_one_from_alone_in_a_population(n):
    """Both ways give the training of a seed alone, within rounding."""
    made, chosen = Made(optimizer=OPTIMIZERS["adamw"], ema=0.9), settings()
    expected = alone(made, 0, chosen)
    stopped, by_itself = made.steps((0, 1)), made.training(0)
    together(stopped, chosen, should_stop=stop_after(n))
    asked = iter(range(1, 10**9))
    alone(made, 0, chosen, by_itself, should_stop=lambda: next(asked) == n)
    other = made.training(7)
    asked = iter(range(1, 10**9))
    alone(made, 7, chosen, other, should_stop=lambda: next(asked) == n)

    resumed = _read(made, 0, stopped.population.trainings[0])
    alone(made, 0, chosen, resumed)
    joined = _resumed(made, (7, 0), [other, by_itself])
    together(joined, chosen)

    assert_close(resumed, expected)
    assert_close(joined.population.trainings[1], expected)


def _read(made: Made, seed: int, work: Training) -> Training:
    fresh = made.training(seed)
    checkpoint.from_bytes(checkpoint.to_bytes(work), fresh)
    return fresh


def _resumed(made: Made, seeds: Sequence[int], stopped: Sequence[Training]) -> StackedSteps:
    return made.steps(seeds, [_read(made, seed, work) for seed, work in zip(seeds, stopped, strict=True)])


def test_a_population_after_its_last_epoch_has_nothing_to_do():
    """Killed between its last epoch and its end, a training is finished at once when it is resumed."""
    made, chosen = Made(), settings(epochs=2)
    steps = made.steps(SEEDS)
    together(steps, chosen)
    resumed = _resumed(made, SEEDS, steps.population.trainings)

    ended = together(resumed, chosen)

    assert [outcome.status for outcome in ended.values()] == ["finished"] * 3
    for found, expected in zip(resumed.population.trainings, steps.population.trainings, strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("trains_alone", [True, False])
def test_a_training_that_had_reached_its_target_is_not_continued(trains_alone):
    """Killed after the epoch that ended it, it ends as it would have: members wait for each other at the end."""
    made, chosen = Made(), settings(epochs=9, stop_at_accuracy=0.01)
    work = made.training(0)
    alone(made, 0, dataclasses.replace(chosen, epochs=1, stop_at_accuracy=None), work)
    resumed = _read(made, 0, work)

    if trains_alone:
        outcome = outcome_alone(made, 0, chosen, resumed)
    else:
        (outcome,) = together(made.steps((0,), [resumed]), chosen).values()

    assert (outcome.status, outcome.message) == ("finished", "target reached in epoch 1")
    assert len(resumed.history) == 1
    assert same(weights(resumed), weights(work))


def bright(dot: int) -> tuple[Tensor, Tensor]:
    """Images whose first pixel is black, but in one."""
    images, labels = images_of()
    images[:, :, 0, 0] = 0
    images[dot, :, 0, 0] = 255
    return images, labels


# A net with a huge weight for the first pixel diverges in the step that has the image with a dot there.
DOTTED = Made(
    net="flat fc4 silu do.1 fc3",
    augmentation=Augmentation(),
    images=bright(40),
    statistics={"mean": (0.0,), "std": (0.3,)},
    optimizer=dataclasses.replace(SGD, weight_decay=0.0),
)


def spoilt(made: Made, seed: int, work: Training | None = None) -> Training:
    work = work or made.training(seed)
    with torch.no_grad():
        dict(work.model.named_parameters())["linear1.weight"][:, 0] = 3e38
    return work


def dotted_step(seed: int, epoch: int = 1) -> int:
    rows = DOTTED.batches(seed).draws(epoch).order
    return int((rows == 40).nonzero()) // BATCH


def test_members_diverge_at_the_step_and_layer_of_the_seed_alone():
    """Each is ended with the message that it has alone, and the others do what they do beside a healthy one."""
    chosen, seeds = settings(), tuple(range(8))
    steps, healthy = (DOTTED.steps(seeds, [DOTTED.training(seed) for seed in seeds]) for _ in range(2))
    for number in (0, 2, 3, 6):
        spoilt(DOTTED, number, steps.population.trainings[number])

    ended = together(steps, chosen)
    together(healthy, chosen)

    found = {number for number, outcome in ended.items() if outcome.status == "diverged"}
    assert found == {0, 2, 3, 6}
    assert len({dotted_step(seed) for seed in found}) > 1
    for seed in found:
        expected = outcome_alone(DOTTED, seed, chosen, spoilt(DOTTED, seed))
        assert ended[seed] == expected
        assert f"epoch 1, step {dotted_step(seed) + 1}; first seen in linear1" in expected.message
        assert (steps.population.trainings[seed].epoch, steps.population.trainings[seed].history) == (1, [])
    assert set(ended) - found == {1, 4, 5, 7}
    for seed in set(ended) - found:
        assert ended[seed].status == "finished"
        assert_same(steps.population.trainings[seed], healthy.population.trainings[seed])


@pytest.mark.parametrize("done", [1, 3, N_STEPS, N_STEPS + 2])
def test_a_resumed_member_diverges_where_it_does_alone(done):
    """In the middle of an epoch that was started before, or in a later one."""
    chosen = settings()
    stopped = DOTTED.steps((0, 1))
    together(stopped, chosen, should_stop=stop_after(done))
    resumed = _resumed(DOTTED, (0, 1), stopped.population.trainings)
    for work in resumed.population.trainings:
        spoilt(DOTTED, 0, work)

    ended = together(resumed, chosen)

    for number, work in enumerate(stopped.population.trainings):
        expected = outcome_alone(DOTTED, number, chosen, spoilt(DOTTED, number, work))
        assert expected.status == "diverged"
        assert ended[number] == expected


@pytest.mark.parametrize("only", [(0,), ()])
def test_a_member_that_diverged_before_it_was_stopped_has_diverged(only):
    """A stop in the epoch does not hide it, and would save weights that are no numbers."""
    chosen, seed = settings(), 0
    n = dotted_step(seed) + 1
    steps = DOTTED.steps((seed, 1), [spoilt(DOTTED, seed), DOTTED.training(1)])

    ended = together(steps, chosen, should_stop=stop_after(n, *only))

    assert ended[0] == outcome_alone(DOTTED, seed, chosen, spoilt(DOTTED, seed))
    assert ended[1].status == ("finished" if only else "interrupted")


def test_a_net_that_is_not_finite_in_validation_has_diverged_as_alone():
    """The last batch of the epoch shows the layer; the epoch is in the history."""
    chosen = settings()
    made = dataclasses.replace(DOTTED, images=(bright(0)[0][1:], bright(0)[1][1:]))  # the dot is in no image
    works = [made.training(0), spoilt(made, 1), made.training(2)]

    ended = together(made.steps((0, 1, 2), works), chosen)

    expected = made.training(1)
    assert ended[1] == outcome_alone(made, 1, chosen, spoilt(made, 1, expected))
    assert "validation loss" in ended[1].message
    assert len(works[1].history) == len(expected.history) == 1
    assert [ended[number].status for number in (0, 2)] == ["finished"] * 2


def test_an_ended_member_keeps_its_tensors_and_computes_nothing():
    """Its place in the stack is zero, so that nothing there becomes not finite; the training has what it had."""
    made, chosen = Made(optimizer=OPTIMIZERS["adam"], ema=0.9), settings()
    steps = made.steps(SEEDS)
    kept: dict[str, Tensor] = {}

    def on_end(number: int, _outcome: object) -> None:
        if number == 1:
            kept.update(load(checkpoint.to_bytes(steps.population.trainings[1])))

    ended = together(steps, chosen, should_stop=stop_after(4, 1), on_end=on_end)

    assert [(number, outcome.status) for number, outcome in ended.items()] == [
        (1, "interrupted"),
        (0, "finished"),
        (2, "finished"),
    ]
    work = steps.population.trainings[1]
    assert len(kept) > 20
    assert same(load(checkpoint.to_bytes(work)), kept)
    assert not any(bool(one.any()) for name, one in steps.population.stack.of_member(1).items() if "conv" in name)
    assert all(bool(one.isfinite().all()) for one in steps.population.state())
    for seed in (0, 2):
        assert_close(steps.population.trainings[seed], alone(made, SEEDS[seed], chosen))
    resumed = _read(made, SEEDS[1], work)
    alone(made, SEEDS[1], chosen, resumed)
    assert_close(resumed, alone(made, SEEDS[1], chosen))


@pytest.mark.parametrize("number", [0, 2])
def test_the_others_continue_when_one_is_stopped_in_mid_epoch(number):
    """Also the first one: the next epoch begins at its first step."""
    made, chosen = Made(), settings()
    steps = made.steps(SEEDS)

    ended = together(steps, chosen, should_stop=stop_after(N_STEPS + 2, number))

    assert ended[number].message == "after epoch 2, step 2"
    for other in {0, 1, 2} - {number}:
        assert_close(steps.population.trainings[other], alone(made, SEEDS[other], chosen))


@pytest.mark.parametrize(
    "chosen",
    [
        settings(epochs=4, stop_at_accuracy=0.95),
        settings(epochs=6, patience=1, lr=lambda progress: 0.6 * (1 - progress)),
    ],
    ids=["target", "patience"],
)
def test_patience_and_target_end_each_member_separately(chosen):
    """In the epoch in which the seed ends alone, with the same reason."""
    made, seeds = Made(), tuple(range(5))
    steps = made.steps(seeds)

    ended = together(steps, chosen)

    assert len({len(work.history) for work in steps.population.trainings}) > 1
    for number, seed in enumerate(seeds):
        expected = made.training(seed)
        assert ended[number] == outcome_alone(made, seed, chosen, expected)
        assert_close(steps.population.trainings[number], expected)


def test_a_time_budget_ends_the_epoch_in_hand_as_alone():
    """With the same message, after the same steps, and with the figures of that epoch."""
    made, chosen = Made(), settings(seconds_limit=1e-9)
    steps, expected = made.steps((0,)), made.training(0)

    (outcome,) = together(steps, chosen).values()

    assert outcome == outcome_alone(made, 0, chosen, expected)
    assert "after 1 of 6 steps" in outcome.message
    assert_close(steps.population.trainings[0], expected)


def test_a_time_budget_that_is_over_with_an_epoch_begins_no_other():
    """The clock is asked after the last step too."""
    made = Made(batch_size=90)  # an epoch of one step
    steps = made.steps((0,))

    (outcome,) = together(steps, settings(seconds_limit=1e-9)).values()

    assert "after 1 of 1 steps" in outcome.message
    assert len(steps.population.trainings[0].history) == 1


def test_the_next_epoch_is_drawn_while_the_steps_of_this_one_are_computed(monkeypatch):
    """One member after some steps, so that the device never waits for all of them; the bits are the same."""
    made, chosen = Made(), settings()
    expected, steps = made.steps(SEEDS), made.steps(SEEDS)
    together(expected, chosen)
    monkeypatch.setattr(population_loop, "STEPS_AHEAD", 1)
    drawn: list[tuple[int, int]] = []
    draw, take = steps.batches.draw, steps.take

    def drawing(number: int, epoch: int) -> None:
        drawn.append((number, epoch))
        draw(number, epoch)

    monkeypatch.setattr(steps.batches, "draw", drawing)
    monkeypatch.setattr(steps, "take", lambda step: (drawn.append((-1, step)), take(step)))

    together(steps, chosen)

    assert [one for one in drawn if one[0] >= 0] == [(number, epoch) for epoch in (2, 3) for number in range(3)]
    assert drawn[:7] == [(-1, 0), (-1, 1), (0, 2), (-1, 2), (1, 2), (-1, 3), (2, 2)]
    for found, other in zip(steps.population.trainings, expected.population.trainings, strict=True):
        assert_same(found, other)


def test_best_weights_do_not_hold_the_memory_of_the_whole_stack():
    """Those of many members would be as many stacks."""
    steps = Made().steps(SEEDS)

    together(steps, settings(epochs=1))

    for work in steps.population.trainings:
        assert len(work.best_weights) > 5
        for tensor in work.best_weights.values():
            assert tensor.untyped_storage().nbytes() == tensor.nbytes
