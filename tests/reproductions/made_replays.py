"""Replays as a run would leave them, made by hand."""

from __future__ import annotations

from collections.abc import Sequence

from flyweight.records.results import ReportedEpoch, ReportedFigures, ReportedTraining
from flyweight.reproductions.runs import Clean, Replay

TEST_COUNTS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
TRAIN_COUNTS = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)


def replay(
    accuracies: Sequence[float],
    *,
    step: str = "003-9",
    seed: int = 0,
    images: int = 10_000,
    counts: tuple[int, ...] = TEST_COUNTS,
    loss: float = 0.02,
    recipe_hash: str = "hash",
) -> Replay:
    """A finished run with these test accuracies as reported, an epoch each; the clean figure is the last of them."""

    def figures(accuracy: float) -> ReportedFigures:
        return ReportedFigures(correct=round(accuracy * images), count=images, loss=loss, loss_error=loss / 50)

    epochs = tuple(
        ReportedEpoch(
            epoch=number,
            train=ReportedTraining(accuracy=accuracy, loss=loss, loss_error=loss / 4, count=100),
            validation=figures(accuracy),
            test=figures(accuracy),
        )
        for number, accuracy in enumerate(accuracies, start=1)
    )
    correct = round(accuracies[-1] * 10_000)
    return Replay(
        step=step,
        seed=seed,
        recipe_hash=recipe_hash,
        status="finished",
        message="",
        seconds=10.0 + seed,
        epochs=epochs,
        clean=Clean(epoch=len(accuracies), correct=correct, count=10_000, loss=loss),
        class_counts=counts,
        test_openings=1,
        machine={"torch": "2.13.0", "threads": 1},
    )


def diverged(
    *, step: str = "003-9", seed: int = 0, counts: tuple[int, ...] = TRAIN_COUNTS, recipe_hash: str = "hash"
) -> Replay:
    """A run whose loss stopped being a number in its first epoch."""
    return Replay(
        step=step,
        seed=seed,
        recipe_hash=recipe_hash,
        status="diverged",
        message="loss nan at epoch 1, step 3",
        seconds=0.5,
        epochs=(),
        clean=None,
        class_counts=counts,
        test_openings=0,
    )
