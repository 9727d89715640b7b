"""What of somebody else's table cannot be right, or shows nothing: counts, accuracies, and steps from row to row.

Goes in: a `Table`. Comes out: doubts, each with the numbers that anyone can recompute. Nothing is trained, and a table
without doubts is not thereby right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, TypeAlias, get_args

from flyweight.errors import NotationError, UsageError
from flyweight.model.arithmetic import Shape
from flyweight.model.cost import Cost
from flyweight.model.count import count
from flyweight.model.notation import parse_net
from flyweight.reproductions.log_import.changes import is_name_alone, is_training_only, layers_changed
from flyweight.reproductions.log_import.doubted_accuracies import constant, impossible
from flyweight.reproductions.log_import.doubted_steps import undistinguished
from flyweight.reproductions.log_import.table import Row, Table

Kind: TypeAlias = Literal[
    "count",
    "same count",
    "changed count",
    "over the limit",
    "impossible accuracy",
    "constant prediction",
    "no difference",
]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
# How many images each digit has, counted in the label files of MNIST (LeCun, Cortes and Burges 1998).
MNIST_CLASS_COUNTS: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    ("MNIST's {:,} training images", (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)),
    ("MNIST's {:,} test images", (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)),
)


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """One thing that a reader should not believe as it stands: the row by its number, the column by its header."""

    row: int
    column: str
    kind: Kind
    sentence: str


def doubts(
    table: Table,
    *,
    images: int = 10_000,
    limit: int | None = None,
    input_shape: Shape = (1, 28, 28),
    class_counts: Sequence[int] | None = None,
) -> tuple[Doubt, ...]:
    """All doubts about a table, by row.

    Args:
        images: how many the accuracies are on, where a cell does not say it.
        limit: the most parameters that the log set out to have.
        input_shape: (channels, height, width) of the images that the nets are counted for.
        class_counts: images of each class; None for MNIST's, training and test.

    >>> from flyweight.reproductions.log_import.reading import read_table
    >>> [doubt] = doubts(read_table("| Exp | Test acc |\\n|--|--|\\n| 1 | 99.5% |", label="log.md"), images=100)
    >>> doubt.sentence
    '99.5 % of 100 images is 99.5 correct predictions; the nearest possible are 99 (99 %) and 100 (100 %)'

    Raises:
        UsageError: images or a limit below 1.
    """
    for name, value in (("images", images), ("limit", limit)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, found {value}.")
    costs = {row.number: _cost(row, input_shape) for row in table.rows}
    known = MNIST_CLASS_COUNTS if class_counts is None else ((_all_images(class_counts), tuple(class_counts)),)
    found = [
        *_of_counts(table, costs, limit),
        *_of_accuracies(table, images, known),
        *(_doubt(table, row, "no difference", sentence) for row, sentence in undistinguished(table.rows, images)),
    ]
    return tuple(sorted(found, key=lambda doubt: (doubt.row, KINDS.index(doubt.kind))))


def _all_images(class_counts: Sequence[int]) -> str:
    return "the only image" if sum(class_counts) == 1 else "the {:,} images"


def _cost(row: Row, input_shape: Shape) -> Cost | None:
    """The cost of a row's net; None for one that is not in our notation, or does not fit the images."""
    try:
        return count(parse_net(row.net), input_shape) if row.net else None
    except NotationError:
        return None


def _of_counts(table: Table, costs: dict[int, Cost | None], limit: int | None) -> Iterator[Doubt]:
    """Counts against the net, against the row before, and against the limit."""
    for row in table.rows:
        miscounted, over = _miscounted(row, costs[row.number]), _over_limit(row, costs[row.number], limit)
        if miscounted is not None:
            yield _doubt(table, row, "count", miscounted)
        if over is not None:
            yield _doubt(table, row, "over the limit", over)
    for before, row in pairwise(table.rows):
        if _is_counted(before, costs) and _is_counted(row, costs):
            continue  # both counts are right, whatever the words say
        same, changed = _same_count(before, row), _changed_count(before, row)
        if same is not None:
            yield _doubt(table, row, "same count", same)
        if changed is not None:
            yield _doubt(table, row, "changed count", changed)


def _doubt(table: Table, row: Row, kind: Kind, sentence: str) -> Doubt:
    is_of_accuracy = kind in ("impossible accuracy", "constant prediction", "no difference")
    column = table.columns.get("accuracy" if is_of_accuracy else "parameters") or table.columns.get("net", "")
    return Doubt(row=row.number, column=column, kind=kind, sentence=sentence)


def _miscounted(row: Row, cost: Cost | None) -> str | None:
    """That the claimed count is not the net's."""
    if row.parameters is None or cost is None or _agrees(row, cost.params):
        return None
    reported = row.parameters.rounded
    if _agrees(row, cost.registered_params):
        unused = cost.registered_params - cost.params
        return (
            f"{reported} is what the net registers; {unused:,} of it {'is' if unused == 1 else 'are'} never used, so "
            f"that it works with {cost.params:,}"
        )
    off = int(cost.params - row.parameters.value)
    more = f"{abs(off):,} {'more' if off > 0 else 'fewer'}"
    registered = f" ({cost.registered_params:,} registered)" if cost.registered_params != cost.params else ""
    return f"reported {reported}; its net {cost.net} has {cost.params:,}{registered}, {more}"


def _agrees(row: Row, count: int) -> bool:
    """Whether a count is one that the row's claim can stand for."""
    assert row.parameters is not None
    if row.parameters.sense == "above":
        return count > row.parameters.value
    return abs(count - row.parameters.value) < row.within


def _is_counted(row: Row, costs: dict[int, Cost | None]) -> bool:
    """Whether a row has a net, and the count that it claims is the net's."""
    cost = costs[row.number]
    return row.parameters is not None and cost is not None and _agrees(row, cost.params)


def _same_count(before: Row, row: Row) -> str | None:
    """That a count stayed, although layers with parameters are said to have changed."""
    if before.parameters is None or row.parameters is None or before.within > 1 or row.within > 1:
        return None
    words = layers_changed(row.change)
    if before.parameters != row.parameters or row.parameters.sense != "exactly" or words is None:
        return None
    if is_name_alone(row.change) and row.change.casefold() == before.change.casefold():
        return None  # both have it
    why = (
        "batch norm has 2 for each channel"
        if "norm" in words.lower() or "bn" in words.lower().split()
        else "this changes the count"
    )
    return (
        f"{row.parameters.rounded} as in row {before.number}, although the change says {words!r}; {why}, "
        "so it can only stay if another layer lost or gained exactly as many"
    )


def _changed_count(before: Row, row: Row) -> str | None:
    """That a count changed, although nothing but the training is said to have changed."""
    if before.parameters is None or row.parameters is None or not is_training_only(row.change):
        return None
    if "above" in (before.parameters.sense, row.parameters.sense):
        return None
    off = int(row.parameters.value - before.parameters.value)
    if abs(off) < before.within + row.within - 1:
        return None  # both may stand for one count
    return (
        f"{row.parameters.rounded} is {abs(off):,} {'more' if off > 0 else 'fewer'} than {before.parameters.rounded} "
        f"in row {before.number}, although the change ({row.change!r}) is one of the training, which has no parameters"
    )


def _over_limit(row: Row, cost: Cost | None, limit: int | None) -> str | None:
    """That the claimed count, or that of the net, lies above the limit."""
    if limit is None:
        return None
    if row.parameters is not None and _least(row) > limit:
        return f"{row.parameters.rounded} is above the limit of {limit:,} by {row.parameters.value - limit:,.0f}"
    if cost is not None and cost.params > limit:
        return f"its net has {cost.params:,}, above the limit of {limit:,} by {cost.params - limit:,}"
    return None


def _least(row: Row) -> int:
    """The smallest count that a claim can stand for."""
    assert row.parameters is not None
    return int(row.parameters.value) + (1 if row.parameters.sense == "above" else 1 - row.within)


def _of_accuracies(table: Table, images: int, known: Sequence[tuple[str, tuple[int, ...]]]) -> Iterator[Doubt]:
    """Accuracies that no number of correct predictions gives, and those of a net that always predicts one class."""
    for row in table.rows:
        if row.accuracy is None or row.accuracy.sense != "exactly":
            continue
        if (sentence := impossible(row.accuracy, images)) is not None:
            yield _doubt(table, row, "impossible accuracy", sentence)
        if (sentence := constant(row.accuracy, known)) is not None:
            yield _doubt(table, row, "constant prediction", sentence)
