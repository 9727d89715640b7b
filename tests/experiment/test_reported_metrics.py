"""What an experiment reported instead of a clean evaluation: measured as it did, and no more wrong than it was."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from flyweight.data.augment import Augmentation
from flyweight.data.batches import normalise
from flyweight.experiment.reported_metrics import evaluate_as_reported, mean_loss
from flyweight.model.build import build
from flyweight.records.results import ReportedFigures
from flyweight.train.evaluate import evaluate

NETS = ("c4 bn r do.3 gmp flat fc10", "c3 r m2 c5 bn r gap flat fc10", "flat fc10 ls", "c4/5 r flat fc12 r fc10")
SCALE = {"mean": (0.13,), "std": (0.31,)}
CLEAN = Augmentation()
AUGMENTATION = Augmentation(rotate=15, crop_size=8, crop_probability=0.5, interpolation="nearest")


def images(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    pixels = torch.randint(0, 256, (n, 1, 12, 12), generator=generator, dtype=torch.uint8)
    return pixels, torch.randint(0, 10, (n,), generator=generator)


def net(text: str, seed: int) -> nn.Module:
    return build(text, (1, 12, 12), generator=torch.Generator().manual_seed(seed))


def reported(
    model: nn.Module,
    n: int,
    *,
    batch_size: int,
    augmentation: Augmentation = CLEAN,
    seed: int = 0,
    is_divided_twice: bool = False,
) -> ReportedFigures:
    return evaluate_as_reported(
        model,
        *images(n),
        **SCALE,
        batch_size=batch_size,
        augmentation=augmentation,
        generator=torch.Generator().manual_seed(seed),
        is_divided_twice=is_divided_twice,
    )


@settings(max_examples=30)
@given(
    text=st.sampled_from(NETS), seed=st.integers(0, 99), n=st.integers(1, 70), batch_size=st.sampled_from([7, 32, 100])
)
def test_with_every_switch_off_it_is_the_clean_evaluation(text, seed, n, batch_size):
    """Without augmentation and with one division, loss and correct predictions are those of `evaluate`."""
    model = net(text, seed)

    clean = evaluate(model, *images(n), **SCALE, batch_size=batch_size)
    found = reported(model, n, batch_size=batch_size)

    assert (found.correct, found.count) == (clean.correct, clean.count)
    assert found.loss == pytest.approx(clean.loss, rel=1e-5)


@settings(max_examples=30)
@given(text=st.sampled_from(NETS), n=st.integers(2, 70), batch_size=st.sampled_from([7, 32, 100]))
def test_a_loss_divided_twice_is_the_sum_of_batch_means_over_the_images(text, n, batch_size):
    """By hand, in double precision; the correct predictions stay as they are."""
    model = net(text, 0)
    pixels, labels = images(n)
    with torch.no_grad():
        losses = F.cross_entropy(model.eval()(normalise(pixels, **SCALE)), labels, reduction="none").double()
    by_hand = sum(float(batch.mean()) for batch in losses.split(batch_size)) / n

    clean, found = (reported(model, n, batch_size=batch_size, is_divided_twice=twice) for twice in (False, True))

    assert found.loss == pytest.approx(by_hand, rel=1e-5)
    assert (found.correct, found.count) == (clean.correct, clean.count)


def test_a_loss_divided_twice_is_about_the_mean_over_the_batch_size():
    """With whole batches it is exactly that, and so is its standard error."""
    model = net(NETS[0], 0)

    clean, found = (reported(model, 96, batch_size=32, is_divided_twice=twice) for twice in (False, True))

    assert found.loss == pytest.approx(clean.loss / 32, rel=1e-12)
    assert found.loss_error == pytest.approx(clean.loss_error / 32, rel=1e-12)


def test_augmented_images_are_other_images_and_the_same_for_a_seed():
    """What is reported changes with the random changes, and with nothing else."""
    model = net(NETS[1], 0)
    same, again, other, plain = (
        reported(model, 60, batch_size=32, augmentation=augmentation, seed=seed)
        for augmentation, seed in ((AUGMENTATION, 0), (AUGMENTATION, 0), (AUGMENTATION, 1), (CLEAN, 0))
    )

    assert same == again
    assert len({same.loss, other.loss, plain.loss}) == 3


@pytest.mark.parametrize("is_training", [True, False])
def test_the_net_is_left_as_it_was(is_training):
    """Neither its mode nor a weight or a running statistic moves, though the net has batch norm and dropout."""
    model = net(NETS[0], 0).train(is_training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    reported(model, 60, batch_size=32, augmentation=AUGMENTATION, is_divided_twice=True)

    assert model.training is is_training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_standard_error_is_that_of_the_mean():
    """The sample standard deviation over the root of the number; one image alone has none."""
    loss, error = mean_loss(torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64))
    alone, none = mean_loss(torch.tensor([2.5], dtype=torch.float64))

    assert loss == 3.0
    assert error == pytest.approx(math.sqrt(7 / 3))
    assert alone == 2.5
    assert math.isnan(none)
