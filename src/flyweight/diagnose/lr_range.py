"""Which highest learning rates suit a recipe: the range test of Smith (2017), over several seeds.

Goes in: a recipe. Comes out: a range with its reason, and the curves it was read from. A new net takes a hundred steps
of the recipe's own training while the rate rises from far too low to far too high; where the loss falls, the rate is
good. Nothing is recorded, and a loss that is not a number ends a seed and is no error.

How the ends of the range are read was set by trainings of 57 to 625 steps at 9 to 11 rates each (seven recipes, n = 2
seeds, MNIST): nets whose every layer is normalised stand rates up to where the loss was lowest and beyond; a LeNet
without batch norm died at 0.4 (Adam) to 2 times (SGD) that, so a third of it is the upper end of such nets. On three
recipes that were not looked at for it (n = 3 seeds: own/8k, own/20k-fast without momentum, 004-1) both ends and the
middle stayed within 0.6 points of the best rate tried, a tenth of the lower end lost 2 to 8 points, and ten times the
upper end 65 points or more.
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

from flyweight.errors import UsageError, require_counts
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
FEWEST_STEPS: Final = 20

SMOOTHING: Final = 0.8  # a step of 100 is a factor of 1.15 in the rate: the mean reaches over a factor of two
EXPLODED: Final = 4.0  # times the lowest smoothed loss, at which a seed ends (Smith's own code, and fastai's)
START: Final = 10  # steps, at rates too low to matter, that say what the loss was at the start
LEAST_FALL: Final = (
    0.02  # of the loss at the start, below which a curve is noise: batches of 64 differ by about as much
)

FALLEN: Final = 0.5  # share of the whole fall at which a rate is high enough
WIDEST: Final = 10.0  # below a tenth of the upper end a short training is not over when it ends
NARROWEST: Final = 2.0
DOUBTFUL: Final = 5.0  # between the seeds' upper ends; of ten recipes nine stayed below 2.5
PLAIN_MARGIN: Final = 3.0  # of nets with layers that are not normalised, see above

Where: TypeAlias = Literal["below", "inside", "above", "unknown"]
Curve: TypeAlias = tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class SeedRange:
    """The test of one seed.

    losses: mean per image, one a step; None where it was not a number. The rates at which the smoothed loss fell
    fastest (steepest), had fallen halfway and was lowest, and the range of this seed alone, are None where it did not
    fall. diverges: the rate at which it exploded or stopped being a number, None if at none.
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
    """Good highest learning rates for a recipe, and where its own lies.

    low, high: medians over the seeds that fell; suggestion: the geometric mean of both; None if too few seeds fell.
    spread: the factor between the seeds' upper ends, largest over smallest. reason: why the range is what it is.
    """

    lr: float
    low: float | None = None
    high: float | None = None
    suggestion: float | None = None
    where: Where = "unknown"
    spread: float | None = None
    reason: str
    seeds: tuple[SeedRange, ...]


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

    By default 100 steps from 1e-5 to 10 for sgd and from 1e-6 to 1 for adam and adamw; where the loss of a batch is a
    sum, the rates of sgd are divided by the batch size. `watch` hears of each seed; None is returned if it was stopped
    before the first was over. The schedule of the recipe is not asked: it multiplies the rate that is meant here.

    Raises:
        UsageError: rates or numbers that cannot be meant.
        RecipeError, OverBudgetError: a recipe that could not be trained.
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
    """Whether every layer with weights but the last is followed by batch norm before the next.

    The output of such a layer does not depend on the length of its weights. A step too long makes them longer, and
    the next steps smaller against them (van Laarhoven 2017), so rates that are too high mend themselves.
    """
    kinds = [row.kind for row in cost.rows if row.is_executed]
    weighty = [place for place, kind in enumerate(kinds) if kind in WEIGHTS]
    return len(weighty) > 1 and all(
        any(kind in NORMS for kind in kinds[one:following]) for one, following in pairwise(weighty)
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
    if not FEWEST_STEPS <= steps <= 10_000:
        raise UsageError(
            f"a range test needs {FEWEST_STEPS} to 10,000 steps, found {steps:,}; 100 is the usual number."
        )
    return tuple(float(rate) for rate in np.geomspace(lowest, highest, steps))


def _sweep(
    bench: Workbench, rates: Sequence[float], should_stop: Callable[[], bool]
) -> tuple[float | None, ...] | None:
    """The loss of each step until it explodes; None if it was stopped. The recipe's own loop does the steps."""
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
    # A step whose loss is no number is not taken, so nobody is asked after it.
    ended = (None,) if outcome.status == "diverged" else ()
    return (*(loss if math.isfinite(loss) else None for loss in losses), *ended)


def _loss(training: Training, label_smoothing: float) -> float:
    """The mean loss per image of the step that was just taken, whatever the recipe makes of a batch's losses."""
    assert training.last_batch is not None, "a step was taken"
    logits, labels = training.last_batch
    return cross_entropy(logits, labels, label_smoothing=label_smoothing).item()


def _unmeasured(_model: torch.nn.Module) -> Evaluation:
    """What ends an epoch of a test that has no use for validation."""
    return Evaluation(loss=0.0, correct=0, count=1, probabilities=torch.zeros(0))


class _Running:
    """A mean that forgets exponentially, corrected for its start, and the lowest that it was."""

    def __init__(self) -> None:
        self.sum, self.weight, self.lowest = 0.0, 0.0, math.inf

    def add(self, value: float) -> float:
        self.sum = SMOOTHING * self.sum + (1 - SMOOTHING) * value
        self.weight = SMOOTHING * self.weight + (1 - SMOOTHING)
        mean = self.sum / self.weight
        self.lowest = min(self.lowest, mean)
        return mean


def read_curve(lrs: Sequence[float], losses: Curve, *, seed: int, margin: float) -> SeedRange:
    """What a curve says; pure, so that anyone can draw one and ask.

    lrs: rising, of all steps that were meant to be. margin: the factor by which the range ends below the lowest loss.
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
    if fall <= LEAST_FALL * start or bottom < 2:
        return found
    steepest, lowest = lrs[int(np.diff(smooth[: bottom + 1]).argmin())], lrs[bottom]
    halfway = lrs[int(np.argmax(smooth <= start - FALLEN * fall))]
    high = lowest / margin
    low = min(max(halfway, high / WIDEST), high / NARROWEST)
    return replace(found, steepest=steepest, halfway=halfway, lowest=lowest, low=low, high=high)


def _known(losses: Curve) -> list[float]:
    """The losses before the first that is not a number."""
    return [loss for loss in losses[: losses.index(None) if None in losses else len(losses)] if loss is not None]


def smoothed(losses: Sequence[float]) -> NDArray[np.float64]:
    """The running mean, forwards and backwards, so that it does not lag: four steps are a factor of 1.7 in the rate.

    A loss counts as twice the first ones at most, or one that explodes would lift all before it.
    """
    values: NDArray[np.float64] = np.minimum(losses, 2 * float(np.mean(losses[:START])))
    forwards, backwards = _Running(), _Running()
    there: NDArray[np.float64] = np.array([forwards.add(float(value)) for value in values])
    back = np.array([backwards.add(float(value)) for value in values[::-1]])[::-1]
    return np.asarray((there + back) / 2)


def summed_up(seeds: Sequence[SeedRange], lr: float, *, margin: float) -> LrRange:
    """Several seeds as one range; more than half of them must have fallen."""
    lows = [one.low for one in seeds if one.low is not None]
    highs = [one.high for one in seeds if one.high is not None]
    if 2 * len(highs) <= len(seeds):
        return LrRange(lr=lr, reason=_no_range(seeds), seeds=tuple(seeds))
    low, high = _middle(lows), _middle(highs)
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


def _middle(rates: Sequence[float]) -> float:
    """The median on a scale of factors: one seed that found a second valley does not move it."""
    return math.exp(statistics.median(map(math.log, rates)))


def _no_range(seeds: Sequence[SeedRange]) -> str:
    fell = sum(one.high is not None for one in seeds)
    exploded = [one.diverges for one in seeds if one.diverges is not None]
    ended = f" It exploded in {len(exploded)} of {len(seeds)}, first at {min(exploded):.2g}." if exploded else ""
    return (
        f"The loss fell at some rate in only {fell} of {len(seeds)} seeds, so no rate can be advised: look for the "
        f"fault elsewhere, or begin at a lower rate.{ended}"
    )


def _reason(seeds: Sequence[SeedRange], low: float, high: float, *, lr: float, where: Where, margin: float) -> str:
    fell = [one for one in seeds if one.halfway is not None and one.lowest is not None]
    halfway, lowest = (
        _middle([value for one in fell if (value := getattr(one, name)) is not None]) for name in ("halfway", "lowest")
    )
    is_open = any(one.lowest == one.lrs[-1] for one in fell)
    ending = ", where the test ended: try higher ones too" if is_open else ""
    bears = "" if margin == 1 else ", and layers without batch norm bear no more than a third of that for long"
    place = {"below": "below that", "inside": "inside", "above": "above that"}[where]
    return (
        f"The loss had fallen halfway at {halfway:.2g} and was lowest at {lowest:.2g}{ending}{bears}. "
        f"{low:.2g} to {high:.2g} are good highest rates; the recipe's {lr:g} lies {place}.{_doubt(fell)}"
    )


def _doubt(fell: Sequence[SeedRange]) -> str:
    highs = [one.high for one in fell if one.high is not None]
    factor = max(highs) / min(highs)
    return f" The seeds disagree by a factor of {factor:.2g}, so take it with care." if factor > DOUBTFUL else ""
