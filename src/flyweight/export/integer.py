"""The integer net: operations on integers alone, and their results in numpy; the reference of every other language.

Goes in: an `IntegerNet` and raw images. Comes out: integer scores. docs/export.md has the arithmetic. All sums fit 32
bits, and all products are integers below 2^53, so numpy, C and JavaScript give the same scores to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

import numpy as np
from numpy.typing import NDArray

from flyweight.model.fold import convolve, max_pooled, pooled
from flyweight.model.lowered import Lowered, Operation, Windows

MAX_SUM: Final = 2**31 - 1
BATCH: Final = 250  # images at a time: the maps of more do not fit the cache
EXACT_IN_FLOAT32: Final = 2**24


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerOperation:
    """The integers of one operation.

    weights: (outputs, kernel height, kernel width, inputs of a group) int8. bias: (outputs,) int32. multipliers and
    shifts: of a convolution per output; of an average per size of a window; of an addition per input, with one shift;
    of slopes for positive values and then for negative ones of each channel, with one shift. pads: (inputs,) uint8,
    beyond the edge. zeros: of the inputs, zero: of the output, the integer that stands for 0. table: (256,) uint8, or
    empty. rows, columns: the windows of a pool. which: (H, W) of an average, the multiplier of each window. inner_step:
    what one step of the result before the table stands for, where it is known.
    """

    operation: Operation
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    multipliers: NDArray[np.int32]
    shifts: NDArray[np.int32]
    pads: NDArray[np.uint8]
    zeros: tuple[int, ...]
    zero: int
    table: NDArray[np.uint8]
    rows: Windows = ()
    columns: Windows = ()
    which: NDArray[np.int64]
    inner_step: float = 0.0

    @property
    def worst_sum(self) -> int:
        """The largest magnitude that the sum of a convolution can have, whatever the image."""
        if not self.weights.size:
            return (
                255 * max((b - a for a, b in self.rows), default=1) * max((b - a for a, b in self.columns), default=1)
            )
        per_output = np.abs(self.weights.astype(np.int64)).sum((1, 2, 3)) * 255
        return int((per_output + np.abs(self.bias.astype(np.int64))).max())


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerNet:
    """scales, zeros: of each value; those of a net from a file are not complete.

    score_scale: logits are scores times this. last_zero: subtracted from the last map, if that is not scores yet.
    """

    lowered: Lowered
    operations: tuple[IntegerOperation, ...]
    scales: tuple[float, ...]
    score_scale: float
    last_zero: int
    zeros: tuple[int, ...] = ()


def scores(net: IntegerNet, pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """From raw images (N, C, H, W) uint8 to integer scores (N, classes); the largest is the prediction."""
    parts = [_scores(net, pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    return np.concatenate(parts)


def _scores(net: IntegerNet, pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    *_, last = maps(net.operations, pixels)
    return (last.reshape(len(pixels), -1).astype(np.int64) - net.last_zero).astype(np.int32)


def maps(operations: Sequence[IntegerOperation], pixels: NDArray[np.uint8]) -> Iterator[NDArray[Any]]:
    """What each operation gives in turn: (N, H, W, C) uint8, or int64 scores of the last."""
    found: list[NDArray[Any]] = [np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))]
    for one in operations:
        inputs = [found[value].reshape(len(pixels), *one.operation.in_shape) for value in one.operation.inputs]
        found.append(_computed(one, inputs))
        yield found[-1]


def _computed(one: IntegerOperation, inputs: list[NDArray[Any]]) -> NDArray[Any]:
    operation = one.operation
    match operation.kind:
        case "conv":
            sums = _sums(one, inputs[0])
            if operation.is_late:
                return max_pooled(_finished(one, sums, one.multipliers, one.shifts), operation)
            return _finished(one, max_pooled(sums, operation), one.multipliers, one.shifts)
        case "add":
            weighted = sum(
                (values.astype(np.int64) - zero) * multiplier
                for values, zero, multiplier in zip(inputs, one.zeros, one.multipliers.astype(np.int64), strict=True)
            )
            return _finished(one, np.asarray(weighted), np.int64(1), one.shifts[0])
        case "average":
            values = pooled(inputs[0].astype(np.int64) - one.zeros[0], one.rows, one.columns, np.sum)
            place = one.which[:, :, None]
            return _finished(one, values, one.multipliers[place], one.shifts[place])
        case "max":
            return pooled(inputs[0], one.rows, one.columns, np.max)
        case "table":
            return np.asarray(one.table[inputs[0]])
        case "slopes":
            values = inputs[0].astype(np.int64) - one.zeros[0]
            multipliers = np.where(values >= 0, one.multipliers[0], one.multipliers[1:])
            return _finished(one, values, multipliers, one.shifts[0])
        case _:
            assert_never(operation.kind)


def _sums(one: IntegerOperation, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The sums of a convolution with its bias; in floating point of a width that holds them exactly."""
    kind = np.float32 if one.worst_sum < EXACT_IN_FLOAT32 else np.float64
    sums = convolve(images.astype(kind), one.weights.astype(kind), one.operation, one.pads.astype(kind))
    return sums.astype(np.int64) + one.bias


def _finished(one: IntegerOperation, sums: NDArray[Any], multipliers: Any, shifts: Any) -> NDArray[Any]:
    """floor((sum * multiplier + zero * 2^shift + 2^(shift - 1)) / 2^shift); if it is no score, cut and looked up."""
    shifts = np.asarray(shifts, np.int64)
    products = sums * np.asarray(multipliers, np.int64) + (np.int64(1) << (shifts - 1))
    if one.operation.wide:
        return np.asarray(products >> shifts)
    found = np.clip((products + (np.int64(one.zero) << shifts)) >> shifts, 0, 255).astype(np.uint8)
    return np.asarray(one.table[found]) if one.table.size else found
