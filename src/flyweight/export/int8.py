"""Post-training quantisation: a folded net and training images give an `IntegerNet`.

Weights are int8 with a scale for each output, maps are uint8 with one scale and zero point; both are chosen from what
the net computes on real images, and no number is trained. docs/export.md has the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log2
from typing import Final

import numpy as np
from numpy.typing import NDArray

from flyweight.errors import UsageError
from flyweight.export.integer import MAX_SUM, IntegerNet, IntegerOperation
from flyweight.model.fold import Array, Folded, activated, values, window_sizes
from flyweight.model.lowered import Lowered

N_CALIBRATION: Final = 1000
LEAST_CALIBRATION: Final = 500
LEVELS: Final = 255
MULTIPLIER_BITS: Final = 15
MAX_SHIFT: Final = 40  # 255 * 2^40 and a sum of 31 bits times 15 stay below 2^53
MAX_SCORE_SHIFT: Final = 31
SAMPLED: Final = 200_000  # values of an operation that choose its range
CUTS: Final = tuple(1 - 0.02 * step for step in range(16))
FLAT_SEARCH: Final = 12.0  # beyond it every activation of the notation is flat or linear


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A real value is (integer - zero) * step."""

    step: float
    zero: int

    def integers(self, reals: Array) -> NDArray[np.int64]:
        return np.clip(np.floor(reals / self.step + self.zero + 0.5), 0, LEVELS).astype(np.int64)

    def reals(self, integers: NDArray[np.int64]) -> Array:
        return np.asarray((integers - self.zero) * self.step, np.float64)


def quantise(lowered: Lowered, folded: Sequence[Folded], pixels: NDArray[np.uint8]) -> IntegerNet:
    """The integer net. pixels: raw training images (N, C, H, W) that choose the scales of the maps.

    Raises:
        UsageError: a layer whose sums could exceed 32 bits, by its name.
    """
    scales: list[Scale] = [Scale(step=1.0, zero=0)]
    operations: list[IntegerOperation] = []
    for one, (before, after) in zip(folded, values(folded, pixels), strict=True):
        inputs = [scales[value] for value in one.operation.inputs]
        made, scale = _quantised(one, inputs, before, after, is_first=not operations)
        if made.worst_sum > MAX_SUM:
            raise UsageError(
                f"{one.operation.name}: its sums must fit 32 bits for int8, found up to {made.worst_sum:,}; make the "
                "layers before it narrower."
            )
        operations.append(made)
        scales.append(scale)
    last = scales[-1]
    return IntegerNet(
        lowered=lowered,
        operations=tuple(operations),
        scales=tuple(scale.step for scale in scales),
        score_scale=last.step,
        last_zero=last.zero,
        zeros=tuple(scale.zero for scale in scales),
    )


def _quantised(
    one: Folded, inputs: list[Scale], before: Array, after: Array, *, is_first: bool
) -> tuple[IntegerOperation, Scale]:
    operation = one.operation
    table, scale = np.zeros(0, np.uint8), _scale_of(after)
    inner = scale  # of the integers before the table
    if operation.kind == "max":
        scale = inputs[0]
    elif operation.table_kind is not None:
        inner = inputs[0] if operation.kind == "table" else _scale_before(before, operation.table_kind, scale)
        reals = activated(inner.reals(np.arange(LEVELS + 1)), operation.table_kind)
        table = scale.integers(reals).astype(np.uint8)
    made = _Integers(one=one, inputs=inputs, inner=inner, table=table, is_first=is_first)
    match operation.kind:
        case "conv":
            found, scores = made.convolution()
            return found, scores if operation.wide else scale
        case "average":
            return made.average(scale)
        case "add":
            multipliers, shift = _together([inp.step / inner.step for inp in inputs])
            return made.operation(multipliers=multipliers, shifts=[shift]), scale
        case "slopes":
            gain = inputs[0].step / inner.step
            multipliers, shift = _together([gain, *(gain * one.slopes)])
            return made.operation(multipliers=multipliers, shifts=[shift]), scale
        case _:
            return made.operation(), scale


@dataclass(frozen=True, kw_only=True, eq=False)
class _Integers:
    """Makes the integers of one operation."""

    one: Folded
    inputs: list[Scale]
    inner: Scale
    table: NDArray[np.uint8]
    is_first: bool

    def operation(
        self,
        *,
        weights: NDArray[np.int8] | None = None,
        bias: NDArray[np.int64] | None = None,
        multipliers: Sequence[int] = (),
        shifts: Sequence[int] = (),
        which: NDArray[np.int64] | None = None,
        pads: NDArray[np.uint8] | None = None,
    ) -> IntegerOperation:
        operation = self.one.operation
        is_pool = operation.kind in ("average", "max")
        return IntegerOperation(
            operation=operation,
            weights=np.zeros(0, np.int8) if weights is None else weights,
            bias=np.zeros(0, np.int32) if bias is None else bias.astype(np.int32),
            multipliers=np.asarray(multipliers, np.int32),
            shifts=np.asarray(shifts, np.int32),
            pads=np.zeros(0, np.uint8) if pads is None else pads,
            zeros=tuple(scale.zero for scale in self.inputs),
            zero=self.inner.zero,
            table=self.table,
            rows=operation.windows(0) if is_pool else (),
            columns=operation.windows(1) if is_pool else (),
            which=np.zeros((0, 0), np.int64) if which is None else which,
            inner_step=self.inner.step,
        )

    def convolution(self) -> tuple[IntegerOperation, Scale]:
        one, source = self.one, self.inputs[0]
        wide = one.operation.wide
        weights = one.weights
        steps = np.abs(weights).max((1, 2, 3)) / 127
        # Weights too small to matter beside the bias or the output get a coarser step, so that all fits its bits.
        steps = np.maximum(steps, np.abs(one.bias) / source.step / 2**29)
        steps = np.maximum(steps, 1e-30)
        if wide:
            output = Scale(step=float(steps.max()) * source.step, zero=0)
            steps = np.maximum(steps, steps.max() * 2.0 ** (MULTIPLIER_BITS - 1 - MAX_SCORE_SHIFT + 1))
        else:
            output = self.inner
            steps = np.maximum(steps, output.step / source.step * 2.0 ** (MULTIPLIER_BITS - MAX_SHIFT))
        integers = np.clip(np.floor(weights / steps[:, None, None, None] + 0.5), -127, 127).astype(np.int64)
        pads = np.full(one.operation.in_shape[2], source.zero, np.int64)
        bias = np.floor(one.signs * one.bias / (steps * source.step) + 0.5).astype(np.int64)
        bias -= source.zero * integers.sum((1, 2, 3))
        if self.is_first:  # its weights are for raw pixels, and its pads may be between two of them
            pads = np.floor(one.pads + 0.5).astype(np.int64)
        found = [_multiplier(gain) for gain in steps * source.step / output.step]
        made = self.operation(
            weights=integers.astype(np.int8),
            bias=np.clip(bias, -MAX_SUM, MAX_SUM),
            multipliers=[multiplier * int(sign) for (multiplier, _), sign in zip(found, one.signs, strict=True)],
            shifts=[shift for _, shift in found],
            pads=pads.astype(np.uint8),
        )
        return made, output

    def average(self, scale: Scale) -> tuple[IntegerOperation, Scale]:
        source, wide = self.inputs[0], self.one.operation.wide
        sizes, which = np.unique(window_sizes(self.one.operation), return_inverse=True)
        output = Scale(step=source.step / int(sizes.max()), zero=0) if wide else self.inner
        found = [_multiplier(source.step / output.step / int(size)) for size in sizes]
        made = self.operation(
            multipliers=[multiplier for multiplier, _ in found],
            shifts=[shift for _, shift in found],
            which=which.reshape(self.one.operation.out_shape[:2]).astype(np.int64),
        )
        return made, output if wide else scale


def _multiplier(gain: float) -> tuple[int, int]:
    """(multiplier, shift) with multiplier / 2^shift near the gain; the multiplier has 15 bits.

    >>> _multiplier(0.5), _multiplier(1.0), _multiplier(0.001)
    ((16384, 15), (16384, 14), (16777, 24))
    """
    shift = MULTIPLIER_BITS - 1 - floor(log2(gain))
    multiplier = floor(gain * 2.0**shift + 0.5)
    if multiplier == 2**MULTIPLIER_BITS:
        multiplier, shift = multiplier // 2, shift - 1
    if not 1 <= shift <= MAX_SHIFT:
        raise UsageError(f"int8 needs a step between layers of 2^-25 to 2^13, found {gain:.3g}; train the net again.")
    return multiplier, shift


def _together(gains: Sequence[float]) -> tuple[list[int], int]:
    """Multipliers with one shift, the largest with 15 bits."""
    _, shift = _multiplier(max(abs(gain) for gain in gains))
    return [floor(gain * 2.0**shift + 0.5) for gain in gains], shift


def _scale_of(reals: Array) -> Scale:
    """The scale of a map: 0 is exact, and its range is cut where that makes the mean squared error smaller."""
    sample = reals.ravel()
    sample = sample[:: max(1, sample.size // SAMPLED)]
    low, high = min(float(reals.min()), 0.0), max(float(reals.max()), 0.0)
    if low == high:
        return Scale(step=1 / LEVELS, zero=0)
    best, least = _between(low, high), np.inf
    for cut in CUTS:
        scale = _between(low * cut, high * cut)
        error = float(np.square(scale.reals(scale.integers(sample)) - sample).mean())
        if error < least:
            best, least = scale, error
    return best


def _between(low: float, high: float) -> Scale:
    step = (high - low) / LEVELS
    return Scale(step=step, zero=floor(-low / step + 0.5))


def _scale_before(before: Array, activation: object, after: Scale) -> Scale:
    """The scale of what goes into a table: without the ends on which the activation is flat."""
    low, high = min(float(before.min()), 0.0), max(float(before.max()), 0.0)
    grid = np.linspace(max(low, -FLAT_SEARCH), min(high, FLAT_SEARCH), 2001)
    results = activated(grid, activation)  # type: ignore[arg-type]
    first, last = results[0], results[-1]
    moved = np.flatnonzero(np.abs(results - first) > after.step / 4)
    if moved.size and _is_flat(activation, low, grid[0]):
        low = min(grid[max(moved[0] - 1, 0)], 0.0)
    moved = np.flatnonzero(np.abs(results - last) > after.step / 4)
    if moved.size and _is_flat(activation, high, grid[-1]):
        high = max(grid[min(moved[-1] + 1, len(grid) - 1)], 0.0)
    return _between(low, high) if low < high else Scale(step=1 / LEVELS, zero=0)


def _is_flat(activation: object, end: float, searched: float) -> bool:
    """Whether an activation gives nearly the same at the end of a range as where the search stopped."""
    ends = activated(np.asarray([end, searched]), activation)  # type: ignore[arg-type]
    return bool(abs(ends[0] - ends[1]) < 1e-3)
