"""Cases as a run would leave them, made by hand: a recipe of a small healthy net, and whatever parts a test gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flyweight.data.facts import DataFacts
from flyweight.doctor.probes import ImageProbe, ReadProbe, StartProbe, TrainedProbe
from flyweight.doctor.subject import Claim, Ending, Parent, Predictions, Subject
from flyweight.experiment.schedule import learning_rate
from flyweight.model.count import count
from flyweight.recipe import ModelSection, Recipe, override
from flyweight.records.results import EpochLine, Figures

NET = "c8 bn r m2 c16 bn r m2 flat fc10"
N_TRAIN, N_TEST = 60_000, 10_000  # of MNIST
TRAIN_COUNTS = (5421, 6215, 5480, 5622, 5357, 4973, 5421, 5748, 5348, 5415)
LABELS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)  # of the test images


def made_subject(
    net: str = NET,
    overrides: Sequence[str] = (),
    *,
    recipe: Recipe | None = None,
    data: DataFacts | None = None,
    **parts: Any,
) -> Subject:
    """The subject of a recipe, or of a net with the defaults, after `overrides`; parts are those of `Subject`."""
    recipe = override(recipe or Recipe(name="made", model=ModelSection(net=net)), list(overrides))
    data = data or made_data(recipe)
    return Subject(
        recipe=recipe,
        cost=count(recipe.model.net, data.shape),
        data=data,
        lr_curve=tuple(learning_rate(percent / 100, recipe=recipe) for percent in range(101)),
        **parts,
    )


def fixed(subject: Subject, changes: Sequence[str]) -> Subject:
    """The subject before any run of its recipe with these changes."""
    return made_subject(recipe=subject.recipe, overrides=changes)


def made_data(recipe: Recipe) -> DataFacts:
    """The sizes of MNIST as the recipe divides it."""
    n_held_out = recipe.data.validation or 5_000
    judged = {"validation": n_held_out, "test": N_TEST, "train": N_TRAIN}[recipe.protocol.evaluate_on]
    training = N_TRAIN - n_held_out if recipe.protocol.evaluate_on == "validation" else N_TRAIN
    side = recipe.data.resize or 28
    return DataFacts(
        n_train=min(training, recipe.data.train_limit or training),
        n_validation=judged,
        n_classes=10,
        shape=(1, side, side),
    )


def made_history(
    validation: Sequence[float], train: Sequence[float] | None = None, *, lr: float = 0.1
) -> tuple[EpochLine, ...]:
    """An epoch for each validation accuracy; losses fall as accuracies rise."""
    train = validation if train is None else train
    return tuple(
        EpochLine(
            epoch=epoch,
            train_loss=2.5 * (1 - seen),
            train_accuracy=seen,
            validation_loss=2.5 * (1 - held_out),
            validation_accuracy=held_out,
            lr=lr,
        )
        for epoch, (seen, held_out) in enumerate(zip(train, validation, strict=True), start=1)
    )


def made_ending(
    *,
    train: float = 0.99,
    validation: float = 0.985,
    test: float = 0.985,
    best_epoch: int = 3,
    status: str = "finished",
    message: str = "",
    n_validation: int = 5_000,
) -> Ending:
    """A run that came to its end with these accuracies."""

    def figures(accuracy: float, count: int) -> Figures:
        return Figures(correct=round(accuracy * count), count=count, loss=2.5 * (1 - accuracy))

    return Ending(
        status=status,
        message=message,
        best_epoch=best_epoch,
        train=figures(train, 55_000),
        validation=figures(validation, n_validation),
        test=figures(test, N_TEST),
    )


def made_predictions(
    predicted: Sequence[int] = LABELS, labels: Sequence[int] = LABELS, *, split: str = "test"
) -> Predictions:
    """Predictions of a net that gives each class as often as it is right, or as often as given."""
    return Predictions(split=split, predicted=tuple(predicted), labels=tuple(labels))


def made_reported(
    test: Sequence[float], *, part: str = "test", loss: float = 0.05, count: int = N_TEST
) -> dict[str, Any]:
    """Reported metrics, an epoch for each accuracy; the training loss is that of a last batch of 96 images."""
    return {
        "epochs": [
            {
                "epoch": epoch,
                "train": {"accuracy": accuracy, "loss": 0.031, "loss_error": 0.012, "count": 96},
                part: {"correct": round(accuracy * count), "count": count, "loss": loss, "loss_error": loss / 20},
            }
            for epoch, accuracy in enumerate(test, start=1)
        ],
        "class_counts": {part: list(LABELS)},
    }


def made_claim(*, said: str = "99.49 %", found: str = "99.40 %", is_contradicted: bool = True) -> Claim:
    """What somebody wrote of the test accuracy, and what was found."""
    return Claim(what="test accuracy", said=said, found=found, where="a note", is_contradicted=is_contradicted)


def made_parent(correct: int = 9_850, factors: Sequence[str] = ("lr 0.1 → 0.05",)) -> Parent:
    """A result with so many right test images."""
    return Parent(name="before", factors=tuple(factors), correct=correct, count=N_TEST)


def made_images(**changes: Any) -> ImageProbe:
    """What MNIST says on its own, as it was measured with split seed 0, but for `changes`."""
    measured: dict[str, Any] = {
        "n": {"train": 55_000, "validation": 5_000, "test": N_TEST},
        "validation_in_train": 0,
        "test_in_train": 0,
        "test_in_validation": 0,
        "mean": {"train": 0.130639, "validation": 0.130896, "test": 0.132515},
        "mean_error": {"train": 0.000185, "validation": 0.000614, "test": 0.000437},
        "sd": {"train": 0.308085, "validation": 0.308363, "test": 0.310480},
        "classes_per_batch": 9.99,
        "classes_per_shuffled_batch": 9.99,
        "class_counts": TRAIN_COUNTS,
        "channel_sd": (0.308085,),
        "lowest": 0,
        "highest": 255,
        "constant_values": 67,
        "n_values": 784,
    }
    return ImageProbe(**measured | changes)


def made_reads(*, training_differ: int = 64, evaluation_differ: int = 0, n: int = 64) -> ReadProbe:
    """Two reads of `n` images of each kind: those that train differ, those that evaluate are equal."""
    return ReadProbe(n=n, training_differ=training_differ, evaluation_differ=evaluation_differ)


def made_start(**changes: Any) -> StartProbe:
    """The first steps of a net that learns at its own rate and at ten times less, and is lost at ten times more."""
    measured: dict[str, Any] = {
        "steps": 8,
        "batch_size": 64,
        "losses": {
            "0.01": (2.4, 2.4, 2.39, 2.38, 2.37, 2.36, 2.35, 2.34),
            "0.1": (2.4, 2.38, 2.32, 2.24, 2.15, 2.05, 1.95, 1.85),
            "1": (2.4, 2.3, 2.0, 1.6, 1.2, 1.0, 0.8, 0.7),
            "10": (2.4, 2.6, 3.1, 9.0, None, None, None, None),
        },
        "update_ratio": {"conv1": 0.01, "conv2": 0.008, "linear1": 0.012},
        "gradient": {"conv1": 0.02, "conv2": 0.015, "linear1": 0.03},
    }
    return StartProbe(**measured | changes)


def made_trained(**changes: Any) -> TrainedProbe:
    """A kept net of two convolutions without a dead channel."""
    measured: dict[str, Any] = {
        "n": 1_000,
        "channels": {"conv1": 8, "conv2": 16},
        "dead_channels": {"conv1": 0, "conv2": 0},
        "zero_share": {"conv1": 0.45, "conv2": 0.6},
        "gradient": {"conv1": 0.001, "conv2": 0.001, "linear1": 0.002},
    }
    return TrainedProbe(**measured | changes)
