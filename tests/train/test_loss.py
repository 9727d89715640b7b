"""Losses against cross entropy written out in double precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from flyweight.data.batches import Batch
from flyweight.train.loss import CrossEntropy, cross_entropy

CLASSES = 5


def drawn(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn((n, CLASSES), generator=generator), torch.randint(CLASSES, (n,), generator=generator)


def by_hand(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """(N,) float64: the targets, a share of each spread over all classes, times the negative log of the softmax."""
    smoothed = (1 - label_smoothing) * targets.double() + label_smoothing / CLASSES
    exps = (logits.double() - logits.double().amax(1, keepdim=True)).exp()
    return -(smoothed * (exps / exps.sum(1, keepdim=True)).log()).sum(1)


@given(n=st.integers(1, 20), seed=st.integers(0, 99), label_smoothing=st.sampled_from([0.0, 0.1, 0.5]))
def test_hard_and_smoothed_targets_averaged_summed_and_one_by_one(n, seed, label_smoothing):
    """A class is a target of 1 for itself; smoothing and reductions are the textbook's."""
    logits, labels = drawn(n, seed)
    expected = by_hand(logits, torch.eye(CLASSES)[labels], label_smoothing)

    of_each = cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")

    assert torch.allclose(of_each.double(), expected, rtol=1e-5, atol=1e-6)
    batch = Batch(images=torch.zeros(n, 1, 1, 1), labels=labels, rows=torch.arange(n))
    for reduction, reduced in (("mean", expected.mean()), ("sum", expected.sum())):
        found = CrossEntropy(label_smoothing=label_smoothing, reduction=reduction)(logits, batch)
        assert found.item() == pytest.approx(reduced.item(), rel=1e-5, abs=1e-6)


@given(n=st.integers(1, 20), seed=st.integers(0, 99), temperature=st.sampled_from([1.0, 4.0]))
def test_soft_targets_are_the_shares_of_another_net(n, seed, temperature):
    """With a softmax as target (Hinton et al. 2015) the loss is the formula's, its gradient softmax minus target."""
    logits, _ = drawn(n, seed)
    targets = (drawn(n, seed + 100)[0] / temperature).softmax(1)
    logits.requires_grad_()

    loss = cross_entropy(logits / temperature, targets)
    loss.backward()

    with torch.no_grad():
        expected = by_hand(logits / temperature, targets, 0.0).mean()
        gradient = ((logits / temperature).double().softmax(1) - targets.double()) / temperature / n
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    assert torch.allclose(logits.grad.double(), gradient, atol=1e-6)
