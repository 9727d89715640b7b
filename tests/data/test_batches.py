"""Batches are pure functions of (seed, epoch, step)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flyweight.data.augment import Augmentation
from flyweight.data.batches import Batches, Stream, normalise, seeds

ROTATED = Augmentation(rotate=30)


def numbered(n: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that all differ, labelled by their place."""
    images = torch.randint(0, 256, (n, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return images, torch.arange(n)


def batches(n: int = 20, **settings: object) -> Batches:
    chosen = {"mean": [0.5], "std": [0.25], "batch_size": 6, "seed": 3, **settings}
    return Batches(*numbered(n), **chosen)  # type: ignore[arg-type]


def epoch_of(source: Batches, epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [source(epoch, step) for step in range(source.n_steps)]


@given(n=st.integers(2, 60), batch_size=st.integers(2, 30))
def test_an_epoch_shows_every_image_once(n, batch_size):
    """The labels of an epoch are the labels of the set, except one image that would be a batch of its own."""
    source = batches(n, batch_size=batch_size)

    seen = torch.cat([labels for _, labels in epoch_of(source, 1)]).tolist()

    assert len(set(seen)) == len(seen) == n - (n % batch_size == 1)


def test_any_step_can_be_asked_for_alone():
    """The batch of epoch 2, step 2 is the same after a full epoch as out of the blue."""
    walked, jumped = batches(augmentation=ROTATED), batches(augmentation=ROTATED)
    for epoch in (1, 2):
        last = epoch_of(walked, epoch)

    images, labels = jumped(2, 2)

    assert torch.equal(images, last[2][0])
    assert torch.equal(labels, last[2][1])


def test_epochs_and_seeds_differ_in_order_and_augmentation():
    """Another epoch or another seed gives another order, and other pictures of the same image."""
    first, second = epoch_of(batches(augmentation=ROTATED), 1), epoch_of(batches(augmentation=ROTATED), 2)
    other = epoch_of(batches(augmentation=ROTATED, seed=4), 1)

    orders = [torch.cat([labels for _, labels in found]).tolist() for found in (first, second, other)]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    unshuffled = batches(augmentation=ROTATED, shuffle=False)
    assert not torch.equal(unshuffled(1, 0)[0], unshuffled(2, 0)[0])


def test_without_shuffle_the_order_is_the_order_of_the_set():
    """shuffle=False reads from the first image to the last, in every epoch."""
    source = batches(shuffle=False)

    for epoch in (1, 2):
        assert torch.cat([labels for _, labels in epoch_of(source, epoch)]).tolist() == list(range(20))


def test_training_and_evaluation_normalise_alike():
    """A batch without augmentation is `normalise` of its images, and both are (x / 255 - mean) / std."""
    images, _ = numbered()
    source = batches(shuffle=False, batch_size=20)

    found, _ = source(1, 0)

    assert torch.equal(found, normalise(images, mean=[0.5], std=[0.25]))
    expected = (images.numpy().astype(np.float64) / 255 - 0.5) / 0.25
    assert np.allclose(found.numpy(), expected, atol=1e-5)


def test_the_images_themselves_are_never_changed():
    """The shared uint8 tensor is the same after an augmented epoch."""
    images, labels = numbered()
    before = images.clone()
    source = Batches(images, labels, mean=[0.5], std=[0.25], batch_size=6, seed=0, augmentation=ROTATED)

    epoch_of(source, 1)

    assert torch.equal(images, before)


@pytest.mark.parametrize("stream", list(Stream))
def test_streams_are_independent_and_stable(stream):
    """Each purpose has its own numbers; a longer list begins with the shorter one."""
    longer = seeds(0, stream, 1, count=5)

    assert longer[:2] == seeds(0, stream, 1, count=2)
    assert all(0 <= number < 2**63 for number in longer)
    others = {number for other in Stream if other != stream for number in seeds(0, other, 1, count=5)}
    assert not others & set(longer)
