"""Learning rate range test (Smith 2017), with several seeds.

In: a recipe. Out: a range of good maximum rates, the reason, and the loss curves. A new net takes a hundred training
steps of the recipe while the rate rises from far too low to far too high; the rate is good where the loss falls. Runs
are not recorded; a loss that is not a number ends a seed and is no error.

The ends of the range were calibrated on trainings of 57 to 625 steps at 9 to 11 rates each (seven recipes, n = 2 seeds,
MNIST): nets with batch norm after every layer train well up to the rate of the lowest loss and beyond; a LeNet without
batch norm failed at 0.4 (Adam) to 2 times (SGD) that rate, so the upper end for such nets is a third of it. On three
other recipes (n = 3 seeds: own/8k, own/20k-fast without momentum, 004-1) both ends and the middle were within 0.6
points of the best rate tried, a tenth of the lower end lost 2 to 8 points, and ten times the upper end 65 or more.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from flyweight.errors import UsageError, in_one_line, require_counts
from flyweight.experiment.events import ignore, never
from flyweight.experiment.plan import plan
from flyweight.experiment.setup import Workbench, prepare
from flyweight.model.cost import Cost
from flyweight.model.spec import NORMS, WEIGHTS
from flyweight.recipe import Recipe, optimizer_traits
from flyweight.train import loop
from flyweight.train.evaluate import Evaluation
from flyweight.train.loss import cross_entropy
from flyweight.train.settings import FitSettings
from flyweight.train.training import Training

if TYPE_CHECKING:
    from flyweight.train.device import DeviceName

STEPS: Final = 100
MIN_STEPS: Final = 20

SMOOTHING: Final = 0.8  # one step of 100 is a factor of 1.15 in the rate, so the mean covers a factor of about two
EXPLODED: Final = 4.0  # times the lowest smoothed loss: there a seed ends (as in Smith's code and in fastai)
START: Final = 10  # steps at rates too low to matter, whose mean is the loss at the start
MIN_FALL: Final = 0.02  # of the loss at the start; less is noise: batches of 64 differ by about as much

FALLEN: Final = 0.5  # share of the total fall at which a rate is high enough
MAX_WIDTH: Final = 10.0  # below a tenth of the upper end a short training does not converge
MIN_WIDTH: Final = 2.0
MAX_SPREAD: Final = 5.0  # factor between the upper ends of the seeds; nine of ten recipes stayed below 2.5
PLAIN_MARGIN: Final = 3.0  # for nets without batch norm after every layer, see above

Where: TypeAlias = Literal["below", "inside", "above", "unknown"]
Curve: TypeAlias = tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class SeedRange:
    """The result of one seed.

    losses: mean per image of each step; None where it was not a number. steepest, halfway, lowest: rates at which the
    smoothed loss fell fastest, had fallen by half, and was lowest. low, high: the range of this seed. All are None if
    the loss did not fall. diverges: the rate at which the loss exploded, None if it did not.
    """

    seed: int
    lrs: tuple[float, ...]
    losses: Curve
    steepest: float | None = None
    halfway: float | None = None
    lowest: float | None = None
    diverges: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class LrRange:
    """The range of good maximum learning rates of a recipe, and the position of its own rate.

    low, high: medians over the seeds whose loss fell; suggestion: their geometric mean; None if too few seeds fell.
    spread: largest upper end of a seed divided by the smallest. reason: a sentence.
    """

    lr: float
    low: float | None = None
    high: float | None = None
    suggestion: float | None = None
    where: Where = "unknown"
    spread: float | None = None
    reason: str
    seeds: tuple[SeedRange, ...]


@in_one_line
def lr_range(
    recipe: Recipe,
    *,
    seeds: int = 3,
    first_seed: int = 0,
    low: float | None = None,
    high: float | None = None,
    steps: int | None = None,
    device: DeviceName = "auto",
    watch: Callable[[SeedRange], None] = ignore,
    should_stop: Callable[[], bool] = never,
) -> LrRange | None:
    """Test rates from `low` to `high` in `steps` steps, with a new net, order and augmentation for each seed.

    Default: 100 steps from 1e-5 to 10 for sgd, and from 1e-6 to 1 for adam and adamw; if the loss of a batch is a sum,
    the rates of sgd are divided by the batch size. The schedule of the recipe is not used: it multiplies this rate.
    `watch` is called after each seed. Returns None if stopped before the end of the first seed.

    Raises:
        UsageError: invalid rates or numbers.
        RecipeError, OverBudgetError: the recipe cannot be trained.
    """
    resolved = plan(recipe).require()
    require_counts(seeds=seeds, seed=first_seed)
    rates = _rates(recipe, low=low, high=high, steps=steps)
    margin = 1.0 if is_normalised(resolved.cost) else PLAIN_MARGIN
    found: list[SeedRange] = []
    for seed in range(first_seed, first_seed + seeds):
        bench = prepare(recipe, seed=seed, device=device, threads=None, source=resolved.source)
        losses = _sweep(bench, rates, should_stop)
        if losses is None:
            break
        found.append(read_curve(rates, losses, seed=seed, margin=margin))
        watch(found[-1])
    return summed_up(found, recipe.train.lr, margin=margin) if found else None


def is_normalised(cost: Cost) -> bool:
    """Whether batch norm follows every layer with weights except the last.

    Then the output does not depend on the norm of the weights: a step that is too long increases the norm, which makes
    the next steps relatively smaller (van Laarhoven 2017), so nets recover from rates that are too high.
    """
    kinds = [row.kind for row in cost.rows if row.is_executed]
    with_weights = [place for place, kind in enumerate(kinds) if kind in WEIGHTS]
    return len(with_weights) > 1 and all(
        any(kind in NORMS for kind in kinds[one:following]) for one, following in pairwise(with_weights)
    )


def _rates(recipe: Recipe, *, low: float | None, high: float | None, steps: int | None) -> tuple[float, ...]:
    traits = optimizer_traits(recipe.train.optimizer)
    lowest, highest = traits.swept_lrs
    scale = 1.0
    if not traits.is_adaptive and recipe.train.loss_reduction == "sum":
        scale = 1 / recipe.train.batch_size
    lowest, highest = (low if low is not None else lowest * scale), (high if high is not None else highest * scale)
    if not 0 < lowest < highest < math.inf:
        raise UsageError(f"a range test needs rates 0 < low < high, found {lowest:g} and {highest:g}.")
    steps = STEPS if steps is None else steps
    if not MIN_STEPS <= steps <= 10_000:
        raise UsageError(f"a range test needs {MIN_STEPS} to 10,000 steps, found {steps:,}; 100 is the usual number.")
    return tuple(float(rate) for rate in np.geomspace(lowest, highest, steps))


def _sweep(
    bench: Workbench, rates: Sequence[float], should_stop: Callable[[], bool]
) -> tuple[float | None, ...] | None:
    """The loss of each step until it explodes; None if stopped. Uses the training loop of the recipe."""
    losses = list[float]()
    n_steps = bench.batches.n_steps
    epochs = math.ceil(len(rates) / n_steps)
    running = _Running()
    is_stopped = False

    def rate(progress: float) -> float:
        return rates[min(round(progress * epochs * n_steps), len(rates) - 1)]

    def is_over() -> bool:
        nonlocal is_stopped
        losses.append(_loss(bench.training, bench.loss.label_smoothing))
        is_stopped = should_stop()
        return is_stopped or len(losses) >= len(rates) or running.add(losses[-1]) > EXPLODED * running.lowest

    outcome = loop.fit(
        bench.training,
        bench.batches,
        FitSettings(epochs=epochs, lr=rate, loss=bench.loss, precision=bench.precision),
        validate=_unmeasured,
        should_stop=is_over,
    )
    if is_stopped:
        return None
    # A step with a loss that is not a number is not taken, so should_stop is not called after it.
    ended = (None,) if outcome.status == "diverged" else ()
    return (*(loss if math.isfinite(loss) else None for loss in losses), *ended)


def _loss(training: Training, label_smoothing: float) -> float:
    """The mean loss per image of the last step, whatever the reduction of the recipe."""
    assert training.last_batch is not None, "a step was taken"
    logits, labels = training.last_batch
    return cross_entropy(logits, labels, label_smoothing=label_smoothing).item()


def _unmeasured(_model: torch.nn.Module) -> Evaluation:
    """Stands in for validation, which this test does not need."""
    return Evaluation(loss=0.0, correct=0, count=1, probabilities=torch.zeros(0))


class _Running:
    """An exponential moving average with bias correction, and its minimum."""

    def __init__(self) -> None:
        self.sum, self.weight, self.lowest = 0.0, 0.0, math.inf

    def add(self, value: float) -> float:
        self.sum = SMOOTHING * self.sum + (1 - SMOOTHING) * value
        self.weight = SMOOTHING * self.weight + (1 - SMOOTHING)
        mean = self.sum / self.weight
        self.lowest = min(self.lowest, mean)
        return mean


def read_curve(lrs: Sequence[float], losses: Curve, *, seed: int, margin: float) -> SeedRange:
    """The range of one loss curve; a pure function.

    lrs: rising, of all planned steps. margin: the upper end is the rate of the lowest loss divided by this.
    """
    has_ended = len(losses) < len(lrs) or None in losses
    found = SeedRange(
        seed=seed,
        lrs=tuple(lrs[: len(losses)]),
        losses=tuple(losses),
        diverges=lrs[len(losses) - 1] if has_ended and losses else None,
    )
    known = _known(losses)
    if len(known) <= START:
        return found
    smooth = smoothed(known)
    start, bottom = float(np.mean(smooth[:START])), int(smooth.argmin())
    fall = start - float(smooth[bottom])
    if fall <= MIN_FALL * start or bottom < 2:
        return found
    steepest, lowest = lrs[int(np.diff(smooth[: bottom + 1]).argmin())], lrs[bottom]
    halfway = lrs[int(np.argmax(smooth <= start - FALLEN * fall))]
    high = lowest / margin
    low = min(max(halfway, high / MAX_WIDTH), high / MIN_WIDTH)
    return replace(found, steepest=steepest, halfway=halfway, lowest=lowest, low=low, high=high)


def _known(losses: Curve) -> list[float]:
    """The losses before the first one that is not a number."""
    return [loss for loss in losses[: losses.index(None) if None in losses else len(losses)] if loss is not None]


def smoothed(losses: Sequence[float]) -> NDArray[np.float64]:
    """The moving average in both directions, without lag; a lag of four steps would be a factor of 1.7 in the rate.

    Losses are capped at twice the loss at the start, so that an exploding one does not lift those before it.
    """
    values: NDArray[np.float64] = np.minimum(losses, 2 * float(np.mean(losses[:START])))
    forwards, backwards = _Running(), _Running()
    there: NDArray[np.float64] = np.array([forwards.add(float(value)) for value in values])
    back = np.array([backwards.add(float(value)) for value in values[::-1]])[::-1]
    return np.asarray((there + back) / 2)


def summed_up(seeds: Sequence[SeedRange], lr: float, *, margin: float) -> LrRange:
    """The range of several seeds; the loss must have fallen in more than half of them."""
    lows = [one.low for one in seeds if one.low is not None]
    highs = [one.high for one in seeds if one.high is not None]
    if 2 * len(highs) <= len(seeds):
        return LrRange(lr=lr, reason=_no_range(seeds), seeds=tuple(seeds))
    low, high = _log_median(lows), _log_median(highs)
    where: Where = "below" if lr < low else "above" if lr > high else "inside"
    return LrRange(
        lr=lr,
        low=low,
        high=high,
        suggestion=math.sqrt(low * high),
        where=where,
        spread=max(highs) / min(highs),
        reason=_reason(seeds, low, high, lr=lr, where=where, margin=margin),
        seeds=tuple(seeds),
    )


def _log_median(rates: Sequence[float]) -> float:
    """The median of the logarithms; one outlier does not move it."""
    return math.exp(statistics.median(map(math.log, rates)))


def _no_range(seeds: Sequence[SeedRange]) -> str:
    fell = sum(one.high is not None for one in seeds)
    exploded = [one.diverges for one in seeds if one.diverges is not None]
    ended = (
        f" It exploded in {len(exploded)} of {len(seeds)} seeds, at {min(exploded):.2g} or above." if exploded else ""
    )
    return (
        f"The loss fell in {fell} of {len(seeds)} seeds, so there is no range: the fault is elsewhere, or all rates "
        f"are too high.{ended}"
    )


def _reason(seeds: Sequence[SeedRange], low: float, high: float, *, lr: float, where: Where, margin: float) -> str:
    fell = [one for one in seeds if one.halfway is not None and one.lowest is not None]
    halfway, lowest = (
        _log_median([value for one in fell if (value := getattr(one, name)) is not None])
        for name in ("halfway", "lowest")
    )
    is_open = any(one.lowest == one.lrs[-1] for one in fell)
    ending = ", the highest rate of the test: higher rates may be good too" if is_open else ""
    limit = "" if margin == 1 else "; without batch norm after every layer, the limit is a third of that"
    position = {"below": "below this range", "inside": "in this range", "above": "above this range"}[where]
    return (
        f"The loss had fallen by half at {halfway:.2g} and was lowest at {lowest:.2g}{ending}{limit}. "
        f"Good maximum rates are {low:.2g} to {high:.2g}; the rate of the recipe, {lr:g}, is {position}.{_doubt(fell)}"
    )


def _doubt(fell: Sequence[SeedRange]) -> str:
    highs = [one.high for one in fell if one.high is not None]
    factor = max(highs) / min(highs)
    return f" The seeds differ by a factor of {factor:.2g}, so the range is uncertain." if factor > MAX_SPREAD else ""
