"""What of somebody else's table cannot be right, or shows nothing: counts, accuracies, and steps from row to row.

Goes in: a `Table`. Comes out: doubts, each with the numbers that anyone can recompute. Nothing is trained, and a table
without doubts is not thereby right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from flyweight.errors import NotationError, UsageError
from flyweight.model.arithmetic import Shape
from flyweight.model.cost import Cost
from flyweight.model.count import count
from flyweight.model.notation import parse_net
from flyweight.reproductions.document import Claim
from flyweight.reproductions.log_import.changes import is_name_alone, is_training_only, layers_changed
from flyweight.reproductions.log_import.proportions import p_of_difference, shown_difference
from flyweight.reproductions.log_import.reading import Mean, Row, Table

if TYPE_CHECKING:
    from flyweight.evidence.effect import Effect

Kind: TypeAlias = Literal[
    "count",
    "same count",
    "changed count",
    "over the limit",
    "impossible accuracy",
    "constant answer",
    "no difference",
]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
LEVEL: Final = 0.05
# How many images each digit has, counted in the label files of MNIST (LeCun, Cortes and Burges 1998).
MNIST_CLASS_COUNTS: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    ("MNIST's {:,} training images", (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)),
    ("MNIST's {:,} test images", (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)),
)
# 9,949 of 10,000 is printed as 0.9948999881744385 by programs that divide in float32.
_FLOAT32_ERROR: Final = Fraction(1, 2**24)
_HUNDREDTH: Final = Fraction(1, 10_000)  # of a percent: the second decimal


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """One thing that a reader should not believe as it stands: the row by its number, the column by its head."""

    row: int
    column: str
    kind: Kind
    sentence: str


@dataclass(frozen=True, kw_only=True)
class _Shares:
    """An accuracy as whole images."""

    row: Row
    correct: int
    images: int


@dataclass(frozen=True, kw_only=True)
class _Seeds:
    """An accuracy as a mean over seeds, of which there are at least two."""

    row: Row
    mean: Mean
    n: int
    images: int


_Result: TypeAlias = _Shares | _Seeds


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
    '99.5 % of 100 images is 99.5 right answers; the nearest that can be are 99 (99 %) and 100 (100 %)'

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
        *_of_steps(table, images),
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
    is_of_accuracy = kind in ("impossible accuracy", "constant answer", "no difference")
    column = table.columns.get("accuracy" if is_of_accuracy else "parameters") or table.columns.get("net", "")
    return Doubt(row=row.number, column=column, kind=kind, sentence=sentence)


def _miscounted(row: Row, cost: Cost | None) -> str | None:
    """That the claimed count is not the net's."""
    if row.parameters is None or cost is None or _agrees(row, cost.params):
        return None
    reported = _reported(row)
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


def _reported(row: Row) -> str:
    assert row.parameters is not None
    sense = "" if row.parameters.sense == "exactly" else f"{row.parameters.sense} "
    return f"{sense}{row.parameters.value:,.0f}"


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
        f"{_reported(row)} as in row {before.number}, although the change says {words!r}; {why}, "
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
        f"{_reported(row)} is {abs(off):,} {'more' if off > 0 else 'fewer'} than {_reported(before)} in row "
        f"{before.number}, although the change ({row.change!r}) is one of the training, which has no parameters"
    )


def _over_limit(row: Row, cost: Cost | None, limit: int | None) -> str | None:
    """That the claimed count, or that of the net, lies above the limit."""
    if limit is None:
        return None
    if row.parameters is not None and _least(row) > limit:
        return f"{_reported(row)} is above the limit of {limit:,} by {row.parameters.value - limit:,.0f}"
    if cost is not None and cost.params > limit:
        return f"its net has {cost.params:,}, above the limit of {limit:,} by {cost.params - limit:,}"
    return None


def _least(row: Row) -> int:
    """The smallest count that a claim can stand for."""
    assert row.parameters is not None
    return int(row.parameters.value) + (1 if row.parameters.sense == "above" else 1 - row.within)


def _of_accuracies(table: Table, images: int, known: Sequence[tuple[str, tuple[int, ...]]]) -> Iterator[Doubt]:
    """Accuracies that no number of right answers gives, and those of a net that always answers one class."""
    for row in table.rows:
        if row.accuracy is None or row.accuracy.sense != "exactly":
            continue
        impossible, constant = _impossible(row.accuracy, images), _constant(row.accuracy, known)
        if impossible is not None:
            yield _doubt(table, row, "impossible accuracy", impossible)
        if constant is not None:
            yield _doubt(table, row, "constant answer", constant)


def _impossible(claim: Claim, images: int) -> str | None:
    """That a figure is neither rounded nor cut from any share of so many images, or not the one given beside it."""
    count = claim.images or images
    share, unit = _exact(claim)
    if claim.correct is not None:
        of_images = Fraction(claim.correct, count)
        if _prints_as(of_images, share, unit):
            return None
        return f"{claim.reported} is not {claim.correct:,} of {count:,}, which is {_percent(of_images, unit)}"
    below = share * count // 1
    if any(_prints_as(Fraction(correct, count), share, unit) for correct in (below, below + 1)):
        return None
    nearest_two = " and ".join(
        f"{correct:,} ({_percent(Fraction(correct, count), unit)})" for correct in (below, below + 1)
    )
    right = f"{float(share * count):,.4f}".rstrip("0").rstrip(".")
    answers = f"{_images(count)} is {right} right answer{'' if right == '1' else 's'}"
    return f"{claim.reported} of {answers}; the nearest that can be are {nearest_two}"


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _exact(claim: Claim) -> tuple[Fraction, Fraction]:
    """The figure of an exact claim and one of its last digit, as shares."""
    digits = claim.reported.removesuffix(" %")
    return Fraction(digits) / 100, Fraction(1, 100 * 10 ** len(digits.partition(".")[2]))


def _prints_as(share: Fraction, printed: Fraction, unit: Fraction) -> bool:
    """Whether a share is printed like that: rounded or cut off at its last digit, divided in float32 or better."""
    return printed - unit / 2 - _FLOAT32_ERROR <= share and (
        share < printed + unit or share <= printed + _FLOAT32_ERROR
    )


def _percent(share: Fraction, unit: Fraction) -> str:
    """A share with one digit more than was printed, as far as it needs it."""
    decimals = len(str(unit.denominator)) - 2
    text = f"{float(100 * share):.{min(decimals, 12)}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def _constant(claim: Claim, known: Sequence[tuple[str, tuple[int, ...]]]) -> str | None:
    """That an accuracy is, to two decimals, the share of a class: what its name gives for every image gets."""
    share, unit = _exact(claim)
    if unit > _HUNDREDTH:
        return None
    found = [
        f"always {label} is right for {count:,} of {images.format(sum(counts))}"
        for images, counts in known
        for label, count in enumerate(counts)
        if claim.images in (None, sum(counts)) and _is_same_to_two_decimals(share, Fraction(count, sum(counts)))
    ]
    if not found:
        return None
    return f"{claim.reported} is what a net gets that answers the same to every image: {', '.join(found)}"


def _is_same_to_two_decimals(share: Fraction, other: Fraction) -> bool:
    return abs(share - other) <= _HUNDREDTH / 2


def _of_steps(table: Table, images: int) -> Iterator[Doubt]:
    """Rows that cannot be distinguished from the row before that has an accuracy, by Holm's p over all steps."""
    from flyweight.evidence.sequential import holm

    steps = list(pairwise(_results(table, images)))
    p_values = [_p(a, b) for a, b in steps]
    n_tested = sum(p is not None for p in p_values)
    for (a, b), p in zip(steps, holm(p_values), strict=True):
        if p is None or p <= LEVEL:
            continue
        if isinstance(a, _Shares) and isinstance(b, _Shares):
            yield _doubt(table, b.row, "no difference", _no_difference(a, b, p, n_tested))
        if isinstance(a, _Seeds) and isinstance(b, _Seeds):
            yield _doubt(table, b.row, "no difference", _no_difference_of_means(a, b, p, n_tested))


def _results(table: Table, images: int) -> list[_Result | None]:
    """The accuracies in order, rows without one left out; None for one that nothing can be compared with."""
    return [_result(row, row.accuracy, images) for row in table.rows if row.accuracy is not None]


def _result(row: Row, accuracy: Claim, images: int) -> _Result | None:
    count = accuracy.images or images
    if row.mean is not None:
        n = row.mean.n_seeds
        return None if n is None else _Seeds(row=row, mean=row.mean, n=n, images=count)
    if accuracy.sense != "exactly":
        return None
    correct = round(_exact(accuracy)[0] * count) if accuracy.correct is None else accuracy.correct
    return _Shares(row=row, correct=correct, images=count)


def _p(a: _Result | None, b: _Result | None) -> float | None:
    """The p of a step; None where the two cannot be compared, as a single run with a mean."""
    if isinstance(a, _Shares) and isinstance(b, _Shares):
        return p_of_difference(a.correct, a.images, b.correct, b.images)
    if isinstance(a, _Seeds) and isinstance(b, _Seeds):
        return _effect(a, b).p
    return None


def _effect(a: _Seeds, b: _Seeds) -> Effect:
    """Welch's test asks for nothing but the mean, the spread and the number of the seeds; so any such values do."""
    from flyweight.evidence.effect import difference

    return difference(_values(a), _values(b), resolution=1 / max(a.images, b.images, 2))


def _values(seeds: _Seeds) -> list[float]:
    """So many values with this mean and this standard deviation (n - 1): half above, half below, an odd one between."""
    pairs, odd = divmod(seeds.n, 2)
    reach = seeds.mean.sd * math.sqrt((seeds.n - 1) / (2 * pairs))
    center = seeds.mean.value
    return [center - reach] * pairs + [center] * odd + [center + reach] * pairs


def _no_difference(a: _Shares, b: _Shares, p: float, n_tested: int) -> str:
    before, after = Fraction(a.correct, a.images), Fraction(b.correct, b.images)
    shown = shown_difference(float(before), a.images, b.images, is_rise=after >= before, alpha=LEVEL / n_tested)
    many = _images(a.images) if a.images == b.images else f"{a.images:,} and {_images(b.images)}"
    assert a.row.accuracy is not None
    assert b.row.accuracy is not None
    reported = f"{a.row.accuracy.reported} to {b.row.accuracy.reported}"
    return _not_distinguished(float(after - before), a.row, reported, p, n_tested, f"{many} can show {_outlook(shown)}")


def _no_difference_of_means(a: _Seeds, b: _Seeds, p: float, n_tested: int) -> str:
    from flyweight.evidence.power import smallest_effect

    effect, change = _effect(a, b), round(b.mean.value - a.mean.value, 10)
    assert effect.sd is not None
    shown = smallest_effect(effect.sd, min(a.n, b.n), alpha=LEVEL / n_tested)
    is_possible = shown is not None and shown <= (1 - a.mean.value if change >= 0 else a.mean.value)
    many = f"{a.n} seeds each" if a.n == b.n else f"{a.n} and {b.n} seeds"
    reported = f"{a.mean.reported} to {b.mean.reported}, {many}"
    outlook = f"{min(a.n, b.n)} seeds a side can show {_outlook(shown if is_possible else None)}"
    return _not_distinguished(change, a.row, reported, p, n_tested, outlook)


def _outlook(shown: float | None) -> str:
    return "no step at all in this direction" if shown is None else f"{100 * shown:.2f} points"


def _not_distinguished(change: float, before: Row, reported: str, p: float, n_tested: int, outlook: str) -> str:
    from flyweight.evidence.verdict import p_value, points

    adjusted = f" adjusted for {n_tested} steps" if n_tested > 1 else ""
    # It begins with a word: what begins with a sign is a formula to a spreadsheet.
    return (
        f"a change of {points(change)} from row {before.number} ({reported}) cannot be distinguished from none: "
        f"{p_value(p)}{adjusted}; {outlook}"
    )
